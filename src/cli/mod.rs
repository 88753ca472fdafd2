//! The command line: one file a verb; no decisions.

pub mod terminal;
