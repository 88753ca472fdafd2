//! The vaults of every epoch pruned, and those removed whole that have ended and hold nothing more.
//!
//! A vault that nothing is written to any more loses its snapshots and packs as any other does:
//! marked first, deleted by a run after the grace. When nothing but an empty vault is left, that
//! goes too: config, keys and index, and its password last of all. Without its config there is no
//! vault, so that a run that was cut short leaves what the next one finds by its password.

use crate::error::Result;
use crate::plan::retention::LeftoverKind;
use crate::ports::store::Lock;
use crate::repository::manifest::SnapshotManifest;
use crate::repository::vault::prune::{Guard, Pruned, Pruning};

use super::apply::{Expiry, GRACE};
use super::facts::{self, Known};
use super::leftovers;
use super::locked::Locked;

impl Expiry {
    /// Prunes every vault to those snapshots of `staying` that lie in it.
    pub(super) fn prune(
        &self,
        known: &Known,
        staying: &[&SnapshotManifest],
        lock: &dyn Lock,
    ) -> Result<Pruned> {
        let (allowed, undisturbed) = (|| lock.check(), || self.is_undisturbed(known));
        let guard = Guard { allowed: &allowed, undisturbed: &undisturbed };
        let mut sum = Pruned::default();
        for (epoch, vault) in &known.vaults {
            let keep = facts::vault_ids(staying.iter().copied(), *epoch)?;
            let pruning = Pruning {
                now: self.clock.now(),
                grace: GRACE,
                write: self.write,
                entropy: self.entropy.clone(),
                listed: known.in_vaults.get(epoch).cloned().unwrap_or_default(),
            };
            add(&mut sum, vault.prune(&keep, &pruning, &guard)?);
        }
        Ok(sum)
    }

    /// Removes what is left of the epochs that have ended and of which no snapshot stays; returns
    /// them. Call it after [`Expiry::prune`], which leaves packs as long as anybody may read them.
    pub(super) fn remove_ended(
        &self,
        known: &Known,
        staying: &[&SnapshotManifest],
        lock: &dyn Lock,
        locked: &mut Locked,
    ) -> Result<Vec<u32>> {
        let mut removed = Vec::new();
        for (epoch, parts) in leftovers::of_vaults(&self.repository, &self.resource)? {
            let is_named = staying.iter().any(|manifest| manifest.vault.epoch == epoch);
            // What nobody can open, because its password or its config is gone, nobody reads.
            let is_read = known.vaults.contains_key(&epoch)
                && parts.iter().any(|part| part.kind == LeftoverKind::Data);
            if is_named || is_read || !known.epochs.is_ended(epoch) {
                continue;
            }
            let mut is_gone = true;
            for part in &parts {
                lock.check()?;
                // What follows opens it.
                is_gone = locked.remove(self.repository.store.as_ref(), &part.key)?;
                if !is_gone {
                    break;
                }
            }
            if is_gone {
                removed.push(epoch);
            }
        }
        Ok(removed)
    }
}

fn add(sum: &mut Pruned, of: Pruned) {
    sum.snapshots_removed += of.snapshots_removed;
    sum.packs_marked += of.packs_marked;
    sum.bytes_copied += of.bytes_copied;
    sum.packs_deleted += of.packs_deleted;
    sum.bytes_deleted += of.bytes_deleted;
    sum.packs_waiting += of.packs_waiting;
    sum.packs_locked += of.packs_locked;
    sum.snapshots_locked += of.snapshots_locked;
    sum.locked_until = sum.locked_until.max(of.locked_until);
    sum.disturbed |= of.disturbed;
}
