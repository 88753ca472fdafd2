//! Which objects are to be locked, and until when.
//!
//! Locked are manifests, the vault's snapshots and packs, whole segments of log, and what opens
//! and explains them: `fenice.json`, the vault's password, key and config, the records of clusters
//! and the histories of timelines, each as long as the last that needs it. Sealing anew
//! (`Store::replace`) goes on with locks: the new version is locked as the old one was, and what
//! the old ones still give away is told.
//!
//! Not locked: index files, which pruning replaces and which can be made again from the packs;
//! parts of segments, which whole ones replace; the heartbeats' key, gaps, holds and reports,
//! without which everything can be recovered; what a retired resource leaves is evidence.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::error::{Attempt, Result};
use crate::model::WalName;
use crate::plan::retention::locks::{LockPlan, least, locks};
use crate::plan::retention::plan;
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::vault::Id;
use crate::repository::vault::stays::Stay;
use crate::repository::{layout, secrets};

use super::super::expire::facts::{self, Known};
use super::super::{overview, vaults};
use super::Locking;

/// One object that is to be locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub key: String,
    pub until: Timestamp,
}

/// All of them: what makes recovery points known first, then what they are made of.
pub(super) fn read(locking: &Locking, now: Timestamp) -> Result<Vec<Wanted>> {
    let (repository, resource) = (&locking.repository, &locking.resource);
    let manifests = manifest::snapshots(repository, resource)?;
    let proofs = overview::proofs(repository, resource)?;
    // What was copied elsewhere decides only what stays beyond its date here, which no lock does.
    let known = facts::without_vault(repository, resource, manifests, &proofs, &[], now)?;
    let terms = locking.terms.given(&known.facts);
    let planned = locks(&known.facts, &terms, &plan(&known.facts, &terms, now));
    let Some(latest) = planned.latest() else { return Ok(Vec::new()) };
    let mut wanted = Vec::new();
    let mut vaults_in_use = BTreeMap::new();
    for lock in &planned.snapshots {
        let Some(of) = known.manifests.iter().find(|of| of.id == lock.id) else { continue };
        let of_epoch: &mut Vec<&SnapshotManifest> =
            vaults_in_use.entry(of.vault.epoch).or_default();
        of_epoch.push(of);
        if let Some(until) = lock.until {
            wanted.push(Wanted { key: layout::snapshot(resource, &of.id), until });
        }
    }
    wanted.extend(openers(locking, &known, latest)?);
    let log = planned.log.iter();
    wanted.extend(log.map(|one| Wanted { key: one.key.clone(), until: one.until }));
    for (epoch, manifests) in vaults_in_use {
        wanted.extend(of_vault(locking, epoch, &manifests, &planned)?);
    }
    // Of a pack the horizon may come first.
    wanted.retain(|one| one.until > least(now));
    Ok(wanted)
}

/// What opens and explains everything else, but for the vaults' own.
fn openers(locking: &Locking, known: &Known, until: Timestamp) -> Result<Vec<Wanted>> {
    let (store, resource) = (&locking.repository.store, &locking.resource);
    let mut keys = BTreeSet::from([layout::FORMAT.to_owned()]);
    keys.extend(store.list(&layout::clusters(resource))?.into_iter().map(|entry| entry.key));
    for log in &known.facts.logs {
        keys.extend(log.histories.keys().map(|timeline| {
            let name = WalName::History(*timeline).file_name(log.segment_size);
            layout::wal_file(resource, log.system_id, *timeline, &name)
        }));
    }
    Ok(keys.into_iter().map(|key| Wanted { key, until }).collect())
}

/// One vault: what opens it, its snapshots, and the packs they lead to.
fn of_vault(
    locking: &Locking,
    epoch: u32,
    manifests: &[&SnapshotManifest],
    planned: &LockPlan,
) -> Result<Vec<Wanted>> {
    let vault = vaults::open(&locking.repository, &locking.resource, epoch)?;
    let (layout_there, mut wanted, mut stays) = (vault.layout(), Vec::new(), Vec::new());
    for lock in &planned.snapshots {
        let Some(of) = manifests.iter().find(|of| of.id == lock.id) else { continue };
        let snapshot = of.vault.snapshot.parse::<Id>();
        let snapshot = snapshot.attempt(|| format!("read the id of snapshot {}", of.id))?;
        // Without a lock it still counts: what it leads to is no dead data.
        let until = lock.until.unwrap_or(Timestamp::MIN);
        stays.push(Stay { snapshot, until, horizon: lock.horizon });
        if let Some(until) = lock.until {
            wanted.push(Wanted { key: layout_there.snapshot(&snapshot), until });
        }
    }
    let Some(latest) = wanted.iter().map(|one| one.until).max() else { return Ok(wanted) };
    let password = secrets::vault_password(&locking.resource, epoch);
    let mut keys = vec![layout::secret(&password), layout_there.config()];
    let listed = locking.repository.store.list(&layout_there.keys())?;
    keys.extend(listed.into_iter().map(|entry| entry.key));
    wanted.extend(keys.into_iter().map(|key| Wanted { key, until: latest }));
    let packs = vault.packs_until(&stays)?.into_iter();
    let packs = packs.map(|(id, until)| Wanted { key: layout_there.pack(&id), until });
    wanted.extend(packs);
    Ok(wanted)
}
