//! What is due for the repository of copies, and why (DESIGN.md section 6, RULES 20).

use jiff::Timestamp;

use super::facts::{RetentionFacts, StoredSnapshot, Terms};
use super::rules;
use crate::config::Replicate;
use crate::model::{Extent, WalInventory, WalObject};

/// A snapshot that the repository of copies lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyDue {
    pub id: String,
    pub because: String,
}

/// The snapshots to copy, oldest first. `facts` are those of the main repository, with what the
/// other one has. One whose time would be over there is not copied any more.
pub fn copies_due(
    facts: &RetentionFacts,
    terms: &Terms,
    replicate: Replicate,
    now: Timestamp,
) -> Vec<CopyDue> {
    let weekly = rules::weekly(facts, terms);
    let copied = |id: &str| facts.copies.iter().any(|copy| copy.id == id);
    let because = |snapshot: &StoredSnapshot| {
        let (id, stopped_at) = (snapshot.fact.id.as_str(), snapshot.fact.stopped_at);
        if weekly.contains(id) && stopped_at > terms.weekly_horizon(now) {
            return Some("it is the weekly one");
        }
        let every = replicate != Replicate::Weekly && stopped_at > terms.window_start(now);
        every.then_some("every snapshot is copied (`replicate`)")
    };
    let mut due: Vec<&StoredSnapshot> =
        facts.snapshots.iter().filter(|snapshot| !copied(&snapshot.fact.id)).collect();
    due.sort_by_key(|snapshot| (snapshot.fact.stopped_at, snapshot.fact.id.as_str()));
    let with_reason = |snapshot: &StoredSnapshot| {
        let (id, because) = (snapshot.fact.id.clone(), because(snapshot)?.to_owned());
        Some(CopyDue { id, because })
    };
    due.into_iter().filter_map(with_reason).collect()
}

/// The log to copy where all of it is copied: what is younger than the window's start, and a
/// recovery may ask for. `main` is that of the main repository, `is_there` tells by key what the
/// other one has.
pub fn log_due<'l>(
    main: &'l WalInventory,
    is_there: &dyn Fn(&str) -> bool,
    window_start: Timestamp,
) -> Vec<&'l WalObject> {
    let is_due = |object: &&WalObject| {
        object.stored_at > window_start && !is_there(&object.key) && !is_superseded(main, object)
    };
    main.objects.iter().filter(is_due).collect()
}

/// A part beside its whole segment is not asked for any more, and retention takes it away.
fn is_superseded(log: &WalInventory, object: &WalObject) -> bool {
    let first = log.segment(object.timeline, object.segment).first();
    object.extent != Extent::Whole && first.is_some_and(|first| first.extent == Extent::Whole)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::civil::{Weekday, date};
    use jiff::tz::TimeZone;

    use super::*;
    use crate::model::{Lsn, SegmentSize, Span, SystemId, Timeline};
    use crate::plan::facts::SnapshotFact;
    use crate::plan::retention::{Copied, Role};

    fn terms() -> Terms {
        Terms {
            daily: Span::seconds(35 * 86_400),
            weekly_extra: Span::seconds(25 * 86_400),
            weekly_day: Weekday::Sunday,
            zone: TimeZone::get("Europe/Rome").unwrap(),
            keep_min: 2,
            role: Role::Main,
            active: true,
        }
    }

    /// Midnight in Rome, `days` after Sunday, 1 November 2026.
    fn at(days: i32) -> Timestamp {
        let day = date(2026, 11, 1).checked_add(jiff::Span::new().days(days)).unwrap();
        day.at(0, 0, 0, 0).in_tz("Europe/Rome").unwrap().timestamp()
    }

    fn snapshot(days: i32, damaged_pages: u64) -> StoredSnapshot {
        let fact = SnapshotFact {
            id: format!("day {days}"),
            system_id: SystemId(1),
            timeline: Timeline(1),
            start: Lsn(1),
            stop: Lsn(2),
            started_at: at(days),
            stopped_at: at(days),
            damaged_pages,
            bytes: 1,
            files: 1,
        };
        StoredSnapshot { fact, due_at: at(days), proven_at: None, locked_until: None }
    }

    fn due(facts: &RetentionFacts, replicate: Replicate, today: i32) -> Vec<String> {
        let due = copies_due(facts, &terms(), replicate, at(today));
        due.into_iter().map(|due| due.id).collect()
    }

    fn month() -> RetentionFacts {
        let snapshots = (0..15).rev().map(|day| snapshot(day, 0)).collect();
        RetentionFacts { snapshots, ..RetentionFacts::default() }
    }

    #[test]
    fn sundays_are_copied_once() {
        let mut facts = month();
        assert_eq!(due(&facts, Replicate::Weekly, 14), ["day 0", "day 7", "day 14"]);
        let copied =
            |day: i32| Copied { id: format!("day {day}"), due_at: at(day), damaged_pages: 0 };
        facts.copies.push(copied(7));
        assert_eq!(due(&facts, Replicate::Weekly, 14), ["day 0", "day 14"]);
    }

    #[test]
    fn after_a_missed_or_damaged_sunday_the_next_one_is_copied() {
        let mut facts = month();
        facts.snapshots.retain(|snapshot| snapshot.fact.id != "day 7");
        assert_eq!(due(&facts, Replicate::Weekly, 14), ["day 0", "day 8", "day 14"]);
        let mut facts = month();
        facts.snapshots.push(snapshot(7, 3));
        facts.snapshots.retain(|s| s.fact.id != "day 7" || s.fact.damaged_pages > 0);
        assert_eq!(due(&facts, Replicate::Weekly, 14), ["day 0", "day 8", "day 14"]);
    }

    #[test]
    fn all_of_the_window_is_copied_if_so_configured_and_nothing_that_would_leave_at_once() {
        let facts = month();
        assert_eq!(due(&facts, Replicate::Daily, 14).len(), 15);
        // Day 0 to 3 ended more than 35 days ago; day 0 is weekly, and leaves after 60.
        let then = due(&facts, Replicate::All, 39);
        assert_eq!((then.len(), then[0].as_str(), then[1].as_str()), (11, "day 0", "day 5"));
        assert_eq!(due(&facts, Replicate::Weekly, 61), ["day 7", "day 14"]);
    }

    #[test]
    fn log_of_the_window_is_copied_once_and_no_part_beside_its_whole_segment() {
        let object = |segment: u64, extent: Extent, days: i32| WalObject {
            timeline: Timeline(1),
            segment,
            extent,
            key: format!("{segment} {extent:?}"),
            stored_bytes: 1,
            stored_at: at(days),
        };
        let part = |from, to| Extent::Part { from, to };
        let whole = |segment, days| object(segment, Extent::Whole, days);
        let log = WalInventory {
            system_id: SystemId(1),
            segment_size: SegmentSize::DEFAULT,
            objects: vec![
                whole(1, 0),
                whole(2, 9),
                whole(3, 9),
                object(3, part(0, 8), 9),
                object(4, part(0, 8), 9),
                object(4, part(8, 16), 9),
            ],
            histories: BTreeMap::new(),
            others: Vec::new(),
        };
        let due = |there: &[&str]| -> Vec<String> {
            let due = log_due(&log, &|key| there.contains(&key), at(1));
            due.into_iter().map(|object| object.key.clone()).collect()
        };
        let (first, second) = ("4 Part { from: 0, to: 8 }", "4 Part { from: 8, to: 16 }");
        assert_eq!(due(&[]), ["2 Whole", "3 Whole", first, second]);
        assert_eq!(due(&["2 Whole", first]), ["3 Whole", second]);
        assert!(due(&["2 Whole", "3 Whole", first, second]).is_empty());
    }
}
