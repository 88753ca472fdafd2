//! Index files and snapshots as they are stored: JSON, compressed, sealed, named by the SHA-256 of
//! what is stored (restic design document, "Unpacked Data Format").

use std::io::Read;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::crypto::Cipher;
use super::id::Id;
use crate::error::{Attempt, Error, Result};
use crate::ports::Entropy;

/// First byte of a compressed text; JSON itself begins with `{` or `[`.
const COMPRESSED: u8 = 2;
const LEVEL: i32 = 3;
/// No index file or snapshot grows beyond this.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// The stored form of `value` and its name.
pub fn seal<T: Serialize>(
    value: &T,
    cipher: &Cipher,
    entropy: &dyn Entropy,
) -> Result<(Id, Vec<u8>)> {
    let text = serde_json::to_vec(value).attempt(|| "write JSON".into())?;
    let mut packed = zstd::bulk::compress(&text, LEVEL).attempt(|| "compress JSON".into())?;
    packed.insert(0, COMPRESSED);
    let sealed = cipher.seal(&packed, entropy)?;
    Ok((Id::of(&sealed), sealed))
}

/// Reads what [`seal`] or another writer of the format stored under `id`.
///
/// # Errors
/// The bytes are not those of `id`, were sealed with another key, or are not what they should be.
pub fn open<T: DeserializeOwned>(id: &Id, mut sealed: Vec<u8>, cipher: &Cipher) -> Result<T> {
    let actual = Id::of(&sealed);
    if actual != *id {
        return Err(Error::failed(format!("its content has the id {actual}")));
    }
    let text = cipher.open_in_place(&mut sealed)?;
    let json = match text.first() {
        Some(&COMPRESSED) => decompress(&text[1..])?,
        Some(b'{') => text.to_vec(),
        other => {
            return Err(Error::failed(format!("its text begins with {other:?}, not with JSON")));
        }
    };
    serde_json::from_slice(&json).attempt(|| "read its JSON".into())
}

fn decompress(packed: &[u8]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = zstd::stream::read::Decoder::new(packed)
        .and_then(|decoder| decoder.take(MAX_TEXT_BYTES + 1).read_to_end(&mut text));
    read.attempt(|| "decompress it".into())?;
    if text.len() as u64 > MAX_TEXT_BYTES {
        return Err(Error::failed(format!("it is longer than {MAX_TEXT_BYTES} bytes")));
    }
    Ok(text)
}
