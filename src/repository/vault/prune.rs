//! Removing snapshots and every blob that only they led to (RULES 18): nothing unused is left.
//!
//! A pack that holds anything unused is taken out of the index, after what it holds of use was
//! copied into new packs. It is deleted only later, when nobody can be reading by an old index any
//! more: until then an index file marks it, in the words that rustic knows too
//! (`packs_to_delete`). One that the store locks is marked until its lock ends. The order survives
//! a crash anywhere: snapshots, new packs, their index, marks, old index files; and in a later run,
//! before all else, packs, then marks.
//!
//! It survives a second writer as well, of whom no lock may have kept this one apart (RULES 21). A
//! mark is for good: nothing new counts on a marked pack, and what is still needed of one is copied
//! out of it by a later run. After marking, and before anything leaves the index, the caller looks
//! whether anybody began or ended writing since the plan was made; then this run goes no further.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::index::{IndexFile, IndexPack};
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
    /// The snapshots that may be removed, as listed before it was asked who writes: any other
    /// belongs to somebody who has just begun.
    pub listed: BTreeSet<Id>,
}

/// What the caller answers for while a vault is pruned.
pub struct Guard<'a> {
    /// Asked before anything is removed: whether this process still holds the lock, and the lease,
    /// that keep every other writer out.
    pub allowed: &'a dyn Fn() -> Result<()>,
    /// Asked after packs were marked: whether nobody writes now or did since the plan was made.
    pub undisturbed: &'a dyn Fn() -> Result<bool>,
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Whether it stopped because somebody else wrote: a later run finishes it.
    pub disturbed: bool,
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
    /// Removes every listed snapshot that is not in `keep`, and what only those led to.
    ///
    /// # Errors
    /// Anything a kept snapshot leads to is not there: then nothing is removed. Or the store's own.
    pub fn prune(
        &self,
        keep: &BTreeSet<Id>,
        pruning: &Pruning,
        guard: &Guard<'_>,
    ) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        // First, so that nothing below holds up what is due.
        self.delete_marked(pruning, guard, &mut pruned)?;
        let files = self.index_files()?;
        let listed = self.list_packs()?;
        let index = Index::build(files.values().cloned().collect(), &listed);
        let living = self.living(&index, keep)?;
        self.remove_snapshots(keep, pruning, guard, &mut pruned)?;
        let leaving = leaving(&files, &index, &living);
        if !leaving.is_empty() {
            pruned.bytes_copied = self.copy_living(&files, &leaving, &listed, pruning)?;
            self.check_living(&leaving, &living)?;
            pruned.disturbed = !self.mark(&leaving, pruning, guard)?;
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
        pruning: &Pruning,
        guard: &Guard<'_>,
        pruned: &mut Pruned,
    ) -> Result<()> {
        for id in pruning.listed.difference(keep) {
            (guard.allowed)()?;
            match self.remove_unlocked(&self.layout().snapshot(id))? {
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

    /// Marks packs and takes them out of the index; `false` if they stay in it for now.
    fn mark(&self, leaving: &Leaving, pruning: &Pruning, guard: &Guard<'_>) -> Result<bool> {
        let time = Some(pruning.now);
        let marks = leaving.values().map(|(pack, _)| IndexPack { time, ..pack.clone() });
        let marks = IndexFile { packs: Vec::new(), packs_to_delete: marks.collect() };
        (guard.allowed)()?;
        self.write_index(&marks, pruning.entropy.as_ref())?;
        if !(guard.undisturbed)()? {
            return Ok(false);
        }
        let names = |file: &IndexFile| file.packs.iter().any(|pack| leaving.contains_key(&pack.id));
        for (id, file) in self.index_files()?.into_iter().filter(|(_, file)| names(file)) {
            let rest = without(&file, leaving);
            self.replace_index(&id, &rest, pruning.entropy.as_ref(), guard.allowed)?;
        }
        Ok(true)
    }

    /// Deletes packs whose grace is over, and their marks. One that is in the index as well, since
    /// a run was cut short, leaves that first.
    fn delete_marked(
        &self,
        pruning: &Pruning,
        guard: &Guard<'_>,
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
        let mut kept: BTreeMap<Id, IndexPack> = BTreeMap::new();
        for (id, mark) in newest_marks(&files) {
            let waiting = match listed.get(&id) {
                _ if indexed.contains(&id) || !is_over(&mark) => Some(mark),
                Some(bytes) => self.delete_pack(&mark, *bytes, guard, pruned)?,
                None => None,
            };
            let Some(mark) = waiting else { continue };
            if !indexed.contains(&id) {
                pruned.note_waiting(&mark, pruning.now);
            }
            kept.insert(id, mark);
        }
        for (id, file) in files.iter().filter(|(_, file)| !file.packs_to_delete.is_empty()) {
            let waits = |pack: &IndexPack| kept.get(&pack.id).filter(|mark| mark.time == pack.time);
            let marks: Vec<IndexPack> =
                file.packs_to_delete.iter().filter_map(waits).cloned().collect();
            let locks = |marks: &[IndexPack]| -> Vec<_> {
                marks.iter().map(|mark| (mark.id, mark.locked_until)).collect()
            };
            if locks(&marks) != locks(&file.packs_to_delete) {
                let rest = IndexFile { packs: file.packs.clone(), packs_to_delete: marks };
                self.replace_index(id, &rest, pruning.entropy.as_ref(), guard.allowed)?;
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
        guard: &Guard<'_>,
        pruned: &mut Pruned,
    ) -> Result<Option<IndexPack>> {
        (guard.allowed)()?;
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
        allowed()?;
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

/// Of the marks of each pack the newest, which was made when the pack left the index.
fn newest_marks(files: &BTreeMap<Id, IndexFile>) -> BTreeMap<Id, IndexPack> {
    let mut newest: BTreeMap<Id, IndexPack> = BTreeMap::new();
    for pack in files.values().flat_map(|file| &file.packs_to_delete) {
        let mark = newest.entry(pack.id).or_insert_with(|| pack.clone());
        let locked_until = mark.locked_until.max(pack.locked_until);
        if pack.time > mark.time {
            mark.clone_from(pack);
        }
        mark.locked_until = locked_until;
    }
    newest
}

/// Packs with anything in them that is of no use here: nothing leads to it, or another pack holds
/// it as well. Also those that are marked already, and those that no index file names, which a
/// writer left that died.
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
        if used.len() < pack.blobs.len() || index.is_leaving(&pack.id) {
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
