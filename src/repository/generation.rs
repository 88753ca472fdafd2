//! Generations: which snapshots count after a takeover (RULES 21).
//!
//! A store across a network cannot stop a writer that was paused between its last look at the
//! lease and its commit. So each takeover, once the lease says that it took place, records which
//! snapshots there are: of what an older generation committed, only those count. A commit is
//! acknowledged only after the lease was found unchanged, so it was there to be recorded.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lease::LeaseFile;
use crate::error::{Attempt, Error, Result};
use crate::model::ResourceName;
use crate::ports::Store;
use crate::ports::store::Entry;
use crate::repository::listing::read_listed;
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::{Repository, at_once, layout};

/// What there was when a generation began. Only the newest of these records matters: it says all
/// that those before it said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    pub version: u32,
    pub generation: u64,
    pub installation: String,
    pub host: String,
    pub taken_at: Timestamp,
    /// By resource, the ids of the snapshots of older generations that count. Of a resource that
    /// is not named here all of them do.
    pub snapshots: BTreeMap<ResourceName, BTreeSet<String>>,
}

impl GenerationRecord {
    /// Whether a snapshot was committed by somebody who was in charge.
    pub fn counts(&self, snapshot: &SnapshotManifest) -> bool {
        snapshot.generation >= self.generation || self.names(&snapshot.resource, &snapshot.id)
    }

    /// Whether a snapshot counts whatever generation it is of, so that its manifest need not be
    /// read to tell.
    fn names(&self, resource: &ResourceName, id: &str) -> bool {
        self.snapshots.get(resource).is_none_or(|known| known.contains(id))
    }
}

/// The newest record, if there ever was a lease.
///
/// # Errors
/// It cannot be read: then nobody can tell what counts.
pub fn newest(store: &dyn Store) -> Result<Option<GenerationRecord>> {
    let list = || store.list(layout::GENERATIONS);
    read_listed(list, |listed: &Vec<Entry>| {
        let numbers = listed.iter().filter_map(|entry| layout::generation_number(&entry.key));
        let Some(newest) = numbers.max() else { return Ok(None) };
        let key = layout::generation(newest);
        let body = store.get(&key)?.ok_or_else(|| Error::failed(format!("{key} is gone")))?;
        serde_json::from_slice(&body).map(Some).attempt(|| format!("read {key}"))
    })
}

/// Those that count, and those that were committed too late and never will. The record is read
/// after the manifests were: then a commit that a takeover overtook is not taken for one of its
/// time.
pub fn split(
    repository: &Repository,
    snapshots: Vec<SnapshotManifest>,
) -> Result<(Vec<SnapshotManifest>, Vec<SnapshotManifest>)> {
    let record = newest(repository.store.as_ref())?;
    let counts = |of: &SnapshotManifest| record.as_ref().is_none_or(|record| record.counts(of));
    Ok(snapshots.into_iter().partition(counts))
}

/// Records the beginning of the generation that `lease` names, which is in force. Whoever shares
/// the lease may do it; the first one decides.
///
/// # Errors
/// What an earlier generation committed cannot be told from what it committed too late, for want
/// of an identity.
pub(super) fn begin(
    repository: &Repository,
    lease: &LeaseFile,
    resources: &[ResourceName],
) -> Result<()> {
    let store = repository.store.as_ref();
    let before = newest(store)?;
    if before.as_ref().is_some_and(|before| before.generation >= lease.generation) {
        return Ok(());
    }
    let mut record = GenerationRecord {
        version: 1,
        generation: lease.generation,
        installation: lease.installation.clone(),
        host: lease.host.clone(),
        taken_at: lease.taken_at,
        snapshots: before.as_ref().map(|before| before.snapshots.clone()).unwrap_or_default(),
    };
    // The lease is not renewed yet: what takes its time with every manifest must not take it long.
    let found = at_once::each(at_once::READERS, resources, |resource| {
        ids(repository, before.as_ref(), resource)
    });
    for (resource, ids) in resources.iter().zip(found) {
        let what = || format!("find out which snapshots of {resource} count");
        record.snapshots.insert(resource.clone(), ids.attempt(what)?);
    }
    let what = || format!("record the beginning of generation {}", lease.generation);
    let body = serde_json::to_vec(&record).attempt(what)?;
    // Another that shares the lease may have been quicker; what it wrote is as good.
    let _ = store.put_new(&layout::generation(lease.generation), &body).attempt(what)?;
    for entry in store.list(layout::GENERATIONS)? {
        let is_older = |number| number < lease.generation;
        if layout::generation_number(&entry.key).is_some_and(is_older) {
            store.remove(&entry.key)?;
        }
    }
    Ok(())
}

/// Which snapshots of a resource count now.
fn ids(
    repository: &Repository,
    before: Option<&GenerationRecord>,
    resource: &ResourceName,
) -> Result<BTreeSet<String>> {
    let list = || repository.store.list(&layout::snapshots(resource));
    read_listed(list, |listed: &Vec<Entry>| {
        let mut ids = BTreeSet::new();
        for entry in listed {
            let Ok(id) = layout::manifest_id(&entry.key) else { continue };
            // Before there was any lease, nothing came too late.
            let counts = match before {
                None => true,
                Some(before) if before.names(resource, id) => true,
                Some(before) => counts(repository, before, &entry.key)?,
            };
            if counts {
                ids.insert(id.to_owned());
            }
        }
        Ok(ids)
    })
}

/// Of which generation a damaged manifest is, nobody knows: it is told as damaged, not as late.
fn counts(repository: &Repository, record: &GenerationRecord, key: &str) -> Result<bool> {
    match manifest::read_if_sound::<SnapshotManifest>(repository, key)? {
        Ok(snapshot) => Ok(record.counts(&snapshot)),
        Err(_) if repository.can_read() => Ok(true),
        Err(error) => Err(error),
    }
}
