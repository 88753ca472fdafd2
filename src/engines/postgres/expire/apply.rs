//! Removes what a plan lets go, under the lock that keeps other writers of the vault out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::error::{Attempt, Error, Result};
use crate::model::ResourceName;
use crate::plan::retention::check::check;
use crate::plan::retention::{RetentionPlan, Terms, plan};
use crate::ports::store::Lock;
use crate::ports::{Clock, Entropy};
use crate::repository::manifest::SnapshotManifest;
use crate::repository::vault::prune::{Pruned, Pruning};
use crate::repository::vault::{Id, Vault, WriteSettings};
use crate::repository::{Repository, layout, secrets};

use super::facts::{self, Known};

/// A pack that left the index may still be read by an index loaded before. With a run a day,
/// data is gone 48 hours after it expired (RULES 18).
const GRACE: Duration = Duration::from_secs(12 * 3_600);
/// Objects removed between two looks at the lock.
const BATCH: usize = 50;
/// The vault's key is of this epoch; rotation of keys counts it up.
const EPOCH: u32 = 1;

/// What retention of one resource works with.
pub struct Expiry {
    pub repository: Repository,
    /// Where its weekly snapshots are copied to.
    pub copies: Option<Repository>,
    pub resource: ResourceName,
    pub terms: Terms,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub write: WriteSettings,
}

/// What was removed.
#[derive(Debug, Clone, Serialize)]
pub struct Applied {
    pub snapshots: u64,
    pub log_objects: u64,
    /// `None` while somebody reads: then nothing is pruned.
    pub vault: Option<Pruned>,
}

impl Expiry {
    /// What would be done now, read by the checker; removes nothing.
    pub fn plan(&self) -> Result<RetentionPlan> {
        self.read().map(|(_, planned)| planned)
    }

    /// Plans under the lock and removes what has no place left. `confirmed` says that a person
    /// has looked at what is unusual about the plan.
    ///
    /// # Errors
    /// Refused if the checker finds the plan unsafe, or if it is unusual and not confirmed;
    /// `Busy` while a snapshot is being taken.
    pub fn apply(&self, confirmed: bool) -> Result<(RetentionPlan, Applied)> {
        let store = &self.repository.store;
        let lock = store.lock(&format!("postgres/{}/vault", self.resource))?;
        let (known, planned) = self.read()?;
        if !planned.doubts.is_empty() && !confirmed {
            return Err(Error::refused("this is not the usual retention")
                .because(planned.doubts.join("; "))
                .hint("Look at it without --apply; if it is right, add --confirm."));
        }
        let leaving: BTreeSet<&str> = planned.removed().map(|r| r.id.as_str()).collect();
        for id in &leaving {
            lock.check()?;
            store.remove(&layout::snapshot(&self.resource, id))?;
        }
        let log_objects = self.remove_log(&planned, lock.as_ref())?;
        let staying = known.manifests.iter().filter(|m| !leaving.contains(m.id.as_str()));
        let vault = match known.facts.pins.is_empty() {
            true => Some(self.prune(&staying.collect::<Vec<_>>(), lock.as_ref())?),
            false => None,
        };
        let snapshots = leaving.len() as u64;
        drop(leaving);
        Ok((planned, Applied { snapshots, log_objects, vault }))
    }

    fn read(&self) -> Result<(Known, RetentionPlan)> {
        let now = self.clock.now();
        let known = facts::read(&self.repository, self.copies.as_ref(), &self.resource, now)?;
        let planned = plan(&known.facts, &self.terms, now);
        let wrong = check(&planned, &known.facts, &self.terms);
        match wrong.is_empty() {
            true => Ok((known, planned)),
            false => {
                Err(Error::refused(format!("the retention plan of {} is unsafe", self.resource))
                    .because(wrong.join("; "))
                    .hint("Nothing was removed. This is a fault of the program: report it."))
            }
        }
    }

    fn remove_log(&self, planned: &RetentionPlan, lock: &dyn Lock) -> Result<u64> {
        let leaving: Vec<&str> =
            planned.log.iter().filter(|r| !r.stays).map(|r| r.key.as_str()).collect();
        for batch in leaving.chunks(BATCH) {
            lock.check()?;
            for key in batch {
                self.repository.store.remove(key)?;
            }
        }
        Ok(leaving.len() as u64)
    }

    fn prune(&self, staying: &[&SnapshotManifest], lock: &dyn Lock) -> Result<Pruned> {
        let (store, prefix) = (self.repository.store.clone(), layout::vault(&self.resource, EPOCH));
        if !Vault::exists(store.as_ref(), &prefix)? {
            return Ok(Pruned::default());
        }
        let name = secrets::vault_password(&self.resource, EPOCH);
        let password = secrets::read(&self.repository, &name)?.ok_or_else(|| {
            Error::failed(format!("the password of the vault, {name}, is not in the repository"))
        })?;
        let vault = Vault::open(store, &prefix, &password)?;
        let keep: BTreeSet<Id> = staying
            .iter()
            .map(|manifest| manifest.vault.snapshot.parse())
            .collect::<Result<_, _>>()
            .attempt(|| "read the ids of the snapshots that stay".to_owned())?;
        let pruning = Pruning {
            now: self.clock.now(),
            grace: GRACE,
            write: self.write,
            entropy: self.entropy.clone(),
        };
        vault.prune(&keep, &pruning, &|| lock.check())
    }
}
