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
use super::super::{cluster, overview, vaults};
use super::leftovers;

const COMPRESSION_FOR_READING: i32 = 3;

/// The facts, and the manifests they come from.
pub struct Known {
    pub facts: RetentionFacts,
    pub manifests: Vec<SnapshotManifest>,
    /// Ids of every hold ever given, in force or not.
    pub holds: BTreeSet<String>,
    /// The order by which the resource is out of use.
    pub retirement: Option<Retirement>,
    /// `None` if there is none yet.
    pub vault: Option<Vault>,
}

/// Reads them. One manifest that cannot be read is an error: what it needs would seem unneeded.
/// `copies` is where copies of them lie, if anywhere: what is not there yet is not let go here.
pub fn read(
    repository: &Repository,
    copies: Option<&Repository>,
    resource: &ResourceName,
    now: Timestamp,
) -> Result<Known> {
    let manifests = manifest::snapshots(repository, resource)?;
    let proofs = overview::proofs(repository, resource)?;
    let copies = match copies {
        Some(copies) => manifest::snapshots(copies, resource)?,
        None => Vec::new(),
    };
    let mut known = without_vault(repository, resource, manifests, &proofs, &copies, now)?;
    known.vault = vaults::open_if_there(repository, resource)?;
    if let Some(vault) = &known.vault {
        let unnamed_snapshots = vault.count_unnamed(&vault_ids(&known.manifests)?)?;
        known.facts.remains = remains(unnamed_snapshots, &vault.packs_marked()?, now);
    }
    Ok(known)
}

fn remains(unnamed_snapshots: u64, marked: &[MarkedPack], now: Timestamp) -> Remains {
    let mut remains = Remains { unnamed_snapshots, ..Remains::default() };
    for MarkedPack { marked_at, locked_until } in marked.iter().copied() {
        match locked_until.filter(|until| *until > now) {
            Some(until) => remains.packs_locked.push(LockedPack { marked_at, until }),
            None => remains.packs_marked_at.push(marked_at),
        }
    }
    remains
}

/// The same of manifests that were read before, without opening the vault: what it holds for
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
    Ok(Known { facts, manifests, holds, retirement, vault: None })
}

/// The vault's ids of these snapshots.
pub(super) fn vault_ids<'m>(
    manifests: impl IntoIterator<Item = &'m SnapshotManifest>,
) -> Result<BTreeSet<Id>> {
    let ids = manifests.into_iter().map(|manifest| manifest.vault.snapshot.parse::<Id>());
    let ids: Result<BTreeSet<Id>> = ids.collect();
    ids.attempt(|| "read the ids that snapshots have in the vault".to_owned())
}

/// Who reads just now.
pub(super) fn pins(
    repository: &Repository,
    resource: &ResourceName,
    now: Timestamp,
) -> Result<Vec<Pin>> {
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
