//! The way through the stored log to one timeline: what lies on it, and where it breaks off.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::{Extent, Lsn, Timeline, TimelineHistory, WalInventory, WalObject};
use crate::plan::facts::{RecoveryFacts, SnapshotFact};
use crate::plan::refusal::Refusal;

/// One segment to replay and the objects that make it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSegment {
    /// The timeline whose file it is (RULES 3).
    pub timeline: Timeline,
    pub number: u64,
    /// One whole object, or parts to lay over each other in this order; they may overlap.
    pub objects: Vec<WalObject>,
    /// All bytes are stored. Otherwise what follows `stored_bytes` is filled with zeros.
    pub whole: bool,
    pub stored_bytes: u64,
}

/// The facts seen along the way to one timeline.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    pub facts: &'a RecoveryFacts,
    pub history: &'a TimelineHistory,
}

/// Proof that log existed beyond a position where the stored log breaks off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// Where stored log goes on, if it does.
    pub resumes: Option<Lsn>,
    pub evidence: String,
}

/// The history of the timeline to recover to: the one named, else the newest of which anything
/// is stored. Newest without its log stays the choice: then there is a gap before it (see `later`).
pub fn target_history(
    facts: &RecoveryFacts,
    named: Option<Timeline>,
) -> Result<TimelineHistory, Refusal> {
    let timeline = named.or_else(|| known_timelines(facts).last().copied());
    let timeline = timeline.unwrap_or(Timeline(1));
    facts.wal.history(timeline).ok_or(Refusal::HistoryMissing { timeline })
}

/// Every timeline anything is stored of.
pub fn known_timelines(facts: &RecoveryFacts) -> BTreeSet<Timeline> {
    let ours = facts.snapshots.iter().filter(|s| s.system_id == facts.wal.system_id);
    let objects = facts.wal.objects.iter().map(|object| object.timeline);
    objects.chain(facts.wal.histories.keys().copied()).chain(ours.map(|s| s.timeline)).collect()
}

impl<'a> Path<'a> {
    fn wal(&self) -> &'a WalInventory {
        &self.facts.wal
    }

    /// Whether the snapshot was taken on this way: its timeline owns all of start to stop.
    pub fn carries(&self, snapshot: &SnapshotFact) -> bool {
        let end = self.history.end_of(snapshot.timeline);
        let begin = self.history.ancestors.iter().rfind(|a| a.timeline < snapshot.timeline);
        snapshot.system_id == self.wal().system_id
            && self.history.contains(snapshot.timeline)
            && end.is_none_or(|end| snapshot.stop <= end)
            && begin.is_none_or(|begin| begin.switch <= snapshot.start)
    }

    /// The first position not stored, going on from `from`.
    pub fn end(&self, from: Lsn) -> Lsn {
        self.wal().stored_until(self.history, from)
    }

    /// Whether this object is the one recovery would use for its stretch.
    fn owns(&self, object: &WalObject) -> bool {
        let size = self.wal().segment_size;
        self.history.owner_of_segment(object.segment, size) == object.timeline
    }

    /// When the newest object on the way was stored.
    pub fn last_stored_at(&self) -> Option<Timestamp> {
        self.wal().objects.iter().filter(|o| self.owns(o)).map(|o| o.stored_at).max()
    }

    /// Proof that log existed beyond `end`: an object further on, a snapshot taken there, or a
    /// timeline that began there. A timeline known by its history alone proves it too: its log
    /// began where its parent's ended, and none of it is here.
    pub fn later(&self, end: Lsn) -> Option<Later> {
        self.later_object(end)
            .or_else(|| self.later_snapshot(end))
            .or_else(|| self.later_switch(end))
    }

    fn later_object(&self, end: Lsn) -> Option<Later> {
        let size = self.wal().segment_size;
        let stretch = |object: &WalObject| {
            let (from, to) = match object.extent {
                Extent::Whole => (0, size.bytes()),
                Extent::Part { from, to } => (from, to),
            };
            let start = size.start_of(object.segment);
            (start.plus(from), start.plus(to))
        };
        let beyond = self.wal().objects.iter().filter(|o| self.owns(o) && stretch(o).1 > end);
        let first = beyond.min_by_key(|object| stretch(object).0)?;
        let resumes = stretch(first).0.max(end);
        let evidence = format!("log is stored again from {resumes} on");
        Some(Later { resumes: Some(resumes), evidence })
    }

    fn later_snapshot(&self, end: Lsn) -> Option<Later> {
        let beyond = self.facts.snapshots.iter().filter(|s| self.carries(s) && s.stop > end);
        let first = beyond.min_by_key(|snapshot| snapshot.stop)?;
        let evidence = format!("snapshot `{}` was taken beyond it, at {}", first.id, first.stop);
        Some(Later { resumes: None, evidence })
    }

    fn later_switch(&self, end: Lsn) -> Option<Later> {
        let target = self.history.timeline;
        if let Some(last) = self.history.ancestors.last() {
            let nothing = self.wal().last_segment(target).is_none();
            if last.switch > end || nothing {
                let rest = if nothing { " and none of its log is stored" } else { "" };
                let evidence = format!("timeline {target} began at {}{rest}", last.switch);
                return Some(Later { resumes: None, evidence });
            }
        }
        let switches = self.wal().histories.values().filter_map(|child| {
            let switch = child.end_of(target).filter(|switch| *switch > end)?;
            Some((switch, child.timeline))
        });
        let (switch, child) = switches.min()?;
        let evidence = format!("timeline {child} branched off further on, at {switch}");
        Some(Later { resumes: None, evidence })
    }

    /// The segments that hold `start` up to, not including, `end`; all of it must be stored.
    pub fn segments(&self, start: Lsn, end: Lsn) -> Vec<PlannedSegment> {
        let size = self.wal().segment_size;
        let last = size.number_of(Lsn(end.0.saturating_sub(1)));
        (size.number_of(start)..=last).filter_map(|number| self.segment(number)).collect()
    }

    /// One segment of the owner's, as far as it is stored from its first byte.
    pub fn segment(&self, number: u64) -> Option<PlannedSegment> {
        let size = self.wal().segment_size;
        let timeline = self.history.owner_of_segment(number, size);
        let stored = self.wal().segment(timeline, number);
        let whole = stored.iter().find(|object| object.extent == Extent::Whole);
        let (objects, stored_bytes) = match whole {
            Some(object) => (vec![object.clone()], size.bytes()),
            None => fewest_parts(stored),
        };
        let whole = stored_bytes >= size.bytes();
        let segment = PlannedSegment { timeline, number, objects, whole, stored_bytes };
        (stored_bytes > 0).then_some(segment)
    }
}

/// The fewest parts that reach as far as possible without a hole: always the one that goes on
/// furthest from where we are.
fn fewest_parts(stored: &[WalObject]) -> (Vec<WalObject>, u64) {
    let (mut chosen, mut reached) = (Vec::new(), 0);
    loop {
        let next = stored.iter().filter_map(|object| match object.extent {
            Extent::Part { from, to } if from <= reached && to > reached => Some((to, object)),
            _ => None,
        });
        match next.max_by_key(|(to, _)| *to) {
            Some((to, object)) => {
                chosen.push(object.clone());
                reached = to;
            }
            None => return (chosen, reached),
        }
    }
}
