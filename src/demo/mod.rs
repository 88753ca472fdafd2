//! The main job on a throw-away PostgreSQL, end to end.

pub mod data;
pub mod writer;

mod names; // what the data draws names from
