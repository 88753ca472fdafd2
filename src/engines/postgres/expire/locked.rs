//! What the store itself keeps (Object Lock): it stays, is told, and makes nothing fail.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::ResourceName;
use crate::plan::retention::{RetentionFacts, RetentionPlan, Terms, plan};
use crate::ports::Store;
use crate::ports::store::locked_until;
use crate::repository::{Repository, layout};

/// Objects that were to be removed, and that the store locks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locked {
    pub objects: u64,
    /// When the last of their locks ends.
    pub until: Option<Timestamp>,
}

impl Locked {
    /// Removes the object unless it is locked, which is counted. Tells whether it is gone.
    pub(super) fn remove(&mut self, store: &dyn Store, key: &str) -> Result<bool> {
        let Err(error) = store.remove(key) else { return Ok(true) };
        let Some(until) = locked_until(&error) else { return Err(error) };
        self.objects += 1;
        self.until = self.until.max(Some(until));
        Ok(false)
    }
}

/// Plans. Of snapshots that would leave, and of no others, the store is asked for their locks:
/// those it locks stay, and the lock is named.
pub(super) fn plan_with_locks(
    repository: &Repository,
    resource: &ResourceName,
    facts: &mut RetentionFacts,
    terms: &Terms,
    now: Timestamp,
) -> Result<RetentionPlan> {
    let planned = plan(facts, terms, now);
    let store = repository.store.as_ref();
    let mut any = false;
    for ruling in planned.removed().filter(|_| store.locks()) {
        let until = store.retained_until(&layout::snapshot(resource, &ruling.id))?;
        any |= until.is_some_and(|until| until > now);
        let of = facts.snapshots.iter_mut().filter(|snapshot| snapshot.fact.id == ruling.id);
        of.for_each(|snapshot| snapshot.locked_until = until);
    }
    Ok(if any { plan(facts, terms, now) } else { planned })
}
