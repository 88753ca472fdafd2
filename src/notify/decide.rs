//! Who hears what only once: from what was told last and how things stand now, what is told, and
//! why. Pure.
//!
//! News are told at once, what stays as it is again after a while, what is over once. What comes
//! and goes is told [`MESSAGES_AN_HOUR`] times an hour at most: the changes beyond are counted, and
//! the next message sums them up. A matter of which nothing is known now (no event has its key)
//! stays as it was told: unknown is not good.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::event::{Event, Key, Severity};

/// For each key.
pub const MESSAGES_AN_HOUR: usize = 4;
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// A key that no event had for so long, as of a resource that left the configuration, is forgotten.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What was told of a key, kept from one decision to the next. To be stored together with what is
/// to be sent: then a crash between the two neither repeats nor loses a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub key: Key,
    /// As it was told last; good, if never.
    pub severity: Severity,
    pub told_at: Timestamp,
    /// How often it was told since it stopped being good.
    pub times: u32,
    /// Since when it is not good; of what is good, when it last stopped being so.
    pub since: Timestamp,
    /// How it was seen last, and when.
    pub seen: Severity,
    pub seen_at: Timestamp,
    /// How often that changed since it was told, and the worst it was.
    pub changes: u32,
    pub worst: Severity,
    /// When it was told in the last hour, oldest first.
    pub recent: Vec<Timestamp>,
}

/// Why something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is not good, and was when it was last told, or was never told.
    New,
    /// It is red, and was a warning.
    Worse,
    /// It is a warning, and was red.
    Better,
    /// It is as it was told, and that is a while ago.
    Still { times: u32, since: Timestamp },
    /// It is good again.
    Resolved { since: Timestamp },
    /// It is as it was told, and was not in between.
    Unsteady,
}

/// One thing to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    pub event: Event,
    pub why: Why,
    /// The worst it was since it was last told, then included.
    pub was: Severity,
    /// How often it changed since then: more than once, if some changes were not told.
    pub changes: u32,
}

impl Telling {
    /// Whether it is, or was, red.
    pub fn concerns_red(&self) -> bool {
        self.event.severity.max(self.was) == Severity::Red
    }
}

/// What a decision comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decided {
    /// By key.
    pub tell: Vec<Telling>,
    /// What was told then, by key: takes the place of what was given.
    pub told: Vec<Told>,
}

/// Decides what is told at `now`. `present` is how things stand, good ones included; where several
/// events have one key, the worst counts.
pub fn decide(told: &[Told], present: &[Event], repeat_every: Duration, now: Timestamp) -> Decided {
    let repeat_every = SignedDuration::try_from(repeat_every).unwrap_or(SignedDuration::MAX);
    let mut known: BTreeMap<Key, Told> =
        told.iter().map(|one| (one.key.clone(), one.clone())).collect();
    let mut tell = Vec::new();
    for (key, event) in worst_of_each(present) {
        let mut one = known.remove(key).unwrap_or_else(|| Told::never(event, now));
        one.see(event, now);
        let why = one.why(event.severity, repeat_every, now);
        if let Some(why) = why.filter(|_| one.recent.len() < MESSAGES_AN_HOUR) {
            let (was, changes) = (one.worst.max(one.severity), one.changes);
            tell.push(Telling { event: event.clone(), why, was, changes });
            one.tell(event.severity, now);
        }
        if !one.is_over() {
            known.insert(key.clone(), one);
        }
    }
    known.retain(|_, one| now.duration_since(one.seen_at) < FORGOTTEN_AFTER);
    Decided { tell, told: known.into_values().collect() }
}

fn worst_of_each(present: &[Event]) -> BTreeMap<&Key, &Event> {
    let mut worst: BTreeMap<&Key, &Event> = BTreeMap::new();
    for event in present {
        let known = worst.entry(&event.key).or_insert(event);
        if known.severity < event.severity {
            *known = event;
        }
    }
    worst
}

impl Told {
    fn never(event: &Event, now: Timestamp) -> Told {
        Told {
            key: event.key.clone(),
            severity: Severity::Good,
            told_at: now,
            times: 0,
            since: event.at.min(now),
            seen: Severity::Good,
            seen_at: now,
            changes: 0,
            worst: Severity::Good,
            recent: Vec::new(),
        }
    }

    fn see(&mut self, event: &Event, now: Timestamp) {
        // A clock that was set back must not silence anything until it is where it was.
        self.told_at = self.told_at.min(now);
        self.recent.retain(|at| *at <= now && now.duration_since(*at) < HOUR);
        let begins = self.severity == Severity::Good && self.seen == Severity::Good;
        if begins && event.severity != Severity::Good {
            self.since = event.at.min(now);
        }
        if self.seen != event.severity {
            self.changes = self.changes.saturating_add(1);
        }
        self.worst = self.worst.max(event.severity);
        self.seen = event.severity;
        self.seen_at = now;
    }

    fn why(&self, now_is: Severity, repeat_every: SignedDuration, now: Timestamp) -> Option<Why> {
        let due_again = now.duration_since(self.told_at) >= repeat_every;
        let still = Why::Still { times: self.times.saturating_add(1), since: self.since };
        match (self.severity, now_is) {
            (told, present) if told == present && self.changes > 0 => Some(Why::Unsteady),
            (Severity::Good, Severity::Good) => None,
            (told, present) if told == present => due_again.then_some(still),
            (Severity::Good, _) => Some(Why::New),
            (_, Severity::Good) => Some(Why::Resolved { since: self.since }),
            (Severity::Warning, _) => Some(Why::Worse),
            (Severity::Red, _) => Some(Why::Better),
        }
    }

    fn tell(&mut self, severity: Severity, now: Timestamp) {
        self.times = match severity {
            Severity::Good => 0,
            _ => self.times.saturating_add(1),
        };
        self.severity = severity;
        self.told_at = now;
        self.changes = 0;
        self.worst = severity;
        self.recent.push(now);
    }

    /// Nothing of it needs to be remembered.
    fn is_over(&self) -> bool {
        let good = self.severity == Severity::Good && self.seen == Severity::Good;
        good && self.changes == 0 && self.recent.is_empty()
    }
}
