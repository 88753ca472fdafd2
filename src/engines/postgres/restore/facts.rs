//! Everything a recovery plan is made from, read from the repository alone.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::error::{Attempt, Error, Result};
use crate::model::wal_record::{Progress, Recorded, Scanner};
use crate::model::{ResourceName, Timeline, WalInventory, WalObject};
use crate::plan::facts::{RecoveryFacts, Request, SnapshotFact, Target};
use crate::repository::listing::read_listed;
use crate::repository::manifest::{self, GapManifest, SnapshotManifest};
use crate::repository::vault::Vault;
use crate::repository::wal::WalArchive;
use crate::repository::{Repository, layout};

use super::super::{cluster, vaults};
use super::sources::{Listing, Sources, Unread};

/// Segments looked through, from the end backwards, for the newest commit.
const TAIL_SEGMENTS: usize = 8;
const COMPRESSION_FOR_READING: i32 = 3;

/// What is stored of one resource at one moment.
pub struct Stored {
    pub archive: WalArchive,
    pub manifests: Vec<SnapshotManifest>,
    /// Ids of those that are read from the copies.
    pub in_copies: BTreeSet<String>,
    pub gaps: Vec<GapManifest>,
    /// What is there and cannot be read.
    pub unread: Vec<Unread>,
    /// Of everything the first repository holds of the resource.
    pub bytes: u64,
    pub facts: RecoveryFacts,
}

/// Reads what is stored now, without what retention removes meanwhile.
pub fn read_now(sources: &Sources, resource: &ResourceName) -> Result<Stored> {
    read_listed(|| sources.list(resource), |listing| read(sources, resource, listing))
}

/// The same without the instant that the log reaches, as [`read_undated`].
pub fn read_now_undated(sources: &Sources, resource: &ResourceName) -> Result<Stored> {
    read_listed(|| sources.list(resource), |listing| read_undated(sources, resource, listing))
}

/// Reads what is stored, as far as `listing` names it.
///
/// # Errors
/// Anything it names is not there: a drill must not take less for all there is.
pub fn read(sources: &Sources, resource: &ResourceName, listing: &Listing) -> Result<Stored> {
    let mut stored = read_undated(sources, resource, listing)?;
    stored.facts.log_stored_until = stored_until(&stored.archive, &stored.facts.wal)?;
    Ok(stored)
}

/// The same, without reading the end of the log for the instant that it reaches: enough for a
/// recovery to its end.
pub fn read_undated(
    sources: &Sources,
    resource: &ResourceName,
    listing: &Listing,
) -> Result<Stored> {
    let first = &sources.first;
    let registered = cluster::registered(first, resource)?.cluster;
    let archive = cluster::archive(first, resource, &registered, COMPRESSION_FOR_READING);
    let archive = WalArchive { copies: sources.copies.clone(), ..archive };
    let mut unread = Vec::new();
    let found = sources.snapshots(resource, listing, &mut unread)?;
    let log = listing.log(&layout::wal(resource, registered.system_id), &found);
    let inventory = archive.inventory_of(&log)?;
    let below = layout::gaps(resource);
    let mut gaps: Vec<GapManifest> = Vec::new();
    for entry in listing.first.iter().filter(|entry| entry.key.starts_with(&below)) {
        match manifest::read_if_sound(first, &entry.key)? {
            Ok(gap) => gaps.push(gap),
            Err(error) => {
                unread.push(Unread { key: entry.key.clone(), because: error.chain() });
            }
        }
    }
    let in_copies = found.iter().filter(|found| found.in_copies);
    let in_copies = in_copies.map(|found| found.manifest.id.clone()).collect();
    let manifests: Vec<SnapshotManifest> = found.into_iter().map(|f| f.manifest).collect();
    let facts = RecoveryFacts {
        snapshots: manifests.iter().map(snapshot_fact).collect(),
        wal: inventory,
        log_stored_until: None,
        speeds: None,
    };
    let bytes = listing.first.iter().map(|entry| entry.bytes).sum();
    Ok(Stored { archive, manifests, in_copies, gaps, unread, bytes, facts })
}

impl Stored {
    /// The manifest a plan starts from.
    pub fn manifest(&self, id: &str) -> Result<&SnapshotManifest> {
        let found = self.manifests.iter().find(|manifest| manifest.id == id);
        found.ok_or_else(|| Error::failed(format!("there is no manifest of snapshot {id}")))
    }

    /// The timeline to follow: the state of a snapshot lies on its own, whatever came after.
    pub fn timeline_for(&self, request: &Request) -> Option<Timeline> {
        let Target::Consistent { snapshot } = &request.target else { return request.timeline };
        let own = self.manifest(snapshot).ok().map(|manifest| manifest.timeline);
        request.timeline.or(own)
    }

    /// An emergency goes on without a manifest that cannot be read; a rehearsal does not.
    ///
    /// # Errors
    /// There is one.
    pub fn all_read(&self) -> Result<()> {
        match self.unread.first() {
            None => Ok(()),
            Some(Unread { key, because }) => {
                Err(Error::failed(format!("{key} cannot be read")).because(because.as_str()))
            }
        }
    }

    /// The repository whose vault holds a snapshot.
    pub fn repository_of<'s>(&self, sources: &'s Sources, id: &str) -> &'s Repository {
        let copies = sources.copies.as_ref().filter(|_| self.in_copies.contains(id));
        copies.unwrap_or(&sources.first)
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
    let noted = noted_until(archive, inventory)?;
    Ok(noted.max(newest_commit(archive, inventory)?))
}

/// Until when, by the source's clock, the newest object of the log says that all is stored.
pub fn noted_until(archive: &WalArchive, inventory: &WalInventory) -> Result<Option<Timestamp>> {
    match inventory.objects.last() {
        None => Ok(None),
        Some(newest) => Ok(archive.note(newest)?.complete_at),
    }
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
    vaults::open(repository, &of.resource, of.vault.epoch)
}
