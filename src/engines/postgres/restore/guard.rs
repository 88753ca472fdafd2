//! Reads the log before PostgreSQL does, and stops a recovery that would do harm. Pure.
//!
//! Three things in a log are dangerous although every byte of it is intact:
//! - `CREATE TABLESPACE` recorded after the snapshot began: replay makes the directory, or goes on
//!   in the one it finds, under its original path (`create_tablespace_directories`), which is
//!   production's (RULES 4);
//! - log that reads as its end although more is stored: PostgreSQL would open there (RULES 1);
//! - log of an older timeline than the one that owns the position (RULES 3).

use std::path::PathBuf;

use jiff::Timestamp;

use crate::error::{Attempt, Error, Result};
use crate::model::wal_format::PAGE_BYTES;
use crate::model::wal_record::{LogEvent, Progress, Recorded, Scanner};
use crate::model::{Lsn, SegmentSize};
use crate::plan::facts::Target;
use crate::plan::recovery::RecoveryPlan;

use super::originals::NewTablespaces;

/// Reads the segments of one recovery as they are served.
///
/// PostgreSQL asks mostly in order; what follows is read on from where the last one ended. After a
/// jump reading begins anew: a record that began before was then replayed already, or precedes
/// the checkpoint that recovery starts from.
#[derive(Debug)]
pub struct LogGuard {
    scanner: Scanner,
    /// The place in the plan that may be read on with.
    next: Option<usize>,
    /// Where recovery stops at the latest: at the first end of a transaction after the target.
    stops_at: Option<Lsn>,
    /// The newest end of a transaction before [`LogGuard::forbidden`].
    last_end: Option<Timestamp>,
    forbidden: Option<Forbidden>,
    new: NewTablespaces,
    /// Original places of tablespaces, yet to be taken.
    wanted: Vec<PathBuf>,
}

/// A tablespace that replay would make.
#[derive(Debug, Clone)]
struct Forbidden {
    at: Lsn,
    oid: u32,
    path: String,
}

impl LogGuard {
    pub fn new(size: SegmentSize, new: NewTablespaces) -> LogGuard {
        LogGuard {
            scanner: Scanner::new(size),
            next: None,
            stops_at: None,
            last_end: None,
            forbidden: None,
            new,
            wanted: Vec::new(),
        }
    }

    /// Reads the segment at `place` of the plan.
    ///
    /// # Errors
    /// Refused if replaying this segment would do harm.
    pub fn pass(&mut self, plan: &RecoveryPlan, place: usize, bytes: &[u8]) -> Result<()> {
        let segment = &plan.segments[place];
        let (number, size) = (segment.number, plan.segment_size);
        if self.next != Some(place) {
            self.scanner = Scanner::new(size);
        }
        self.next = Some(place + 1);
        let mut events = Vec::new();
        let progress = self.scanner.feed(number, bytes, &mut |event| events.push(event));
        let progress = progress.attempt(|| format!("read segment {number} before serving it"))?;
        events.iter().for_each(|event| self.see(plan, event));
        let may_end = place + 1 == plan.segments.len() && !segment.whole;
        if let (Progress::Ended(end), false) = (progress, may_end) {
            return Err(Error::refused(format!(
                "segment {number} reads as the end of the log at {}, and more is stored",
                end.at
            ))
            .because(end.reason)
            .hint("The log was damaged before it was stored: recover to an instant before it."));
        }
        self.check_timeline(plan, number)?;
        self.check_tablespaces()
    }

    fn see(&mut self, plan: &RecoveryPlan, event: &LogEvent) {
        let before = |limit: Option<Lsn>| limit.is_none_or(|limit| event.start < limit);
        match &event.what {
            Recorded::Commit { at, .. } | Recorded::Abort { at, .. } => {
                let after = matches!(plan.target, Target::At(target) if *at > target);
                if after && before(self.stops_at) {
                    self.stops_at = Some(event.start);
                }
                if before(self.forbidden.as_ref().map(|forbidden| forbidden.at)) {
                    self.last_end = self.last_end.max(Some(*at));
                }
            }
            // Without a path it is made in place, within the copy (`allow_in_place_tablespaces`).
            Recorded::CreateTablespace { oid, path } if !path.is_empty() => {
                // `plan.end` is where a recovery to mere consistency stops.
                let replayed = event.start >= plan.snapshot.start && event.start < plan.end;
                if self.new == NewTablespaces::AtOriginal {
                    if replayed && before(self.stops_at) {
                        self.wanted.push(PathBuf::from(path));
                    }
                } else if replayed && before(self.forbidden.as_ref().map(|forbidden| forbidden.at))
                {
                    let (at, oid, path) = (event.start, *oid, path.clone());
                    self.forbidden = Some(Forbidden { at, oid, path });
                }
            }
            _ => {}
        }
    }

    /// The places of new tablespaces that were passed since the last time, which must be free
    /// before the log is replayed.
    pub fn take_wanted(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.wanted)
    }

    /// Pages from a switch on are the child's; only the page that holds it may be the parent's.
    fn check_timeline(&self, plan: &RecoveryPlan, number: u64) -> Result<()> {
        let first = plan.segment_size.start_of(number).0;
        let last_byte = self.scanner.position().0.saturating_sub(1).max(first);
        let page = Lsn(last_byte / PAGE_BYTES as u64 * PAGE_BYTES as u64);
        let (owner, found) = (plan.history.owner_of(page), self.scanner.timeline());
        match found < owner {
            false => Ok(()),
            true => Err(Error::refused(format!(
                "segment {number} is of timeline {found} where the way leads over timeline {owner}"
            ))
            .hint("What is stored under the newer timeline's name is not its log.")),
        }
    }

    fn check_tablespaces(&self) -> Result<()> {
        let Some(Forbidden { at, oid, path }) = &self.forbidden else { return Ok(()) };
        if self.stops_at.is_some_and(|stop| stop < *at) {
            return Ok(());
        }
        let until = match self.last_end {
            Some(end) => format!("an instant before {end}"),
            None => "an earlier instant".to_owned(),
        };
        Err(Error::refused(format!(
            "at {at} the log creates tablespace {oid} at `{path}`, after the snapshot began"
        ))
        .because("replaying that would write into the original place")
        .hint(format!(
            "Recover to {until}; or take a new snapshot, from which the tablespace is restored \
             to a place of its own; or, where production is lost and this host may have it there, \
             add --original-tablespaces."
        )))
    }
}
