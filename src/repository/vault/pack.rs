//! Packs: many sealed blobs in one object, then a sealed header that lists them, then the header's
//! length (restic design document, "Pack Format"). A pack is named by the SHA-256 of all of it.
//!
//! Deliberately absent: packs of mixed blob types. Readers exist that refuse them.

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use zstd::bulk::Compressor;

use super::crypto::{Cipher, NONCE_BYTES, OVERHEAD_BYTES};
use super::id::Id;
use crate::error::{Attempt, Error, Result};
use crate::ports::Entropy;

/// The header's length stands in the last four bytes.
pub const LENGTH_BYTES: usize = 4;
/// Type, stored length, id.
const PLAIN_ENTRY_BYTES: usize = 1 + 4 + 32;
/// Type, stored length, length of content, id.
const COMPRESSED_ENTRY_BYTES: usize = 1 + 4 + 4 + 32;
/// Longer contents are refused, written or read: chunks and trees stay far below.
pub const MAX_BLOB_BYTES: usize = 1 << 30;
/// Bounds the header: 41 bytes each.
pub const MAX_BLOBS: usize = 8_192;

/// What a blob is; the same bytes may exist as either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobType {
    /// A chunk of a file.
    Data,
    /// A directory.
    Tree,
}

/// One blob in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedBlob {
    pub id: Id,
    #[serde(rename = "type")]
    pub blob_type: BlobType,
    /// Where the sealed blob begins in the pack.
    pub offset: u32,
    /// Bytes of the sealed blob.
    pub length: u32,
    /// Length of the content, if it is stored compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncompressed_length: Option<u32>,
}

impl PackedBlob {
    /// Length of the content.
    pub fn content_bytes(&self) -> u64 {
        let plain = u64::from(self.length).saturating_sub(OVERHEAD_BYTES as u64);
        self.uncompressed_length.map_or(plain, u64::from)
    }
}

/// Size of a pack that holds exactly `blobs`.
pub fn pack_bytes(blobs: &[PackedBlob]) -> u64 {
    let content: u64 = blobs.iter().map(|blob| u64::from(blob.length)).sum();
    let header: usize = blobs.iter().map(entry_bytes).sum();
    content + (header + OVERHEAD_BYTES + LENGTH_BYTES) as u64
}

fn entry_bytes(blob: &PackedBlob) -> usize {
    match blob.uncompressed_length {
        Some(_) => COMPRESSED_ENTRY_BYTES,
        None => PLAIN_ENTRY_BYTES,
    }
}

/// A pack being filled. Blobs are compressed and sealed where they will lie: nothing is copied.
pub struct OpenPack {
    blob_type: BlobType,
    /// Longer than what is filled; its pages are reused from pack to pack.
    buffer: Vec<u8>,
    filled: usize,
    blobs: Vec<PackedBlob>,
    digest: Context,
}

/// A finished pack.
pub struct ClosedPack {
    pub id: Id,
    pub blobs: Vec<PackedBlob>,
    buffer: Vec<u8>,
    bytes: usize,
}

impl ClosedPack {
    pub fn body(&self) -> &[u8] {
        &self.buffer[..self.bytes]
    }

    /// Gives the buffer back for the next pack.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

impl OpenPack {
    /// `buffer` may hold anything; it is grown when needed and kept.
    pub fn new(blob_type: BlobType, buffer: Vec<u8>) -> OpenPack {
        OpenPack { blob_type, buffer, filled: 0, blobs: Vec::new(), digest: Context::new(&SHA256) }
    }

    /// Bytes of blobs so far.
    pub fn filled_bytes(&self) -> usize {
        self.filled
    }

    pub fn blob_count(&self) -> usize {
        self.blobs.len()
    }

    /// Appends `content`, whose id is `id`; returns the bytes it takes. Stored as it is where
    /// compression does not shrink it: reading is then faster and nothing is lost.
    pub fn append(
        &mut self,
        id: Id,
        content: &[u8],
        compressor: &mut Compressor<'_>,
        cipher: &Cipher,
        entropy: &dyn Entropy,
    ) -> Result<u32> {
        if content.len() > MAX_BLOB_BYTES {
            return Err(Error::failed(format!("{} bytes are too many for a blob", content.len())));
        }
        let room = zstd::zstd_safe::compress_bound(content.len()) + OVERHEAD_BYTES;
        let start = self.filled;
        self.reserve(start + room);
        let body = start + NONCE_BYTES;
        let packed = compressor
            .compress_to_buffer(content, &mut self.buffer[body..start + room])
            .attempt(|| format!("compress blob {id}"))?;
        // A tree is always stored compressed, as every writer of version 2 does.
        let compressed = packed < content.len() || self.blob_type == BlobType::Tree;
        let text_bytes = if compressed {
            packed
        } else {
            self.buffer[body..body + content.len()].copy_from_slice(content);
            content.len()
        };
        let end = start + text_bytes + OVERHEAD_BYTES;
        cipher.seal_in_place(&mut self.buffer[start..end], entropy)?;
        self.digest.update(&self.buffer[start..end]);
        let too_long = || Error::failed("a pack would exceed 4 GiB");
        let offset = u32::try_from(start).map_err(|_| too_long())?;
        let length = u32::try_from(end - start).map_err(|_| too_long())?;
        // Below MAX_BLOB_BYTES, so the length fits.
        let uncompressed_length = compressed.then_some(content.len() as u32);
        let blob_type = self.blob_type;
        self.blobs.push(PackedBlob { id, blob_type, offset, length, uncompressed_length });
        self.filled = end;
        Ok(length)
    }

    /// Adds the header.
    pub fn close(mut self, cipher: &Cipher, entropy: &dyn Entropy) -> Result<ClosedPack> {
        let header = encode_header(&self.blobs);
        let sealed_bytes = header.len() + OVERHEAD_BYTES;
        let (start, end) = (self.filled, self.filled + sealed_bytes + LENGTH_BYTES);
        self.reserve(end);
        let text = start + NONCE_BYTES;
        self.buffer[text..text + header.len()].copy_from_slice(&header);
        cipher.seal_in_place(&mut self.buffer[start..start + sealed_bytes], entropy)?;
        let length = u32::try_from(sealed_bytes)
            .map_err(|_| Error::failed("the header of a pack would exceed 4 GiB"))?;
        self.buffer[end - LENGTH_BYTES..end].copy_from_slice(&length.to_le_bytes());
        self.digest.update(&self.buffer[start..end]);
        let id = Id::from_digest(&self.digest.finish());
        Ok(ClosedPack { id, blobs: self.blobs, buffer: self.buffer, bytes: end })
    }

    fn reserve(&mut self, bytes: usize) {
        if self.buffer.len() < bytes {
            self.buffer.resize(bytes.next_multiple_of(1 << 20), 0);
        }
    }
}

fn encode_header(blobs: &[PackedBlob]) -> Vec<u8> {
    let mut header = Vec::with_capacity(blobs.len() * COMPRESSED_ENTRY_BYTES);
    for blob in blobs {
        let tree = u8::from(blob.blob_type == BlobType::Tree);
        match blob.uncompressed_length {
            None => header.push(tree),
            Some(_) => header.push(tree + 2),
        }
        header.extend(blob.length.to_le_bytes());
        header.extend(blob.uncompressed_length.iter().flat_map(|length| length.to_le_bytes()));
        header.extend(blob.id.0);
    }
    header
}

/// Reads an opened header; offsets follow from the lengths, since blobs lie without gaps.
pub fn decode_header(mut header: &[u8]) -> Result<Vec<PackedBlob>> {
    let mut blobs = Vec::new();
    let mut offset = 0u32;
    while let Some(&kind) = header.first() {
        let (blob_type, entry) = match kind {
            0 => (BlobType::Data, PLAIN_ENTRY_BYTES),
            1 => (BlobType::Tree, PLAIN_ENTRY_BYTES),
            2 => (BlobType::Data, COMPRESSED_ENTRY_BYTES),
            3 => (BlobType::Tree, COMPRESSED_ENTRY_BYTES),
            _ => return Err(Error::failed(format!("its header has an entry of type {kind}"))),
        };
        let Some((fields, rest)) = header.split_at_checked(entry) else {
            return Err(Error::failed("its header ends inside an entry"));
        };
        let length = little_endian(&fields[1..5]);
        let compressed = entry == COMPRESSED_ENTRY_BYTES;
        let uncompressed_length = compressed.then(|| little_endian(&fields[5..9]));
        let mut id = Id([0; 32]);
        id.0.copy_from_slice(&fields[entry - 32..]);
        blobs.push(PackedBlob { id, blob_type, offset, length, uncompressed_length });
        offset = offset
            .checked_add(length)
            .ok_or_else(|| Error::failed("its header speaks of more than 4 GiB"))?;
        header = rest;
    }
    Ok(blobs)
}

/// The length of the sealed header, from the pack's last four bytes, if a pack of `pack_bytes` can
/// hold it.
pub fn header_bytes(last: [u8; LENGTH_BYTES], pack_bytes: u64) -> Result<usize> {
    let length = u32::from_le_bytes(last);
    let fits = u64::from(length) + LENGTH_BYTES as u64 <= pack_bytes;
    if fits && length as usize >= OVERHEAD_BYTES {
        return Ok(length as usize);
    }
    Err(Error::failed(format!("it claims a header of {length} bytes in a pack of {pack_bytes}")))
}

fn little_endian(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}
