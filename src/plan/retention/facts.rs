//! What retention is decided from.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::closing::Leftover;
use crate::config::Policy;
use crate::model::{Span, WalInventory};
use crate::plan::facts::SnapshotFact;

const LEAST_ANCHOR_EXTRA: Span = Span::seconds(7 * 86_400);

/// What was promised for one repository of a resource.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Every instant of this long is reachable, counted in UTC from the end of a snapshot.
    pub daily: Span,
    /// How much longer the weekly one stays.
    pub weekly_extra: Span,
    pub weekly_day: Weekday,
    /// For the civil date of a scheduled run.
    pub zone: TimeZone,
    /// The newest so many stay in an active resource.
    pub keep_min: u32,
    pub role: Role,
    /// A retired resource lets its guards lapse at the horizon (RULES 19).
    pub active: bool,
}

/// What a repository is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// There is no other: the weekly snapshots stay here.
    Only,
    /// Weekly snapshots are copied elsewhere, and stay here until they are.
    Main,
    /// Holds the copies.
    Copies,
}

impl Terms {
    /// The terms of a policy, for a resource in use.
    pub fn of(policy: &Policy, zone: &TimeZone, role: Role) -> Terms {
        Terms {
            daily: policy.daily,
            weekly_extra: policy.weekly_extra,
            weekly_day: policy.weekly_day,
            zone: zone.clone(),
            keep_min: policy.keep_min,
            role,
            active: true,
        }
    }

    /// The same, with what `facts` say of the resource: a retired one is not active.
    pub fn given(&self, facts: &RetentionFacts) -> Terms {
        Terms { active: self.active && facts.retired_at.is_none(), ..self.clone() }
    }

    /// Where the window begins that reaches to `now`.
    pub fn window_start(&self, now: Timestamp) -> Timestamp {
        back(now, self.daily)
    }

    /// A weekly one that ended by then has no place left.
    pub fn weekly_horizon(&self, now: Timestamp) -> Timestamp {
        back(self.window_start(now), self.weekly_extra)
    }

    /// What ended by then has no place left but by a guard, an anchor neither.
    pub fn horizon(&self, now: Timestamp) -> Timestamp {
        back(self.window_start(now), self.anchor_extra())
    }

    /// How much longer than `daily` an anchor may stay: as long as the weekly ones; without those
    /// until the next snapshots have surely come, or the window's first instants were promised in
    /// vain.
    pub fn anchor_extra(&self) -> Span {
        self.weekly_extra.max(LEAST_ANCHOR_EXTRA)
    }
}

/// The instant `span` before `at`, or the earliest there is.
fn back(at: Timestamp, span: Span) -> Timestamp {
    at.checked_sub(span.0).unwrap_or(Timestamp::MIN)
}

/// The instant `span` after `at`, or the latest there is.
pub(super) fn on(at: Timestamp, span: Span) -> Timestamp {
    at.checked_add(span.0).unwrap_or(Timestamp::MAX)
}

/// A snapshot with what bears on its stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSnapshot {
    pub fact: SnapshotFact,
    /// When its run was scheduled: this instant's civil date makes it the Sunday one, however late
    /// it began. A run that nobody scheduled was due when it began.
    pub due_at: Timestamp,
    /// When a recovery from it last passed a drill.
    pub proven_at: Option<Timestamp>,
    /// The store itself refuses to remove some of it before.
    pub locked_until: Option<Timestamp>,
}

/// An order to keep things, whatever the policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub id: String,
    pub scope: Scope,
    pub who: String,
    pub why: String,
    /// Without an end it stays until it is removed.
    pub until: Option<Timestamp>,
}

/// What a hold keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All snapshots and all log.
    Everything,
    /// One snapshot, with the log that makes it consistent.
    Snapshot(String),
}

/// A reader at work (RULES 22).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    pub id: String,
    /// The snapshot it reads, and the log from there on; `None` for all there is, which is also
    /// what a pin stands for that cannot be read.
    pub snapshot: Option<String>,
}

/// A snapshot that the repository of copies has, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    pub id: String,
    pub due_at: Timestamp,
    pub damaged_pages: u64,
}

/// What lies in the vault and serves no recovery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// Snapshots of the vault that no manifest names.
    pub unnamed_snapshots: u64,
    /// Since when each pack waits that may be deleted: it was marked, or its lock ended later.
    pub packs_waiting_since: Vec<Timestamp>,
    /// Those that the store locks, which are not among the others.
    pub packs_locked: Vec<LockedPack>,
}

/// A pack that waits for its deletion, and may not be deleted yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockedPack {
    pub marked_at: Timestamp,
    pub until: Timestamp,
}

/// Everything a plan is made from: one complete listing, or it must not be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionFacts {
    pub snapshots: Vec<StoredSnapshot>,
    /// What the repository of copies has; for [`Role::Main`].
    pub copies: Vec<Copied>,
    /// The log of each cluster that ever bore the resource's name, oldest registration first.
    pub logs: Vec<WalInventory>,
    pub holds: Vec<Hold>,
    /// Those that have not run out.
    pub pins: Vec<Pin>,
    /// Keys beside those logs, of clusters that are not registered: not ours to judge.
    pub unclaimed: Vec<String>,
    pub remains: Remains,
    /// Since when the resource is retired; `None` for one in use.
    pub retired_at: Option<Timestamp>,
    /// Of a retired resource, what else lies in its repository, but for the evidence.
    pub leftovers: Vec<Leftover>,
}

impl RetentionFacts {
    /// The holds in force.
    pub fn holds_at(&self, now: Timestamp) -> impl Iterator<Item = &Hold> {
        self.holds.iter().filter(move |hold| hold.until.is_none_or(|until| until > now))
    }
}
