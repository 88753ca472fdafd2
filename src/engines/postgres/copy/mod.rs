//! Copies: snapshots that are due, with the log they need, brought into a second repository, sealed
//! to its own recipients, and read back (RULES 20).
//!
//! `job` decides nothing: `plan::retention::copies_due` does. The order survives a crash anywhere:
//! what identifies the cluster, log, vault, and last the snapshot's manifest. `state` tells what
//! came of it.

mod job;
mod log;
pub mod state;

pub use job::{CopyJob, CopyPlan, CopyRun, SnapshotCopy};
