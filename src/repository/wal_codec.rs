//! How a stretch of log becomes an object: a note in a skippable zstd frame, the bytes as a zstd
//! frame with its checksum, all sealed with age. `age -d | zstd -d` yields exactly the bytes.
//!
//! The note carries what the name cannot: until when, by the source's clock, nothing later than
//! these bytes existed. Skippable frames are part of the zstd format (RFC 8878, 3.1.2); every
//! decoder passes over them.

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Attempt, Error, Result};
use crate::repository::seal::{Identities, Recipients};

/// One of the sixteen magic numbers that mark a skippable frame.
const SKIPPABLE: u32 = 0x184D_2A5E;
/// A note is a few hundred bytes.
const NOTE_LIMIT_BYTES: usize = 4_096;

/// What is noted beside the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub v: u32,
    /// By the source's clock: its log ended with these bytes then. `None` if not known, as for
    /// segments pushed by `archive_command`.
    pub complete_at: Option<Timestamp>,
    /// Of the plain bytes, hexadecimal.
    pub sha256: String,
}

/// Compresses and seals `bytes`.
pub fn encode(
    recipients: &Recipients,
    bytes: &[u8],
    complete_at: Option<Timestamp>,
    level: i32,
) -> Result<Vec<u8>> {
    let note = Note { v: 1, complete_at, sha256: sha256_hex(bytes) };
    let note = serde_json::to_vec(&note).attempt(|| "write the note of a log object".to_owned())?;
    let mut framed = Vec::with_capacity(bytes.len() / 2 + NOTE_LIMIT_BYTES);
    framed.extend_from_slice(&SKIPPABLE.to_le_bytes());
    framed.extend_from_slice(&(note.len() as u32).to_le_bytes());
    framed.extend_from_slice(&note);
    let compress = || -> std::io::Result<Vec<u8>> {
        let mut compressor = zstd::bulk::Compressor::new(level)?;
        compressor.include_checksum(true)?;
        compressor.compress(bytes)
    };
    framed.extend(compress().attempt(|| "compress a log object".to_owned())?);
    recipients.seal(&framed)
}

/// Opens and decompresses; the result is exactly `expected_bytes` long. The note's hash is not
/// computed again: age authenticates every byte, zstd's checksum vouches for the decompressing.
///
/// # Errors
/// Another key, damage, or another length.
pub fn decode(identities: &Identities, sealed: &[u8], expected_bytes: u64) -> Result<Vec<u8>> {
    let bytes = decode_small(identities, sealed, expected_bytes)?;
    match bytes.len() as u64 == expected_bytes {
        true => Ok(bytes),
        false => Err(Error::failed(format!(
            "the log object holds {} bytes instead of {expected_bytes}",
            bytes.len()
        ))),
    }
}

/// Opens and decompresses at most `limit_bytes`, where the length is not known beforehand.
pub fn decode_small(identities: &Identities, sealed: &[u8], limit_bytes: u64) -> Result<Vec<u8>> {
    let framed = open(identities, sealed, limit_bytes)?;
    let (_, body) = split_note(&framed)?;
    // At once rather than as a stream, which copies every byte once more. The limit is ours, not
    // the frame's claim, and memory that is not written to costs nothing.
    let mut bytes = Vec::with_capacity(limit_bytes as usize);
    zstd::bulk::Decompressor::new()
        .and_then(|mut decompressor| decompressor.decompress_to_buffer(body, &mut bytes))
        .attempt(|| "decompress a log object".to_owned())?;
    Ok(bytes)
}

/// Opens only as far as the note, which is authenticated like the rest.
pub fn read_note(identities: &Identities, sealed: &[u8], expected_bytes: u64) -> Result<Note> {
    let framed = open(identities, sealed, expected_bytes)?;
    Ok(split_note(&framed)?.0)
}

/// Opens a log object, decompresses it and compares it with its own note: nothing of it is left
/// unread. `limit_bytes` bounds what it may hold.
///
/// # Errors
/// Another key, damage, more than the limit, or content that is not what was noted.
pub fn check(identities: &Identities, sealed: &[u8], limit_bytes: u64) -> Result<Checked> {
    let framed = open(identities, sealed, limit_bytes)?;
    let (note, body) = split_note(&framed)?;
    let mut bytes = Vec::with_capacity(limit_bytes as usize);
    zstd::bulk::Decompressor::new()
        .and_then(|mut decompressor| decompressor.decompress_to_buffer(body, &mut bytes))
        .attempt(|| "decompress a log object".to_owned())?;
    let actual = sha256_hex(&bytes);
    if actual != note.sha256 {
        return Err(Error::failed("the log object does not hold what was noted of it")
            .because(format!("SHA-256 is {actual}, noted was {}", note.sha256)));
    }
    Ok(Checked { note, bytes: bytes.len() as u64, framed })
}

/// A log object whose content was found to be what it was when it was stored.
pub struct Checked {
    pub note: Note,
    /// Of the content.
    pub bytes: u64,
    framed: Vec<u8>,
}

impl Checked {
    /// The same object for other recipients.
    pub fn seal_to(&self, recipients: &Recipients) -> Result<Vec<u8>> {
        recipients.seal(&self.framed)
    }
}

/// SHA-256 of `bytes`, hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn open(identities: &Identities, sealed: &[u8], expected_bytes: u64) -> Result<Vec<u8>> {
    // Incompressible bytes grow by less than 1 % in zstd.
    let limit = expected_bytes + expected_bytes / 64 + 2 * NOTE_LIMIT_BYTES as u64;
    identities.open(sealed, limit)
}

fn split_note(framed: &[u8]) -> Result<(Note, &[u8])> {
    let parse = || {
        let (magic, rest) = framed.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let fits = u32::from_le_bytes(*magic) == SKIPPABLE && length <= NOTE_LIMIT_BYTES;
        let (note, body) = if fits { rest.split_at_checked(length)? } else { return None };
        Some((serde_json::from_slice(note).ok()?, body))
    };
    parse().ok_or_else(|| Error::failed("the log object does not begin with its note"))
}
