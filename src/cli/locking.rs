//! The last step of `snapshot`, `copy` and `retention --apply`: what is stored is locked, where the
//! repository locks anything.

use jiff::tz::TimeZone;

use super::Context;
use super::list::local;
use crate::daemon::work::Failure;
use crate::engines::postgres::locking::LockRun;
use crate::error::Result;

/// Whether the answer comes before a failure to lock: people are told of both, and a program reads
/// one value.
pub(super) fn answers_first(failed: Option<&Failure>, context: &Context) -> bool {
    failed.is_none() || !context.output.json
}

/// The failure to lock, if there was one.
pub(super) fn must_be_locked(failed: Option<Failure>) -> Result<()> {
    failed.map_or(Ok(()), |failure| Err(failure.into()))
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
