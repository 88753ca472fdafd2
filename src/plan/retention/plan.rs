//! The plan: a ruling on every snapshot and every object of the log, each with its reason.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::closing::{Closing, closing};
use super::facts::{LockedPack, RetentionFacts, Role, StoredSnapshot, Terms, on};
use super::guards::{self, Guard, Newest};
use super::{log, rules};
use crate::model::Span;

/// Snapshots removed at once that need no second look, whatever share they are.
const USUAL_REMOVALS: usize = 2;
/// Of more than those, one in so many may go unasked.
const USUAL_SHARE: usize = 4;
/// What has left the index is deleted within this long of it (RULES 18).
const DELETION_LIMIT: Span = Span::seconds(48 * 3_600);
/// Nothing stored for so long, in an active resource: perhaps it is the clock that went on.
const SILENCE: Span = Span::seconds(7 * 86_400);
/// The same where only the weekly ones arrive.
const COPIES_SILENCE: Span = Span::seconds(15 * 86_400);
/// So far may the clock of a source be ahead of ours.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// Why something stays or goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It ended within the window.
    Window,
    /// The window's first instants are recovered from it.
    Anchor,
    /// The weekly one of its week.
    Weekly,
    /// Beyond its date; the first guard tells it best.
    Guarded(Vec<Guard>),
    /// Its time is over.
    Remove { expired_at: Timestamp },
}

/// What becomes of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    pub id: String,
    pub stopped_at: Timestamp,
    pub verdict: Verdict,
    /// When it leaves if nothing keeps it; an anchor may leave earlier, once another takes its
    /// place.
    pub leaves_at: Timestamp,
}

/// What becomes of one object of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRuling {
    pub key: String,
    pub stays: bool,
    pub because: String,
}

/// What stays and what goes in one repository of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionPlan {
    pub now: Timestamp,
    pub window_start: Timestamp,
    pub horizon: Timestamp,
    /// Oldest first.
    pub snapshots: Vec<Ruling>,
    /// Partial segments and backup labels too.
    pub log: Vec<LogRuling>,
    /// Keys among the log whose names are not understood: nothing rules on them, they stay.
    pub strangers: Vec<String>,
    /// Snapshots of the vault that no manifest names: a crash left them, pruning removes them.
    pub unnamed_snapshots: u64,
    /// Packs that were marked for deletion and ought to be gone; also by a lock, if that outlives
    /// the horizon of what is in them.
    pub overdue_packs: u64,
    /// Packs that were marked for deletion and that the store locks, overdue or not.
    pub locked_packs: u64,
    /// When the last of their locks ends.
    pub locked_until: Option<Timestamp>,
    /// What becomes of everything else, if the resource is retired.
    pub closing: Closing,
    /// What makes this plan unusual: it needs a second look by a person.
    pub doubts: Vec<String>,
}

impl Ruling {
    pub fn stays(&self) -> bool {
        !matches!(self.verdict, Verdict::Remove { .. })
    }

    /// Whether only a guard keeps it, beyond the date that was promised.
    pub fn is_overdue(&self) -> bool {
        matches!(self.verdict, Verdict::Guarded(_))
    }
}

impl RetentionPlan {
    pub fn removed(&self) -> impl Iterator<Item = &Ruling> {
        self.snapshots.iter().filter(|ruling| !ruling.stays())
    }

    pub fn overdue(&self) -> impl Iterator<Item = &Ruling> {
        self.snapshots.iter().filter(|ruling| ruling.is_overdue())
    }

    /// Snapshots that nothing keeps and that are still there, more than two days beyond the
    /// horizon: retention did not run. Before that it may have been the anchor's part that ended
    /// only now.
    pub fn neglected(&self) -> impl Iterator<Item = &Ruling> {
        self.removed().filter(move |ruling| on(ruling.stopped_at, DELETION_LIMIT) < self.horizon)
    }
}

/// Rules on everything.
pub fn plan(facts: &RetentionFacts, terms: &Terms, now: Timestamp) -> RetentionPlan {
    let ways = rules::ways(facts, terms, now);
    let anchors: BTreeSet<&str> = ways.iter().filter_map(|way| way.anchor.as_deref()).collect();
    let weekly = rules::weekly(facts, terms);
    let newest = Newest::of(facts, terms);
    let rule = |snapshot: &StoredSnapshot| {
        let id = snapshot.fact.id.as_str();
        let (is_anchor, is_weekly) = (anchors.contains(id), weekly.contains(id));
        let leaves_at = leaves_at(snapshot, is_weekly, is_anchor, terms);
        let kept = by_promise(snapshot, is_weekly, is_anchor, terms, now);
        let verdict = kept.unwrap_or_else(|| {
            let mut guards = guards::of(snapshot, is_weekly, &newest, facts, terms, now);
            if is_anchor && !guards.contains(&Guard::NewestUndamaged) {
                guards.push(Guard::NewestUndamaged);
            }
            match guards.is_empty() {
                true => Verdict::Remove { expired_at: leaves_at.min(now) },
                false => Verdict::Guarded(guards),
            }
        });
        let (id, stopped_at) = (id.to_owned(), snapshot.fact.stopped_at);
        Ruling { id, stopped_at, verdict, leaves_at }
    };
    let mut snapshots: Vec<Ruling> = facts.snapshots.iter().map(rule).collect();
    let stays = |id: &String| snapshots.iter().any(|r| r.id == *id && r.stays());
    let kept: Vec<_> = facts.snapshots.iter().map(|s| &s.fact).filter(|s| stays(&s.id)).collect();
    let window_start = terms.window_start(now);
    let log = log::rule(facts, &ways, &kept, window_start, now);
    snapshots.sort_by(|a, b| (a.stopped_at, &a.id).cmp(&(b.stopped_at, &b.id)));
    let horizon = terms.horizon(now);
    let doubts = doubts(facts, terms, &snapshots, now);
    let locked = &facts.remains.packs_locked;
    RetentionPlan {
        now,
        window_start,
        horizon,
        snapshots,
        log,
        strangers: log::strangers(facts),
        unnamed_snapshots: facts.remains.unnamed_snapshots,
        overdue_packs: overdue_packs(facts, terms, now),
        locked_packs: locked.len() as u64,
        locked_until: locked.iter().map(|pack| pack.until).max(),
        closing: closing(facts, now),
        doubts,
    }
}

/// The promise's own reason to keep a snapshot.
fn by_promise(
    snapshot: &StoredSnapshot,
    is_weekly: bool,
    is_anchor: bool,
    terms: &Terms,
    now: Timestamp,
) -> Option<Verdict> {
    let stopped_at = snapshot.fact.stopped_at;
    if stopped_at > terms.window_start(now) {
        return Some(Verdict::Window);
    }
    if is_anchor && stopped_at > terms.horizon(now) {
        return Some(Verdict::Anchor);
    }
    let weekly = is_weekly && terms.role != Role::Main;
    (weekly && stopped_at > terms.weekly_horizon(now)).then_some(Verdict::Weekly)
}

/// A pack is marked once the first of what is in it has left, which was promised to be gone at
/// its horizon. Until then a lock may keep it; once that has ended, the next runs delete it.
fn overdue_packs(facts: &RetentionFacts, terms: &Terms, now: Timestamp) -> u64 {
    let is_late = |since: Timestamp| on(since, DELETION_LIMIT) < now;
    let is_kept = |pack: &&LockedPack| {
        let horizon = on(pack.marked_at, terms.anchor_extra());
        is_late(pack.marked_at) && on(horizon, DELETION_LIMIT) < pack.until
    };
    let free = facts.remains.packs_waiting_since.iter().filter(|at| is_late(**at)).count();
    (free + facts.remains.packs_locked.iter().filter(is_kept).count()) as u64
}

pub(super) fn leaves_at(
    snapshot: &StoredSnapshot,
    is_weekly: bool,
    is_anchor: bool,
    terms: &Terms,
) -> Timestamp {
    let extra = match (is_anchor, is_weekly && terms.role != Role::Main) {
        (true, _) => terms.anchor_extra(),
        (false, true) => terms.weekly_extra,
        (false, false) => Span::default(),
    };
    on(on(snapshot.fact.stopped_at, terms.daily), extra)
}

fn doubts(
    facts: &RetentionFacts,
    terms: &Terms,
    rulings: &[Ruling],
    now: Timestamp,
) -> Vec<String> {
    let removed = rulings.iter().filter(|ruling| !ruling.stays()).count();
    let mut doubts = Vec::new();
    if removed > USUAL_REMOVALS && removed * USUAL_SHARE > rulings.len() {
        doubts.push(format!("{removed} of {} snapshots would go at once", rulings.len()));
    }
    let stored = facts.logs.iter().flat_map(|log| &log.objects).map(|object| object.stored_at);
    let ended = facts.snapshots.iter().map(|snapshot| snapshot.fact.stopped_at);
    let Some(newest) = stored.chain(ended).max() else { return doubts };
    if newest > on(now, Span(CLOCK_TOLERANCE)) {
        doubts.push(format!("something is stored of {newest}, which is yet to come"));
    }
    let silence = match terms.role {
        Role::Copies => COPIES_SILENCE,
        Role::Main | Role::Only => SILENCE,
    };
    if removed > 0 && terms.active && on(newest, silence) < now {
        doubts.push(format!("nothing was stored since {newest}: is the clock right?"));
    }
    doubts
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Window => f.write_str("it ended within the window"),
            Verdict::Anchor => f.write_str("the window's first instants are recovered from it"),
            Verdict::Weekly => f.write_str("it is the weekly one"),
            Verdict::Guarded(guards) => {
                let told: Vec<String> = guards.iter().map(Guard::to_string).collect();
                f.write_str(&told.join("; "))
            }
            Verdict::Remove { expired_at } => write!(f, "its time was over {expired_at}"),
        }
    }
}
