//! The log archive of one cluster: whole segments, parts of the current one, timeline histories.
//!
//! Objects are written once. Writing one that exists is fine if its content is the same, and an
//! error if it is not: two clusters, or two lives of one, must never mix under one name.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::error::{Attempt, Error, Result};
use crate::model::{
    Extent, Lsn, OtherObject, ResourceName, SegmentSize, SystemId, Timeline, TimelineHistory,
    WalInventory, WalName, WalObject,
};
use crate::ports::store::{Entry, Put};
use crate::repository::format::Repository;
use crate::repository::seal::Identities;
use crate::repository::{layout, wal_codec};

/// A history file of thousands of lines still fits.
pub const HISTORY_LIMIT_BYTES: u64 = 1 << 20;

/// The stored log of one cluster.
#[derive(Clone)]
pub struct WalArchive {
    pub repository: Repository,
    pub resource: ResourceName,
    pub system_id: SystemId,
    pub segment_size: SegmentSize,
    /// zstd level, 1 to 19.
    pub compression_level: i32,
    /// Where copies lie, for reading what cannot be read here.
    pub copies: Option<Repository>,
}

impl WalArchive {
    /// Stores `bytes`, a whole segment or a part that begins at `from` within it. Durable when it
    /// returns. `complete_at`: see [`wal_codec::Note`].
    ///
    /// # Errors
    /// Another content is stored under the name already; or nobody here can read what is stored.
    pub fn put(
        &self,
        timeline: Timeline,
        segment: u64,
        from: u64,
        bytes: &[u8],
        complete_at: Option<Timestamp>,
    ) -> Result<Put> {
        let to = from + bytes.len() as u64;
        let extent = match (from, to) {
            (0, to) if to == self.segment_size.bytes() => Extent::Whole,
            _ => Extent::Part { from, to },
        };
        let (resource, size) = (&self.resource, self.segment_size);
        let key = layout::wal_object(resource, self.system_id, timeline, segment, size, extent);
        self.put_checked(&key, bytes, complete_at)
    }

    /// Stores the text of a history file, or another small file of `pg_wal`, under its own name.
    pub fn put_file(&self, name: &WalName, bytes: &[u8]) -> Result<Put> {
        let file_name = name.file_name(self.segment_size);
        let key = layout::wal_file(&self.resource, self.system_id, name.timeline(), &file_name);
        self.put_checked(&key, bytes, None)
    }

    fn put_checked(&self, key: &str, bytes: &[u8], complete_at: Option<Timestamp>) -> Result<Put> {
        let recipients = self.repository.recipients_now()?;
        let sealed = wal_codec::encode(recipients, bytes, complete_at, self.compression_level)?;
        if self.repository.store.put_new(key, &sealed)? == Put::Created {
            return Ok(Put::Created);
        }
        let stored = read_from(&self.repository, key, &|identities, sealed| {
            wal_codec::decode(identities, sealed, bytes.len() as u64)
        });
        let stored =
            stored.attempt(|| format!("compare {key} with what is stored under its name"))?;
        match stored == bytes {
            true => Ok(Put::Exists),
            false => Err(Error::refused(format!("{key} is stored already with another content"))
                .hint(
                    "Another server with the same system identifier writes here, or this one was \
                     restored without a new timeline. Nothing was overwritten.",
                )),
        }
    }

    /// Bytes of one stored object.
    pub fn read(&self, object: &WalObject) -> Result<Vec<u8>> {
        let bytes = self.extent_bytes(object.extent);
        self.read_anywhere(&object.key, &|identities, sealed| {
            wal_codec::decode(identities, sealed, bytes)
        })
    }

    /// The note of one stored object.
    pub fn note(&self, object: &WalObject) -> Result<wal_codec::Note> {
        let bytes = self.extent_bytes(object.extent);
        let note = self.read_anywhere(&object.key, &|identities, sealed| {
            wal_codec::read_note(identities, sealed, bytes)
        });
        note.attempt(|| format!("read the note of {}", object.key))
    }

    pub(super) fn extent_bytes(&self, extent: Extent) -> u64 {
        match extent {
            Extent::Whole => self.segment_size.bytes(),
            Extent::Part { from, to } => to - from,
        }
    }

    /// One segment as PostgreSQL expects it: whole, or its parts joined and padded with zeros.
    /// Asking again gives the same bytes.
    ///
    /// # Errors
    /// A part that does not join on to the ones before it, or anything unreadable.
    pub fn read_segment(&self, objects: &[WalObject]) -> Result<Vec<u8>> {
        let size = self.segment_size.bytes();
        if let Some(whole) = objects.iter().find(|object| object.extent == Extent::Whole) {
            return self.read(whole);
        }
        let mut segment = vec![0; size as usize];
        let mut reached = 0;
        for object in objects {
            let Extent::Part { from, to } = object.extent else { continue };
            if from > reached || to > size {
                return Err(Error::failed(format!(
                    "{} does not join on to the {reached} bytes before it",
                    object.key
                )));
            }
            let bytes = self.read(object)?;
            segment[from as usize..to as usize].copy_from_slice(&bytes);
            reached = reached.max(to);
        }
        match reached {
            0 => Err(Error::failed("nothing of the segment is stored")),
            _ => Ok(segment),
        }
    }

    /// A complete inventory of what is stored, or an error.
    pub fn inventory(&self) -> Result<WalInventory> {
        let prefix = layout::wal(&self.resource, self.system_id);
        self.inventory_of(&self.repository.store.list(&prefix)?)
    }

    /// The inventory of a listing taken earlier, such as the one a drill pinned.
    pub fn inventory_of(&self, entries: &[Entry]) -> Result<WalInventory> {
        let mut objects = Vec::with_capacity(entries.len());
        let (mut histories, mut others) = (BTreeMap::new(), Vec::new());
        for entry in entries {
            // A key without our suffix gives no name, and no name is of the log.
            let name = layout::wal_file_name(&entry.key).unwrap_or_default();
            let (plain, range) = match layout::part_range(name) {
                Some((segment, from, to)) => (segment, Extent::Part { from, to }),
                None => (name, Extent::Whole),
            };
            match WalName::parse(plain, self.segment_size) {
                Ok(WalName::Segment(timeline, segment)) => objects.push(WalObject {
                    timeline,
                    segment,
                    extent: range,
                    key: entry.key.clone(),
                    stored_bytes: entry.bytes,
                    stored_at: entry.stored_at,
                }),
                Ok(WalName::History(timeline)) => {
                    histories.insert(timeline, self.read_history(timeline, &entry.key)?);
                }
                // Recovery never asks for the others, but they must not outlive what it asks for.
                Ok(WalName::Partial(timeline, _) | WalName::BackupLabel(timeline, _)) => {
                    others.push(other(entry, Some(timeline)));
                }
                Err(_) => others.push(other(entry, None)),
            }
        }
        objects.sort_by_key(|o| (o.timeline, o.segment, o.extent));
        let (system_id, segment_size) = (self.system_id, self.segment_size);
        others.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(WalInventory { system_id, segment_size, objects, histories, others })
    }

    fn read_history(&self, timeline: Timeline, key: &str) -> Result<TimelineHistory> {
        let text = self.read_small(key)?;
        TimelineHistory::parse(timeline, &String::from_utf8_lossy(&text))
            .attempt(|| format!("read {key}"))
    }

    /// A small stored file whose length its name does not tell.
    pub fn read_small(&self, key: &str) -> Result<Vec<u8>> {
        self.read_anywhere(key, &|identities, sealed| {
            wal_codec::decode_small(identities, sealed, HISTORY_LIMIT_BYTES)
        })
    }

    /// From the repository, or else from that of the copies: what is missing or damaged in one
    /// must not stop a recovery that the other one serves. Either way it was authenticated.
    fn read_anywhere<T>(&self, key: &str, decode: Decode<'_, T>) -> Result<T> {
        let here = read_from(&self.repository, key, decode);
        let (Err(error), Some(copies)) = (&here, &self.copies) else { return here };
        let Ok(there) = read_from(copies, key, decode) else { return here };
        let (error, place) = (error.chain(), copies.store.describe());
        tracing::warn!(%error, "{key} is taken from the copies in {place}");
        Ok(there)
    }

    /// Key of the stored history of `timeline`.
    pub fn history_key(&self, timeline: Timeline) -> String {
        let name = WalName::History(timeline).file_name(self.segment_size);
        layout::wal_file(&self.resource, self.system_id, timeline, &name)
    }

    /// Where the stored log ends on `timeline`: the first byte after the newest stretch of parts
    /// or whole segments of that timeline; `None` if nothing of it is stored.
    pub fn end_on(inventory: &WalInventory, timeline: Timeline) -> Option<Lsn> {
        let segment = inventory.last_segment(timeline)?;
        let reached = inventory.contiguous_bytes(timeline, segment);
        Some(inventory.segment_size.start_of(segment).plus(reached))
    }
}

/// How a stored object is opened.
type Decode<'a, T> = &'a dyn Fn(&Identities, &[u8]) -> Result<T>;

fn read_from<T>(repository: &Repository, key: &str, decode: Decode<'_, T>) -> Result<T> {
    let store = &repository.store;
    let sealed = store
        .get(key)?
        .ok_or_else(|| Error::failed(format!("{key} is not in {}", store.describe())))?;
    decode(repository.identities()?, &sealed).attempt(|| format!("read {key}"))
}

fn other(entry: &Entry, timeline: Option<Timeline>) -> OtherObject {
    let (key, stored_bytes) = (entry.key.clone(), entry.bytes);
    OtherObject { key, timeline, stored_bytes, stored_at: entry.stored_at }
}
