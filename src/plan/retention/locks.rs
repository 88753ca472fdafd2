//! Until when the store itself is to keep what stays (S3 Object Lock), and why. Pure.
//!
//! A lock ends when the promise does, by data time: a snapshot's once the window has passed the
//! one that takes its place (RULES 17), a weekly one's at its own date; that of log once nothing
//! needs it for a recovery within the window or for a snapshot's consistency. None outlives the
//! horizon, and what only a guard keeps is locked no longer: guards can be lifted, locks cannot.
//! Parts of segments are not locked (RULES 18): the whole segment takes their place.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::facts::{RetentionFacts, Role, StoredSnapshot, Terms, on};
use super::plan::{RetentionPlan, leaves_at};
use super::rules::{self, Way};
use crate::model::{Extent, Lsn, Span, WalInventory, WalObject};
use crate::plan::facts::SnapshotFact;

/// A store whose clock is ahead would refuse to lock what ends sooner.
const LEAST: Span = Span::seconds(600);

/// What ends by then is not locked any more.
pub fn least(now: Timestamp) -> Timestamp {
    on(now, LEAST)
}

/// What is to be locked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockPlan {
    /// Every snapshot that stays.
    pub snapshots: Vec<SnapshotLock>,
    /// Whole segments.
    pub log: Vec<LogLock>,
}

/// One snapshot that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotLock {
    pub id: String,
    /// `None` if it is not to be locked: its time is over, or nearly.
    pub until: Option<Timestamp>,
    /// What it leads to must be able to go by then.
    pub horizon: Timestamp,
    pub because: String,
}

/// One object of the log that is to be locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLock {
    pub key: String,
    pub until: Timestamp,
    pub because: String,
}

impl LockPlan {
    /// When the last of these locks ends: what opens them has to stay as long.
    pub fn latest(&self) -> Option<Timestamp> {
        let snapshots = self.snapshots.iter().filter_map(|snapshot| snapshot.until);
        snapshots.chain(self.log.iter().map(|object| object.until)).max()
    }
}

/// Segments that are needed until then.
struct Need<'w> {
    /// Into [`RetentionFacts::logs`].
    log: usize,
    /// Only objects that recovery uses on this way; `None` for those of every timeline.
    way: Option<&'w Way>,
    first: u64,
    last: u64,
    until: Timestamp,
    why: String,
}

/// The latest end so far, with its reason.
type End = (Timestamp, String);

/// Decides it for what stays by `planned`, which was made of the same facts and terms.
pub fn locks(facts: &RetentionFacts, terms: &Terms, planned: &RetentionPlan) -> LockPlan {
    let ways = rules::ways(facts, terms, planned.now);
    let weekly = rules::weekly(facts, terms);
    let least = least(planned.now);
    let staying: BTreeSet<&str> =
        planned.snapshots.iter().filter(|r| r.stays()).map(|r| r.id.as_str()).collect();
    let kept: Vec<&StoredSnapshot> =
        facts.snapshots.iter().filter(|s| staying.contains(s.fact.id.as_str())).collect();
    let mut ends: BTreeMap<&str, End> = BTreeMap::new();
    for snapshot in &kept {
        let is_weekly = weekly.contains(snapshot.fact.id.as_str());
        let because = match is_weekly && terms.role != Role::Main {
            true => "it is the weekly one",
            false => "the window reaches back to it",
        };
        let end = (leaves_at(snapshot, is_weekly, false, terms), because.to_owned());
        ends.insert(&snapshot.fact.id, end);
    }
    let mut needs = Vec::new();
    for way in &ways {
        anchoring(facts, terms, planned.now, way, &kept, &mut ends, &mut needs);
    }
    needs.extend(kept.iter().filter_map(|s| consistency(facts, &s.fact, ends.get(&*s.fact.id)?)));
    let snapshots = kept.iter().map(|snapshot| {
        let (until, because) = ends.remove(snapshot.fact.id.as_str()).unwrap_or_default();
        let until = Some(until).filter(|until| *until > least);
        let (id, horizon) = (snapshot.fact.id.clone(), horizon(&snapshot.fact, terms));
        SnapshotLock { id, until, horizon, because }
    });
    let snapshots = snapshots.collect();
    let mut log = of_log(facts, terms, planned, &needs);
    log.retain(|object| object.until > least);
    LockPlan { snapshots, log }
}

/// Nothing of a snapshot may be left after it but by a guard.
fn horizon(fact: &SnapshotFact, terms: &Terms) -> Timestamp {
    on(on(fact.stopped_at, terms.daily), terms.anchor_extra())
}

/// On a way each sound snapshot serves the window's first instants until the next one has left
/// the window: so long it is needed, with the log from the one to the other.
fn anchoring<'w>(
    facts: &RetentionFacts,
    terms: &Terms,
    now: Timestamp,
    way: &'w Way,
    kept: &[&StoredSnapshot],
    ends: &mut BTreeMap<&str, End>,
    needs: &mut Vec<Need<'w>>,
) {
    let serves = |id: &String| way.anchor.as_ref() == Some(id) || way.serving.contains(id);
    let sound = |fact: &&SnapshotFact| fact.damaged_pages == 0 && serves(&fact.id);
    let mut chain: Vec<&SnapshotFact> = kept.iter().map(|s| &s.fact).filter(sound).collect();
    chain.sort_by_key(|fact| (fact.stopped_at, fact.stop));
    let size = facts.logs[way.log].segment_size;
    for (number, one) in chain.iter().enumerate() {
        let (taken_over_at, last, by) = match chain.get(number + 1) {
            Some(next) => (next.stopped_at, size.number_of(next.stop), format!("`{}`", next.id)),
            // Within the window the next run is early enough to find out what follows. An anchor
            // is needed at least as long as anything that is yet to be taken is young.
            None if way.anchor.as_ref() == Some(&one.id) => (now, u64::MAX, "another".to_owned()),
            None => continue,
        };
        let until = on(taken_over_at, terms.daily).min(horizon(one, terms));
        let why = format!("recovery begins with `{}` until {by} takes its place", one.id);
        if let Some(end) = ends.get_mut(one.id.as_str()).filter(|end| end.0 < until) {
            *end = (until, why.clone());
        }
        let first = size.number_of(one.start);
        needs.push(Need { log: way.log, way: Some(way), first, last, until, why });
    }
}

/// The log from a snapshot's start to its stop is needed as long as the snapshot.
fn consistency<'w>(
    facts: &RetentionFacts,
    fact: &SnapshotFact,
    (until, _): &End,
) -> Option<Need<'w>> {
    let log = facts.logs.iter().position(|log| log.system_id == fact.system_id)?;
    let size = facts.logs[log].segment_size;
    let last_byte = Lsn(fact.stop.0.saturating_sub(1)).max(fact.start);
    let (first, last) = (size.number_of(fact.start), size.number_of(last_byte));
    let why = format!("snapshot `{}` is not consistent without it", fact.id);
    Some(Need { log, way: None, first, last, until: *until, why })
}

fn of_log(
    facts: &RetentionFacts,
    terms: &Terms,
    planned: &RetentionPlan,
    needs: &[Need<'_>],
) -> Vec<LogLock> {
    let staying: BTreeSet<&str> =
        planned.log.iter().filter(|ruling| ruling.stays).map(|r| r.key.as_str()).collect();
    let mut locks = Vec::new();
    for (number, log) in facts.logs.iter().enumerate() {
        let needs: Vec<&Need<'_>> = needs.iter().filter(|need| need.log == number).collect();
        let whole = log.objects.iter().filter(|object| object.extent == Extent::Whole);
        for object in whole.filter(|object| staying.contains(object.key.as_str())) {
            let (until, because) = of_segment(log, object, &needs, terms);
            locks.push(LogLock { key: object.key.clone(), until, because });
        }
    }
    locks
}

fn of_segment(log: &WalInventory, object: &WalObject, needs: &[&Need<'_>], terms: &Terms) -> End {
    let used = |way: &Way| {
        way.history.owner_of_segment(object.segment, log.segment_size) == object.timeline
    };
    let own = (on(object.stored_at, terms.daily), "the window reaches back to it");
    let needed = needs.iter().filter(|need| {
        (need.first..=need.last).contains(&object.segment) && need.way.is_none_or(used)
    });
    let ends = needed.map(|need| (need.until, need.why.as_str()));
    // Of equals the first, which is the plainest.
    let (until, why) = ends.fold(own, |end, other| if other.0 > end.0 { other } else { end });
    (until, why.to_owned())
}
