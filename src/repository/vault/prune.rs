//! Removing snapshots and every blob that only they led to (RULES 18): nothing unused is left.
//!
//! A pack that holds anything unused is taken out of the index, after what it holds of use was
//! copied into new packs. It is deleted only later, when nobody can be reading by an old index any
//! more: until then an index file marks it, in the words that rustic knows too
//! (`packs_to_delete`). One that the store locks is marked until its lock ends. The order survives
//! a crash anywhere: snapshots, new packs, their index, marks, old index files; and in a later run,
//! before all else, packs, then marks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::id::Id;
use super::index::{IndexFile, IndexPack};
use super::layout::ids_of;
use super::pack::{PackedBlob, pack_bytes};
use super::reach::Reached;
use super::read::BlobOpener;
use super::storer::ChunkStorer;
use super::{BlobType, Index, Vault, VaultWriter, WriteSettings};
use crate::error::{Attempt, Error, Result};
use crate::ports::Entropy;
use crate::ports::store::locked_until;

/// How a vault is pruned.
pub struct Pruning {
    pub now: Timestamp,
    /// So long a pack waits between leaving the index and being deleted.
    pub grace: Duration,
    pub write: WriteSettings,
    pub entropy: Arc<dyn Entropy>,
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    pub snapshots_removed: u64,
    /// Packs that left the index, for good or because they were written anew.
    pub packs_marked: u64,
    /// Stored bytes of blobs that were copied out of them.
    pub bytes_copied: u64,
    pub packs_deleted: u64,
    pub bytes_deleted: u64,
    /// Packs that still wait for their deletion.
    pub packs_waiting: u64,
    /// Those of them that the store locks.
    pub packs_locked: u64,
    /// Snapshots that the store locks: they are still there, and lead to packs that are not.
    pub snapshots_locked: u64,
    /// When the last of these locks ends.
    pub locked_until: Option<Timestamp>,
}

impl Pruned {
    fn note_waiting(&mut self, mark: &IndexPack, now: Timestamp) {
        self.packs_waiting += 1;
        if let Some(until) = mark.locked_until.filter(|until| *until > now) {
            self.packs_locked += 1;
            self.locked_until = self.locked_until.max(Some(until));
        }
    }
}

const DAMAGED: &str = "Nothing was removed that it needs; `restic check` tells what is damaged.";

/// Packs to leave the index, each with its blobs that are still of use.
pub(super) type Leaving = BTreeMap<Id, (IndexPack, Vec<PackedBlob>)>;

impl Vault {
    /// Removes every snapshot that is not in `keep`, and what only those led to. `allowed` is
    /// asked before anything is removed: whether this process still holds the lock that keeps
    /// every other writer out.
    ///
    /// # Errors
    /// Anything a kept snapshot leads to is not there: then nothing is removed. Or the store's own.
    pub fn prune(
        &self,
        keep: &BTreeSet<Id>,
        pruning: &Pruning,
        allowed: &dyn Fn() -> Result<()>,
    ) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        // First, so that nothing below holds up what is due, and so that a mark which a crash left
        // void is gone before the same pack is marked anew.
        self.delete_marked(pruning, allowed, &mut pruned)?;
        let files = self.index_files()?;
        let listed = self.list_packs()?;
        let index = Index::build(files.values().cloned().collect(), &listed);
        let living = self.living(&index, keep)?;
        self.remove_snapshots(keep, allowed, &mut pruned)?;
        let leaving = leaving(&files, &index, &living);
        if !leaving.is_empty() {
            pruned.bytes_copied = self.copy_living(&files, &leaving, &listed, pruning)?;
            self.check_living(&leaving, &living)?;
            self.mark(&leaving, pruning, allowed)?;
            pruned.packs_marked = leaving.len() as u64;
            pruned.packs_waiting += pruned.packs_marked;
        }
        Ok(pruned)
    }

    fn living(&self, index: &Index, keep: &BTreeSet<Id>) -> Result<Reached> {
        let mut living = Reached::default();
        for id in keep {
            let root = self.snapshot(id)?.tree;
            let reached = self.reach(index, root, &mut living, &mut |_, _| Ok(()));
            reached.map_err(|error| error.hint(DAMAGED))?;
        }
        check_held(index, &living, "before anything is removed")?;
        Ok(living)
    }

    fn remove_snapshots(
        &self,
        keep: &BTreeSet<Id>,
        allowed: &dyn Fn() -> Result<()>,
        pruned: &mut Pruned,
    ) -> Result<()> {
        let listing = self.store().list(&self.layout().snapshots())?;
        for (id, _) in ids_of(&listing).filter(|(id, _)| !keep.contains(id)) {
            allowed()?;
            match self.remove_unlocked(&self.layout().snapshot(&id))? {
                None => pruned.snapshots_removed += 1,
                Some(until) => {
                    pruned.snapshots_locked += 1;
                    pruned.locked_until = pruned.locked_until.max(Some(until));
                }
            }
        }
        Ok(())
    }

    /// Removes an object, or tells until when it is locked.
    fn remove_unlocked(&self, key: &str) -> Result<Option<Timestamp>> {
        match self.store().remove(key) {
            Ok(()) => Ok(None),
            Err(error) => locked_until(&error).map(Some).ok_or(error),
        }
    }

    /// Writes what is of use in packs that leave into new ones, with their index.
    fn copy_living(
        &self,
        files: &BTreeMap<Id, IndexFile>,
        leaving: &Leaving,
        listed: &BTreeMap<Id, u64>,
        pruning: &Pruning,
    ) -> Result<u64> {
        let staying = Index::build(files.values().map(|f| without(f, leaving)).collect(), listed);
        let entropy = Arc::clone(&pruning.entropy);
        let writer = VaultWriter::start(self, Arc::new(staying), entropy, pruning.write)?;
        let mut data = writer.storer_of(BlobType::Data)?;
        let mut trees = writer.storer_of(BlobType::Tree)?;
        let mut opener = BlobOpener::new()?;
        let mut bytes = 0;
        for (pack, blobs) in leaving.values().filter(|(_, blobs)| !blobs.is_empty()) {
            let mut body = vec![0; pack_bytes(&pack.blobs) as usize];
            self.store().read_range(&self.layout().pack(&pack.id), 0, &mut body)?;
            for blob in blobs {
                let storer = match blob.blob_type {
                    BlobType::Data => &mut data,
                    BlobType::Tree => &mut trees,
                };
                self.copy_blob(pack, blob, &mut body, &mut opener, storer)?;
                bytes += u64::from(blob.length);
            }
        }
        data.finish()?;
        trees.finish()?;
        writer.flush()?;
        Ok(bytes)
    }

    fn copy_blob(
        &self,
        pack: &IndexPack,
        blob: &PackedBlob,
        body: &mut [u8],
        opener: &mut BlobOpener,
        into: &mut ChunkStorer,
    ) -> Result<()> {
        let what = || format!("read blob {} in pack {}", blob.id, pack.id);
        let end = blob.offset as usize + blob.length as usize;
        let sealed = body.get_mut(blob.offset as usize..end);
        let sealed = sealed.ok_or_else(|| Error::failed("it ends beyond its pack"));
        // It hashes to its id, or opening it is an error.
        let content = opener.open(self.cipher(), blob, sealed.attempt(what)?).attempt(what)?;
        into.store_chunk(content).map(drop)
    }

    /// Whether everything of use is held by packs that stay, as the store itself tells now.
    fn check_living(&self, leaving: &Leaving, living: &Reached) -> Result<()> {
        let files = self.index_files()?;
        let staying: Vec<IndexFile> = files.values().map(|f| without(f, leaving)).collect();
        check_held(&Index::build(staying, &self.list_packs()?), living, "in the packs that stay")
    }

    /// Takes packs out of the index and marks them.
    fn mark(
        &self,
        leaving: &Leaving,
        pruning: &Pruning,
        allowed: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let time = Some(pruning.now);
        let marks = leaving.values().map(|(pack, _)| IndexPack { time, ..pack.clone() });
        let marks = IndexFile { packs: Vec::new(), packs_to_delete: marks.collect() };
        self.write_index(&marks, pruning.entropy.as_ref())?;
        let names = |file: &IndexFile| file.packs.iter().any(|pack| leaving.contains_key(&pack.id));
        for (id, file) in self.index_files()?.into_iter().filter(|(_, file)| names(file)) {
            let rest = without(&file, leaving);
            self.replace_index(&id, &rest, pruning.entropy.as_ref(), allowed)?;
        }
        Ok(())
    }

    /// Deletes packs whose grace is over, and their marks.
    fn delete_marked(
        &self,
        pruning: &Pruning,
        allowed: &dyn Fn() -> Result<()>,
        pruned: &mut Pruned,
    ) -> Result<()> {
        let files = self.index_files()?;
        let listed = self.list_packs()?;
        let indexed: BTreeSet<Id> =
            files.values().flat_map(|file| &file.packs).map(|pack| pack.id).collect();
        // One that nobody dated was marked by a stranger, at the latest when it was stored.
        let is_over = |pack: &IndexPack| {
            let until = pack.time.map(|time| time.checked_add(pruning.grace));
            until.is_none_or(|until| until.is_ok_and(|until| until <= pruning.now))
                && pack.locked_until.is_none_or(|until| until <= pruning.now)
        };
        for (id, file) in files.iter().filter(|(_, file)| !file.packs_to_delete.is_empty()) {
            let mut rest = IndexFile { packs: file.packs.clone(), packs_to_delete: Vec::new() };
            let mut is_same = true;
            for pack in &file.packs_to_delete {
                let waiting = match listed.get(&pack.id) {
                    // A crash between mark and index left it in use: the mark is void.
                    _ if indexed.contains(&pack.id) => None,
                    _ if !is_over(pack) => Some(pack.clone()),
                    Some(bytes) => self.delete_pack(pack, *bytes, allowed, pruned)?,
                    None => None,
                };
                is_same &= waiting.as_ref().is_some_and(|mark| {
                    pruned.note_waiting(mark, pruning.now);
                    mark.locked_until == pack.locked_until
                });
                rest.packs_to_delete.extend(waiting);
            }
            if !is_same {
                self.replace_index(id, &rest, pruning.entropy.as_ref(), allowed)?;
            }
        }
        Ok(())
    }

    /// Deletes a pack; of one that the store locks, returns the mark that tells so, and spares
    /// later runs the asking.
    fn delete_pack(
        &self,
        pack: &IndexPack,
        bytes: u64,
        allowed: &dyn Fn() -> Result<()>,
        pruned: &mut Pruned,
    ) -> Result<Option<IndexPack>> {
        allowed()?;
        let locked_until = self.remove_unlocked(&self.layout().pack(&pack.id))?;
        if locked_until.is_some() {
            return Ok(Some(IndexPack { locked_until, ..pack.clone() }));
        }
        pruned.packs_deleted += 1;
        pruned.bytes_deleted += bytes;
        Ok(None)
    }

    /// Writes `rest` in the place of an index file; both stand side by side for a moment, which
    /// changes nothing for readers.
    pub(super) fn replace_index(
        &self,
        old: &Id,
        rest: &IndexFile,
        entropy: &dyn Entropy,
        allowed: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        if !(rest.packs.is_empty() && rest.packs_to_delete.is_empty()) {
            self.write_index(rest, entropy)?;
        }
        allowed()?;
        self.store().remove(&self.layout().index(old))
    }

    fn write_index(&self, file: &IndexFile, entropy: &dyn Entropy) -> Result<()> {
        self.write_sealed(file, entropy, |layout, id| layout.index(id)).map(drop)
    }
}

/// Packs with anything in them that is of no use here: nothing leads to it, or another pack holds
/// it as well. Also those that no index file names, which a writer left that died.
pub(super) fn leaving(files: &BTreeMap<Id, IndexFile>, index: &Index, living: &Reached) -> Leaving {
    let mut leaving = Leaving::new();
    for pack in files.values().flat_map(|file| &file.packs) {
        let used = |blob: &&PackedBlob| {
            let at = index.locate(blob.blob_type, &blob.id);
            let here =
                at.is_some_and(|at| index.pack(&at).id == pack.id && at.blob.offset == blob.offset);
            here && living.of_type(blob.blob_type).contains(&blob.id)
        };
        let used: Vec<PackedBlob> = pack.blobs.iter().filter(used).copied().collect();
        if used.len() < pack.blobs.len() {
            leaving.insert(pack.id, (pack.clone(), used));
        }
    }
    for id in index.orphans().keys() {
        leaving.insert(*id, (IndexPack::new(*id, Vec::new()), Vec::new()));
    }
    leaving
}

fn without(file: &IndexFile, leaving: &Leaving) -> IndexFile {
    let mut file = file.clone();
    file.packs.retain(|pack| !leaving.contains_key(&pack.id));
    file
}

fn check_held(index: &Index, living: &Reached, when: &str) -> Result<()> {
    match living.missing_from(index) {
        None => Ok(()),
        Some(id) => {
            Err(Error::failed(format!("blob {id} of a kept snapshot is missing {when}"))
                .hint(DAMAGED))
        }
    }
}
