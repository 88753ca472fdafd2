//! The main job on a throw-away PostgreSQL, end to end.

pub mod data;

mod names; // what the data draws names from
