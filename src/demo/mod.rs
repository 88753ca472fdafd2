//! The main job on a throw-away PostgreSQL, end to end.
//!
//! `data` and `names` invent a school register, `writer` what its users do, `cluster` is the
//! database that will be lost, `load` keeps writing to it and its own log of what was
//! acknowledged, `loss` compares that log with what came back. `cli::demo` tells the story.

pub mod cluster;
pub mod config;
pub mod data;
pub mod load;
pub mod loss;
mod names;
pub mod writer;
