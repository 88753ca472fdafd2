//! What is known of everything that is protected, as plain facts: filled by the daemon, shown by
//! the faces.
//!
//! Instants are facts; ages are counted from them when somebody asks, so that whoever stops
//! measuring cannot keep anything green.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::jobs::JobCounts;
use crate::error::Result;
use crate::model::{ResourceName, Span};

/// What was found out about one thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fact<T> {
    Known(T),
    /// It was looked for, and there is none: no snapshot was ever taken, no slot is used.
    Absent,
    /// It could not be found out, or nobody looked: red.
    #[default]
    Unknown,
}

impl<T> Fact<T> {
    /// What a look came to.
    pub fn found(looked: Result<Option<T>>) -> Fact<T> {
        match looked {
            Ok(Some(value)) => Fact::Known(value),
            Ok(None) => Fact::Absent,
            Err(_) => Fact::Unknown,
        }
    }

    /// For what must be there: none is as good as unknown.
    pub fn required(self) -> Fact<T> {
        match self {
            Fact::Known(value) => Fact::Known(value),
            Fact::Absent | Fact::Unknown => Fact::Unknown,
        }
    }

    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Fact<U> {
        self.and_then(|value| Fact::Known(with(value)))
    }

    pub fn and_then<U>(self, with: impl FnOnce(T) -> Fact<U>) -> Fact<U> {
        match self {
            Fact::Known(value) => with(value),
            Fact::Absent => Fact::Absent,
            Fact::Unknown => Fact::Unknown,
        }
    }
}

impl<T> From<Option<T>> for Fact<T> {
    fn from(found: Option<T>) -> Fact<T> {
        Fact::found(Ok(found))
    }
}

/// Everything there is to show.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Of the program.
    pub version: &'static str,
    /// When the daemon began.
    pub started_at: Timestamp,
    /// When the scheduler's loop last turned.
    pub last_turn_at: Timestamp,
    /// Those of the configuration now in force. One that left it is shown no more.
    pub resources: BTreeMap<ResourceName, ResourceFacts>,
    /// The same, by name.
    pub repositories: BTreeMap<String, RepositoryFacts>,
    pub disks: BTreeMap<Disk, Room>,
    /// Kept as long as the daemon runs.
    pub jobs: JobCounts,
    /// At most one of each kind for each resource.
    pub under_way: Vec<UnderWay>,
    /// Jobs that are due and not begun, with their kinds.
    pub waiting: Vec<(ResourceName, &'static str)>,
}

/// What was promised for a resource in use: its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    pub rpo: Span,
    pub rto: Span,
    pub verify_within: Span,
}

/// One resource. See [`ResourceFacts::unmeasured`] to begin with.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceFacts {
    /// `None` once it is retired: then only `overdue` and `red_reasons` are told of it.
    pub promise: Option<Promise>,
    /// When these facts were last looked for, with whatever success.
    pub measured_at: Option<Timestamp>,
    /// How many reasons `fenice status` has to call it red.
    pub red_reasons: Fact<u64>,
    /// The newest heartbeat that is provably in the repository; none is as good as unknown.
    pub data_until: Fact<Timestamp>,
    /// When the newest snapshot was finished.
    pub last_snapshot_at: Fact<Timestamp>,
    /// Pages of it whose checksum is wrong.
    pub damaged_pages: Fact<u64>,
    /// When a drill that passed last ended.
    pub last_proof_at: Fact<Timestamp>,
    /// The oldest instant that can be recovered.
    pub window_start: Fact<Timestamp>,
    /// How much log is missing after the newest snapshot; 0 once a snapshot follows the gap.
    pub gap_bytes: Fact<u64>,
    /// How much log the source keeps for the slot; the most, of several hosts.
    pub slot_lag_bytes: Fact<u64>,
    /// `max_slot_wal_keep_size` there; absent where it is unlimited.
    pub slot_limit_bytes: Fact<u64>,
    /// Whether the shipper complains.
    pub shipping_in_trouble: Fact<bool>,
    /// When the last verification ended; of several repositories the one that is longest ago.
    pub last_verify_at: Fact<Timestamp>,
    /// Everything stored was read back and found sound since then; likewise.
    pub verified_since: Fact<Timestamp>,
    /// What the last verifications found and did not put right.
    pub stored_damage: Fact<u64>,
    /// `None` where the policy copies nothing.
    pub copies: Option<CopyFacts>,
    /// Snapshots, and packs of the vault, that are there beyond the date of their removal.
    pub overdue: Fact<u64>,
    /// The last one that was not interrupted.
    pub drill: Fact<DrillFacts>,
    /// When the key of the vault in use was made.
    pub vault_key_at: Fact<Timestamp>,
    /// Wrong page checksums that the source counted since its statistics were reset.
    pub checksum_failures: Fact<u64>,
    /// The source's clock less this host's.
    pub clock_offset_seconds: Fact<f64>,
    /// When the source's certificate ends; absent without TLS.
    pub certificate_until: Fact<Timestamp>,
    /// Of the source.
    pub replicas: Fact<Replicas>,
}

/// The copies of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyFacts {
    /// When the newest snapshot among them was finished at the source.
    pub last_at: Fact<Timestamp>,
    /// Snapshots and objects of the log that should have been copied by now.
    pub late: Fact<u64>,
    /// What the copies alone bring back for certain.
    pub data_until: Fact<Timestamp>,
}

/// What a drill came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrillFacts {
    pub ended_at: Timestamp,
    pub passed: bool,
    /// `None`: not achieved, so that there is no number.
    pub rto: Option<Span>,
    /// Likewise.
    pub rpo: Option<Span>,
}

/// The standbys that stream from a source, but for Fenice itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    pub connected: u64,
    /// Of the one that is farthest behind; `None` where none is connected or none tells.
    pub lag: Option<Span>,
}

/// One repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepositoryFacts {
    /// Whether the last attempt to read from it succeeded.
    pub reachable: bool,
    /// All that is stored there, where it was counted.
    pub bytes: Fact<u64>,
    /// Of the lease as last seen.
    pub generation: Fact<u64>,
    pub lease: LeaseState,
}

/// How this installation stands to the lease of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    Held,
    /// Another one has it, and this one waits, as it was told to.
    StandingBy,
    /// Neither: this one should write, and may not.
    Lost,
}

/// A file system that must not fill up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disk {
    /// Of the state directory.
    State,
    /// Of a repository that is a folder.
    Repository(String),
    /// Of a source's data directory on this host.
    Source(ResourceName),
}

/// How much room a file system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What this process may still use.
    pub free_bytes: u64,
    pub size_bytes: u64,
}

/// A job that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    pub resource: ResourceName,
    /// As [`JobCounts::note`] takes it.
    pub kind: &'static str,
    pub done_bytes: u64,
    /// `None` where it cannot be foreseen.
    pub expected_bytes: Option<u64>,
}

impl ResourceFacts {
    /// Nothing was measured yet: all of it is unknown, which is red.
    pub fn unmeasured(promise: Option<Promise>) -> ResourceFacts {
        ResourceFacts {
            promise,
            measured_at: None,
            red_reasons: Fact::Unknown,
            data_until: Fact::Unknown,
            last_snapshot_at: Fact::Unknown,
            damaged_pages: Fact::Unknown,
            last_proof_at: Fact::Unknown,
            window_start: Fact::Unknown,
            gap_bytes: Fact::Unknown,
            slot_lag_bytes: Fact::Unknown,
            slot_limit_bytes: Fact::Unknown,
            shipping_in_trouble: Fact::Unknown,
            last_verify_at: Fact::Unknown,
            verified_since: Fact::Unknown,
            stored_damage: Fact::Unknown,
            copies: None,
            overdue: Fact::Unknown,
            drill: Fact::Unknown,
            vault_key_at: Fact::Unknown,
            checksum_failures: Fact::Unknown,
            clock_offset_seconds: Fact::Unknown,
            certificate_until: Fact::Unknown,
            replicas: Fact::Unknown,
        }
    }
}
