//! One thread's way into the vault: chunk in, id out. Each thread has its own compressor and its
//! own open pack, so threads meet only at the queue of finished packs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use zstd::bulk::Compressor;

use super::id::Id;
use super::pack::{BlobType, ClosedPack, MAX_BLOBS, OpenPack};
use super::write::{Shared, lock};
use crate::error::{Attempt, Error, Result};

/// What a run has stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blobs stored by this run.
    pub blobs_new: u64,
    /// Blobs that were there, or came twice.
    pub blobs_known: u64,
    /// Bytes given to storers, trees included.
    pub bytes_read: u64,
    /// Of these, bytes of new blobs, before compression.
    pub bytes_new: u64,
    /// Bytes of packs written.
    pub bytes_stored: u64,
    pub packs: u64,
}

/// Stores chunks for one thread. End it with [`ChunkStorer::finish`].
pub struct ChunkStorer {
    shared: Arc<Shared>,
    queue: SyncSender<ClosedPack>,
    compressor: Compressor<'static>,
    blob_type: BlobType,
    pack: Option<OpenPack>,
    counts: Counts,
    finished: bool,
}

impl ChunkStorer {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: SyncSender<ClosedPack>,
        blob_type: BlobType,
    ) -> Result<ChunkStorer> {
        shared.failure.check()?;
        let compressor = Compressor::new(shared.settings.compression_level)
            .attempt(|| "set up compression".into())?;
        shared.open_storers.fetch_add(1, Ordering::AcqRel);
        let (pack, counts) = (None, Counts::default());
        Ok(ChunkStorer { shared, queue, compressor, blob_type, pack, counts, finished: false })
    }

    /// Stores one chunk unless the vault has it. Returns its id, and how many of its bytes are
    /// new: all or none.
    ///
    /// # Errors
    /// The first failure of the run, whichever thread met it.
    pub fn store_chunk(&mut self, content: &[u8]) -> Result<(Id, u64)> {
        self.shared.failure.check()?;
        let id = Id::of(content);
        let bytes = content.len() as u64;
        self.counts.bytes_read += bytes;
        if !self.shared.claim(self.blob_type, &id) {
            self.counts.blobs_known += 1;
            return Ok((id, 0));
        }
        // A claimed blob that is then not stored must not be taken for stored: fail the run.
        self.append(id, content).inspect_err(|error| self.shared.failure.record(error))?;
        self.counts.blobs_new += 1;
        self.counts.bytes_new += bytes;
        Ok((id, bytes))
    }

    fn append(&mut self, id: Id, content: &[u8]) -> Result<()> {
        let shared = &self.shared;
        let pack =
            self.pack.get_or_insert_with(|| OpenPack::new(self.blob_type, shared.take_buffer()));
        let cipher = shared.vault.cipher();
        pack.append(id, content, &mut self.compressor, cipher, shared.entropy.as_ref())?;
        if pack.filled_bytes() >= shared.settings.pack_bytes || pack.blob_count() >= MAX_BLOBS {
            self.hand_in()?;
        }
        Ok(())
    }

    fn hand_in(&mut self) -> Result<()> {
        let Some(pack) = self.pack.take() else { return Ok(()) };
        let closed = pack.close(self.shared.vault.cipher(), self.shared.entropy.as_ref())?;
        // Waits while the queue is full: the store sets the pace.
        self.queue
            .send(closed)
            .map_err(|_| Error::failed("the threads that upload packs have ended"))
    }

    /// Hands in what is left. Packs may still be on their way; `VaultWriter::finish` waits.
    pub fn finish(mut self) -> Result<()> {
        self.shared.failure.check()?;
        self.hand_in()?;
        let mut counts = lock(&self.shared.counts);
        counts.blobs_new += self.counts.blobs_new;
        counts.blobs_known += self.counts.blobs_known;
        counts.bytes_read += self.counts.bytes_read;
        counts.bytes_new += self.counts.bytes_new;
        drop(counts);
        self.finished = true;
        Ok(())
    }
}

impl Drop for ChunkStorer {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.failure.record(&Error::failed(
                "a thread that reads files ended without handing in its chunks",
            ));
        }
        self.shared.open_storers.fetch_sub(1, Ordering::AcqRel);
    }
}
