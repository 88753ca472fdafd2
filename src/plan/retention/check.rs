//! Reads a retention plan before anything is removed, and refuses what must not be. Pure.
//!
//! Deliberately made another way than the plan: it knows no anchors and no segments that are
//! needed. It looks at each removal by itself, and then asks the recovery planner what can be
//! recovered before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::closing::{Closing, LeftoverKind};
use super::facts::{RetentionFacts, Role, Scope, StoredSnapshot, Terms};
use super::plan::RetentionPlan;
use crate::model::{Lsn, Timeline, WalInventory};
use crate::plan::facts::{RecoveryFacts, Request, Target};
use crate::plan::path::known_timelines;
use crate::plan::recovery;

/// Instants of the window that are tried, besides the end of the log.
const PROBES: u32 = 4;

/// What is wrong with `plan`; nothing, if it is safe.
pub fn check(plan: &RetentionPlan, facts: &RetentionFacts, terms: &Terms) -> Vec<String> {
    let mut wrong = Vec::new();
    complete(plan, facts, &mut wrong);
    let removed: BTreeSet<&str> = plan.removed().map(|ruling| ruling.id.as_str()).collect();
    for snapshot in &facts.snapshots {
        match removed.contains(snapshot.fact.id.as_str()) {
            true => removal(plan, facts, terms, snapshot, &mut wrong),
            false => stay(plan, snapshot, &mut wrong),
        }
    }
    guards_of_active(plan, facts, terms, &removed, &mut wrong);
    unread_log(plan, facts, terms, &mut wrong);
    end(plan, facts, terms, &mut wrong);
    let gone: BTreeSet<&str> =
        plan.log.iter().filter(|ruling| !ruling.stays).map(|ruling| ruling.key.as_str()).collect();
    if !gone.is_empty() && untouchable(plan, facts) {
        wrong.push("log would go although everything is to stay".to_owned());
    }
    for (number, log) in facts.logs.iter().enumerate() {
        let present = number + 1 == facts.logs.len();
        let before = recovery_facts(facts, log, &BTreeSet::new(), &BTreeSet::new());
        let after = recovery_facts(facts, log, &removed, &gone);
        reach(plan, &before, &after, present, &mut wrong);
    }
    wrong
}

/// Each item is ruled on once, and nothing else is.
fn complete(plan: &RetentionPlan, facts: &RetentionFacts, wrong: &mut Vec<String>) {
    let mut known: Vec<&str> = facts.snapshots.iter().map(|s| s.fact.id.as_str()).collect();
    let mut ruled: Vec<&str> = plan.snapshots.iter().map(|ruling| ruling.id.as_str()).collect();
    known.sort_unstable();
    ruled.sort_unstable();
    if known != ruled {
        wrong.push("the plan does not rule on each snapshot once".to_owned());
    }
    let objects = facts.logs.iter().flat_map(|log| &log.objects).map(|object| &object.key);
    let others = || facts.logs.iter().flat_map(|log| &log.others);
    let understood = others().filter(|object| object.timeline.is_some());
    let mut known: Vec<&String> = objects.chain(understood.map(|object| &object.key)).collect();
    let mut ruled: Vec<&String> = plan.log.iter().map(|ruling| &ruling.key).collect();
    known.sort_unstable();
    ruled.sort_unstable();
    if known != ruled {
        wrong.push("the plan does not rule on each object of the log once".to_owned());
    }
    let strange = others().filter(|object| object.timeline.is_none()).map(|object| &object.key);
    let strange: BTreeSet<&String> = strange.chain(&facts.unclaimed).collect();
    let told: BTreeSet<&String> = plan.strangers.iter().collect();
    if strange != told {
        wrong.push("the plan does not tell of each key that is not understood".to_owned());
    }
}

/// What no recovery reads goes by its age alone: not before the window has passed it, nor later.
fn unread_log(
    plan: &RetentionPlan,
    facts: &RetentionFacts,
    terms: &Terms,
    wrong: &mut Vec<String>,
) {
    let daily = terms.daily.0.as_secs() as i64;
    let stays: BTreeMap<&str, bool> =
        plan.log.iter().map(|ruling| (ruling.key.as_str(), ruling.stays)).collect();
    for object in facts.logs.iter().flat_map(|log| &log.others) {
        let is_young = plan.now.duration_since(object.stored_at).as_secs() < daily;
        match stays.get(object.key.as_str()) {
            Some(false) if is_young => {
                wrong.push(format!("{} would go, younger than the window", object.key));
            }
            Some(true) if !is_young && !untouchable(plan, facts) => {
                wrong.push(format!("{} outlives the window, and nothing needs it", object.key));
            }
            // Whether it is ruled on at all is asked elsewhere.
            Some(_) | None => {}
        }
    }
}

/// What tells of data, or opens it, goes after all data, and of no resource in use.
fn end(plan: &RetentionPlan, facts: &RetentionFacts, terms: &Terms, wrong: &mut Vec<String>) {
    let Closing::Due(leaving) = &plan.closing else { return };
    if terms.active || facts.retired_at.is_none() {
        wrong.push("the resource would be closed although it is in use".to_owned());
    }
    let is_there = !plan.snapshots.is_empty() || !plan.log.is_empty();
    let leaves = leaving.iter().any(|leftover| leftover.kind == LeftoverKind::Data);
    if is_there || leaves || untouchable(plan, facts) {
        wrong.push("the resource would be closed although data of it is there".to_owned());
    }
}

fn untouchable(plan: &RetentionPlan, facts: &RetentionFacts) -> bool {
    let held = facts.holds_at(plan.now).any(|hold| hold.scope == Scope::Everything);
    held || !facts.pins.is_empty()
}

fn removal(
    plan: &RetentionPlan,
    facts: &RetentionFacts,
    terms: &Terms,
    snapshot: &StoredSnapshot,
    wrong: &mut Vec<String>,
) {
    let (fact, now) = (&snapshot.fact, plan.now);
    let mut refuse = |why: &str| wrong.push(format!("snapshot `{}` would go: {why}", fact.id));
    let age = now.duration_since(fact.stopped_at);
    let daily = terms.daily.0.as_secs() as i64;
    let all = daily + terms.weekly_extra.0.as_secs() as i64;
    if age.as_secs() < daily {
        refuse("it is younger than the window");
    }
    if age.as_secs() < all && is_first_of_week(facts, terms, snapshot) {
        match terms.role {
            Role::Only | Role::Copies => refuse("it is the weekly one"),
            Role::Main if facts.copies.iter().any(|copy| copy.id == fact.id) => {}
            Role::Main => refuse("it is the weekly one, and not copied"),
        }
    }
    if snapshot.locked_until.is_some_and(|until| until > now) {
        refuse("the store locks it");
    }
    let named = |of: &Option<String>| of.as_ref().is_none_or(|id| *id == fact.id);
    if facts.pins.iter().any(|pin| named(&pin.snapshot)) {
        refuse("it is being read");
    }
    let mut holds = facts.holds.iter().filter(|hold| hold.until.is_none_or(|until| until > now));
    if holds.any(|hold| match &hold.scope {
        Scope::Everything => true,
        Scope::Snapshot(id) => *id == fact.id,
    }) {
        refuse("a hold keeps it");
    }
}

/// Whether no undamaged one was due before it in its week, or, if all of it is damaged, none.
fn is_first_of_week(facts: &RetentionFacts, terms: &Terms, snapshot: &StoredSnapshot) -> bool {
    let day = |due_at: Timestamp| due_at.to_zoned(terms.zone.clone()).date();
    let own = day(snapshot.due_at);
    // Back to the day that began the week, forth to the one before the next.
    let back = (0..7).filter_map(|days| own.checked_sub(jiff::Span::new().days(days)).ok());
    let Some(begin) = back.into_iter().find(|date| date.weekday() == terms.weekly_day) else {
        return false;
    };
    let end = begin.checked_add(jiff::Span::new().days(6)).unwrap_or(begin);
    let of_week = facts.snapshots.iter().filter(|s| (begin..=end).contains(&day(s.due_at)));
    let rank = |s: &StoredSnapshot| (s.fact.damaged_pages > 0, s.due_at, s.fact.id.clone());
    let copied = facts.copies.iter().filter(|copy| (begin..=end).contains(&day(copy.due_at)));
    let copied = copied.map(|copy| (copy.damaged_pages > 0, copy.due_at, copy.id.clone()));
    of_week.map(rank).chain(copied).min() == Some(rank(snapshot))
}

/// Nothing outlives the horizon unless a guard is named for it.
fn stay(plan: &RetentionPlan, snapshot: &StoredSnapshot, wrong: &mut Vec<String>) {
    let ruling = plan.snapshots.iter().find(|ruling| ruling.id == snapshot.fact.id);
    let promised = ruling.is_some_and(|ruling| !ruling.is_overdue());
    if promised && snapshot.fact.stopped_at <= plan.horizon {
        let id = &snapshot.fact.id;
        wrong.push(format!("snapshot `{id}` outlives the horizon, and no guard is named"));
    }
}

/// In an active resource: the newest ones, a proven one, an undamaged one.
fn guards_of_active(
    plan: &RetentionPlan,
    facts: &RetentionFacts,
    terms: &Terms,
    removed: &BTreeSet<&str>,
    wrong: &mut Vec<String>,
) {
    if !terms.active {
        return;
    }
    let mut by_age: Vec<&StoredSnapshot> = facts.snapshots.iter().collect();
    by_age.sort_by(|a, b| {
        (b.fact.stopped_at, b.fact.id.as_str()).cmp(&(a.fact.stopped_at, a.fact.id.as_str()))
    });
    let is_removed = |s: &&&StoredSnapshot| removed.contains(s.fact.id.as_str());
    if by_age.iter().take(terms.keep_min as usize).any(|s| is_removed(&s)) {
        wrong.push(format!("one of the last {} would go", terms.keep_min));
    }
    if by_age.iter().find(|s| s.proven_at.is_some()).is_some_and(|s| is_removed(&s)) {
        wrong.push("the newest proven one would go".to_owned());
    }
    if by_age.iter().find(|s| s.fact.damaged_pages == 0).is_some_and(|s| is_removed(&s)) {
        wrong.push("the newest undamaged one would go".to_owned());
    }
    if !facts.snapshots.is_empty() && plan.snapshots.iter().all(|ruling| !ruling.stays()) {
        wrong.push("nothing would be left".to_owned());
    }
}

fn recovery_facts(
    facts: &RetentionFacts,
    log: &WalInventory,
    removed: &BTreeSet<&str>,
    gone: &BTreeSet<&str>,
) -> RecoveryFacts {
    let snapshots = facts.snapshots.iter().map(|snapshot| &snapshot.fact);
    let left = snapshots.filter(|s| s.system_id == log.system_id);
    let mut wal = log.clone();
    wal.objects.retain(|object| !gone.contains(object.key.as_str()));
    RecoveryFacts {
        snapshots: left.filter(|s| !removed.contains(s.id.as_str())).cloned().collect(),
        wal,
        log_stored_until: None,
        speeds: None,
    }
}

/// Whatever could be recovered within the window still can, along the same log; and each snapshot
/// that stays is as good as it was.
fn reach(
    plan: &RetentionPlan,
    before: &RecoveryFacts,
    after: &RecoveryFacts,
    present: bool,
    wrong: &mut Vec<String>,
) {
    let window = plan.now.duration_since(plan.window_start).unsigned_abs();
    let instant = |share: u32| {
        let at = plan.window_start.checked_add(window / PROBES * share);
        Target::At(at.unwrap_or(plan.now))
    };
    let targets: Vec<Target> = (0..PROBES).map(instant).chain([Target::Latest]).collect();
    for timeline in timelines_of_window(plan.window_start, before, present) {
        for target in &targets {
            let mut request = Request::to(target.clone());
            request.timeline = Some(timeline);
            same(plan, &request, before, after, wrong);
        }
    }
    for snapshot in &after.snapshots {
        let target = Target::Consistent { snapshot: snapshot.id.clone() };
        let timeline = Some(snapshot.timeline);
        let request = Request { target, timeline, allow_damaged: true };
        same(plan, &request, before, after, wrong);
    }
}

/// Those with log of the window, which the operator may name, and the newest of the present one.
fn timelines_of_window(
    window_start: Timestamp,
    before: &RecoveryFacts,
    present: bool,
) -> BTreeSet<Timeline> {
    let objects = before.wal.objects.iter();
    let young = objects.filter(|object| object.stored_at > window_start).map(|o| o.timeline);
    let newest = known_timelines(before).last().copied().filter(|_| present);
    young.chain(newest).collect()
}

fn same(
    plan: &RetentionPlan,
    request: &Request,
    before: &RecoveryFacts,
    after: &RecoveryFacts,
    wrong: &mut Vec<String>,
) {
    // A recovery of the future is refused; this one is planned after all that is known.
    let later = plan.now.checked_add(Duration::from_secs(1)).unwrap_or(plan.now);
    let Ok(could) = recovery::plan(before, request, later) else { return };
    // The promise ends at the horizon, also for an anchor.
    let within = could.snapshot.stopped_at > plan.horizon;
    let end = |planned: &recovery::RecoveryPlan| -> Lsn { planned.end };
    match recovery::plan(after, request, later) {
        Ok(can) if end(&can) == end(&could) => {}
        _ if !within => {}
        Ok(can) => wrong.push(format!(
            "recovery to {} would end at {} instead of {}",
            request.target, can.end, could.end
        )),
        Err(refusal) => {
            wrong.push(format!("recovery to {} would be refused: {refusal:?}", request.target));
        }
    }
}
