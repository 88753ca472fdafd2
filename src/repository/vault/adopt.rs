//! Adoption: packs that a crashed run left without an index are entered into one, so that the next
//! run does not store their content again. Call it before a backup, under the lease.

use super::Vault;
use super::id::Id;
use super::index::{BLOBS_PER_FILE, Index, IndexFile, IndexPack};
use super::pack::{LENGTH_BYTES, PackedBlob, decode_header, header_bytes, pack_bytes};
use crate::error::{Attempt, Error, Result};
use crate::ports::Entropy;

/// The tail read at first; holds the header of most packs of 1 MiB chunks.
const TAIL_BYTES: u64 = 16 << 10;

/// What adoption found.
#[derive(Debug, Default)]
pub struct Adopted {
    pub packs: u64,
    pub blobs: u64,
    /// Packs without a readable header: damage that concerns no snapshot. They stay as they are.
    pub unreadable: Vec<(Id, Error)>,
}

impl Vault {
    /// Writes index files for the packs that `index` found in no index; load the index again
    /// afterwards if any were adopted.
    ///
    /// # Errors
    /// The store's own. A damaged pack is not an error but told.
    pub fn adopt(&self, index: &Index, entropy: &dyn Entropy) -> Result<Adopted> {
        let mut adopted = Adopted::default();
        let mut file = IndexFile::default();
        let mut blobs_waiting = 0;
        for (id, bytes) in index.orphans() {
            match self.read_header(id, *bytes)? {
                Ok(blobs) => {
                    adopted.packs += 1;
                    adopted.blobs += blobs.len() as u64;
                    blobs_waiting += blobs.len();
                    file.packs.push(IndexPack::new(*id, blobs));
                }
                Err(error) => adopted.unreadable.push((*id, error)),
            }
            if blobs_waiting >= BLOBS_PER_FILE {
                self.write_sealed(&file, entropy, |layout, id| layout.index(id))?;
                file.packs.clear();
                blobs_waiting = 0;
            }
        }
        if !file.packs.is_empty() {
            self.write_sealed(&file, entropy, |layout, id| layout.index(id))?;
        }
        Ok(adopted)
    }

    /// The blobs that the header of a pack lists. The outer error is the store's, the inner one
    /// says what is wrong with the pack.
    pub(super) fn read_header(&self, id: &Id, bytes: u64) -> Result<Result<Vec<PackedBlob>>> {
        let key = self.layout().pack(id);
        if bytes < LENGTH_BYTES as u64 {
            return Ok(Err(Error::failed(format!("pack {id} has only {bytes} bytes"))));
        }
        let mut tail = vec![0; bytes.min(TAIL_BYTES) as usize];
        self.store().read_range(&key, bytes - tail.len() as u64, &mut tail)?;
        let mut last = [0; LENGTH_BYTES];
        last.copy_from_slice(&tail[tail.len() - LENGTH_BYTES..]);
        let header = match header_bytes(last, bytes) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error).attempt(|| format!("read the header of pack {id}"))),
        };
        let with_length = header + LENGTH_BYTES;
        if with_length > tail.len() {
            tail = vec![0; with_length];
            self.store().read_range(&key, bytes - with_length as u64, &mut tail)?;
        }
        let start = tail.len() - with_length;
        let sealed = &mut tail[start..start + header];
        let opened = self.cipher().open_in_place(sealed).and_then(|text| decode_header(text));
        let checked = opened.and_then(|blobs| match pack_bytes(&blobs) == bytes {
            true => Ok(blobs),
            false => Err(Error::failed(format!("its blobs do not add up to its {bytes} bytes"))),
        });
        Ok(checked.attempt(|| format!("read the header of pack {id}")))
    }
}
