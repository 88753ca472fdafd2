//! Rehearsed recovery: isolated, checked, measured, torn down.
//!
//! `run` is the order of things, `checks` asks the restored server, `measure` turns what was seen
//! into the report. A drill reads the repository through a listing it pinned at the disruption:
//! what arrives later does not exist for it (RULES 15). It is given nothing that could write to
//! production: no connection to the source, no way to store but its own report.

pub mod checks;
pub mod measure;
pub mod run;
