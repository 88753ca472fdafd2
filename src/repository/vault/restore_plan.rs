//! What to read for a restore, and in which order: chunk by pack, so that each pack is read once,
//! front to back, in few large pieces. Pure; 16 bytes a chunk wanted.

use std::ops::Range;
use std::path::PathBuf;

use super::Index;
use super::id::Id;
use super::index::Location;
use super::pack::{BlobType, MAX_BLOB_BYTES};
use crate::error::{Error, Result};

/// A file to be restored.
#[derive(Debug, Clone)]
pub struct RestoreFile {
    /// For messages.
    pub path: PathBuf,
    pub size: u64,
    /// Its chunks in order.
    pub content: Vec<Id>,
}

/// Stored bytes between two wanted blobs that are read rather than skipped: a further request
/// costs more.
const GAP_BYTES: u64 = 64 << 10;
/// How many problems an error lists.
const MAX_LISTED: usize = 8;

/// One chunk at one place of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Number in the index.
    pub blob: u32,
    /// Number in the list of files.
    pub file: u32,
    /// Where it belongs in the file.
    pub offset: u64,
}

/// All pieces in the order of reading.
#[derive(Debug)]
pub struct Plan {
    pub pieces: Vec<Piece>,
}

impl Plan {
    /// # Errors
    /// Chunks that are in no index, in a missing pack, or do not add up to a file's size: all of
    /// them are told, before anything is read.
    pub fn make(index: &Index, files: &[RestoreFile]) -> Result<Plan> {
        let mut pieces = Vec::with_capacity(files.iter().map(|file| file.content.len()).sum());
        let mut problems = Vec::new();
        // Packs in the order in which files want them: few files are under way at a time.
        let mut rank_of_pack = vec![u32::MAX; index.packs().len()];
        let mut ranks = 0;
        for (number, file) in files.iter().enumerate() {
            let mut offset = 0;
            for id in &file.content {
                match wanted(index, id) {
                    Ok((blob, at)) => {
                        // 2^32 files are out of reach.
                        pieces.push(Piece { blob, file: number as u32, offset });
                        offset += at.blob.content_bytes();
                        let rank = &mut rank_of_pack[at.pack as usize];
                        if *rank == u32::MAX {
                            *rank = ranks;
                            ranks += 1;
                        }
                    }
                    Err(problem) => problems.push(format!("{}: {problem}", file.path.display())),
                }
            }
            if problems.is_empty() && offset != file.size {
                let (path, size) = (file.path.display(), file.size);
                problems.push(format!("{path}: it has {size} bytes, its chunks have {offset}"));
            }
        }
        if !problems.is_empty() {
            return Err(refusal(problems));
        }
        pieces.sort_unstable_by_key(|piece| {
            let at = index.at(BlobType::Data, piece.blob);
            (rank_of_pack[at.pack as usize], at.blob.offset, piece.file, piece.offset)
        });
        Ok(Plan { pieces })
    }

    /// The pieces from `start` on that one read of at most `read_bytes` serves; a longer blob
    /// stands alone.
    pub fn run_from(&self, index: &Index, start: usize, read_bytes: u64) -> Range<usize> {
        let at = |piece: &Piece| index.at(BlobType::Data, piece.blob);
        let Some(first) = self.pieces.get(start).map(at) else { return start..start };
        let from = u64::from(first.blob.offset);
        let mut reached = end_of(&first);
        let mut end = start + 1;
        for piece in &self.pieces[end..] {
            let next = at(piece);
            let near = u64::from(next.blob.offset) <= reached + GAP_BYTES;
            if next.pack != first.pack || !near || end_of(&next).max(reached) - from > read_bytes {
                // The same blob again costs no further reading.
                if next != at(&self.pieces[end - 1]) {
                    break;
                }
            }
            reached = reached.max(end_of(&next));
            end += 1;
        }
        start..end
    }
}

/// Where the stored bytes of a blob end in its pack.
pub fn end_of(location: &Location) -> u64 {
    u64::from(location.blob.offset) + u64::from(location.blob.length)
}

fn wanted(index: &Index, id: &Id) -> Result<(u32, Location), String> {
    let Some(number) = index.find(BlobType::Data, id) else {
        return Err(format!("blob {id} is in no index"));
    };
    let at = index.at(BlobType::Data, number);
    let pack = index.pack(&at);
    let fits = end_of(&at) <= pack.bytes && at.blob.length as usize <= MAX_BLOB_BYTES;
    match (pack.stored_bytes, fits) {
        (None, _) => Err(format!("pack {} with blob {id} is missing", pack.id)),
        (Some(bytes), _) if bytes != pack.bytes => {
            let expected = pack.bytes;
            Err(format!("pack {} with blob {id} has {bytes} bytes, not {expected}", pack.id))
        }
        (Some(_), false) => Err(format!("blob {id} reaches beyond its pack {}", pack.id)),
        (Some(_), true) => Ok((number, at)),
    }
}

fn refusal(mut problems: Vec<String>) -> Error {
    let count = problems.len();
    problems.truncate(MAX_LISTED);
    Error::failed(format!("{count} chunks cannot be restored: {}", problems.join("; ")))
        .hint("Restore another recovery point; `fenice verify` tells what is damaged.")
}
