//! What became of a standing order, as the catalog keeps it.

use jiff::Timestamp;

use super::job::Outcome;
use crate::catalog::journal::{FailedRow, PauseRow, StandingRow};
use crate::error::Retry;
use crate::model::ResourceName;
use crate::plan::schedule::{Failure, Past, Pause, Work};

/// For the catalog.
pub(super) fn row_of(resource: &ResourceName, work: Work, past: &Past) -> StandingRow {
    let failed = past.failed.map(|failure| FailedRow {
        due_at: failure.due_at,
        attempts: failure.attempts,
        at: failure.at,
        for_good: failure.retry == Retry::Never,
    });
    StandingRow {
        resource: resource.clone(),
        work: work.name().to_owned(),
        known_since: past.known_since,
        settled_due_at: past.settled_due_at,
        failed,
    }
}

/// From the catalog. Nothing is under way: what was has been ended before this is read.
pub(super) fn past_of(row: &StandingRow) -> Past {
    let failed = row.failed.map(|failed| Failure {
        due_at: failed.due_at,
        attempts: failed.attempts,
        at: failed.at,
        retry: if failed.for_good { Retry::Never } else { Retry::Later },
    });
    Past { settled_due_at: row.settled_due_at, failed, ..Past::new(row.known_since) }
}

pub(super) fn pause_of(row: PauseRow) -> Pause {
    Pause { why: row.why, until: row.until }
}

/// What became of a standing order when a job for it has ended.
pub(super) fn past_after(
    past: &Past,
    outcome: &Outcome,
    due_at: Timestamp,
    now: Timestamp,
) -> Past {
    let mut past = past.clone();
    match outcome {
        Outcome::Done | Outcome::NotMet { .. } => past.succeed(due_at),
        Outcome::Failed { retry, .. } => past.fail(due_at, now, *retry),
        Outcome::Cancelled { .. } => past.fail(due_at, now, Retry::Never),
    }
    past
}
