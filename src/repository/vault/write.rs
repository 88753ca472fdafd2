//! Writing a snapshot: what the threads of one run share. Chunks go in through [`ChunkStorer`]s,
//! one a thread; the snapshot comes out of [`VaultWriter::finish`] (`commit`), or nothing does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::id::{Id, IdSet};
use super::index::{BLOBS_PER_FILE, IndexFile, IndexPack};
use super::pack::{BlobType, ClosedPack};
use super::storer::{ChunkStorer, Counts};
use super::upload::{Failure, Uploaders};
use super::{Index, Vault};
use crate::error::{Error, Result};
use crate::ports::Entropy;

/// How a run writes.
#[derive(Debug, Clone, Copy)]
pub struct WriteSettings {
    /// A pack is finished when it holds this many bytes; at most 128 MiB. Each storing thread
    /// holds one, and about three more are under way.
    pub pack_bytes: usize,
    /// zstd's level, 1 to 19.
    pub compression_level: i32,
    /// Threads that hand packs to the store, 1 to 16; no more than it takes at once.
    pub uploaders: usize,
}

impl Default for WriteSettings {
    fn default() -> WriteSettings {
        WriteSettings { pack_bytes: 16 << 20, compression_level: 3, uploaders: 16 }
    }
}

/// Finished packs that may wait for an uploader.
const QUEUE_PACKS: usize = 1;
/// Sets of claimed ids, by first byte: threads seldom meet at one.
const CLAIM_SHARDS: usize = 16;

/// One run that writes a snapshot. Shared by the threads that read.
pub struct VaultWriter {
    pub(super) shared: Arc<Shared>,
    /// Dropped to tell the uploaders that nothing follows.
    queue: SyncSender<ClosedPack>,
    uploaders: Uploaders,
}

/// What storers and uploaders share.
pub(super) struct Shared {
    pub vault: Vault,
    pub index: Arc<Index>,
    pub entropy: Arc<dyn Entropy>,
    pub settings: WriteSettings,
    pub failure: Arc<Failure>,
    pub counts: Mutex<Counts>,
    pub open_storers: AtomicUsize,
    data_claims: [Mutex<IdSet>; CLAIM_SHARDS],
    tree_claims: [Mutex<IdSet>; CLAIM_SHARDS],
    /// Stored packs that no index file names yet.
    unindexed: Mutex<IndexFile>,
    /// Buffers of stored packs, to be filled again.
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl VaultWriter {
    /// Starts a run. `index` must be fresh: blobs it does not know are stored again.
    pub fn start(
        vault: &Vault,
        index: Arc<Index>,
        entropy: Arc<dyn Entropy>,
        settings: WriteSettings,
    ) -> Result<VaultWriter> {
        check_settings(&settings)?;
        let failure = Arc::new(Failure::default());
        let shared = Arc::new(Shared {
            vault: vault.clone(),
            index,
            entropy,
            settings,
            failure: Arc::clone(&failure),
            counts: Mutex::default(),
            open_storers: AtomicUsize::new(0),
            data_claims: Default::default(),
            tree_claims: Default::default(),
            unindexed: Mutex::default(),
            buffers: Mutex::default(),
        });
        let upload = {
            let shared = Arc::clone(&shared);
            Arc::new(move |pack| shared.upload(pack))
        };
        let uploaders = settings.uploaders.min(vault.store().puts_at_once());
        let (queue, uploaders) = Uploaders::start(uploaders, QUEUE_PACKS, &failure, upload)?;
        Ok(VaultWriter { shared, queue, uploaders })
    }

    /// A storer for one thread. Each must be ended with [`ChunkStorer::finish`]: one that is
    /// dropped otherwise, such as by a panic, fails the run.
    pub fn storer(&self) -> Result<ChunkStorer> {
        self.storer_of(BlobType::Data)
    }

    pub(super) fn storer_of(&self, blob_type: BlobType) -> Result<ChunkStorer> {
        ChunkStorer::new(Arc::clone(&self.shared), self.queue.clone(), blob_type)
    }

    /// Whether every chunk is stored, so that a file of an earlier snapshot can be taken over
    /// without reading it.
    pub fn holds_all(&self, content: &[Id]) -> bool {
        content.iter().all(|id| self.shared.index.keeps(BlobType::Data, id))
    }

    /// The first failure of the run, if there was one: readers ask now and then, and stop.
    pub fn check(&self) -> Result<()> {
        self.shared.failure.check()
    }

    /// Fails the run from outside, such as when a file cannot be read: everybody stops.
    pub fn fail(&self, error: &Error) {
        self.shared.failure.record(error);
    }

    /// Waits until every pack is stored, and writes the rest of the index. Every storer must have
    /// been finished.
    pub(super) fn flush(self) -> Result<Arc<Shared>> {
        let VaultWriter { shared, queue, uploaders } = self;
        let open = shared.open_storers.load(Ordering::Acquire);
        if open > 0 {
            // Their ends of the queue would keep the uploaders waiting.
            shared.failure.check()?;
            return Err(Error::failed(format!("{open} threads have not handed in their chunks")));
        }
        drop(queue);
        uploaders.join(&shared.failure);
        shared.failure.check()?;
        let rest = std::mem::take(&mut *lock(&shared.unindexed));
        if !rest.packs.is_empty() {
            shared.write_index(&rest)?;
        }
        Ok(shared)
    }
}

fn check_settings(settings: &WriteSettings) -> Result<()> {
    let sound = (1..=128 << 20).contains(&settings.pack_bytes)
        && (1..=19).contains(&settings.compression_level)
        && (1..=16).contains(&settings.uploaders);
    match sound {
        true => Ok(()),
        false => Err(Error::usage(format!("{settings:?} cannot be used for writing"))),
    }
}

impl Shared {
    /// Whether this run has to store the blob: nobody stored it before, and nobody in this run has
    /// taken it on.
    pub(super) fn claim(&self, blob_type: BlobType, id: &Id) -> bool {
        if self.index.keeps(blob_type, id) {
            return false;
        }
        let claims = match blob_type {
            BlobType::Data => &self.data_claims,
            BlobType::Tree => &self.tree_claims,
        };
        lock(&claims[usize::from(id.0[0]) % CLAIM_SHARDS]).insert(*id)
    }

    pub(super) fn take_buffer(&self) -> Vec<u8> {
        lock(&self.buffers).pop().unwrap_or_default()
    }

    /// Stores one pack, then notes it for the index: the index never names a pack that is not
    /// durable.
    fn upload(&self, pack: ClosedPack) -> Result<()> {
        let key = self.vault.layout().pack(&pack.id);
        self.vault.store().put_new(&key, pack.body())?;
        {
            let mut counts = lock(&self.counts);
            counts.packs += 1;
            counts.bytes_stored += pack.body().len() as u64;
        }
        let indexed = IndexPack::new(pack.id, pack.blobs.clone());
        lock(&self.buffers).push(pack.into_buffer());
        let full = {
            let mut unindexed = lock(&self.unindexed);
            unindexed.packs.push(indexed);
            let blobs: usize = unindexed.packs.iter().map(|pack| pack.blobs.len()).sum();
            (blobs >= BLOBS_PER_FILE).then(|| std::mem::take(&mut *unindexed))
        };
        full.map_or(Ok(()), |file| self.write_index(&file))
    }

    fn write_index(&self, file: &IndexFile) -> Result<()> {
        let entropy = self.entropy.as_ref();
        self.vault.write_sealed(file, entropy, |layout, id| layout.index(id)).map(drop)
    }
}

/// A poisoned lock is taken all the same: what panicked has failed the run on its way.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
