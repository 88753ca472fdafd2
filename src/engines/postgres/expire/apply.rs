//! Removes what a plan lets go, under the lock that keeps other writers of the vault out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Attempt, Error, Result};
use crate::model::ResourceName;
use crate::plan::retention::check::check;
use crate::plan::retention::{Closing, RetentionPlan, Terms};
use crate::ports::store::{Lock, Put, locked_until};
use crate::ports::{Clock, Entropy};
use crate::repository::manifest::SnapshotManifest;
use crate::repository::vault::WriteSettings;
use crate::repository::vault::prune::Pruned;
use crate::repository::{Repository, layout};

use super::super::vaults::{self, Writing};
use super::arrived::Arrived;
use super::facts::{self, Known};
use super::locked::{Locked, plan_with_locks};

/// A pack that left the index may still be read by an index loaded before. With a run a day,
/// data is gone 48 hours after it expired (RULES 18).
pub(super) const GRACE: Duration = Duration::from_secs(12 * 3_600);
/// Objects removed between two looks at the lock.
const BATCH: usize = 50;

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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Applied {
    pub snapshots: u64,
    pub log_objects: u64,
    /// Of the vaults of all epochs. `None` while somebody reads, or where anybody arrived: then
    /// nothing is pruned.
    pub vault: Option<Pruned>,
    /// Epochs of the vault that had ended, and of which nothing is left now.
    pub epochs_removed: Vec<u32>,
    /// Of a retired resource of which no data is left: all the rest, but for the evidence.
    pub leftovers: u64,
    /// Of the log, and of what is left over, what the store locks; it goes later.
    pub locked: Locked,
    /// Readers, holds and locks of snapshots that came after the plan was made. With any, no log
    /// is removed either.
    pub arrived: Vec<String>,
    /// Snapshots that would have left, and are there again for whoever arrived.
    pub put_back: Vec<String>,
}

/// What became of the manifests that were to go.
#[derive(Default)]
struct Manifests {
    removed: Vec<RemovedManifest>,
    /// Each in words.
    locked: Vec<String>,
}

/// A manifest that was removed, as it was stored.
struct RemovedManifest {
    id: String,
    key: String,
    body: Vec<u8>,
}

impl Expiry {
    /// What would be done now, read by the checker; removes nothing.
    pub fn plan(&self) -> Result<RetentionPlan> {
        self.read(None).map(|(_, planned)| planned)
    }

    /// Plans under the lock and removes what has no place left. `confirmed` says that a person
    /// has looked at what is unusual about the plan.
    ///
    /// # Errors
    /// Refused if the checker finds the plan unsafe, or if it is unusual and not confirmed;
    /// `Busy` while a snapshot is being taken. Refused as well if a hold is given while manifests
    /// are being removed: it ends then, with what the hold names put back. A resource cannot be
    /// reinstated meanwhile: that takes the same lock.
    pub fn apply(&self, confirmed: bool) -> Result<(RetentionPlan, Applied)> {
        let (now, entropy) = (self.clock.now(), self.entropy.as_ref());
        // Of two runs that both take the other for dead, one goes on.
        let lock = vaults::write(&self.repository, &self.resource, now, entropy)?;
        let (known, planned) = self.read(Some(lock.pin_id()))?;
        if !planned.doubts.is_empty() && !confirmed {
            return Err(Error::refused("this is not the usual retention")
                .because(planned.doubts.join("; "))
                .hint("Look at it without --apply; if it is right, add --confirm."));
        }
        let mut manifests = Manifests::default();
        let done = self.remove_manifests(&known, &planned, &lock, &mut manifests);
        // Whatever stopped it, who arrived meanwhile gets back what was taken from under him.
        let now = self.clock.now();
        let arrived = Arrived::since(&known, &self.repository, &self.resource, now);
        let put_back = match &arrived {
            Ok(arrived) => self.put_back(&manifests.removed, arrived),
            Err(_) => Ok(Vec::new()),
        };
        done?;
        let (arrived, put_back) = (arrived?, put_back?);
        let snapshots = (manifests.removed.len() - put_back.len()) as u64;
        let (mut log_objects, mut vault, mut locked) = (0, None, Locked::default());
        let mut epochs_removed = Vec::new();
        let as_planned = arrived.is_empty() && manifests.locked.is_empty();
        if as_planned {
            log_objects = self.remove_log(&planned, &lock, &mut locked)?;
            if known.facts.pins.is_empty() {
                let leaving: BTreeSet<&str> = planned.removed().map(|r| r.id.as_str()).collect();
                let staying = known.manifests.iter().filter(|m| !leaving.contains(m.id.as_str()));
                let staying: Vec<&SnapshotManifest> = staying.collect();
                self.remove_late(&known, &lock, &mut locked)?;
                vault = Some(self.prune(&known, &staying, &lock)?);
                epochs_removed = self.remove_ended(&known, &staying, &lock, &mut locked)?;
            }
        }
        let leftovers = match known.retirement.is_some() && as_planned {
            true => self.close(&lock, &mut locked)?,
            false => 0,
        };
        let arrived = arrived.told().into_iter().chain(manifests.locked).collect();
        let applied = Applied {
            snapshots,
            log_objects,
            vault,
            epochs_removed,
            leftovers,
            locked,
            arrived,
            put_back,
        };
        Ok((planned, applied))
    }

    /// Removes the manifests of what leaves. A hold is an order: each is asked for last thing.
    fn remove_manifests(
        &self,
        known: &Known,
        planned: &RetentionPlan,
        lock: &dyn Lock,
        manifests: &mut Manifests,
    ) -> Result<()> {
        let (store, removed) = (&self.repository.store, &mut manifests.removed);
        for ruling in planned.removed() {
            let key = layout::snapshot(&self.resource, &ruling.id);
            let Some(body) = store.get(&key)? else { continue };
            lock.check()?;
            let now = self.clock.now();
            let arrived = Arrived::holds_since(known, &self.repository, &self.resource, now)?;
            if !arrived.is_empty() {
                let put_back = self.put_back(removed, &arrived)?;
                return Err(interrupted(&arrived, removed.len() - put_back.len()));
            }
            // Noted first: that it failed does not say that it was not done.
            removed.push(RemovedManifest { id: ruling.id.clone(), key: key.clone(), body });
            let Err(error) = store.remove(&key) else { continue };
            // This one does say so.
            let Some(until) = locked_until(&error) else { return Err(error) };
            removed.pop();
            let id = &ruling.id;
            manifests.locked.push(format!("the store locks snapshot {id} until {until}"));
        }
        Ok(())
    }

    /// Puts back what was removed although somebody who arrived keeps it: between the last look
    /// and the removal there is always an instant. Nothing else of it has been touched yet.
    fn put_back(&self, removed: &[RemovedManifest], arrived: &Arrived) -> Result<Vec<String>> {
        let mut put_back = Vec::new();
        for manifest in removed.iter().filter(|manifest| arrived.keeps(&manifest.id)) {
            let what = || format!("put {} back, which is kept again", manifest.key);
            match self.repository.store.put_new(&manifest.key, &manifest.body).attempt(what)? {
                Put::Created | Put::Exists => put_back.push(manifest.id.clone()),
            }
        }
        Ok(put_back)
    }

    /// `own_pin` is that of this run, which waits for nobody.
    fn read(&self, own_pin: Option<&str>) -> Result<(Known, RetentionPlan)> {
        let now = self.clock.now();
        let (repository, resource) = (&self.repository, &self.resource);
        let mut known = facts::read(repository, self.copies.as_ref(), resource, own_pin, now)?;
        let terms = self.terms.given(&known.facts);
        let planned = plan_with_locks(repository, resource, &mut known.facts, &terms, now)?;
        let wrong = check(&planned, &known.facts, &terms);
        match wrong.is_empty() {
            true => Ok((known, planned)),
            false => {
                Err(Error::refused(format!("the retention plan of {} is unsafe", self.resource))
                    .because(wrong.join("; "))
                    .hint("Nothing was removed. This is a fault of the program: report it."))
            }
        }
    }

    fn remove_log(
        &self,
        planned: &RetentionPlan,
        lock: &dyn Lock,
        locked: &mut Locked,
    ) -> Result<u64> {
        let leaving: Vec<&str> =
            planned.log.iter().filter(|r| !r.stays).map(|r| r.key.as_str()).collect();
        let mut removed = 0;
        for batch in leaving.chunks(BATCH) {
            lock.check()?;
            for key in batch {
                removed += u64::from(locked.remove(self.repository.store.as_ref(), key)?);
            }
        }
        Ok(removed)
    }

    /// Removes what is left of a retired resource once its data is gone, by facts read anew: the
    /// log and the vault have just been cleared. Whatever a kill leaves, the next run finds.
    fn close(&self, lock: &Writing, locked: &mut Locked) -> Result<u64> {
        let (_, planned) = self.read(Some(lock.pin_id()))?;
        let Closing::Due(leftovers) = planned.closing else { return Ok(0) };
        let mut removed = 0;
        for leftover in &leftovers {
            lock.check()?;
            // What follows explains it, or opens it.
            if !locked.remove(self.repository.store.as_ref(), &leftover.key)? {
                break;
            }
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes manifests that never counted: of what they name, the vault knows nobody.
    fn remove_late(&self, known: &Known, lock: &dyn Lock, locked: &mut Locked) -> Result<()> {
        for manifest in &known.late {
            lock.check()?;
            let key = layout::snapshot(&self.resource, &manifest.id);
            locked.remove(self.repository.store.as_ref(), &key)?;
        }
        Ok(())
    }

    /// Whether nobody writes or reads now, or did since `known` was read and left something.
    pub(super) fn is_undisturbed(&self, known: &Known) -> Result<bool> {
        let (repository, resource) = (&self.repository, &self.resource);
        if !known.pins(repository, resource, self.clock.now())?.is_empty() {
            return Ok(false);
        }
        let known = known.manifests.iter().chain(&known.late);
        let known: BTreeSet<String> =
            known.map(|manifest| layout::snapshot(resource, &manifest.id)).collect();
        let listed = repository.store.list(&layout::snapshots(resource))?;
        Ok(listed.iter().all(|entry| known.contains(&entry.key)))
    }
}

fn interrupted(arrived: &Arrived, removed: usize) -> Error {
    Error::refused("retention did not go on: something was held after its plan was made")
        .because(arrived.told().join("; "))
        .hint(format!(
            "Run it again: it rules with the hold. {removed} snapshots had left before, none of \
             them held; their log and files are still there."
        ))
}
