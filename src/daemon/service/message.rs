//! What the scheduler is told, and what it tells those who ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::runner::Ended;
use crate::catalog::journal::PauseRow;
use crate::config::Config;
use crate::daemon::control::wire::{JobsNow, Reply};
use crate::daemon::work::Wish;
use crate::engines::progress::Progress;
use crate::error::Result;
use crate::model::ResourceName;

/// One message. Those who send wait for the answer before they send another, so that there are
/// never more than connections and jobs.
pub(super) enum Message {
    /// A job has ended.
    Ended {
        id: i64,
        ended: Ended,
        took: Duration,
    },
    Ask {
        wish: Wish,
        asking: Asking,
    },
    /// Whoever asked is gone, and it has not begun.
    Withdraw {
        ticket: u64,
    },
    Cancel {
        id: i64,
        answer: oneshot::Sender<Result<String>>,
    },
    Pause {
        pause: PauseRow,
        answer: oneshot::Sender<Result<()>>,
    },
    Resume {
        resource: ResourceName,
        answer: oneshot::Sender<Result<bool>>,
    },
    Restoring {
        resource: ResourceName,
        answer: oneshot::Sender<u64>,
    },
    Restored {
        ticket: u64,
    },
    Jobs {
        most: u32,
        answer: oneshot::Sender<Result<JobsNow>>,
    },
    Adopt {
        config: Arc<Config>,
        answer: oneshot::Sender<Result<()>>,
    },
    /// Nothing new begins, and what runs is asked to end.
    Drain,
    /// It is too late for whatever still runs.
    End,
}

/// Who asks for a job.
pub(super) struct Asking {
    /// For the journal and reports.
    pub operator: String,
    pub told: mpsc::Sender<Told>,
}

/// What is told to who asked.
pub(super) enum Told {
    Ticket(u64),
    Waiting(String),
    Begun { id: i64, progress: Arc<Progress> },
    Over(Reply),
}

/// News that are not read yet; older ones of waiting are not missed.
pub(super) const TOLD_MOST: usize = 64;

impl Asking {
    /// Never waits: whoever does not read, or is gone, misses it.
    pub fn tell(&self, told: Told) {
        drop(self.told.try_send(told));
    }
}

/// A job as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RunningNow {
    pub resource: ResourceName,
    pub kind: &'static str,
    pub done_bytes: u64,
    pub expected_bytes: Option<u64>,
}

/// How things stand after a turn.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TurnShown {
    pub at: Timestamp,
    pub running: Vec<RunningNow>,
    /// Due, and not begun.
    pub waiting: Vec<(ResourceName, &'static str)>,
    /// What comes next of each resource, if anything does.
    pub next: BTreeMap<ResourceName, (&'static str, Timestamp)>,
    /// Standing orders whose last attempt failed.
    pub failing: Vec<Failing>,
}

/// A standing order that fails.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failing {
    pub resource: ResourceName,
    pub work: &'static str,
    pub attempts: u32,
    pub since: Timestamp,
    pub is_final: bool,
}
