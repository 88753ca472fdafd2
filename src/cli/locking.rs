//! The last step of `snapshot`, `copy` and `retention --apply`: what is stored is locked, where the
//! repository locks anything.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::Context;
use super::list::local;
use super::progress::Shown;
use crate::engines::blocking::blocking;
use crate::engines::postgres::locking::{LockRun, Locking};
use crate::error::Result;

/// Locks it; `None` where nothing is locked.
pub(super) async fn lock(
    locking: Result<Option<Locking>>,
    context: &Context,
) -> Result<Option<LockRun>> {
    let Some(locking) = locking? else { return Ok(None) };
    let shown = Shown::start(Arc::clone(&locking.progress), context.output);
    let run = blocking(move || locking.apply()).await;
    drop(shown);
    run
}

/// Whether the answer comes before a failure to lock: people are told of both, and a program reads
/// one value.
pub(super) fn answers_first<T>(locked: &Result<T>, context: &Context) -> bool {
    locked.is_ok() || !context.output.json
}

/// What a run did, in a clause.
pub(super) fn told(run: &LockRun, zone: &TimeZone) -> String {
    match run.until {
        None => "nothing is to be locked".to_owned(),
        Some(until) => {
            let until = local(until, zone);
            format!("{} objects, the last until {until}; {} now", run.objects, run.locked)
        }
    }
}
