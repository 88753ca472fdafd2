//! Restoring files, fast: several threads read packs in large pieces, decrypt, decompress and
//! verify each blob once, and hand it to every place that wants it. Memory: a few MiB a thread.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::index::Location;
use super::lanes::Lanes;
use super::pack::BlobType;
use super::read::BlobOpener;
use super::restore_plan::{Piece, Plan, RestoreFile, end_of};
use super::upload::Failure;
use super::write::lock;
use super::{Index, Vault};
use crate::error::{Attempt, Error, Result};

/// What to do about a pack that cannot be read as it was written.
const DAMAGED: &str = "Restore another recovery point, or from a copy of the repository; \
                       `fenice verify` tells what is damaged.";

/// Takes what is restored. Called by several threads at once.
pub trait Sink: Sync {
    /// `content` belongs at `offset` of the file with this number in the list. Pieces of a file
    /// come in any order, each once.
    fn write_at(&self, file: usize, offset: u64, content: &[u8]) -> Result<()>;

    /// Every piece of this file has been written. Called once a file, for empty ones too.
    fn complete(&self, file: usize) -> Result<()>;
}

/// How a restore reads.
#[derive(Debug, Clone, Copy)]
pub struct RestoreSettings {
    /// Threads, 1 to 64.
    pub workers: usize,
    /// Adjacent blobs are read together up to this; a thread holds as much.
    pub read_bytes: u64,
}

impl Default for RestoreSettings {
    fn default() -> RestoreSettings {
        RestoreSettings { workers: 2, read_bytes: 4 << 20 }
    }
}

/// What a restore did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    pub files: u64,
    /// Bytes handed to the sink.
    pub bytes: u64,
    /// Bytes read from the store.
    pub bytes_read: u64,
    /// Requests to the store.
    pub reads: u64,
}

struct Run<'a> {
    vault: &'a Vault,
    index: &'a Index,
    files: &'a [RestoreFile],
    sink: &'a dyn Sink,
    settings: RestoreSettings,
    plan: Plan,
    /// Pieces each file still waits for.
    waiting: Vec<AtomicU32>,
    lanes: Mutex<Lanes>,
    failure: Failure,
    done: Mutex<Restored>,
}

impl Vault {
    /// Restores `files` into `sink`.
    ///
    /// # Errors
    /// Everything that shows before reading, at once; then the first failure, naming blob, pack
    /// and file. What was written until then stays with the sink.
    pub fn restore(
        &self,
        index: &Index,
        files: &[RestoreFile],
        sink: &dyn Sink,
        settings: RestoreSettings,
    ) -> Result<Restored> {
        let plan = Plan::make(index, files)?;
        let waiting = files.iter().map(|file| AtomicU32::new(file.content.len() as u32)).collect();
        let workers = settings.workers.clamp(1, 64);
        let lanes = Lanes::new(plan.pieces.len(), workers);
        let run = Run {
            vault: self,
            index,
            files,
            sink,
            settings,
            plan,
            waiting,
            lanes: Mutex::new(lanes),
            failure: Failure::default(),
            done: Mutex::default(),
        };
        for (number, file) in files.iter().enumerate() {
            if file.content.is_empty() {
                run.complete(number)?;
            }
        }
        thread::scope(|scope| {
            let run = &run;
            let start = |worker| scope.spawn(move || run.work(worker));
            let threads: Vec<_> = (0..workers).map(start).collect();
            // A panic goes on in the caller: nothing was restored that could be trusted.
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap_or_else(|p| resume_unwind(p)));
        });
        run.failure.check()?;
        let done = *lock(&run.done);
        if done.files == files.len() as u64 {
            return Ok(done);
        }
        Err(Error::failed(format!("{} of {} files were restored", done.files, files.len())))
    }
}

impl Run<'_> {
    fn work(&self, worker: usize) {
        let worked = BlobOpener::new().and_then(|mut opener| {
            let mut buffer = Vec::new();
            while let Some(pieces) = self.next_run(worker) {
                self.serve(pieces, &mut buffer, &mut opener)?;
            }
            Ok(())
        });
        if let Err(error) = worked {
            self.failure.record(&error);
        }
    }

    /// The next pieces to read together; `None` at the end, and after a failure.
    fn next_run(&self, worker: usize) -> Option<&[Piece]> {
        if self.failure.has_failed() {
            return None;
        }
        let read_bytes = self.settings.read_bytes;
        let run = lock(&self.lanes)
            .next(worker, |lane| self.plan.run_from(self.index, lane.start, read_bytes).len())?;
        Some(&self.plan.pieces[run])
    }

    fn serve(&self, pieces: &[Piece], buffer: &mut Vec<u8>, opener: &mut BlobOpener) -> Result<()> {
        let at = |piece: &Piece| self.index.at(BlobType::Data, piece.blob);
        let first = at(&pieces[0]);
        let start = u64::from(first.blob.offset);
        let end = pieces.iter().map(|piece| end_of(&at(piece))).max().unwrap_or(start);
        let bytes = (end - start) as usize;
        if buffer.len() < bytes {
            buffer.resize(bytes, 0);
        }
        let key = self.vault.layout().pack(&self.index.pack(&first).id);
        self.vault
            .store()
            .read_range(&key, start, &mut buffer[..bytes])
            .attempt(|| self.what(&first, &pieces[0]))
            .map_err(|error| error.hint(DAMAGED))?;
        {
            let mut done = lock(&self.done);
            done.reads += 1;
            done.bytes_read += bytes as u64;
        }
        for same in pieces.chunk_by(|a, b| a.blob == b.blob) {
            let location = at(&same[0]);
            let from = (u64::from(location.blob.offset) - start) as usize;
            let sealed = &mut buffer[from..from + location.blob.length as usize];
            let content = opener
                .open(self.vault.cipher(), &location.blob, sealed)
                .attempt(|| self.what(&location, &same[0]))
                .map_err(|error| error.hint(DAMAGED))?;
            for piece in same {
                self.deliver(piece, content).attempt(|| self.what(&location, piece))?;
            }
        }
        Ok(())
    }

    fn deliver(&self, piece: &Piece, content: &[u8]) -> Result<()> {
        let file = piece.file as usize;
        self.sink.write_at(file, piece.offset, content)?;
        lock(&self.done).bytes += content.len() as u64;
        match self.waiting[file].fetch_sub(1, Ordering::AcqRel) {
            1 => self.complete(file),
            _ => Ok(()),
        }
    }

    fn complete(&self, file: usize) -> Result<()> {
        self.sink.complete(file)?;
        lock(&self.done).files += 1;
        Ok(())
    }

    fn what(&self, location: &Location, piece: &Piece) -> String {
        let (blob, pack) = (location.blob.id, self.index.pack(location).id);
        let path = self.files[piece.file as usize].path.display();
        format!("restore blob {blob} in pack {pack} to {path} at {}", piece.offset)
    }
}
