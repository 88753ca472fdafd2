//! What the repository of copies holds of a resource, what it lacks, and what would be left if the
//! main repository were lost (RULES 20).

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::config::Replicate;
use crate::error::Result;
use crate::model::{ResourceName, Span, Timeline};
use crate::plan::condition::age;
use crate::plan::retention::{CopyDue, Terms, copies_due, log_due};
use crate::repository::Repository;
use crate::repository::manifest::SnapshotManifest;

use super::super::expire::facts::of_manifests;
use super::super::overview::{self, Overview};

/// A copy is made within a day of its snapshot, or of its stretch of log, or it is late.
pub const LATE: Span = Span::seconds(86_400);

/// The copies of a resource.
#[derive(Debug, Clone, Default)]
pub struct CopyState {
    pub seen: Overview,
    /// Snapshots that are due and not there, oldest first.
    pub due: Vec<CopyDue>,
    /// Of these, the ids of those that are late.
    pub late: Vec<String>,
    /// Log that is late, where all of it is copied.
    pub late_log: Option<LateLog>,
}

/// Log that should have been copied by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateLog {
    pub objects: u64,
    /// When the oldest of them was stored in the main repository.
    pub since: Timestamp,
}

/// Reads it. `main` is what the resource's own repository holds.
pub fn read(
    copies: &Repository,
    resource: &ResourceName,
    main: &Overview,
    terms: &Terms,
    replicate: Replicate,
    catalog: Option<&Catalog>,
    now: Timestamp,
) -> Result<CopyState> {
    let seen = overview::read_undated(copies, resource, catalog)?;
    let facts = of_manifests(&main.snapshots, &seen.snapshots);
    let due = copies_due(&facts, terms, replicate, now);
    let is_late = |due: &&CopyDue| {
        let of = main.snapshots.iter().find(|snapshot| snapshot.id == due.id);
        of.is_some_and(|snapshot| age(snapshot.stopped_at, now) > LATE)
    };
    let late = due.iter().filter(is_late).map(|due| due.id.clone()).collect();
    let late_log = match replicate {
        Replicate::All => late_log(main, &seen, terms, now),
        Replicate::Weekly | Replicate::Daily => None,
    };
    Ok(CopyState { seen, due, late, late_log })
}

/// Judged by what is listed in both. Log before the oldest copy leads nowhere there: retention
/// takes it away, and it is not missed.
fn late_log(main: &Overview, copies: &Overview, terms: &Terms, now: Timestamp) -> Option<LateLog> {
    let (ours, theirs) = (main.log.as_ref()?, copies.log.as_ref()?);
    let first = oldest_start(copies)?;
    let there: BTreeSet<&str> = theirs.objects.iter().map(|object| object.key.as_str()).collect();
    let due = log_due(ours, &|key| there.contains(key), terms.window_start(now)).into_iter();
    let follows = due.filter(|object| (object.timeline, object.segment) >= first);
    let late = follows.filter(|object| age(object.stored_at, now) > LATE);
    let stored_at: Vec<Timestamp> = late.map(|object| object.stored_at).collect();
    let since = stored_at.iter().min().copied()?;
    Some(LateLog { objects: stored_at.len() as u64, since })
}

/// Timeline and segment in which the log begins that the oldest snapshot there needs.
fn oldest_start(copies: &Overview) -> Option<(Timeline, u64)> {
    let ours = copies.snapshots.iter().filter(|s| Some(s.cluster.system_id) == copies.system_id);
    let starts = ours.map(|s| (s.timeline, s.cluster.wal_segment_size.number_of(s.start_lsn)));
    starts.min()
}

impl CopyState {
    /// The instant up to which the copies alone bring back everything for certain: that of the
    /// newest heartbeat among it, or of the newest snapshot's start, whichever is later. When log
    /// was copied, or stored, tells nothing of what it holds. `None`: nothing comes back, or how
    /// old it is cannot be told.
    pub fn holds_until(&self) -> Option<Timestamp> {
        let window = self.seen.reach.windows.last()?;
        let within = |snapshot: &&SnapshotManifest| window.snapshots.contains(&snapshot.id);
        let snapshots = self.seen.snapshots.iter().filter(within);
        certain_until(self.seen.heartbeat_at, snapshots.map(|s| (s.started_at, s.from_standby)))
    }

    /// What a loss of the main repository together with the source would cost now.
    pub fn rpo_without_main(&self, now: Timestamp) -> Option<Span> {
        self.holds_until().map(|until| age(until, now))
    }
}

/// `snapshots`: when each began, and whether it was taken from a standby. Whatever was committed
/// before a snapshot began is in it; what was committed before it ended need not be, as its end is
/// read from the clock after its last byte of log was written. A standby may have been behind by
/// any time, so its clock dates nothing.
fn certain_until(
    heartbeat_at: Option<Timestamp>,
    snapshots: impl Iterator<Item = (Timestamp, bool)>,
) -> Option<Timestamp> {
    let dated = snapshots.filter(|(_, from_standby)| !from_standby);
    heartbeat_at.max(dated.map(|(started_at, _)| started_at).max())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_certain_is_dated_by_beats_and_by_when_snapshots_began() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let until = |beat: Option<i64>, snapshots: &[(i64, bool)]| {
            let snapshots = snapshots.iter().map(|(second, standby)| (at(*second), *standby));
            certain_until(beat.map(at), snapshots).map(Timestamp::as_second)
        };
        let (primary, standby) = (false, true);
        type Case<'t> = (Option<i64>, &'t [(i64, bool)], Option<i64>);
        let cases: [Case<'_>; 7] = [
            (None, &[], None),
            (None, &[(10, primary), (20, primary)], Some(20)),
            (Some(15), &[(10, primary)], Some(15)),
            (Some(15), &[(10, primary), (20, primary)], Some(20)),
            (Some(15), &[(20, standby)], Some(15)),
            (None, &[(20, standby)], None),
            (None, &[(10, primary), (20, standby)], Some(10)),
        ];
        for (beat, snapshots, expected) in cases {
            assert_eq!(until(beat, snapshots), expected, "{beat:?} {snapshots:?}");
        }
    }
}
