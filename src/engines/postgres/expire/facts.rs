//! Everything a retention plan is made from, read from the repository alone.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::error::Result;
use crate::model::ResourceName;
use crate::plan::retention::{Copied, Hold, Pin, RetentionFacts, Scope, StoredSnapshot};
use crate::repository::hold::{self, HoldRecord};
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::{Repository, pin};

use super::super::restore::facts::snapshot_fact;
use super::super::{cluster, overview};

const COMPRESSION_FOR_READING: i32 = 3;

/// The facts, and the manifests they come from.
pub struct Known {
    pub facts: RetentionFacts,
    pub manifests: Vec<SnapshotManifest>,
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
    let mut facts = RetentionFacts {
        snapshots: manifests.iter().map(|manifest| stored(manifest, &proofs)).collect(),
        ..RetentionFacts::default()
    };
    for known in manifest::clusters(repository, resource)? {
        let archive =
            cluster::archive(repository, resource, &known.cluster, COMPRESSION_FOR_READING);
        facts.logs.push(archive.inventory()?);
    }
    let holds = hold::all(repository, resource)?;
    facts.holds = holds.into_iter().filter(|held| held.is_in_force(now)).map(in_force).collect();
    let pins = pin::in_force(repository, resource, now)?;
    let pinned = |pin: pin::Pinned| Pin { id: pin.id, snapshot: pin.file.map(|f| f.snapshot) };
    facts.pins = pins.into_iter().map(pinned).collect();
    if let Some(copies) = copies {
        facts.copies = manifest::snapshots(copies, resource)?.iter().map(copied).collect();
    }
    Ok(Known { facts, manifests })
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

fn in_force(record: HoldRecord) -> Hold {
    let held = record.hold;
    let scope = held.snapshot.map_or(Scope::Everything, Scope::Snapshot);
    Hold { id: held.id, scope, who: held.who, why: held.why, until: held.until }
}
