//! What stays although the promise would let it go, and who answers for that (RULES 19).

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::facts::{RetentionFacts, Role, Scope, StoredSnapshot, Terms};

/// A reason to keep something beyond its date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guard {
    /// A restore or drill reads it.
    Pinned {
        id: String,
    },
    Held {
        id: String,
        who: String,
        why: String,
        until: Option<Timestamp>,
    },
    /// By the store: Object Lock.
    Locked {
        until: Timestamp,
    },
    /// Of the newest `keep_min` of an active resource.
    AmongLast {
        keep_min: u32,
    },
    NewestProven,
    /// Nothing undamaged is newer.
    NewestUndamaged,
    /// It is the weekly one, and the repository of copies has none.
    NotCopied,
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::Pinned { id } => write!(f, "the reader `{id}` is at work on it"),
            Guard::Held { id, who, why, until } => {
                write!(f, "hold `{id}` by {who}: {why}")?;
                until.map_or(Ok(()), |until| write!(f, " (until {until})"))
            }
            Guard::Locked { until } => write!(f, "the store locks it until {until}"),
            Guard::AmongLast { keep_min } => {
                write!(f, "it is one of the last {keep_min} (`keep_min`)")
            }
            Guard::NewestProven => f.write_str("no newer one is proven by a drill"),
            Guard::NewestUndamaged => f.write_str("no newer one is undamaged"),
            Guard::NotCopied => f.write_str("the repository of copies does not have it yet"),
        }
    }
}

/// The snapshots that guards of an active resource speak of.
pub(super) struct Newest<'f> {
    last: Vec<&'f str>,
    proven: Option<&'f str>,
    undamaged: Option<&'f str>,
}

impl<'f> Newest<'f> {
    pub fn of(facts: &'f RetentionFacts, terms: &Terms) -> Newest<'f> {
        let mut by_age: Vec<&StoredSnapshot> = facts.snapshots.iter().collect();
        by_age.sort_by_key(|s| std::cmp::Reverse((s.fact.stopped_at, s.fact.id.as_str())));
        let newest = |wanted: &dyn Fn(&StoredSnapshot) -> bool| {
            by_age.iter().find(|s| wanted(s)).map(|s| s.fact.id.as_str())
        };
        let last = by_age.iter().take(terms.keep_min as usize).map(|s| s.fact.id.as_str());
        Newest {
            last: last.collect(),
            proven: newest(&|s| s.proven_at.is_some()),
            undamaged: newest(&|s| s.fact.damaged_pages == 0),
        }
    }
}

/// Every guard that keeps `snapshot` at `now`.
pub(super) fn of(
    snapshot: &StoredSnapshot,
    is_weekly: bool,
    newest: &Newest<'_>,
    facts: &RetentionFacts,
    terms: &Terms,
    now: Timestamp,
) -> Vec<Guard> {
    let id = snapshot.fact.id.as_str();
    let mut guards = Vec::new();
    let pins = |of: &Option<String>| of.as_deref().is_none_or(|pinned| pinned == id);
    for pin in facts.pins.iter().filter(|pin| pins(&pin.snapshot)) {
        guards.push(Guard::Pinned { id: pin.id.clone() });
    }
    for hold in facts.holds_at(now) {
        if hold.scope == Scope::Everything || hold.scope == Scope::Snapshot(id.to_owned()) {
            let (id, who, why) = (hold.id.clone(), hold.who.clone(), hold.why.clone());
            guards.push(Guard::Held { id, who, why, until: hold.until });
        }
    }
    if let Some(until) = snapshot.locked_until.filter(|until| *until > now) {
        guards.push(Guard::Locked { until });
    }
    // A retired resource owes its data an end.
    if terms.active || snapshot.fact.stopped_at > terms.horizon(now) {
        if newest.last.contains(&id) {
            guards.push(Guard::AmongLast { keep_min: terms.keep_min });
        }
        if newest.proven == Some(id) {
            guards.push(Guard::NewestProven);
        }
        if newest.undamaged == Some(id) {
            guards.push(Guard::NewestUndamaged);
        }
    }
    // Only so long as it would be kept there.
    let owed = is_weekly && snapshot.fact.stopped_at > terms.weekly_horizon(now);
    let copied = facts.copies.iter().any(|copy| copy.id == id);
    if terms.role == Role::Main && owed && !copied {
        guards.push(Guard::NotCopied);
    }
    guards
}
