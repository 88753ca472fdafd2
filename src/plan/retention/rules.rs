//! Which snapshots the promise itself keeps: the window, its anchors, the weekly ones.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};

use super::facts::{RetentionFacts, Terms};
use crate::model::{Timeline, TimelineHistory, WalInventory};
use crate::plan::facts::{RecoveryFacts, SnapshotFact};
use crate::plan::path::Path;

/// One way that recovery may take within the window: a timeline with its ancestry, and what serves
/// on it.
#[derive(Debug)]
pub(super) struct Way {
    /// Into [`RetentionFacts::logs`].
    pub log: usize,
    pub history: TimelineHistory,
    /// The newest undamaged snapshot that ended before the window begins: recovery to the
    /// window's first instants begins with it. None older than the horizon, unless nothing else
    /// undamaged is left on the way to what an active resource is now.
    pub anchor: Option<String>,
    /// Those that ended within the window.
    pub serving: Vec<String>,
}

/// The ways to every timeline that holds an instant of the window, and to the newest one.
pub(super) fn ways(facts: &RetentionFacts, terms: &Terms, now: Timestamp) -> Vec<Way> {
    let mut ways = Vec::new();
    for (number, log) in facts.logs.iter().enumerate() {
        let newest_cluster = number + 1 == facts.logs.len();
        let recovery = recovery_facts(facts, log);
        let live = live_timelines(&recovery, terms.window_start(now), newest_cluster);
        for timeline in &live {
            let last_resort = terms.active && newest_cluster && live.last() == Some(timeline);
            let way = log.history(*timeline).map(|history| {
                let path = Path { facts: &recovery, history: &history };
                let (anchor, serving) = serving(path, terms, now, last_resort);
                Way { log: number, history, anchor, serving }
            });
            ways.extend(way);
        }
    }
    ways
}

fn recovery_facts(facts: &RetentionFacts, log: &WalInventory) -> RecoveryFacts {
    let ours = facts.snapshots.iter().filter(|s| s.fact.system_id == log.system_id);
    RecoveryFacts {
        snapshots: ours.map(|snapshot| snapshot.fact.clone()).collect(),
        wal: log.clone(),
        log_stored_until: None,
        speeds: None,
    }
}

/// Timelines with anything younger than the window's start. An abandoned one counts as long as
/// its last instant lies in the window: what was written on it may be wanted back.
fn live_timelines(
    recovery: &RecoveryFacts,
    window_start: Timestamp,
    newest_cluster: bool,
) -> BTreeSet<Timeline> {
    let log = &recovery.wal;
    let stored = log.objects.iter().filter(|object| object.stored_at > window_start);
    let taken = recovery.snapshots.iter().filter(|s| s.stopped_at > window_start);
    let mut live: BTreeSet<Timeline> =
        stored.map(|object| object.timeline).chain(taken.map(|s| s.timeline)).collect();
    if newest_cluster {
        live.extend(crate::plan::path::known_timelines(recovery).last());
    }
    live
}

/// The anchor of a way, and what ended on it within the window.
fn serving(
    path: Path<'_>,
    terms: &Terms,
    now: Timestamp,
    last_resort: bool,
) -> (Option<String>, Vec<String>) {
    let carried = path.facts.snapshots.iter().filter(|snapshot| path.carries(snapshot));
    let (within, before): (Vec<&SnapshotFact>, Vec<&SnapshotFact>) =
        carried.partition(|s| s.stopped_at > terms.window_start(now));
    // One without its own log serves nobody.
    let sound = |s: &&&SnapshotFact| s.damaged_pages == 0 && path.end(s.start) >= s.stop;
    let anchor = before.iter().filter(sound).max_by_key(|s| (s.stopped_at, s.stop));
    let last = last_resort && !within.iter().any(|s| sound(&s));
    let anchor = anchor.filter(|s| s.stopped_at > terms.horizon(now) || last);
    let ids = within.iter().map(|s| s.id.clone()).collect();
    (anchor.map(|s| s.id.clone()), ids)
}

/// The weekly ones: of each week, which begins with the weekly day, the first undamaged one, or
/// else the first (RULES 17: "if that fails, the next success is the weekly one"). One that was
/// copied counts, here or not: its successors in the week do not become weekly when it leaves.
pub(super) fn weekly<'f>(facts: &'f RetentionFacts, terms: &Terms) -> BTreeSet<&'f str> {
    let here = facts.snapshots.iter().map(|s| (s.fact.damaged_pages, s.due_at, &s.fact.id));
    let there = facts.copies.iter().map(|copy| (copy.damaged_pages, copy.due_at, &copy.id));
    let mut first: BTreeMap<Date, (bool, Timestamp, &str)> = BTreeMap::new();
    for (damaged_pages, due_at, id) in here.chain(there) {
        let due = due_at.to_zoned(terms.zone.clone()).date();
        let order = (damaged_pages > 0, due_at, id.as_str());
        let best = first.entry(week_of(due, terms.weekly_day)).or_insert(order);
        *best = order.min(*best);
    }
    first.into_values().map(|(_, _, id)| id).collect()
}

/// The day that the week of `date` began with.
fn week_of(date: Date, begins: Weekday) -> Date {
    let days = date.weekday().since(begins);
    date.checked_sub(jiff::Span::new().days(days)).unwrap_or(date)
}
