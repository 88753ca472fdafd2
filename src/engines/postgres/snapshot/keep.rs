//! Checks and stores the chunks of a base backup: what each of several threads does.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::repository::vault::storer::ChunkStorer;
use crate::repository::vault::{Id, VaultWriter};

use super::damage::Checked;
use super::pages::{self, Page};
use super::receive::Receiving;
use super::scan::TABLESPACES;

/// A piece of a file, on its way to be stored.
pub struct Chunk {
    pub file: usize,
    pub index: usize,
    pub path: Arc<str>,
    /// Of its first page, within the relation; `None` if it is not made of pages.
    pub first_block: Option<u32>,
    /// Where it begins in its file.
    pub offset: u64,
    pub bytes: Vec<u8>,
}

/// What one thread stored.
#[derive(Default)]
pub struct Stored {
    /// File, number of the chunk, its id.
    pub ids: Vec<(usize, usize, Id)>,
    pub checked: Checked,
}

/// One thread that stores.
pub struct Worker<'a> {
    receiving: &'a Receiving,
    storer: ChunkStorer,
    stored: Stored,
}

impl<'a> Worker<'a> {
    /// A thread's tools.
    pub fn new(receiving: &'a Receiving, writer: &VaultWriter) -> Result<Worker<'a>> {
        Ok(Worker { receiving, storer: writer.storer()?, stored: Stored::default() })
    }

    /// Stores chunks until the queue is closed.
    pub fn run(mut self, queue: &Mutex<Receiver<Chunk>>) -> Result<Stored> {
        loop {
            // Whoever waits holds the lock; the others wait for the lock instead.
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(mut chunk) = next else { break };
            if let Some(first) = chunk.first_block
                && self.receiving.cluster.data_checksums
            {
                self.check_pages(&mut chunk, first);
            }
            let (id, _) = self.storer.store_chunk(&chunk.bytes)?;
            self.stored.ids.push((chunk.file, chunk.index, id));
        }
        self.storer.finish()?;
        Ok(self.stored)
    }

    fn check_pages(&mut self, chunk: &mut Chunk, first_block: u32) {
        let page_bytes = self.receiving.cluster.block_size as usize;
        let start = self.receiving.settings.start;
        let first_page = chunk.offset / page_bytes as u64;
        for (index, page) in chunk.bytes.chunks_exact_mut(page_bytes).enumerate() {
            let number = first_page + index as u64;
            let block = first_block.wrapping_add(number as u32);
            self.stored.checked.pages += 1;
            let is_sound = |page: &[u8]| pages::judge(page, block, start) != Page::Damaged;
            if is_sound(page) {
                continue;
            }
            let at = number * page_bytes as u64;
            let server_path = server_path(&chunk.path);
            match self.receiving.again.look(&server_path, at, page_bytes, is_sound) {
                Some(found) => {
                    // What was cut off meanwhile is zeros here; the log says so too.
                    page.fill(0);
                    page[..found.len()].copy_from_slice(&found);
                }
                None => self.stored.checked.note_damaged(&chunk.path, number),
            }
        }
    }
}

/// The server's own name for a file of the vault, relative to the data directory.
fn server_path(path: &str) -> String {
    match path.strip_prefix("pgdata/") {
        Some(inside) => inside.to_owned(),
        None => path.replacen(TABLESPACES, "pg_tblspc", 1),
    }
}
