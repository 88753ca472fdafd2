//! What the other repository has of a resource and this one should have as well.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::config::Replicate;
use crate::error::Result;
use crate::model::{Extent, ResourceName, Timeline, WalInventory, WalObject};
use crate::plan::condition::age;
use crate::plan::retention::{Role, copies_due};
use crate::ports::store::Entry;
use crate::repository::generation;
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::wal::WalArchive;
use crate::repository::{Repository, layout, secrets};

use super::super::copy::state::LATE;
use super::super::expire::facts::of_manifests;
use super::stored::{Stored, What};
use super::{Damage, Order, Scrub};

const HISTORY: &str = ".history.zst.age";
const IN_OTHER: &str = "it is not here, and the other repository has it";

impl Scrub {
    /// Nothing, if there is no other repository or nothing of the resource is stored there.
    pub(super) fn missing(
        &self,
        stored: &Stored,
        order: &Order,
        now: Timestamp,
    ) -> Result<Vec<Damage>> {
        let Some(other) = &self.other else { return Ok(Vec::new()) };
        let theirs = other.store.list(&layout::resource(&self.resource))?;
        let here = stored.keys();
        // A repository of copies that was never written to lacks nothing, nor does one that a
        // retired resource has left.
        if here.is_empty() || theirs.is_empty() || self.has_left(&here) {
            return Ok(Vec::new());
        }
        let mut missing = Vec::new();
        let heartbeat = layout::secret(&secrets::heartbeat_key(&self.resource));
        if !here.contains(heartbeat.as_str()) && other.store.get(&heartbeat)?.is_some() {
            missing.push(Damage::new(heartbeat, IN_OTHER));
        }
        let records = [
            layout::clusters(&self.resource),
            layout::holds(&self.resource),
            layout::hold_releases(&self.resource),
            layout::retirements(&self.resource),
            layout::reinstatements(&self.resource),
        ];
        let is_record = |entry: &&Entry| records.iter().any(|of| entry.key.starts_with(of));
        let records = theirs.iter().filter(is_record).filter(|e| !here.contains(e.key.as_str()));
        missing.extend(records.map(|entry| Damage::new(&entry.key, IN_OTHER)));
        missing.extend(self.missing_snapshots(other, stored, order, now)?);
        missing.extend(self.missing_log(other, stored, &theirs, order, now)?);
        Ok(missing)
    }

    /// Whether retirement is in force here and no snapshot is left.
    fn has_left(&self, here: &BTreeSet<&str>) -> bool {
        let (snapshots, given) =
            (layout::snapshots(&self.resource), layout::retirements(&self.resource));
        let is_in_force = |key: &&&str| {
            let id = layout::manifest_id(key).unwrap_or_default();
            !here.contains(layout::reinstatement(&self.resource, id).as_str())
        };
        let mut orders = here.iter().filter(|key| key.starts_with(&given));
        orders.any(|key| is_in_force(&key)) && !here.iter().any(|key| key.starts_with(&snapshots))
    }

    /// In the main repository all of the window stay; among the copies what is due must be there.
    fn missing_snapshots(
        &self,
        other: &Repository,
        stored: &Stored,
        order: &Order,
        now: Timestamp,
    ) -> Result<Vec<Damage>> {
        let here = stored.keys();
        let lacks = |id: &str| !here.contains(layout::snapshot(&self.resource, id).as_str());
        let theirs = readable(other, &self.resource)?;
        let mut ids = Vec::new();
        match self.terms.role {
            Role::Main | Role::Only => {
                let window_start = self.terms.window_start(now);
                let within = theirs.iter().filter(|manifest| manifest.stopped_at > window_start);
                ids.extend(within.map(|manifest| manifest.id.clone()));
            }
            Role::Copies => {
                let ours = readable(&self.repository, &self.resource)?;
                let facts = of_manifests(&theirs, &ours);
                let due = copies_due(&facts, &self.terms, self.replicate, now).into_iter();
                let is_late = |id: &String| {
                    let of = theirs.iter().find(|manifest| manifest.id == *id);
                    order.heal || of.is_some_and(|of| age(of.stopped_at, now) > LATE)
                };
                ids.extend(due.map(|due| due.id).filter(is_late));
            }
        }
        ids.retain(|id| lacks(id));
        let key = |id: &String| layout::snapshot(&self.resource, id);
        Ok(ids.iter().map(|id| Damage::new(key(id), IN_OTHER)).collect())
    }

    /// Log that the snapshots here lead on to: the main repository keeps all of it from the oldest
    /// of them on, that of the copies what was brought for each, or all of it as well.
    fn missing_log(
        &self,
        other: &Repository,
        stored: &Stored,
        theirs: &[Entry],
        order: &Order,
        now: Timestamp,
    ) -> Result<Vec<Damage>> {
        let here = stored.keys();
        let ours = readable(&self.repository, &self.resource)?;
        let copied = ours.iter().filter_map(|manifest| manifest.copied.as_ref());
        let copied: BTreeSet<&str> =
            copied.flat_map(|copied| &copied.log).map(|log| log.key.as_str()).collect();
        let is_copy = self.terms.role == Role::Copies;
        let is_expected = |entry: &Entry| match (is_copy, self.replicate) {
            (false, _) => true,
            (true, Replicate::All) => order.heal || age(entry.stored_at, now) > LATE,
            (true, _) => false,
        };
        let mut missing = Vec::new();
        for archive in stored.archives.values() {
            let here_log = stored.inventory(archive, &BTreeSet::new(), false)?;
            let first = first_segment(archive, &ours);
            let there = WalArchive { repository: other.clone(), ..archive.clone() };
            let prefix = layout::wal(&self.resource, archive.system_id);
            for entry in theirs.iter().filter(|entry| entry.key.starts_with(&prefix)) {
                if here.contains(entry.key.as_str()) {
                    continue;
                }
                let is_needed = match stored.what(&entry.key) {
                    What::Log { exact_bytes: None, .. } => entry.key.ends_with(HISTORY),
                    What::Log { .. } => {
                        let log = there.inventory_of(std::slice::from_ref(entry))?;
                        log.objects.iter().any(|object| {
                            let follows = first
                                .is_some_and(|first| (object.timeline, object.segment) >= first);
                            follows && is_expected(entry) && !is_covered(&here_log, object)
                        })
                    }
                    _ => false,
                };
                if is_needed || copied.contains(entry.key.as_str()) {
                    missing.push(Damage::new(&entry.key, IN_OTHER));
                }
            }
        }
        Ok(missing)
    }
}

/// Where the log begins that the oldest snapshot of a cluster needs.
fn first_segment(of: &WalArchive, snapshots: &[SnapshotManifest]) -> Option<(Timeline, u64)> {
    let ours = snapshots.iter().filter(|snapshot| snapshot.cluster.system_id == of.system_id);
    let oldest = ours.min_by_key(|snapshot| (snapshot.timeline, snapshot.start_lsn))?;
    Some((oldest.timeline, of.segment_size.number_of(oldest.start_lsn)))
}

/// Whether its whole segment is stored, so that a part is not asked for any more.
fn is_covered(log: &WalInventory, object: &WalObject) -> bool {
    let first = log.segment(object.timeline, object.segment).first();
    first.is_some_and(|first| first.extent == Extent::Whole)
}

/// Every manifest that can be read. The others are told when they are examined.
pub(super) fn readable(
    repository: &Repository,
    resource: &ResourceName,
) -> Result<Vec<SnapshotManifest>> {
    let listed = repository.store.list(&layout::snapshots(resource))?;
    let read = listed.iter().filter_map(|entry| manifest::read(repository, &entry.key).ok());
    generation::split(repository, read.collect()).map(|(counting, _)| counting)
}
