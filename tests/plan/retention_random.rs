//! Random histories of an operator, day by day: what retention removes breaks none of these.
//!
//! 1. The independent checker finds nothing wrong with any plan.
//! 2. What the promise keeps is what a few lines below say of "35 + 25", from the whole history.
//! 3. What stays beyond its date has a guard's name, and is reported as overdue.
//! 4. What was reachable within the window before a removal is reachable after it, along the same
//!    log; every snapshot that stays is as good as it was (the checker asks the recovery planner).
//! 5. Nothing that a hold, a reader or a lock is on is removed, nor the last ones of an active
//!    resource, its newest proven and its newest undamaged one.
//! 6. A plan carried out and made again at the same instant removes nothing more.
//! 7. What no recovery reads goes with the window; a name nobody understands stays, and is told.
//! 8. Once a resource is retired and no guard is left, nothing older than the horizon is.
//!
//! Histories know missed days, late and failed (damaged) runs, gaps, promotions, abandoned
//! timelines, a cluster replaced by an upgrade, clock steps of the daemon, holds, readers, locks,
//! copies that fail. `FENICE_TEST_HISTORIES` says how many; each prints its seed if it fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fenice::model::timeline::Ancestor;
use fenice::model::{
    Extent, Lsn, OtherObject, SegmentSize, Span, SystemId, Timeline, TimelineHistory, WalInventory,
    WalObject,
};
use fenice::plan::facts::SnapshotFact;
use fenice::plan::retention::check::check;
use fenice::plan::retention::{
    Copied, Hold, Pin, RetentionFacts, RetentionPlan, Role, Scope, StoredSnapshot, Terms, Verdict,
    plan,
};
use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::support::Dice;

const HISTORIES: usize = 4_000;
const DAY: u64 = 86_400;
const MIB: u64 = 1 << 20;
/// Segments a day.
const LOG_A_DAY: u64 = 3;

/// One operator's life, in short days of policy: a window of some days, weekly ones of one or two
/// weeks more.
struct History {
    dice: Dice,
    terms: Terms,
    now: Timestamp,
    facts: RetentionFacts,
    /// Every snapshot ever taken, for the model.
    taken: Vec<StoredSnapshot>,
    /// The segment being written.
    segment: u64,
    timeline: Timeline,
    lost: bool,
}

impl History {
    fn new(seed: u64) -> History {
        let mut dice = Dice::of(seed);
        let days = |days: usize| Span::seconds(days as u64 * DAY);
        let zone = ["Europe/Rome", "UTC", "America/Santiago"][dice.below(3)];
        let weekly = [0, 7, 10][dice.below(3)];
        let terms = Terms {
            daily: days(2 + dice.below(4)),
            weekly_extra: days(weekly),
            weekly_day: [Weekday::Sunday, Weekday::Wednesday][dice.below(2)],
            zone: TimeZone::get(zone).unwrap(),
            keep_min: 1 + dice.below(2) as u32,
            role: [Role::Only, Role::Main, Role::Copies][dice.below(3)],
            active: true,
        };
        // Into a change of daylight saving time, either way.
        let start = [1_774_400_000, 1_792_500_000][dice.below(2)];
        let now = Timestamp::from_second(start + dice.below(7) as i64 * DAY as i64).unwrap();
        let mut history = History {
            dice,
            terms,
            now,
            facts: RetentionFacts::default(),
            taken: Vec::new(),
            segment: 1,
            timeline: Timeline(1),
            lost: false,
        };
        history.new_cluster();
        history
    }

    fn new_cluster(&mut self) {
        let segment_size = SegmentSize::try_from(MIB).unwrap();
        let system_id = SystemId(self.facts.logs.len() as u64 + 1);
        let (objects, histories, others) = (Vec::new(), BTreeMap::new(), Vec::new());
        let log = WalInventory { system_id, segment_size, objects, histories, others };
        self.facts.logs.push(log);
        (self.segment, self.timeline) = (1, Timeline(1));
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.dice.below(chances) == 0
    }

    /// The day goes on by some hours.
    fn pass(&mut self, seconds: u64) {
        self.now = self.now.checked_add(Duration::from_secs(seconds)).unwrap();
    }

    fn ship(&mut self) {
        let (whole, timeline, segment) = (!self.one_in(4), self.timeline, self.segment);
        let extents = match whole {
            true if self.one_in(3) => vec![Extent::Whole, Extent::Part { from: 0, to: 8192 }],
            true => vec![Extent::Whole],
            false => {
                vec![Extent::Part { from: 0, to: 9_000 }, Extent::Part { from: 9_000, to: MIB }]
            }
        };
        let lost = self.one_in(60);
        let log = self.facts.logs.last_mut().unwrap();
        for extent in extents.into_iter().filter(|_| !lost) {
            let key = format!("{}/{timeline}/{segment}/{extent:?}", log.system_id);
            let stored_at = self.now;
            log.objects.push(WalObject {
                timeline,
                segment,
                extent,
                key,
                stored_bytes: 1,
                stored_at,
            });
        }
        log.objects.sort_by_key(|o| (o.timeline, o.segment, o.extent));
        self.segment += 1;
        if self.one_in(6) {
            self.store_another(segment);
        }
    }

    /// A backup label, a partial segment, something strange.
    fn store_another(&mut self, segment: u64) {
        let (strange, timeline, stored_at) = (self.one_in(4), self.timeline, self.now);
        if strange && self.one_in(2) {
            return self.facts.unclaimed.push(format!("elsewhere/{segment}"));
        }
        let log = self.facts.logs.last_mut().unwrap();
        let key = format!("{}/other/{timeline}/{segment}", log.system_id);
        let timeline = (!strange).then_some(timeline);
        log.others.push(OtherObject { key, timeline, stored_bytes: 1, stored_at });
    }

    /// A standby is promoted; sometimes far back, so that a stretch of log is abandoned.
    fn promote(&mut self) {
        let back = if self.one_in(2) { self.dice.below(4) as u64 } else { 0 };
        let parent = self.timeline;
        let log = self.facts.logs.last_mut().unwrap();
        let mut ancestors =
            log.history(parent).map(|history| history.ancestors).unwrap_or_default();
        let least = ancestors.last().map_or(1, |a| a.switch.0 / MIB + 1);
        self.segment = self.segment.saturating_sub(back).max(least);
        ancestors.push(Ancestor { timeline: parent, switch: Lsn(self.segment * MIB + 5_000) });
        self.timeline = Timeline(parent.0 + 1);
        let history = TimelineHistory { timeline: self.timeline, ancestors };
        log.histories.insert(self.timeline, history);
    }

    fn snapshot(&mut self) {
        let due_at = self.now;
        let late = self.dice.below(3) as u64 * 3_000;
        self.pass(late + 60);
        let system_id = self.facts.logs.last().unwrap().system_id;
        let fact = SnapshotFact {
            id: format!("{:04}", self.taken.len()),
            system_id,
            timeline: self.timeline,
            start: Lsn(self.segment * MIB + 10_000),
            stop: Lsn(self.segment * MIB + 20_000),
            started_at: due_at,
            stopped_at: self.now,
            damaged_pages: u64::from(self.one_in(12)),
            bytes: 1,
            files: 1,
        };
        let proven_at = self.one_in(4).then_some(self.now);
        let lock = Duration::from_secs(self.dice.below(20) as u64 * DAY);
        let locked_until = self.one_in(15).then(|| self.now.checked_add(lock).unwrap());
        let snapshot = StoredSnapshot { fact, due_at, proven_at, locked_until };
        self.taken.push(snapshot.clone());
        self.facts.snapshots.push(snapshot);
    }

    fn copy(&mut self) {
        if self.terms.role != Role::Main || self.one_in(5) {
            return;
        }
        let all: Vec<Copied> = self.facts.snapshots.iter().map(copied).collect();
        let weekly = of_weeks(&self.taken, &self.terms);
        self.facts.copies.extend(all.into_iter().filter(|copy| weekly.contains(&copy.id)));
        self.facts.copies.sort_by(|a, b| a.id.cmp(&b.id));
        self.facts.copies.dedup();
        // They leave the other repository at the horizon.
        let horizon = self.terms.horizon(self.now);
        self.facts.copies.retain(|copy| copy.due_at > horizon);
    }

    fn holds_and_readers(&mut self) {
        self.facts.pins.clear();
        if self.taken.is_empty() {
            return;
        }
        let some = self.taken[self.dice.below(self.taken.len())].fact.id.clone();
        if self.one_in(25) {
            let snapshot = (!self.one_in(3)).then_some(some.clone());
            self.facts.pins.push(Pin { id: "reader".to_owned(), snapshot });
        }
        if self.one_in(25) {
            let scope = if self.one_in(3) { Scope::Everything } else { Scope::Snapshot(some) };
            let days = Duration::from_secs(self.dice.below(9) as u64 * DAY);
            let until = Some(self.now.checked_add(days).unwrap());
            let (who, why) = ("rossi".to_owned(), "tribunal".to_owned());
            let id = format!("{}", self.facts.holds.len());
            self.facts.holds.push(Hold { id, scope, who, why, until });
        }
    }

    fn day(&mut self) {
        if self.one_in(18) {
            // Nothing runs: the host is down.
            return self.pass(DAY);
        }
        if self.one_in(20) {
            self.promote();
        }
        if self.one_in(60) {
            self.new_cluster();
        }
        for turn in 0..LOG_A_DAY {
            self.pass(DAY / LOG_A_DAY / 2);
            if turn == 0 && !self.one_in(8) {
                self.snapshot();
            }
            self.pass(DAY / LOG_A_DAY / 2);
            self.ship();
        }
        self.copy();
        self.holds_and_readers();
        self.lost |= self.facts.logs.len() > 1 || self.timeline != Timeline(1);
    }

    /// Plans, checks, and carries out.
    fn retain(&mut self) -> RetentionPlan {
        // A clock that steps back removes less; one that steps ahead is told by its doubts.
        let step = if self.one_in(30) { 3 * DAY } else { 0 };
        let now = self.now.checked_sub(Duration::from_secs(step)).unwrap();
        let planned = plan(&self.facts, &self.terms, now);
        assert_eq!(check(&planned, &self.facts, &self.terms), Vec::<String>::new(), "{planned:#?}");
        self.agrees_with_model(&planned, now);
        self.rules_on_others(&planned, now);
        let removed: BTreeSet<&str> = planned.removed().map(|r| r.id.as_str()).collect();
        self.facts.snapshots.retain(|s| !removed.contains(s.fact.id.as_str()));
        let gone: BTreeSet<&str> =
            planned.log.iter().filter(|r| !r.stays).map(|r| r.key.as_str()).collect();
        for log in &mut self.facts.logs {
            log.objects.retain(|object| !gone.contains(object.key.as_str()));
            log.others.retain(|object| !gone.contains(object.key.as_str()));
        }
        let again = plan(&self.facts, &self.terms, now);
        assert_eq!(again.removed().count(), 0, "{again:#?}");
        assert!(again.log.iter().all(|ruling| ruling.stays), "{again:#?}");
        planned
    }

    /// Invariant 7.
    fn rules_on_others(&self, planned: &RetentionPlan, now: Timestamp) {
        let holds = self.facts.holds_at(now).any(|hold| hold.scope == Scope::Everything);
        let kept = holds || !self.facts.pins.is_empty();
        let daily = self.terms.daily.0.as_secs() as i64;
        let mut strangers = self.facts.unclaimed.len();
        for object in self.facts.logs.iter().flat_map(|log| &log.others) {
            let ruling = planned.log.iter().find(|ruling| ruling.key == object.key);
            let young = now.duration_since(object.stored_at).as_secs() < daily;
            let expected = object.timeline.map(|_| kept || young);
            assert_eq!(ruling.map(|ruling| ruling.stays), expected, "{object:?}");
            strangers += usize::from(object.timeline.is_none());
            let told = planned.strangers.contains(&object.key);
            assert_eq!(told, object.timeline.is_none(), "{object:?}");
        }
        assert_eq!(planned.strangers.len(), strangers);
    }

    /// Invariant 2.
    fn agrees_with_model(&self, planned: &RetentionPlan, now: Timestamp) {
        let age = |s: &StoredSnapshot| now.duration_since(s.fact.stopped_at).as_secs();
        let daily = self.terms.daily.0.as_secs() as i64;
        let all = daily + self.terms.weekly_extra.0.as_secs() as i64;
        // Without weekly ones an anchor still has a week for the next snapshot to come.
        let anchored = all.max(daily + 7 * DAY as i64);
        let weekly = of_weeks(&self.taken, &self.terms);
        let here = |id: &String| self.facts.snapshots.iter().any(|s| s.fact.id == *id);
        for ruling in &planned.snapshots {
            let snapshot = self.taken.iter().find(|s| s.fact.id == ruling.id).unwrap();
            let in_window = age(snapshot) < daily;
            let of_week = weekly.contains(&ruling.id) && self.terms.role != Role::Main;
            let promised = in_window || of_week && age(snapshot) < all;
            match &ruling.verdict {
                Verdict::Window => assert!(in_window, "{ruling:?}"),
                Verdict::Anchor => assert!(age(snapshot) < anchored && !in_window, "{ruling:?}"),
                // Another of the week may take the name when the first one has left.
                Verdict::Weekly => assert!(
                    age(snapshot) < all && (of_week || !weekly.iter().all(here)),
                    "{ruling:?} {weekly:?}"
                ),
                Verdict::Guarded(guards) => assert!(!promised && !guards.is_empty(), "{ruling:?}"),
                Verdict::Remove { .. } => assert!(!promised, "{ruling:?}"),
            }
        }
        if !self.lost && self.facts.logs[0].histories.is_empty() {
            self.has_the_models_anchor(planned, &age, daily, anchored);
        }
    }

    /// On a single timeline the anchor is simply the newest undamaged one beyond the window.
    fn has_the_models_anchor(
        &self,
        planned: &RetentionPlan,
        age: &dyn Fn(&StoredSnapshot) -> i64,
        daily: i64,
        all: i64,
    ) {
        let complete = |s: &&StoredSnapshot| {
            let number = s.fact.start.0 / MIB;
            !self.facts.logs[0].segment(Timeline(1), number).is_empty()
        };
        let old = self.facts.snapshots.iter().filter(|s| age(s) >= daily && age(s) < all);
        let sound = old.filter(|s| s.fact.damaged_pages == 0).filter(complete);
        let Some(model) = sound.min_by_key(|s| age(s)) else { return };
        let ruling = planned.snapshots.iter().find(|r| r.id == model.fact.id).unwrap();
        assert!(matches!(ruling.verdict, Verdict::Anchor), "{ruling:?}");
    }
}

fn copied(snapshot: &StoredSnapshot) -> Copied {
    let (id, due_at) = (snapshot.fact.id.clone(), snapshot.due_at);
    Copied { id, due_at, damaged_pages: snapshot.fact.damaged_pages }
}

/// "Sunday": the first sound run on or after each weekly day, else the first run, by civil dates.
fn of_weeks(taken: &[StoredSnapshot], terms: &Terms) -> BTreeSet<String> {
    let mut weeks: BTreeMap<i64, Vec<&StoredSnapshot>> = BTreeMap::new();
    for snapshot in taken {
        let date = snapshot.due_at.to_zoned(terms.zone.clone()).date();
        let days = date.duration_since(jiff::civil::date(2026, 1, 4)).as_hours() / 24;
        // 4 January 2026 was a Sunday.
        let begins = i64::from(terms.weekly_day.to_sunday_zero_offset());
        weeks.entry((days - begins).div_euclid(7)).or_default().push(snapshot);
    }
    let first = |week: Vec<&StoredSnapshot>| {
        let sound = week.iter().find(|s| s.fact.damaged_pages == 0);
        sound.unwrap_or(&week[0]).fact.id.clone()
    };
    weeks.into_values().map(first).collect()
}

fn live(seed: u64) {
    let mut history = History::new(seed);
    for _ in 0..5 + history.dice.below(20) {
        history.day();
        if history.one_in(3) {
            history.retain();
        }
    }
    // The end: retired, guards run out, and everything goes.
    history.terms.active = false;
    history.facts.pins.clear();
    history.pass(40 * DAY);
    history.facts.holds.clear();
    let last = history.retain();
    let left: Vec<_> = last.snapshots.iter().filter(|ruling| ruling.stays()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(last.log.iter().all(|ruling| !ruling.stays), "{:?}", last.log);
}

#[test]
fn no_history_breaks_an_invariant() {
    let given = std::env::var("FENICE_TEST_HISTORIES").ok();
    let count = given.map_or(HISTORIES, |count| count.parse().expect("a number"));
    let seed = Dice::seeded().seed();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for number in (thread..count).step_by(threads) {
                    let own = seed.wrapping_add(number as u64);
                    let lived = std::panic::catch_unwind(|| live(own));
                    assert!(lived.is_ok(), "history of FENICE_TEST_SEED={own}");
                }
            });
        }
    });
}
