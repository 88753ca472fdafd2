//! Everything a retention plan is made from, read from the repository alone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::error::{Attempt, Result};
use crate::model::ResourceName;
use crate::plan::retention::{
    Copied, Hold, LockedPack, Pin, Remains, RetentionFacts, Scope, StoredSnapshot,
};
use crate::ports::store::Entry;
use crate::repository::hold::{self, HoldRecord};
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::retirement::{self, Retirement};
use crate::repository::vault::remains::MarkedPack;
use crate::repository::vault::{Id, Vault};
use crate::repository::{Repository, layout, pin};

use super::super::restore::facts::snapshot_fact;
use super::super::vaults::{self, Epochs};
use super::super::{cluster, overview};
use super::leftovers;

const COMPRESSION_FOR_READING: i32 = 3;

/// The facts, and the manifests they come from.
pub struct Known {
    pub facts: RetentionFacts,
    pub manifests: Vec<SnapshotManifest>,
    /// Manifests that never counted: committed after another installation had taken over.
    pub late: Vec<SnapshotManifest>,
    /// By epoch, the vaults' snapshots, as listed before anything else was read.
    pub in_vaults: BTreeMap<u32, BTreeSet<Id>>,
    /// Ids of every hold ever given, in force or not.
    pub holds: BTreeSet<String>,
    /// The pin of who reads this, which counts for nothing.
    own_pin: Option<String>,
    /// The order by which the resource is out of use.
    pub retirement: Option<Retirement>,
    pub epochs: Epochs,
    /// The vault of each epoch that has one.
    pub vaults: BTreeMap<u32, Vault>,
}

/// Reads them. One manifest that cannot be read is an error: what it needs would seem unneeded.
/// `copies` is where copies of them lie, if anywhere: what is not there yet is not let go here.
pub fn read(
    repository: &Repository,
    copies: Option<&Repository>,
    resource: &ResourceName,
    own_pin: Option<&str>,
    now: Timestamp,
) -> Result<Known> {
    // In this order: what somebody who writes just now has stored was there before his pin went,
    // and his manifest was before that. So nothing that is listed here and named by nobody is his.
    let in_vaults = vaults::listed_snapshots(repository, resource)?;
    let pinned = pins(repository, resource, now)?;
    let (manifests, late) = manifest::snapshots_and_late(repository, resource)?;
    let proofs = overview::proofs(repository, resource)?;
    let copies = match copies {
        Some(copies) => manifest::snapshots(copies, resource)?,
        None => Vec::new(),
    };
    let mut known = without_vault(repository, resource, manifests, &proofs, &copies, now)?;
    known.own_pin = own_pin.map(str::to_owned);
    let is_known = |pin: &Pin| known.facts.pins.iter().any(|later| later.id == pin.id);
    let ended: Vec<Pin> = pinned.into_iter().filter(|pin| !is_known(pin)).collect();
    known.facts.pins.extend(ended);
    known.facts.pins.retain(|pin| Some(pin.id.as_str()) != own_pin);
    known.epochs = vaults::epochs(repository, resource, &known.manifests)?;
    for epoch in known.epochs.all() {
        // What nobody can open is not pruned: it goes whole, when nothing names it any more.
        if known.epochs.is_lost(epoch) && known.epochs.is_ended(epoch) {
            continue;
        }
        let Some(vault) = vaults::open_if_there(repository, resource, epoch)? else { continue };
        let named = vault_ids(&known.manifests, epoch)?;
        let there = in_vaults.get(&epoch).into_iter().flatten();
        let remains = &mut known.facts.remains;
        remains.unnamed_snapshots += there.filter(|id| !named.contains(id)).count() as u64;
        note_marked(remains, &vault.packs_marked()?, now);
        known.vaults.insert(epoch, vault);
    }
    Ok(Known { late, in_vaults, ..known })
}

fn note_marked(remains: &mut Remains, marked: &[MarkedPack], now: Timestamp) {
    for MarkedPack { marked_at, locked_until } in marked.iter().copied() {
        match locked_until {
            Some(until) if until > now => {
                remains.packs_locked.push(LockedPack { marked_at, until });
            }
            // Nobody could delete it before its lock had ended.
            Some(ended) => remains.packs_waiting_since.push(marked_at.max(ended)),
            None => remains.packs_waiting_since.push(marked_at),
        }
    }
}

/// The same of manifests that were read before, without opening any vault: what they hold for
/// nobody is not known then.
pub fn without_vault(
    repository: &Repository,
    resource: &ResourceName,
    manifests: Vec<SnapshotManifest>,
    proofs: &BTreeMap<String, Timestamp>,
    copies: &[SnapshotManifest],
    now: Timestamp,
) -> Result<Known> {
    let mut facts = RetentionFacts {
        snapshots: manifests.iter().map(|manifest| stored(manifest, proofs)).collect(),
        copies: copies.iter().map(copied).collect(),
        ..RetentionFacts::default()
    };
    let clusters = manifest::clusters(repository, resource)?;
    let mut listed = repository.store.list(&layout::wals(resource))?;
    let mut histories = Vec::new();
    for known in clusters {
        let archive =
            cluster::archive(repository, resource, &known.cluster, COMPRESSION_FOR_READING);
        let prefix = layout::wal(resource, archive.system_id);
        let is_own = |entry: &Entry| entry.key.starts_with(&prefix);
        let (own, rest): (Vec<Entry>, Vec<Entry>) = listed.into_iter().partition(is_own);
        let log = archive.inventory_of(&own)?;
        histories.extend(log.histories.keys().map(|timeline| archive.history_key(*timeline)));
        facts.logs.push(log);
        listed = rest;
    }
    facts.unclaimed = listed.into_iter().map(|entry| entry.key).collect();
    let given = hold::all(repository, resource)?;
    let holds = given.iter().map(|record| record.hold.id.clone()).collect();
    facts.holds = given.into_iter().filter(|held| held.is_in_force(now)).map(in_force).collect();
    facts.pins = pins(repository, resource, now)?;
    let retirement = retirement::in_force(repository, resource)?;
    if let Some(retired) = &retirement {
        facts.retired_at = Some(retired.retired_at);
        facts.leftovers = leftovers::list(repository, resource, histories)?;
    }
    let (late, in_vaults) = (Vec::new(), BTreeMap::new());
    let (epochs, vaults) = (Epochs::default(), BTreeMap::new());
    let own_pin = None;
    Ok(Known { facts, manifests, late, in_vaults, holds, own_pin, retirement, epochs, vaults })
}

impl Known {
    /// Who reads or writes now, besides who read this.
    pub(super) fn pins(
        &self,
        repository: &Repository,
        resource: &ResourceName,
        now: Timestamp,
    ) -> Result<Vec<Pin>> {
        let mut pins = pins(repository, resource, now)?;
        pins.retain(|pin| Some(pin.id.as_str()) != self.own_pin.as_deref());
        Ok(pins)
    }
}

/// The ids that those of these snapshots have in the vault which lie in that of `epoch`.
pub(super) fn vault_ids<'m>(
    manifests: impl IntoIterator<Item = &'m SnapshotManifest>,
    epoch: u32,
) -> Result<BTreeSet<Id>> {
    let within = manifests.into_iter().filter(|manifest| manifest.vault.epoch == epoch);
    let ids = within.map(|manifest| manifest.vault.snapshot.parse::<Id>());
    let ids: Result<BTreeSet<Id>> = ids.collect();
    ids.attempt(|| "read the ids that snapshots have in the vault".to_owned())
}

/// Who reads just now.
fn pins(repository: &Repository, resource: &ResourceName, now: Timestamp) -> Result<Vec<Pin>> {
    let pinned = |pin: pin::Pinned| Pin { id: pin.id, snapshot: pin.file.map(|f| f.snapshot) };
    Ok(pin::in_force(repository, resource, now)?.into_iter().map(pinned).collect())
}

/// What can be told of snapshots alone, for deciding which of them are still to be copied.
pub fn of_manifests(main: &[SnapshotManifest], copies: &[SnapshotManifest]) -> RetentionFacts {
    let unproven = BTreeMap::new();
    RetentionFacts {
        snapshots: main.iter().map(|manifest| stored(manifest, &unproven)).collect(),
        copies: copies.iter().map(copied).collect(),
        ..RetentionFacts::default()
    }
}

fn copied(copy: &SnapshotManifest) -> Copied {
    let due_at = copy.due_at.unwrap_or(copy.started_at);
    Copied { id: copy.id.clone(), due_at, damaged_pages: copy.pages.damaged_count }
}

fn stored(manifest: &SnapshotManifest, proofs: &BTreeMap<String, Timestamp>) -> StoredSnapshot {
    StoredSnapshot {
        fact: snapshot_fact(manifest),
        due_at: manifest.due_at.unwrap_or(manifest.started_at),
        proven_at: proofs.get(&manifest.id).copied(),
        locked_until: None,
    }
}

/// A hold in force, as retention sees it.
pub(super) fn in_force(record: HoldRecord) -> Hold {
    let held = record.hold;
    let scope = held.snapshot.map_or(Scope::Everything, Scope::Snapshot);
    Hold { id: held.id, scope, who: held.who, why: held.why, until: held.until }
}
