//! Everything that is stored of a resource, and what each object is by its key.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::soundness::Sound;
use crate::error::Result;
use crate::model::{ResourceName, SystemId, WalInventory};
use crate::plan::scrub::Known;
use crate::ports::store::Entry;
use crate::repository::manifest::{self, ClusterManifest};
use crate::repository::vault::layout::Part;
use crate::repository::wal::{HISTORY_LIMIT_BYTES, WalArchive};
use crate::repository::{layout, secrets};

use super::super::cluster;
use super::Scrub;

const COMPRESSION_FOR_READING: i32 = 3;

/// A listing, with the clusters that could be read.
pub(super) struct Stored {
    pub entries: Vec<Entry>,
    pub archives: BTreeMap<SystemId, WalArchive>,
    /// Epochs of the vault of which anything is there.
    pub epochs: BTreeSet<u32>,
    resource: ResourceName,
    wals: String,
    snapshots: String,
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What<'k> {
    Secret,
    /// The manifest of the snapshot with this id.
    Snapshot(&'k str),
    /// Any other manifest.
    Record,
    Log {
        system_id: SystemId,
        limit_bytes: u64,
        exact_bytes: Option<u64>,
    },
    Vault {
        epoch: u32,
        part: Part,
    },
    /// Not of ours, or of a cluster whose record cannot be read.
    Stranger,
}

impl Scrub {
    /// Lists everything of the resource.
    pub(super) fn list(&self) -> Result<Stored> {
        let store = &self.repository.store;
        let mut entries = store.list(&layout::resource(&self.resource))?;
        let mut secrets = store.list(layout::SECRETS)?;
        secrets.retain(|entry| is_secret_of(&self.resource, &entry.key));
        entries.extend(secrets);
        let clusters = layout::clusters(&self.resource);
        let mut archives = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.key.starts_with(&clusters)) {
            // One that cannot be read is told when it is examined.
            let read = manifest::read::<ClusterManifest>(&self.repository, &entry.key);
            if let Ok(known) = read {
                let (of, level) = (&known.cluster, COMPRESSION_FOR_READING);
                let archive = cluster::archive(&self.repository, &self.resource, of, level);
                archives.insert(archive.system_id, archive);
            }
        }
        let epochs = entries.iter().filter_map(|entry| epoch_of(&self.resource, &entry.key));
        Ok(Stored {
            epochs: epochs.collect(),
            entries,
            archives,
            resource: self.resource.clone(),
            wals: layout::wals(&self.resource),
            snapshots: layout::snapshots(&self.resource),
        })
    }
}

impl Stored {
    pub(super) fn keys(&self) -> BTreeSet<&str> {
        self.entries.iter().map(|entry| entry.key.as_str()).collect()
    }

    pub(super) fn what<'k>(&self, key: &'k str) -> What<'k> {
        if let Some((epoch, name)) = layout::in_vault(&self.resource, key) {
            let part = Part::parse(name);
            return part.map_or(What::Stranger, |part| What::Vault { epoch, part });
        }
        if let Some(rest) = key.strip_prefix(&self.wals) {
            return self.log(rest, key).unwrap_or(What::Stranger);
        }
        if layout::secret_name(key).is_some() {
            return What::Secret;
        }
        match layout::manifest_id(key) {
            Ok(id) if key.starts_with(&self.snapshots) => What::Snapshot(id),
            Ok(_) => What::Record,
            Err(_) => What::Stranger,
        }
    }

    fn log<'k>(&self, below: &str, key: &str) -> Option<What<'k>> {
        let system_id: SystemId = below.split('/').next()?.parse().ok()?;
        let segment_bytes = self.archives.get(&system_id)?.segment_size.bytes();
        let name = layout::wal_file_name(key)?;
        // The name of a segment is 24 digits long, those of histories and labels are others.
        let (limit_bytes, exact_bytes) = match layout::part_range(name) {
            Some((_, from, to)) => (to - from, Some(to - from)),
            None if name.len() == 24 => (segment_bytes, Some(segment_bytes)),
            None => (segment_bytes.max(HISTORY_LIMIT_BYTES), None),
        };
        Some(What::Log { system_id, limit_bytes, exact_bytes })
    }

    /// For choosing what to read. Log and packs are read in turn, all else every time.
    pub(super) fn known(&self, entry: &Entry, sound: &BTreeMap<String, Sound>) -> Known {
        let same = |known: &&Sound| {
            let stored_at = entry.stored_at.as_microsecond();
            known.bytes == entry.bytes && known.stored_at.as_microsecond() == stored_at
        };
        let always = match self.what(&entry.key) {
            What::Vault { part: Part::Pack(_), .. } => false,
            What::Log { exact_bytes, .. } => exact_bytes.is_none(),
            _ => true,
        };
        let sound_at = sound.get(&entry.key).filter(same).map(|known| known.at);
        Known { bytes: entry.bytes, sound_at, always }
    }

    /// Whether something else may stand in an object's place: packs and index files are written
    /// anew under other names, and a snapshot of the vault as well.
    pub(super) fn is_replaceable(&self, key: &str) -> bool {
        let What::Vault { part, .. } = self.what(key) else { return false };
        matches!(part, Part::Pack(_) | Part::Index(_) | Part::Snapshot(_))
    }

    /// The log of one cluster without the objects in `without`; histories, which have to be read
    /// for it, only `with_histories`.
    pub(super) fn inventory(
        &self,
        of: &WalArchive,
        without: &BTreeSet<&str>,
        with_histories: bool,
    ) -> Result<WalInventory> {
        let prefix = layout::wal(&of.resource, of.system_id);
        let is_wanted = |entry: &&Entry| {
            let sized = matches!(self.what(&entry.key), What::Log { exact_bytes: Some(_), .. });
            entry.key.starts_with(&prefix)
                && !without.contains(entry.key.as_str())
                && (with_histories || sized)
        };
        let entries: Vec<Entry> = self.entries.iter().filter(is_wanted).cloned().collect();
        of.inventory_of(&entries)
    }
}

/// Whether the object is the key of the resource's heartbeats, or the password of any of its
/// vaults.
fn is_secret_of(resource: &ResourceName, key: &str) -> bool {
    let is_heartbeat = |name: &str| name == secrets::heartbeat_key(resource);
    let is_ours = |name| is_heartbeat(name) || secrets::is_vault_password(resource, name);
    layout::secret_name(key).is_some_and(is_ours)
}

/// The epoch that a password or an object of a vault is of.
fn epoch_of(resource: &ResourceName, key: &str) -> Option<u32> {
    match layout::in_vault(resource, key) {
        Some((epoch, _)) => Some(epoch),
        None => secrets::vault_epoch(resource, layout::secret_name(key)?),
    }
}
