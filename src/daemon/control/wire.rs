//! What is said over the control socket.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::daemon::work::{Failure, Report, Wish};
use crate::model::ResourceName;

/// The daemon's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The daemon's version.
    pub fenice: String,
    pub protocol: u32,
}

/// What a command asks, once a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Do(Wish),
    /// Ships what the source has written by now.
    Ship {
        resource: ResourceName,
    },
    /// What runs, what waits, and so many of those that ended last.
    Jobs {
        most: u32,
    },
    Cancel {
        id: i64,
    },
    Pause {
        resource: ResourceName,
        why: String,
        until: Option<Timestamp>,
    },
    Resume {
        resource: ResourceName,
    },
    /// As long as this connection lives, a resource is being restored in an emergency.
    Restoring {
        resource: ResourceName,
    },
    /// Reads the configuration again, as SIGHUP does.
    Reload,
}

/// What the daemon says; the first of the last four ends it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It has not begun.
    Waiting {
        because: String,
    },
    Begun {
        id: i64,
    },
    Progress(ProgressNow),
    Reported(Report),
    Done(Value),
    Jobs(JobsNow),
    Failed(Failure),
}

impl Reply {
    /// Whether nothing follows it.
    pub fn is_last(&self) -> bool {
        !matches!(self, Reply::Waiting { .. } | Reply::Begun { .. } | Reply::Progress(_))
    }
}

/// How far a job has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressNow {
    pub phase: String,
    pub done_bytes: u64,
    /// `None` where it cannot be foreseen.
    pub expected_bytes: Option<u64>,
}

/// Everything that is to be done, is being done, and was done last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobsNow {
    pub at: Timestamp,
    pub running: Vec<RunningJob>,
    /// Due, and not begun.
    pub waiting: Vec<WaitingJob>,
    /// Every work of every resource, in the order of the configuration.
    pub standing: Vec<StandingLine>,
    /// The newest first.
    pub last: Vec<EndedJob>,
}

/// A job that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningJob {
    /// Its number in the journal.
    pub id: i64,
    pub resource: ResourceName,
    pub work: String,
    pub because: String,
    pub begun_at: Timestamp,
    pub phase: String,
    pub done_bytes: u64,
    /// `None` where it cannot be foreseen.
    pub expected_bytes: Option<u64>,
    /// Somebody wants it to end.
    pub cancelling: bool,
}

/// Something that is due and has not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingJob {
    pub resource: ResourceName,
    pub work: String,
    pub because: String,
    /// Why it has not begun.
    pub held: Option<String>,
    /// Somebody asked for it.
    pub by_hand: bool,
}

/// One work of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingLine {
    pub resource: ResourceName,
    pub work: String,
    /// `waits`, `due`, `runs`, `paused` or `never`.
    pub state: String,
    pub next_at: Option<Timestamp>,
    pub reason: String,
}

/// A job that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedJob {
    pub id: i64,
    pub resource: ResourceName,
    pub work: String,
    pub begun_at: Timestamp,
    pub ended_at: Timestamp,
    /// `done`, `not_met`, `failed`, `cancelled` or `interrupted`.
    pub result: String,
    pub told: String,
}
