//! Where every blob lies: index files as stored (restic design document, "Indexing"), and all of
//! them together in memory, about 52 bytes a blob.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::{Id, IdMap, IdSet};
use super::pack::{BlobType, PackedBlob, pack_bytes};

/// An index file is written at the latest when this many blobs wait for one.
pub const BLOBS_PER_FILE: usize = 50_000;

/// One index file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct IndexFile {
    pub packs: Vec<IndexPack>,
    /// Packs that wait for deletion, as rustic writes it too; their blobs are not to be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packs_to_delete: Vec<IndexPack>,
}

/// One pack and what it holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IndexPack {
    pub id: Id,
    pub blobs: Vec<PackedBlob>,
    /// When it was marked for deletion, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// Until when the store refuses to delete it, as it said when that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
}

impl IndexPack {
    /// A pack in use.
    pub fn new(id: Id, blobs: Vec<PackedBlob>) -> IndexPack {
        IndexPack { id, blobs, time: None, locked_until: None }
    }
}

/// A pack as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pack {
    pub id: Id,
    /// Size that follows from its blobs.
    pub bytes: u64,
    /// Size in the listing; `None` if it is not listed.
    pub stored_bytes: Option<u64>,
    /// Whether it is to leave the index and then be deleted: nothing new may count on it.
    pub is_leaving: bool,
}

impl Pack {
    /// Listed, and of the size it should have.
    pub fn is_present(&self) -> bool {
        self.stored_bytes == Some(self.bytes)
    }
}

/// Where one blob lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Into [`Index::packs`].
    pub pack: u32,
    pub blob: PackedBlob,
}

/// Entry of the sorted table; the blob's type is the table's.
#[derive(Clone, Copy)]
struct Slot {
    id: Id,
    pack: u32,
    offset: u32,
    length: u32,
    /// `u32::MAX`: not compressed. No content is that long.
    uncompressed_length: u32,
}

/// All index files and the listing of packs, as they were at one time. Never changes.
#[derive(Default)]
pub struct Index {
    packs: Vec<Pack>,
    data: Vec<Slot>,
    trees: Vec<Slot>,
    /// Packs that an index file marks for deletion and none names otherwise any more.
    marked: IdSet,
    /// Those that are marked and still named.
    leaving: IdSet,
    /// Listed packs that no index file names, with their sizes: of crashed or running writers.
    orphans: BTreeMap<Id, u64>,
}

impl Index {
    /// Joins index files with the listing of packs (id to size).
    pub fn build(files: Vec<IndexFile>, listed: &BTreeMap<Id, u64>) -> Index {
        let mut index = Index::default();
        let mut known: IdMap<()> = IdMap::default();
        let mut marked = IdSet::default();
        for file in files {
            marked.extend(file.packs_to_delete.iter().map(|pack| pack.id));
            for pack in file.packs {
                // The same pack in two index files holds the same blobs.
                if known.insert(pack.id, ()).is_none() {
                    index.add(pack, listed);
                }
            }
        }
        for pack in &mut index.packs {
            pack.is_leaving = marked.contains(&pack.id);
        }
        index.leaving = index.packs.iter().filter(|p| p.is_leaving).map(|p| p.id).collect();
        marked.retain(|id| !known.contains_key(id));
        let unnamed = |id: &Id| !known.contains_key(id) && !marked.contains(id);
        index.orphans =
            listed.iter().filter(|(id, _)| unnamed(id)).map(|(id, bytes)| (*id, *bytes)).collect();
        index.marked = marked;
        let packs = &index.packs;
        for table in [&mut index.data, &mut index.trees] {
            // Of several copies of a blob, one in a pack that is there and stays comes first.
            table.sort_unstable_by_key(|slot| {
                let pack = &packs[slot.pack as usize];
                (slot.id, !pack.is_present(), pack.is_leaving, slot.pack, slot.offset)
            });
            table.shrink_to_fit();
        }
        index
    }

    fn add(&mut self, pack: IndexPack, listed: &BTreeMap<Id, u64>) {
        // 2^32 packs would be 64 PiB; the cast is never reached.
        let number = self.packs.len() as u32;
        let stored_bytes = listed.get(&pack.id).copied();
        let (id, bytes) = (pack.id, pack_bytes(&pack.blobs));
        self.packs.push(Pack { id, bytes, stored_bytes, is_leaving: false });
        for blob in pack.blobs {
            let slot = Slot {
                id: blob.id,
                pack: number,
                offset: blob.offset,
                length: blob.length,
                uncompressed_length: blob.uncompressed_length.unwrap_or(u32::MAX),
            };
            self.table_mut(blob.blob_type).push(slot);
        }
    }

    fn table(&self, blob_type: BlobType) -> &Vec<Slot> {
        match blob_type {
            BlobType::Data => &self.data,
            BlobType::Tree => &self.trees,
        }
    }

    fn table_mut(&mut self, blob_type: BlobType) -> &mut Vec<Slot> {
        match blob_type {
            BlobType::Data => &mut self.data,
            BlobType::Tree => &mut self.trees,
        }
    }

    /// The number of a blob, for [`Index::at`]; of several copies, one whose pack is present.
    pub fn find(&self, blob_type: BlobType, id: &Id) -> Option<u32> {
        let table = self.table(blob_type);
        let at = table.partition_point(|slot| slot.id < *id);
        table.get(at).filter(|slot| slot.id == *id).map(|_| at as u32)
    }

    /// The location with this number.
    pub fn at(&self, blob_type: BlobType, number: u32) -> Location {
        let slot = &self.table(blob_type)[number as usize];
        let uncompressed_length =
            (slot.uncompressed_length != u32::MAX).then_some(slot.uncompressed_length);
        let (id, offset, length) = (slot.id, slot.offset, slot.length);
        let blob = PackedBlob { id, blob_type, offset, length, uncompressed_length };
        Location { pack: slot.pack, blob }
    }

    /// Where a blob lies, whether or not its pack is present.
    pub fn locate(&self, blob_type: BlobType, id: &Id) -> Option<Location> {
        self.find(blob_type, id).map(|number| self.at(blob_type, number))
    }

    /// Whether a blob is stored in a pack that is there.
    pub fn holds(&self, blob_type: BlobType, id: &Id) -> bool {
        self.locate(blob_type, id).is_some_and(|location| self.pack(&location).is_present())
    }

    /// The same in a pack that stays: what is written now may count on it.
    pub fn keeps(&self, blob_type: BlobType, id: &Id) -> bool {
        self.locate(blob_type, id).is_some_and(|location| {
            let pack = self.pack(&location);
            pack.is_present() && !pack.is_leaving
        })
    }

    pub fn pack(&self, location: &Location) -> &Pack {
        &self.packs[location.pack as usize]
    }

    /// Every pack that an index file names.
    pub fn packs(&self) -> &[Pack] {
        &self.packs
    }

    /// Packs that the index names but that are missing or of another size: damage.
    pub fn lost_packs(&self) -> impl Iterator<Item = &Pack> {
        self.packs.iter().filter(|pack| !pack.is_present())
    }

    /// Packs that no index file names, with their sizes; harmless.
    pub fn orphans(&self) -> &BTreeMap<Id, u64> {
        &self.orphans
    }

    /// Whether a pack that the index names is marked to leave it.
    pub fn is_leaving(&self, id: &Id) -> bool {
        self.leaving.contains(id)
    }

    /// Packs that wait for deletion; their blobs are not to be used.
    pub fn marked(&self) -> &IdSet {
        &self.marked
    }

    /// Number of entries, data and trees together.
    pub fn blob_count(&self) -> usize {
        self.data.len() + self.trees.len()
    }
}
