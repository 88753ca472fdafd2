//! Random schedules against a clock on the wall, and random lives of one work of one resource.
//!
//! A life knows downtime, a clock that steps either way, failures that pass and that do not,
//! pauses, hosts without room, windows and jitter. In each:
//! 1. No occurrence succeeds twice, and none after a newer one.
//! 2. What runs is the newest there is; nothing runs outside its window, from before the resource
//!    was known, or more often than it may be tried.
//! 3. Nothing is lost: without failures and windows, what has come runs within its jitter. Given
//!    peace, the newest is settled in the end.
//! 4. A wait stays the same until its end, and then that runs which it was for.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use fenice::config::Cron;
use fenice::error::Retry;
use fenice::model::{ResourceName, Span};
use fenice::plan::schedule::{
    ATTEMPTS_MOST, Next, Occurrence, Past, Pause, Standing, Work, decide, last_until, next_after,
};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::occurrences::{at, cron, zone};
use crate::support::Dice;

/// Zones, and an instant at which the clocks there change: by an hour, at midnight, by half an
/// hour, by a whole day.
const CHANGES: [(&str, &str); 10] = [
    ("Europe/Rome", "2027-03-28T01:00Z"),
    ("Europe/Rome", "2027-10-31T01:00Z"),
    ("Australia/Lord_Howe", "2027-04-03T15:00Z"),
    ("Australia/Lord_Howe", "2027-10-02T15:30Z"),
    ("America/Santiago", "2027-04-04T03:00Z"),
    ("America/Santiago", "2027-09-05T04:00Z"),
    ("America/Havana", "2027-03-14T05:00Z"),
    ("America/Havana", "2027-11-07T05:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00Z"),
    ("UTC", "2027-01-01T00:00Z"),
];

/// Somebody looks at the clock on the wall each minute, and calls out what it has passed since the
/// latest time it ever showed: the last of it, if it is more.
fn called_out(cron: &Cron, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<Occurrence> {
    let minute = SignedDuration::from_mins(1);
    let times: BTreeSet<(i8, i8)> = cron.times().collect();
    let mut now = from - SignedDuration::from_hours(48);
    let (mut latest, mut called) = (zone.to_datetime(now), Vec::new());
    while now <= to {
        let shown = zone.to_datetime(now);
        let mut passed = None;
        while latest < shown {
            latest += minute;
            let time = (latest.hour(), latest.minute());
            if cron.runs_on(latest.date()) && times.contains(&time) {
                passed = Some(latest);
            }
        }
        called.extend(passed.filter(|_| from < now).map(|civil| Occurrence { civil, at: now }));
        now += minute;
    }
    called
}

fn schedules() -> impl Strategy<Value = Cron> {
    let one_of = |words: &'static [&'static str]| prop::sample::select(words);
    let minutes = one_of(&["*", "*/7", "0", "30", "0,30", "59", "5-20/5"]);
    let hours = one_of(&["*", "2", "1-3", "0", "23", "*/5", "2,3"]);
    let days = one_of(&["*", "*/2", "1", "28-31"]);
    let months = one_of(&["*", "*", "3,4", "9-12"]);
    let weekdays = one_of(&["*", "*", "0", "1-5"]);
    (minutes, hours, days, months, weekdays).prop_map(|(minute, hour, day, month, weekday)| {
        cron(&format!("{minute} {hour} {day} {month} {weekday}"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn occurrences_are_what_a_clock_on_the_wall_calls_out(
        cron in schedules(),
        (name, change) in prop::sample::select(CHANGES.to_vec()),
        minutes in -700i64..700,
        seconds in prop::collection::vec(0i64..90_000, 8),
    ) {
        let zone = zone(name);
        let from = at(change) + SignedDuration::from_mins(minutes);
        let to = from + SignedDuration::from_hours(25);
        let called = called_out(&cron, &zone, from, to);
        let first = next_after(&cron, &zone, from);
        let found = iter::successors(first, |due| next_after(&cron, &zone, due.at));
        let found: Vec<Occurrence> = found.take_while(|due| due.at <= to).collect();
        prop_assert_eq!(&found, &called);
        for seconds in seconds {
            let now = from + SignedDuration::from_secs(seconds);
            let last = last_until(&cron, &zone, now).filter(|due| from < due.at);
            prop_assert_eq!(last.as_ref(), called.iter().rfind(|due| due.at <= now));
            let next = next_after(&cron, &zone, now).filter(|due| due.at <= to);
            prop_assert_eq!(next.as_ref(), called.iter().find(|due| now < due.at));
        }
    }
}

const LIVES: usize = 200;
const STEPS: usize = 150;
const DAY: usize = 86_400;
/// How often a peaceful life begins something until its end, at most.
const PEACEFUL_RUNS: usize = 300;

struct Life {
    dice: Dice,
    standing: Standing,
    resource: ResourceName,
    past: Past,
    now: Timestamp,
    /// The instants at which what succeeded was due, in the order of success.
    done: Vec<Timestamp>,
    attempts: BTreeMap<Timestamp, u32>,
    /// Whether anything goes wrong.
    hard: bool,
    clock_steps: bool,
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut dice = Dice::of(seed);
        let crons = [
            "0 2 * * *",
            "15 * * * *",
            "30 4,16 * * *",
            "*/20 * * * *",
            "30 2 * * *",
            "0 3 * * 0",
            "0,30 1-3 * * *",
            "0 14 * * *",
            "* * * * *",
        ];
        let windows = ["", "", "20:00-06:00", "01:00-05:00", "22:30-23:30", "06:00-20:00"];
        let zones = ["Europe/Rome", "Australia/Lord_Howe", "America/Santiago", "UTC"];
        let standing = Standing {
            work: [Work::Snapshot, Work::Copy, Work::Verify][dice.below(3)],
            cron: cron(crons[dice.below(crons.len())]),
            zone: zone(zones[dice.below(zones.len())]),
            jitter_most: Span::seconds([0, 300, 3_600][dice.below(3)]),
            window: windows[dice.below(windows.len())].parse().ok(),
        };
        let starts = ["2027-03-25T00:00Z", "2027-04-02T00:00Z", "2027-10-01T00:00Z"];
        let now = at(starts[dice.below(3)]) + SignedDuration::from_secs(dice.below(DAY) as i64);
        let (hard, clock_steps) = (dice.below(3) > 0, dice.below(2) > 0);
        Life {
            dice,
            standing,
            resource: "registro".parse().unwrap(),
            past: Past::new(now),
            now,
            done: Vec::new(),
            attempts: BTreeMap::new(),
            hard,
            clock_steps,
        }
    }

    fn pass(&mut self, seconds: usize) {
        self.now += SignedDuration::from_secs(seconds as i64);
    }

    fn decide_at(&self, now: Timestamp) -> Next {
        decide(&self.standing, &self.past, &self.resource, now)
    }

    /// Decides, and sees that it may be so.
    fn decide(&self) -> Next {
        let next = self.decide_at(self.now);
        assert!(!next.reason().is_empty());
        match &next {
            Next::Run { due_at, .. } => self.may_run(*due_at),
            Next::Wait { until, due_at, .. } => self.may_wait(*until, *due_at, &next),
            Next::Busy { .. } => assert!(self.past.under_way),
            Next::Paused { until, .. } => assert!(until.is_some_and(|until| self.now < until)),
            Next::Never { .. } => panic!("{:?} comes", self.standing),
        }
        next
    }

    /// Invariants 1 and 2.
    fn may_run(&self, due_at: Occurrence) {
        let (due, now) = (due_at.at, self.now);
        assert!(due <= now && self.done.last().is_none_or(|done| *done < due), "{due_at:?}");
        assert!(self.past.settled_due_at.is_none_or(|settled| settled < due), "{due_at:?}");
        assert!(self.attempts.get(&due).is_none_or(|attempts| *attempts < ATTEMPTS_MOST));
        let known = self.past.known_since;
        assert!(known <= due || now < known, "{due_at:?} {known}");
        let newest = self.standing.last_until(now).unwrap();
        assert!(newest.at <= due, "{newest:?} {due_at:?}");
        assert!(self.is_open(now));
    }

    /// Invariants 3 and 4.
    fn may_wait(&self, until: Timestamp, due_at: Occurrence, next: &Next) {
        let (standing, past, now) = (&self.standing, &self.past, self.now);
        assert!(now < until && due_at.at <= until && self.is_open(until), "{next:?}");
        if now < past.known_since {
            return;
        }
        let just_before = until - SignedDuration::from_nanos(1);
        for time in [now + until.duration_since(now) / 2, just_before] {
            let then = self.decide_at(time);
            let same = matches!(then, Next::Wait { until: end, due_at: due, .. }
                if (end, due) == (until, due_at));
            assert!(same, "{next:?} at {now}, {then:?} at {time}");
        }
        let then = self.decide_at(until);
        let runs = matches!(then, Next::Run { due_at: due, .. } if due == due_at);
        assert!(runs, "{next:?} at {now}, {then:?} at its end");
        if standing.window.is_some() || past.failed.is_some() {
            return;
        }
        let newest = standing.last_until(now).unwrap();
        let after = past.settled_due_at.map_or(now, |settled| settled.max(now));
        if due_at == newest {
            let jitter = until.duration_since(due_at.at);
            let most = standing.jitter_most.0.as_secs() as i64;
            assert!(jitter.as_secs() < most, "{next:?}");
        } else {
            let settled = past.settled_due_at.is_some_and(|settled| newest.at <= settled);
            assert!(settled || newest.at < past.known_since, "{newest:?} is lost: {next:?}");
            assert_eq!(Some(due_at), standing.next_after(after));
        }
    }

    /// By the clock on the wall, which is the same: no window here begins or ends where time
    /// comes twice.
    fn is_open(&self, now: Timestamp) -> bool {
        let time = self.standing.zone.to_datetime(now).time();
        self.standing.window.is_none_or(|window| match window.from < window.to {
            true => window.from <= time && time < window.to,
            false => window.from <= time || time < window.to,
        })
    }

    fn step(&mut self) {
        match self.decide() {
            // There is no room for it.
            Next::Run { .. } if self.dice.below(10) == 0 => {
                let seconds = 1 + self.dice.below(7_200);
                self.pass(seconds);
            }
            Next::Run { due_at, .. } => self.run(due_at.at),
            Next::Wait { until, .. } => self.sleep(until),
            Next::Paused { until: Some(until), .. } if self.dice.below(2) == 0 => self.now = until,
            Next::Paused { .. } => self.past.paused = None,
            other => panic!("{other:?}"),
        }
        if self.hard && self.dice.below(30) == 0 {
            let until = self.now + SignedDuration::from_secs(self.dice.below(3 * DAY) as i64);
            self.past.paused = Some(Pause { why: "works".to_owned(), until: Some(until) });
        }
        if self.hard && self.clock_steps && self.dice.below(25) == 0 {
            let seconds = self.dice.below(6 * DAY) as i64 - 3 * DAY as i64;
            self.now += SignedDuration::from_secs(seconds);
        }
    }

    fn run(&mut self, due_at: Timestamp) {
        self.past.begin();
        *self.attempts.entry(due_at).or_default() += 1;
        assert!(matches!(self.decide(), Next::Busy { .. }));
        let (longest, outcome) = match self.hard {
            true => ([600, 3 * 3_600, 30 * 3_600][self.dice.below(3)], self.dice.below(10)),
            false => (600, 0),
        };
        let seconds = 1 + self.dice.below(longest);
        self.pass(seconds);
        match outcome {
            0..6 => {
                self.past.succeed(due_at);
                self.done.push(due_at);
            }
            6..9 => self.past.fail(due_at, self.now, Retry::Later),
            _ => self.past.fail(due_at, self.now, Retry::Never),
        }
    }

    /// Something else may wake it, and the host may be down.
    fn sleep(&mut self, until: Timestamp) {
        match self.dice.below(10) {
            0..6 => self.now = until,
            6 | 7 => {
                let seconds = until.duration_since(self.now).as_secs().max(1) as usize;
                let some = self.dice.below(seconds);
                self.pass(some);
            }
            kind => {
                let most = if kind == 8 && self.hard { 5 * DAY } else { 60 };
                self.now = until;
                let some = self.dice.below(most);
                self.pass(some);
            }
        }
    }

    /// From now on all goes well.
    fn find_peace(&mut self) {
        self.past.paused = None;
        let end = self.now + SignedDuration::from_hours(8 * 24);
        for _ in 0..PEACEFUL_RUNS {
            match self.decide() {
                Next::Run { due_at, .. } => {
                    self.past.succeed(due_at.at);
                    self.done.push(due_at.at);
                    self.pass(1);
                }
                Next::Wait { until, .. } if until <= end => self.now = until,
                Next::Wait { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        // A window lets it wait for a day.
        let newest = self.standing.last_until(self.now - SignedDuration::from_hours(48)).unwrap();
        let settled = self.past.settled_due_at.is_some_and(|settled| newest.at <= settled);
        assert!(settled || newest.at < self.past.known_since, "{newest:?} {:?}", self.past);
    }
}

#[test]
fn no_life_loses_an_occurrence_or_lives_one_twice() {
    let seed = Dice::seeded().seed();
    for number in 0..LIVES {
        let own = seed.wrapping_add(number as u64);
        let lived = std::panic::catch_unwind(|| {
            let mut life = Life::new(own);
            for _ in 0..STEPS {
                life.step();
            }
            life.find_peace();
        });
        assert!(lived.is_ok(), "life of FENICE_TEST_SEED={own}");
    }
}
