//! One job: what is to be done, and how it ended.

use jiff::Timestamp;

use crate::error::Retry;
use crate::model::ResourceName;
use crate::plan::schedule::Work;

/// A job that is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number in the journal.
    pub id: i64,
    pub resource: ResourceName,
    pub work: Work,
    /// The occurrence it stands for; of what was asked for, when that was.
    pub due_at: Timestamp,
    pub because: String,
    /// Of what was asked for; `None` for a standing order.
    pub ticket: Option<u64>,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It was done, and something is not as promised; trying again would not change that.
    NotMet {
        told: String,
    },
    Failed {
        told: String,
        retry: Retry,
    },
    /// Somebody wanted it to end: this occurrence is not tried again.
    Cancelled {
        told: String,
    },
}

impl Outcome {
    /// One word, for the journal and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::NotMet { .. } => "not_met",
            Outcome::Failed { .. } => "failed",
            Outcome::Cancelled { .. } => "cancelled",
        }
    }

    /// What was told of it, for people; empty where nothing was.
    pub fn told(&self) -> &str {
        match self {
            Outcome::Done => "",
            Outcome::NotMet { told }
            | Outcome::Failed { told, .. }
            | Outcome::Cancelled { told } => told,
        }
    }
}
