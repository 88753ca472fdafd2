//! The end of a retired resource: what is left besides its data, when that goes, and until when
//! anything stays. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::facts::{RetentionFacts, Terms, on};

/// An object of a resource that is neither a snapshot's manifest nor log nor evidence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Leftover {
    pub kind: LeftoverKind,
    pub key: String,
}

/// What it is, in the order in which they go: whatever tells of others, or opens them, goes after
/// them, so that a run that was cut short leaves what the next one can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LeftoverKind {
    /// A pack or a snapshot of the vault: pruning removes it, never the end.
    Data,
    History,
    Gap,
    /// Without it there is no vault, only parts of one.
    VaultConfig,
    VaultPart,
    VaultPassword,
    HeartbeatKey,
    /// Tells which log is the resource's.
    Cluster,
}

/// What becomes of the leftovers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Closing {
    /// The resource is in use: nothing is left over.
    InUse,
    /// Each reason why they are still needed.
    Waits(Vec<String>),
    /// They go, in this order; none are left once it is empty.
    Due(Vec<Leftover>),
}

/// What a repository still holds of a retired resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remaining {
    pub snapshots: usize,
    pub log_objects: usize,
    pub leftovers: usize,
    /// By then every snapshot and all log have left, unless a new hold is given; `None` if none
    /// is there, or a hold without end keeps some.
    pub leaves_by: Option<Timestamp>,
    /// A hold without end is in force.
    pub held: bool,
}

impl Remaining {
    /// Whether nothing is left but the evidence.
    pub fn is_nothing(&self) -> bool {
        self.snapshots == 0 && self.log_objects == 0 && self.leftovers == 0
    }
}

/// Whether the leftovers go: only of a retired resource, and after all its data.
pub(super) fn closing(facts: &RetentionFacts, now: Timestamp) -> Closing {
    if facts.retired_at.is_none() {
        return Closing::InUse;
    }
    let is_data = |leftover: &&Leftover| leftover.kind == LeftoverKind::Data;
    let counts = [
        (facts.snapshots.len(), "snapshots"),
        (log_objects(facts).count(), "objects of the log"),
        (facts.leftovers.iter().filter(is_data).count(), "packs and snapshots of the vault"),
    ];
    let there = counts.iter().filter(|(count, _)| *count > 0);
    let mut waits: Vec<String> =
        there.map(|(count, what)| format!("{count} {what} are there")).collect();
    // Who reads, or has ordered to keep, may be about to need what explains the data.
    waits.extend(facts.pins.iter().map(|pin| format!("the reader `{}` is at work", pin.id)));
    let held = facts.holds_at(now);
    waits.extend(held.map(|hold| format!("hold `{}` by {} is in force", hold.id, hold.who)));
    if !waits.is_empty() {
        return Closing::Waits(waits);
    }
    let mut due = facts.leftovers.clone();
    due.sort();
    Closing::Due(due)
}

/// What is left of a retired resource, and until when.
pub fn remaining(facts: &RetentionFacts, terms: &Terms, now: Timestamp) -> Remaining {
    let ends = facts.snapshots.iter().flat_map(|snapshot| {
        // Any may become the window's anchor: the horizon is the end for all.
        let horizon = on(on(snapshot.fact.stopped_at, terms.daily), terms.anchor_extra());
        [Some(horizon), snapshot.locked_until]
    });
    let log = log_objects(facts).map(|stored_at| Some(on(stored_at, terms.daily)));
    let latest = ends.chain(log).flatten().max();
    let held = facts.holds_at(now).any(|hold| hold.until.is_none());
    let released = facts.holds_at(now).filter_map(|hold| hold.until).max();
    let leaves_by = latest.map(|latest| released.map_or(latest, |released| released.max(latest)));
    Remaining {
        snapshots: facts.snapshots.len(),
        log_objects: log_objects(facts).count(),
        leftovers: facts.leftovers.len(),
        leaves_by: leaves_by.filter(|_| !held),
        held,
    }
}

/// When each object of the log was stored whose name is understood.
fn log_objects(facts: &RetentionFacts) -> impl Iterator<Item = Timestamp> {
    facts.logs.iter().flat_map(|log| {
        let others = log.others.iter().filter(|object| object.timeline.is_some());
        let others = others.map(|object| object.stored_at);
        log.objects.iter().map(|object| object.stored_at).chain(others)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::civil::Weekday;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::model::{
        Extent, Lsn, OtherObject, SegmentSize, Span, SystemId, Timeline, WalInventory, WalObject,
    };
    use crate::plan::facts::SnapshotFact;
    use crate::plan::retention::check::check;
    use crate::plan::retention::{Hold, Pin, Role, Scope, StoredSnapshot, plan};

    const DAY: i64 = 86_400;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + days * DAY).unwrap()
    }

    fn terms() -> Terms {
        Terms {
            daily: Span::seconds(35 * DAY as u64),
            weekly_extra: Span::seconds(25 * DAY as u64),
            weekly_day: Weekday::Sunday,
            zone: TimeZone::UTC,
            keep_min: 2,
            role: Role::Only,
            active: true,
        }
    }

    fn leftover(kind: LeftoverKind, key: &str) -> Leftover {
        Leftover { kind, key: key.to_owned() }
    }

    /// Of a resource that was retired on day 0, with nothing left but what comes last.
    fn emptied() -> RetentionFacts {
        let leftovers = vec![
            leftover(LeftoverKind::Cluster, "c"),
            leftover(LeftoverKind::VaultPart, "v2"),
            leftover(LeftoverKind::VaultPassword, "p"),
            leftover(LeftoverKind::VaultConfig, "v1"),
            leftover(LeftoverKind::History, "h"),
        ];
        RetentionFacts { retired_at: Some(at(0)), leftovers, ..RetentionFacts::default() }
    }

    fn snapshot(days: i64) -> StoredSnapshot {
        let fact = SnapshotFact {
            id: format!("day {days}"),
            system_id: SystemId(1),
            timeline: Timeline(1),
            start: Lsn(1),
            stop: Lsn(2),
            started_at: at(days),
            stopped_at: at(days),
            damaged_pages: 0,
            bytes: 1,
            files: 1,
        };
        StoredSnapshot { fact, due_at: at(days), proven_at: None, locked_until: None }
    }

    fn log(days: i64) -> WalInventory {
        let object = WalObject {
            timeline: Timeline(1),
            segment: 0,
            extent: Extent::Whole,
            key: "w".to_owned(),
            stored_bytes: 1,
            stored_at: at(days),
        };
        WalInventory {
            system_id: SystemId(1),
            segment_size: SegmentSize::DEFAULT,
            objects: vec![object],
            histories: BTreeMap::new(),
            others: Vec::new(),
        }
    }

    fn hold(until: Option<Timestamp>) -> Hold {
        let (who, why) = ("Rossi".to_owned(), "tribunal".to_owned());
        Hold { id: "h1".to_owned(), scope: Scope::Everything, who, why, until }
    }

    #[test]
    fn they_go_in_the_order_that_a_rerun_can_read() {
        let Closing::Due(due) = closing(&emptied(), at(70)) else { panic!("not due") };
        let keys: Vec<&str> = due.iter().map(|leftover| leftover.key.as_str()).collect();
        assert_eq!(keys, ["h", "v1", "v2", "p", "c"]);
        let facts = RetentionFacts { leftovers: Vec::new(), ..emptied() };
        assert_eq!(closing(&facts, at(70)), Closing::Due(Vec::new()));
        // What nobody understands is told, and stays: it does not hold up the rest.
        let facts = RetentionFacts { unclaimed: vec!["x".to_owned()], ..emptied() };
        assert!(matches!(closing(&facts, at(70)), Closing::Due(due) if due.len() == 5));
    }

    #[test]
    fn they_wait_for_all_data_for_readers_and_for_holds() {
        type Spoil = fn(&mut RetentionFacts);
        let (key, timeline) = ("o".to_owned(), Some(Timeline(1)));
        let other = OtherObject { key, timeline, stored_bytes: 1, stored_at: at(0) };
        let mut unread = emptied();
        unread.logs.push(WalInventory { objects: Vec::new(), others: vec![other], ..log(0) });
        assert!(matches!(closing(&unread, at(70)), Closing::Waits(_)));
        let spoil: [(Spoil, &str); 5] = [
            (|f| f.snapshots.push(snapshot(0)), "1 snapshots"),
            (|f| f.logs.push(log(0)), "1 objects of the log"),
            (|f| f.leftovers.push(leftover(LeftoverKind::Data, "d")), "1 packs"),
            (|f| f.pins.push(Pin { id: "r".to_owned(), snapshot: None }), "reader `r`"),
            (|f| f.holds.push(hold(Some(at(71)))), "hold `h1` by Rossi"),
        ];
        for (spoil, word) in spoil {
            let mut facts = emptied();
            spoil(&mut facts);
            let Closing::Waits(because) = closing(&facts, at(70)) else { panic!("{word}") };
            assert!(because.len() == 1 && because[0].contains(word), "{because:?}");
        }
        let mut over = emptied();
        over.holds.push(hold(Some(at(69))));
        assert!(matches!(closing(&over, at(70)), Closing::Due(_)));
    }

    #[test]
    fn a_resource_in_use_keeps_them_and_the_checker_sees_to_it() {
        let in_use = RetentionFacts { retired_at: None, ..emptied() };
        let mut planned = plan(&in_use, &terms(), at(70));
        assert_eq!(planned.closing, Closing::InUse);
        let retired = plan(&emptied(), &terms().given(&emptied()), at(70));
        assert!(check(&retired, &emptied(), &terms().given(&emptied())).is_empty());
        planned.closing = retired.closing;
        assert_eq!(check(&planned, &in_use, &terms()).len(), 1);
    }

    #[test]
    fn the_last_leaves_at_the_horizon_or_with_the_last_hold() {
        let mut facts = emptied();
        assert_eq!(remaining(&facts, &terms(), at(1)).leaves_by, None);
        facts.snapshots = vec![snapshot(-3), snapshot(0)];
        facts.logs.push(log(1));
        let left = remaining(&facts, &terms(), at(1));
        assert_eq!((left.snapshots, left.log_objects, left.leftovers), (2, 1, 5));
        assert_eq!(left.leaves_by, Some(at(60)));
        // Log that went on for long after the last snapshot.
        facts.logs[0] = log(40);
        assert_eq!(remaining(&facts, &terms(), at(41)).leaves_by, Some(at(75)));
        facts.holds.push(hold(Some(at(100))));
        assert_eq!(remaining(&facts, &terms(), at(41)).leaves_by, Some(at(100)));
        assert_eq!(remaining(&facts, &terms(), at(101)).leaves_by, Some(at(75)));
        facts.holds.push(hold(None));
        let held = remaining(&facts, &terms(), at(41));
        assert!(held.held && held.leaves_by.is_none() && !held.is_nothing());
        let gone = RetentionFacts { leftovers: Vec::new(), ..emptied() };
        assert!(remaining(&gone, &terms(), at(70)).is_nothing());
    }
}
