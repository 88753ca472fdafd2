//! Everything a retention plan is made from, read from the repository alone.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::error::Result;
use crate::model::ResourceName;
use crate::plan::retention::{Hold, Pin, RetentionFacts, Scope, StoredSnapshot};
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
pub fn read(repository: &Repository, resource: &ResourceName, now: Timestamp) -> Result<Known> {
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
    Ok(Known { facts, manifests })
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
