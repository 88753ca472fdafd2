//! Everything a retention plan is made from, read from the repository alone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::error::{Attempt, Result};
use crate::model::ResourceName;
use crate::plan::retention::{Copied, Hold, Pin, Remains, RetentionFacts, Scope, StoredSnapshot};
use crate::ports::store::Entry;
use crate::repository::hold::{self, HoldRecord};
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::retirement::{self, Retirement};
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
    /// Manifests that never counted: committed after another installation had taken over.
    pub late: Vec<SnapshotManifest>,
    /// The vault's snapshots, as listed before anything else was read.
    pub in_vault: BTreeSet<Id>,
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
    // In this order: what somebody who writes just now has stored was there before his pin went,
    // and his manifest was before that. So nothing that is listed here and named by nobody is his.
    let vault = vaults::open_if_there(repository, resource)?;
    let in_vault = vault.as_ref().map(Vault::snapshot_ids).transpose()?.unwrap_or_default();
    let pinned = pins(repository, resource, now)?;
    let (manifests, late) = manifest::snapshots_and_late(repository, resource)?;
    let proofs = overview::proofs(repository, resource)?;
    let copies = match copies {
        Some(copies) => manifest::snapshots(copies, resource)?,
        None => Vec::new(),
    };
    let mut known = without_vault(repository, resource, manifests, &proofs, &copies, now)?;
    let is_known = |pin: &Pin| known.facts.pins.iter().any(|later| later.id == pin.id);
    let ended: Vec<Pin> = pinned.into_iter().filter(|pin| !is_known(pin)).collect();
    known.facts.pins.extend(ended);
    if let Some(vault) = &vault {
        let unnamed = in_vault.difference(&vault_ids(&known.manifests)?).count();
        let packs_marked_at = vault.packs_marked_at()?;
        known.facts.remains = Remains { unnamed_snapshots: unnamed as u64, packs_marked_at };
    }
    Ok(Known { late, in_vault, vault, ..known })
}

/// The same of manifests that were read before, without opening the vault: what it holds for
/// nobody is not known then.
pub(super) fn without_vault(
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
    let (late, in_vault) = (Vec::new(), BTreeSet::new());
    Ok(Known { facts, manifests, late, in_vault, holds, retirement, vault: None })
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
