//! `wal fetch` straight from the repository, without a restore that serves: for standbys and for
//! recoveries by hand. The caller turns every error into a SIGKILL of itself (RULES 1).
//!
//! Each call lists and plans anew. It assumes a recovery to the end of the log, from the newest
//! snapshot that begins at or before the file asked for; a gap behind it stops recovery.

use std::path::Path;

use crate::error::{Error, Result};
use crate::model::{Lsn, ResourceName, Timeline, WalName};
use crate::plan::answer::{Answer, answer};
use crate::plan::facts::{Request, Target};
use crate::ports::Clock;

use super::facts;
use super::fetch::{Fetch, put};
use super::recover::checked_plan;
use super::sources::Sources;

/// Puts the file `name` at `to`. `timeline` is the one that recovery follows; the newest stored
/// one otherwise.
///
/// # Errors
/// Anything but the whole file and its proven absence.
pub fn fetch(
    sources: &Sources,
    resource: &ResourceName,
    timeline: Option<Timeline>,
    name: &str,
    to: &Path,
    clock: &dyn Clock,
) -> Result<Fetch> {
    let mut stored = facts::read_now_undated(sources, resource)?;
    let size = stored.archive.segment_size;
    let wanted = WalName::parse(name, size)?;
    if let WalName::Segment(_, number) = wanted {
        // One segment may be looked at before the first.
        let latest = Lsn(size.start_of(number).0.saturating_add(2 * size.bytes()));
        stored.facts.snapshots.retain(|snapshot| snapshot.start < latest);
    }
    // Damage of a snapshot's pages says nothing about the log.
    let request = Request { target: Target::Latest, timeline, allow_damaged: true };
    let plan = checked_plan(&stored.facts, &request, clock.now())?;
    let content = match answer(&plan, &wanted) {
        Answer::Serve(segment) => stored.archive.read_segment(&segment.objects)?,
        Answer::History(timeline) => {
            stored.archive.read_small(&stored.archive.history_key(timeline))?
        }
        Answer::Absent(_) => return Ok(Fetch::Absent),
        Answer::Stop(reason) => return Err(Error::refused(reason)),
    };
    put(&content, to)?;
    Ok(Fetch::Done)
}
