//! Until when what stays is locked: by the calendar, and for any calendar that no lock outlives
//! what was promised.

use std::collections::BTreeMap;
use std::time::Duration;

use fenice::model::{Extent, Lsn, SegmentSize, Span, SystemId, Timeline, WalInventory, WalObject};
use fenice::plan::facts::SnapshotFact;
use fenice::plan::retention::locks::{LockPlan, least, locks};
use fenice::plan::retention::{
    Hold, RetentionFacts, Role, Scope, StoredSnapshot, Terms, Verdict, plan,
};
use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use proptest::prelude::*;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
const MIB: u64 = 1 << 20;
const SEGMENTS_A_DAY: u64 = 4;

/// Hours after the first midnight of a Sunday.
fn at(hours: u64) -> Timestamp {
    let sunday: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
    sunday.checked_add(Duration::from_secs(hours * HOUR)).unwrap()
}

fn terms(role: Role, extra_days: u64) -> Terms {
    Terms {
        daily: Span::seconds(35 * DAY),
        weekly_extra: Span::seconds(extra_days * DAY),
        weekly_day: Weekday::Sunday,
        zone: TimeZone::UTC,
        keep_min: 1,
        role,
        active: true,
    }
}

/// Begins at midnight, ends an hour later.
fn snapshot(day: u64, damaged: bool) -> StoredSnapshot {
    let start = day * SEGMENTS_A_DAY * MIB;
    let fact = SnapshotFact {
        id: format!("{day:03}"),
        system_id: SystemId(1),
        timeline: Timeline(1),
        start: Lsn(start + 100),
        stop: Lsn(start + 200),
        started_at: at(24 * day),
        stopped_at: at(24 * day + 1),
        damaged_pages: u64::from(damaged),
        bytes: 1,
        files: 1,
    };
    StoredSnapshot { fact, due_at: at(24 * day), proven_at: None, locked_until: None }
}

fn key(segment: u64) -> String {
    format!("s{segment:04}")
}

/// The log of so many days, a segment every six hours, stored three hours after it begins.
fn log(days: u64) -> WalInventory {
    let object = |segment: u64| WalObject {
        timeline: Timeline(1),
        segment,
        extent: Extent::Whole,
        key: key(segment),
        stored_bytes: 1,
        stored_at: at(6 * segment + 3),
    };
    WalInventory {
        system_id: SystemId(1),
        segment_size: SegmentSize::try_from(MIB).unwrap(),
        objects: (0..days * SEGMENTS_A_DAY).map(object).collect(),
        histories: BTreeMap::new(),
        others: Vec::new(),
    }
}

/// Snapshots of those days, and all log until the end of `today`.
fn facts(taken: &[(u64, bool)], today: u64) -> RetentionFacts {
    let snapshots = taken.iter().map(|(day, damaged)| snapshot(*day, *damaged)).collect();
    RetentionFacts { snapshots, logs: vec![log(today + 1)], ..RetentionFacts::default() }
}

fn decide(facts: &RetentionFacts, terms: &Terms, now: Timestamp) -> LockPlan {
    locks(facts, terms, &plan(facts, terms, now))
}

fn ends(planned: &LockPlan) -> Vec<(&str, Option<Timestamp>)> {
    planned.snapshots.iter().map(|lock| (lock.id.as_str(), lock.until)).collect()
}

fn end_of(planned: &LockPlan, segment: u64) -> Option<Timestamp> {
    planned.log.iter().find(|lock| lock.key == key(segment)).map(|lock| lock.until)
}

#[test]
fn each_is_locked_until_the_next_takes_its_place_and_the_weekly_one_longer() {
    let taken: Vec<(u64, bool)> = (0..=8).map(|day| (day, day == 4)).collect();
    let facts = facts(&taken, 8);
    let days = |day: u64| Some(at(24 * day + 1));
    // The damaged one serves nobody, so the third waits for the fifth.
    let daily = [36, 37, 38, 40, 39, 41, 42, 43, 43].map(days);
    for (role, weekly) in [(Role::Main, [36, 43]), (Role::Only, [60, 67]), (Role::Copies, [60, 67])]
    {
        let planned = decide(&facts, &terms(role, 25), at(24 * 8 + 20));
        let mut expected = daily;
        (expected[0], expected[7]) = (days(weekly[0]), days(weekly[1]));
        let expected: Vec<(String, Option<Timestamp>)> =
            (0..).map(|day| format!("{day:03}")).zip(expected).collect();
        let expected: Vec<(&str, Option<Timestamp>)> =
            expected.iter().map(|(id, until)| (id.as_str(), *until)).collect();
        assert_eq!(ends(&planned), expected, "{role:?}");
        let of_snapshots = expected.iter().filter_map(|(_, until)| *until).max();
        let of_log = planned.log.iter().map(|lock| lock.until).max();
        assert_eq!(planned.latest(), of_snapshots.max(of_log));
        let reasons: Vec<&str> = planned.snapshots.iter().map(|s| s.because.as_str()).collect();
        assert!(reasons[8].contains("window"), "{reasons:?}");
        assert_eq!(reasons[0].contains("weekly"), role != Role::Main, "{reasons:?}");
    }
}

#[test]
fn log_is_locked_for_the_window_and_for_what_is_consistent_by_it() {
    let taken: Vec<(u64, bool)> = (0..=8).map(|day| (day, false)).collect();
    let mut facts = facts(&taken, 8);
    let part = Extent::Part { from: 0, to: 500 };
    let of_part =
        WalObject { extent: part, key: "part".to_owned(), ..facts.logs[0].objects[35].clone() };
    facts.logs[0].objects.push(of_part);
    let planned = decide(&facts, &terms(Role::Only, 25), at(24 * 8 + 20));
    // Between two snapshots, until the window has passed the second.
    for segment in 13..16 {
        assert_eq!(end_of(&planned, segment), Some(at(24 * 39 + 1)), "{segment}");
    }
    // The segment that makes the weekly one consistent stays with it, those after it do not.
    assert_eq!(end_of(&planned, 28), Some(at(24 * 67 + 1)));
    assert_eq!(end_of(&planned, 29), Some(at(24 * 43 + 1)));
    // After the newest, each by its own age.
    assert_eq!(end_of(&planned, 34), Some(at(24 * 35 + 6 * 34 + 3)));
    assert!(planned.log.iter().all(|lock| lock.key != "part"), "parts are not locked");
    let of_weekly = planned.log.iter().find(|lock| lock.key == key(28)).unwrap();
    assert!(of_weekly.because.contains("`007` is not consistent"), "{of_weekly:?}");
}

#[test]
fn what_only_a_guard_keeps_is_not_locked_any_longer() {
    let mut facts = facts(&[(0, false), (1, false), (2, false)], 40);
    let hold = Hold {
        id: "h".to_owned(),
        scope: Scope::Snapshot("000".to_owned()),
        who: "Rossi".to_owned(),
        why: "tribunal".to_owned(),
        until: None,
    };
    facts.holds.push(hold);
    let now = at(24 * 40 + 20);
    let planned = decide(&facts, &terms(Role::Main, 25), now);
    // The first one is held, the second has left, the third anchors, and nothing follows it yet.
    let horizon = Some(at(24 * 62 + 1));
    assert_eq!(ends(&planned), [("000", None), ("002", horizon)]);
    assert!(planned.log.iter().all(|lock| lock.until > least(now)));
    assert_eq!((end_of(&planned, 0), end_of(&planned, 9)), (None, horizon));
    assert_eq!(planned.snapshots[0].horizon, at(24 * 60 + 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_lock_outlives_the_promise_nor_ends_before_it(
        days in prop::collection::btree_map(0u64..75, prop::bool::weighted(0.1), 1..50),
        role in prop::sample::select(vec![Role::Main, Role::Only, Role::Copies]),
        extra_days in prop::sample::select(vec![0u64, 7, 25]),
        idle_days in 0u64..20,
    ) {
        let taken: Vec<(u64, bool)> = days.into_iter().collect();
        let today = taken.last().map_or(0, |(day, _)| *day) + idle_days;
        let (facts, terms) = (facts(&taken, today), terms(role, extra_days));
        let now = at(24 * today + 20);
        let ruled = plan(&facts, &terms, now);
        let locked = locks(&facts, &terms, &ruled);
        let staying = ruled.snapshots.iter().filter(|ruling| ruling.stays()).count();
        prop_assert_eq!(locked.snapshots.len(), staying);
        let second = Duration::from_secs(1);
        for lock in &locked.snapshots {
            let ruling = ruled.snapshots.iter().find(|ruling| ruling.id == lock.id).unwrap();
            let promised = matches!(ruling.verdict, Verdict::Window | Verdict::Weekly);
            let Some(until) = lock.until else {
                prop_assert!(!promised, "{:?} is not locked", ruling);
                continue;
            };
            prop_assert!(until <= lock.horizon && until > least(now), "{:?}", lock);
            prop_assert!(!promised || until >= ruling.leaves_at, "{:?} {:?}", lock, ruling);
            // Nothing but the promise keeps it just before that.
            let before = plan(&facts, &terms, until.checked_sub(second).unwrap());
            let then = before.snapshots.iter().find(|ruling| ruling.id == lock.id).unwrap();
            prop_assert!(then.stays() && !then.is_overdue(), "{:?} {:?}", lock, then);
        }
        for lock in locked.log.iter().step_by(23) {
            prop_assert!(lock.until > least(now));
            let before = plan(&facts, &terms, lock.until.checked_sub(second).unwrap());
            let then = before.log.iter().find(|ruling| ruling.key == lock.key).unwrap();
            prop_assert!(then.stays, "{:?} {:?}", lock, then);
        }
    }
}
