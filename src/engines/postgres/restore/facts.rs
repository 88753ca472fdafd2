//! Everything a recovery plan is made from, read from the repository alone.

use jiff::Timestamp;
use secrecy::SecretString;

use crate::error::{Attempt, Error, Result};
use crate::model::wal_record::{Progress, Recorded, Scanner};
use crate::model::{ResourceName, WalInventory, WalObject};
use crate::plan::facts::{RecoveryFacts, SnapshotFact};
use crate::ports::store::Entry;
use crate::repository::manifest::{self, GapManifest, SnapshotManifest};
use crate::repository::vault::Vault;
use crate::repository::wal::WalArchive;
use crate::repository::{Repository, layout, secrets};

use super::super::cluster;

/// Segments looked through, from the end backwards, for the newest commit.
const TAIL_SEGMENTS: usize = 8;
const COMPRESSION_FOR_READING: i32 = 3;

/// What is stored of one resource at one moment.
pub struct Stored {
    pub archive: WalArchive,
    pub manifests: Vec<SnapshotManifest>,
    pub gaps: Vec<GapManifest>,
    pub facts: RecoveryFacts,
}

/// The names of everything stored of a resource: what a drill pins (RULES 15).
pub fn pin_listing(repository: &Repository, resource: &ResourceName) -> Result<Vec<Entry>> {
    repository.store.list(&format!("postgres/{resource}/"))
}

/// Reads what is stored now.
pub fn read_now(repository: &Repository, resource: &ResourceName) -> Result<Stored> {
    read(repository, resource, &pin_listing(repository, resource)?)
}

/// Reads what is stored, as far as `listing` names it.
pub fn read(repository: &Repository, resource: &ResourceName, listing: &[Entry]) -> Result<Stored> {
    let mut stored = read_undated(repository, resource, listing)?;
    stored.facts.log_stored_until = stored_until(&stored.archive, &stored.facts.wal)?;
    Ok(stored)
}

/// The same, without reading the end of the log for the instant that it reaches: enough for a
/// recovery to its end.
pub fn read_undated(
    repository: &Repository,
    resource: &ResourceName,
    listing: &[Entry],
) -> Result<Stored> {
    let registered = cluster::registered(repository, resource)?.cluster;
    let archive = cluster::archive(repository, resource, &registered, COMPRESSION_FOR_READING);
    let below = |prefix: String| listing.iter().filter(move |e| e.key.starts_with(&prefix));
    let log: Vec<Entry> = below(layout::wal(resource, registered.system_id)).cloned().collect();
    let inventory = archive.inventory_of(&log)?;
    let manifests: Vec<SnapshotManifest> = below(layout::snapshots(resource))
        .map(|entry| manifest::read(repository, &entry.key))
        .collect::<Result<_>>()?;
    let gaps: Vec<GapManifest> = below(layout::gaps(resource))
        .map(|entry| manifest::read(repository, &entry.key))
        .collect::<Result<_>>()?;
    let facts = RecoveryFacts {
        snapshots: manifests.iter().map(snapshot_fact).collect(),
        wal: inventory,
        log_stored_until: None,
        speeds: None,
    };
    Ok(Stored { archive, manifests, gaps, facts })
}

impl Stored {
    /// The manifest a plan starts from.
    pub fn manifest(&self, id: &str) -> Result<&SnapshotManifest> {
        let found = self.manifests.iter().find(|manifest| manifest.id == id);
        found.ok_or_else(|| Error::failed(format!("there is no manifest of snapshot {id}")))
    }
}

/// What planning needs of a manifest.
pub fn snapshot_fact(manifest: &SnapshotManifest) -> SnapshotFact {
    SnapshotFact {
        id: manifest.id.clone(),
        system_id: manifest.cluster.system_id,
        timeline: manifest.timeline,
        start: manifest.start_lsn,
        stop: manifest.stop_lsn,
        started_at: manifest.started_at,
        stopped_at: manifest.stopped_at,
        damaged_pages: manifest.pages.damaged_count,
        bytes: manifest.bytes,
        files: manifest.files,
    }
}

/// Until when the stored log is known to hold every commit: what the newest part notes, or else
/// the newest commit found near the end. `None` if neither tells.
fn stored_until(archive: &WalArchive, inventory: &WalInventory) -> Result<Option<Timestamp>> {
    let Some(last) = inventory.objects.last() else { return Ok(None) };
    let tail = inventory.segment(last.timeline, last.segment);
    let last = tail.last().unwrap_or(last);
    let noted = archive.note(last)?.complete_at;
    Ok(noted.max(newest_commit(archive, inventory)?))
}

fn newest_commit(archive: &WalArchive, inventory: &WalInventory) -> Result<Option<Timestamp>> {
    let Some(last) = inventory.objects.last() else { return Ok(None) };
    let timeline = last.timeline;
    for segment in (0..=last.segment).rev().take(TAIL_SEGMENTS) {
        let objects: &[WalObject] = inventory.segment(timeline, segment);
        if objects.is_empty() {
            break;
        }
        let bytes = archive.read_segment(objects)?;
        let mut newest: Option<Timestamp> = None;
        let mut scanner = Scanner::new(archive.segment_size);
        let scanned = scanner.feed(segment, &bytes, &mut |event| {
            if let Recorded::Commit { at, .. } | Recorded::Abort { at, .. } = event.what {
                newest = newest.max(Some(at));
            }
        });
        match scanned.attempt(|| format!("read segment {segment} of timeline {timeline}"))? {
            Progress::Continues | Progress::Ended(_) => {}
        }
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}

/// Opens the vault a snapshot lies in, for reading.
pub fn open_vault(repository: &Repository, of: &SnapshotManifest) -> Result<Vault> {
    let name = secrets::vault_password(&of.resource, of.vault.epoch);
    let password: SecretString = secrets::read(repository, &name)?.ok_or_else(|| {
        Error::failed(format!("the password of the vault, {name}, is not in the repository"))
    })?;
    let prefix = layout::vault(&of.resource, of.vault.epoch);
    Vault::open(repository.store.clone(), &prefix, &password)
}
