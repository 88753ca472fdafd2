//! What recovery planning knows, and what it is asked for.

use std::fmt;

use jiff::Timestamp;

use crate::model::{Lsn, SystemId, Timeline, WalInventory};

/// One snapshot, as its manifest tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFact {
    pub id: String,
    pub system_id: SystemId,
    pub timeline: Timeline,
    /// Where replay begins.
    pub start: Lsn,
    /// Up to here replay must come, or the data is inconsistent.
    pub stop: Lsn,
    pub started_at: Timestamp,
    /// The earliest instant it can be recovered to.
    pub stopped_at: Timestamp,
    /// Pages whose checksum was wrong and stayed so; 0 means undamaged.
    pub damaged_pages: u64,
    pub bytes: u64,
    pub files: u64,
}

/// How fast earlier restores went; only for estimates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speeds {
    pub restore_bytes_per_second: u64,
    pub replay_bytes_per_second: u64,
}

/// Everything a plan is made from: one pinned, complete listing (RULES 15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryFacts {
    pub snapshots: Vec<SnapshotFact>,
    pub wal: WalInventory,
    /// The stored log is known to hold every commit up to this instant. Without it, the instant
    /// the newest object was stored stands in.
    pub log_stored_until: Option<Timestamp>,
    pub speeds: Option<Speeds>,
}

/// The state to recover to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The end of the stored log.
    Latest,
    /// Everything before the first commit or abort stamped later (RULES 5).
    At(Timestamp),
    /// What the named snapshot holds, as soon as it is consistent (PostgreSQL,
    /// `recovery_target = 'immediate'`). For copies that keep only their own stretch of log.
    Consistent { snapshot: String },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Latest => f.write_str("the end of the stored log"),
            Target::At(instant) => write!(f, "{instant}"),
            Target::Consistent { snapshot } => write!(f, "the state of snapshot {snapshot}"),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub target: Target,
    /// The operator's choice of timeline; `None` for the newest.
    pub timeline: Option<Timeline>,
    /// A damaged snapshot may be used where no undamaged one will do.
    pub allow_damaged: bool,
}

impl Request {
    /// The newest timeline, undamaged snapshots only.
    pub fn to(target: Target) -> Request {
        Request { target, timeline: None, allow_damaged: false }
    }
}
