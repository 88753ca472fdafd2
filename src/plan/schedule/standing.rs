//! The standing order of a policy: which work is due by which schedule, and what became of it.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::occurrence::{self, Occurrence};
use super::opening::{Opening, opening};
use crate::config::{Cron, Policy, Window};
use crate::error::Retry;
use crate::model::Span;

/// One occurrence is tried so often, and then given up.
pub const ATTEMPTS_MOST: u32 = 10;

/// What is done on a resource; the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// In an emergency, ordered by somebody; not what a drill does.
    Restore,
    /// Goes on all the time.
    Ship,
    Snapshot,
    Copy,
    Retention,
    Verify,
    Drill,
}

impl Work {
    /// For people, JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Work::Restore => "restore",
            Work::Ship => "ship",
            Work::Snapshot => "snapshot",
            Work::Copy => "copy",
            Work::Retention => "retention",
            Work::Verify => "verify",
            Work::Drill => "drill",
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When one work is due on each resource of a policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub work: Work,
    pub cron: Cron,
    /// In which the schedule and the window are meant.
    pub zone: TimeZone,
    /// How far beginnings are spread.
    pub jitter_most: Span,
    /// When it may begin; `None` for always.
    pub window: Option<Window>,
}

/// The standing order of a policy, the most urgent work first. Shipping and restores have no
/// schedule.
pub fn standing_of(policy: &Policy, zone: &TimeZone) -> Vec<Standing> {
    let of = |work: Work, cron: &Cron| Standing {
        work,
        cron: cron.clone(),
        zone: zone.clone(),
        jitter_most: policy.jitter,
        window: match work {
            Work::Snapshot | Work::Verify | Work::Drill => policy.window,
            Work::Restore | Work::Ship | Work::Copy | Work::Retention => None,
        },
    };
    let copy = policy.copy_to.as_ref().map(|_| of(Work::Copy, &policy.copy));
    let drill = policy.drill.as_ref().map(|cron| of(Work::Drill, cron));
    [
        Some(of(Work::Snapshot, &policy.snapshot)),
        copy,
        Some(of(Work::Retention, &policy.retention)),
        Some(of(Work::Verify, &policy.verify)),
        drill,
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Standing {
    /// The first occurrence later than `after`.
    pub fn next_after(&self, after: Timestamp) -> Option<Occurrence> {
        occurrence::next_after(&self.cron, &self.zone, after)
    }

    /// The last occurrence at or before `until`.
    pub fn last_until(&self, until: Timestamp) -> Option<Occurrence> {
        occurrence::last_until(&self.cron, &self.zone, until)
    }

    /// When it may begin: the present opening of its window, or the next.
    pub fn opening(&self, at: Timestamp) -> Opening {
        let found = self.window.and_then(|window| opening(window, &self.zone, at));
        found.unwrap_or(Opening::ALWAYS)
    }
}

/// What became of one work on one resource: kept by whoever runs it, through restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Since when the resource is in the configuration; nothing older is made up for.
    pub known_since: Timestamp,
    /// The newest occurrence that was done, or given up; never goes back.
    pub settled_due_at: Option<Timestamp>,
    pub under_way: bool,
    /// The last failure, until there is a success.
    pub failed: Option<Failure>,
    pub paused: Option<Pause>,
}

/// The last failed attempt at an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub due_at: Timestamp,
    /// Failed ones at this occurrence, from 1.
    pub attempts: u32,
    pub at: Timestamp,
    pub retry: Retry,
}

impl Failure {
    /// Whether this occurrence is not tried again.
    pub fn is_final(&self) -> bool {
        self.retry == Retry::Never || self.attempts >= ATTEMPTS_MOST
    }
}

/// Somebody wants nothing to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    pub why: String,
    /// Without an end it holds until it is taken back.
    pub until: Option<Timestamp>,
}

impl Pause {
    /// Whether it is still in force.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Past {
    /// Of a resource that is new.
    pub fn new(known_since: Timestamp) -> Past {
        Past { known_since, settled_due_at: None, under_way: false, failed: None, paused: None }
    }

    /// It has begun.
    pub fn begin(&mut self) {
        self.under_way = true;
    }

    /// It is done, for the occurrence at `due_at`.
    pub fn succeed(&mut self, due_at: Timestamp) {
        self.under_way = false;
        self.failed = None;
        self.settle(due_at);
    }

    /// It failed, for the occurrence at `due_at`; also if the daemon ended meanwhile.
    pub fn fail(&mut self, due_at: Timestamp, at: Timestamp, retry: Retry) {
        let before = self.failed.filter(|failure| failure.due_at == due_at);
        let attempts = before.map_or(0, |failure| failure.attempts).saturating_add(1);
        let failure = Failure { due_at, attempts, at, retry };
        self.under_way = false;
        self.failed = Some(failure);
        if failure.is_final() {
            self.settle(due_at);
        }
    }

    fn settle(&mut self, due_at: Timestamp) {
        self.settled_due_at = self.settled_due_at.max(Some(due_at));
    }

    /// Whether the occurrence at `due_at` is still to be done.
    pub(super) fn owes(&self, due_at: Timestamp, now: Timestamp) -> bool {
        // If the clock went back since, it cannot be told what was before.
        let known = self.known_since <= due_at || now < self.known_since;
        known && self.settled_due_at.is_none_or(|settled| settled < due_at)
    }
}
