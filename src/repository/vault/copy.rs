//! Copying a snapshot into another vault: what that one lacks is read here, each blob verified by
//! its id, sealed there under its own key, and read back from there before the snapshot is written.
//!
//! Ids are hashes of content, so both vaults know a blob by the same name, and trees are copied as
//! they are. What a killed run left is taken up by the next one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::id::Id;
use super::layout::ids_of;
use super::reach::Reached;
use super::restore::{RestoreSettings, Sink};
use super::restore_plan::RestoreFile;
use super::storer::{ChunkStorer, Counts};
use super::write::lock;
use super::{BlobType, Index, Snapshot, Vault, VaultWriter, WriteSettings};
use crate::error::{Error, Result};
use crate::ports::Entropy;

/// How a snapshot is copied.
pub struct Copying<'a> {
    pub entropy: Arc<dyn Entropy>,
    pub write: WriteSettings,
    pub read: RestoreSettings,
    /// Told how many bytes have to be brought and read back, once that is known.
    pub expect: &'a (dyn Fn(u64) + Sync),
    /// Told of bytes brought or read back; an error ends the copying.
    pub moved: &'a (dyn Fn(u64) -> Result<()> + Sync),
    /// Asked before the snapshot is written: whether this process still holds the lock that keeps
    /// every other writer out of the vault copied to.
    pub allowed: &'a dyn Fn() -> Result<()>,
}

/// A snapshot that was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotCopied {
    /// Its id in the vault copied to.
    pub snapshot: Id,
    /// Blobs that were not there before.
    pub blobs_new: u64,
    /// Their bytes, before compression.
    pub bytes_new: u64,
}

impl Vault {
    /// Copies the snapshot `id` of `from` into this vault.
    ///
    /// # Errors
    /// Anything it leads to cannot be read there, or was not read back here as it was stored. No
    /// snapshot exists here then.
    pub fn copy_from(&self, from: &Vault, id: &Id, by: &Copying<'_>) -> Result<SnapshotCopied> {
        let original = from.snapshot(id)?;
        let counts = self.bring_from(from, &original, by)?;
        (by.allowed)()?;
        let copy = Snapshot { parent: None, ..original };
        let snapshot =
            self.write_sealed(&copy, by.entropy.as_ref(), |layout, id| layout.snapshot(id))?;
        Ok(SnapshotCopied { snapshot, blobs_new: counts.blobs_new, bytes_new: counts.bytes_new })
    }

    /// Brings everything that a snapshot of `from` leads to, and no snapshot.
    ///
    /// # Errors
    /// As [`Vault::copy_from`].
    pub fn bring_from(
        &self,
        from: &Vault,
        original: &Snapshot,
        by: &Copying<'_>,
    ) -> Result<Counts> {
        let their_index = from.load_index()?;
        let our_index = Arc::new(self.adopted_index(by.entropy.as_ref())?);
        let entropy = Arc::clone(&by.entropy);
        let writer = VaultWriter::start(self, Arc::clone(&our_index), entropy, by.write)?;

        let mut new_trees = Vec::new();
        let mut storer = writer.storer_of(BlobType::Tree)?;
        let mut reached = Reached::default();
        from.reach(&their_index, original.tree, &mut reached, &mut |tree, text| {
            if !our_index.keeps(BlobType::Tree, tree) {
                new_trees.push(*tree);
                storer.store_chunk(text)?;
            }
            Ok(())
        })?;
        storer.finish()?;

        let lacking = |id: &&Id| !our_index.keeps(BlobType::Data, id);
        let new_data: Vec<Id> = reached.data.iter().filter(lacking).copied().collect();
        let brought = blobs_as_file(&their_index, new_data)?;
        (by.expect)(2 * brought.size);
        bring(from, &their_index, &brought, &writer, by)?;
        let counts = *lock(&writer.flush()?.counts);

        let our_index = self.load_index()?;
        if let Some(id) = reached.missing_from(&our_index) {
            return Err(Error::failed(format!("blob {id} is missing after it was copied")));
        }
        self.read_back(&our_index, &reached, by)?;
        Ok(counts)
    }

    /// What the snapshots here lead to: each was read back before it was written. One that cannot
    /// be followed vouches for nothing.
    fn vouched(&self, index: &Index) -> Result<Reached> {
        let mut vouched = Reached::default();
        for (id, _) in ids_of(&self.store().list(&self.layout().snapshots())?) {
            let Ok(snapshot) = self.snapshot(&id) else { continue };
            let mut reached = Reached::default();
            if self.reach(index, snapshot.tree, &mut reached, &mut |_, _| Ok(())).is_ok() {
                vouched.trees.extend(reached.trees);
                vouched.data.extend(reached.data);
            }
        }
        Ok(vouched)
    }

    /// A fresh index that also knows what a killed run left.
    fn adopted_index(&self, entropy: &dyn Entropy) -> Result<Index> {
        let index = self.load_index()?;
        match self.adopt(&index, entropy)?.packs {
            0 => Ok(index),
            _ => self.load_index(),
        }
    }

    /// Reads, as a restore would, all that no snapshot here vouches for: what was written now, and
    /// what a run before wrote that was killed, or failed, before it had read it.
    fn read_back(&self, index: &Index, reached: &Reached, by: &Copying<'_>) -> Result<()> {
        let vouched = self.vouched(index)?;
        for tree in reached.trees.difference(&vouched.trees) {
            self.read_blob(index, BlobType::Tree, tree)?;
        }
        let data = reached.data.difference(&vouched.data).copied().collect();
        let data = blobs_as_file(index, data)?;
        let sink = Discard { moved: by.moved };
        self.restore(index, std::slice::from_ref(&data), &sink, by.read).map(drop)
    }
}

/// All blobs as one file: then they are read, in the order of their packs, as a restore would.
fn blobs_as_file(index: &Index, content: Vec<Id>) -> Result<RestoreFile> {
    let mut size = 0;
    for id in &content {
        let at = index.locate(BlobType::Data, id);
        let at = at.ok_or_else(|| super::read::not_in_index(id))?;
        size += at.blob.content_bytes();
    }
    Ok(RestoreFile { path: PathBuf::from("the copy"), size, content })
}

fn bring(
    from: &Vault,
    index: &Index,
    blobs: &RestoreFile,
    writer: &VaultWriter,
    by: &Copying<'_>,
) -> Result<()> {
    let sink = Into { writer, idle: Mutex::default(), moved: by.moved };
    from.restore(index, std::slice::from_ref(blobs), &sink, by.read)?;
    let storers = sink.idle.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    storers.into_iter().try_for_each(ChunkStorer::finish)
}

/// Stores what is read. Threads take turns with the storers, so there are as many as threads.
struct Into<'a> {
    writer: &'a VaultWriter,
    idle: Mutex<Vec<ChunkStorer>>,
    moved: &'a (dyn Fn(u64) -> Result<()> + Sync),
}

impl Sink for Into<'_> {
    fn write_at(&self, _: usize, _: u64, content: &[u8]) -> Result<()> {
        let idle = lock(&self.idle).pop();
        let mut storer = match idle {
            Some(storer) => storer,
            None => self.writer.storer()?,
        };
        storer.store_chunk(content)?;
        lock(&self.idle).push(storer);
        (self.moved)(content.len() as u64)
    }

    fn complete(&self, _: usize) -> Result<()> {
        Ok(())
    }
}

/// Reads for the sake of reading: every blob is verified on the way here.
struct Discard<'a> {
    moved: &'a (dyn Fn(u64) -> Result<()> + Sync),
}

impl Sink for Discard<'_> {
    fn write_at(&self, _: usize, _: u64, content: &[u8]) -> Result<()> {
        (self.moved)(content.len() as u64)
    }

    fn complete(&self, _: usize) -> Result<()> {
        Ok(())
    }
}
