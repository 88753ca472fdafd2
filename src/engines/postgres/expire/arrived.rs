//! Readers and holds that came after a plan was made: it did not rule with them, and they win.

use jiff::Timestamp;

use crate::error::Result;
use crate::model::ResourceName;
use crate::plan::retention::{Hold, Pin, Scope};
use crate::repository::{Repository, hold};

use super::facts::{self, Known};

/// What a plan did not know of.
pub(super) struct Arrived {
    pins: Vec<Pin>,
    holds: Vec<Hold>,
}

impl Arrived {
    /// Everything that is in force now and was not when `known` was read.
    pub(super) fn since(
        known: &Known,
        repository: &Repository,
        resource: &ResourceName,
        now: Timestamp,
    ) -> Result<Arrived> {
        let mut arrived = Arrived::holds_since(known, repository, resource, now)?;
        arrived.pins = known.pins(repository, resource, now)?;
        let is_known = |pin: &Pin| known.facts.pins.iter().any(|before| before.id == pin.id);
        arrived.pins.retain(|pin| !is_known(pin));
        Ok(arrived)
    }

    /// The holds alone: one listing, as long as none is new.
    pub(super) fn holds_since(
        known: &Known,
        repository: &Repository,
        resource: &ResourceName,
        now: Timestamp,
    ) -> Result<Arrived> {
        let mut arrived = Arrived { pins: Vec::new(), holds: Vec::new() };
        if !hold::ids(repository, resource)?.is_subset(&known.holds) {
            let all = hold::all(repository, resource)?.into_iter();
            let new = all.filter(|record| !known.holds.contains(&record.hold.id));
            let new = new.filter(|record| record.is_in_force(now));
            arrived.holds = new.map(facts::in_force).collect();
        }
        Ok(arrived)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pins.is_empty() && self.holds.is_empty()
    }

    /// Whether any of them is on the snapshot `id`.
    pub(super) fn keeps(&self, id: &str) -> bool {
        let pinned = |pin: &Pin| pin.snapshot.as_deref().is_none_or(|of| of == id);
        let held = |hold: &Hold| match &hold.scope {
            Scope::Everything => true,
            Scope::Snapshot(of) => of == id,
        };
        self.pins.iter().any(pinned) || self.holds.iter().any(held)
    }

    /// Each in words.
    pub(super) fn told(&self) -> Vec<String> {
        let pins = self.pins.iter().map(|pin| format!("the reader `{}` has begun", pin.id));
        let hold = |hold: &Hold| format!("hold `{}` was given by {}", hold.id, hold.who);
        pins.chain(self.holds.iter().map(hold)).collect()
    }
}
