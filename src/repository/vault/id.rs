//! The name of everything in a vault: the SHA-256 of its content, printed as 64 hex digits.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// SHA-256 of a blob, a pack or a file of the vault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 32]);

impl Id {
    /// The id of `content`.
    pub fn of(content: &[u8]) -> Id {
        Id::from_digest(&digest::digest(&digest::SHA256, content))
    }

    /// Takes over a finished digest, which must be SHA-256.
    pub(crate) fn from_digest(digest: &digest::Digest) -> Id {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Id(bytes)
    }

    /// The first ten digits, enough for messages beside a full listing.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..5])
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        f.write_str(hex_into(&self.0, &mut digits))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Id, Error> {
        let mut bytes = [0; 32];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Id(bytes)),
            Err(cause) => Err(Error::failed(format!("`{text}` is not an id")).because(cause)),
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digits = [0; 64];
        serializer.serialize_str(hex_into(&self.0, &mut digits))
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        deserializer.deserialize_str(IdVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("64 hexadecimal digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

fn hex_into<'a>(bytes: &[u8; 32], digits: &'a mut [u8; 64]) -> &'a str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    // Hexadecimal digits are ASCII, so this never takes the other way.
    std::str::from_utf8(digits).unwrap_or_default()
}

/// Ids are uniform already: eight of their bytes are the hash.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        for (to, from) in first.iter_mut().zip(bytes) {
            *to = *from;
        }
        // The length prefix of the array and its content are both folded in.
        self.0 = self.0.rotate_left(29) ^ u64::from_le_bytes(first);
    }
}

/// A set of ids without the cost of hashing hashes.
pub type IdSet = std::collections::HashSet<Id, BuildHasherDefault<IdHasher>>;
/// A map by id, likewise.
pub type IdMap<V> = std::collections::HashMap<Id, V, BuildHasherDefault<IdHasher>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_hash_of_its_content_and_reads_back() {
        let id = Id::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse::<Id>().unwrap(), id);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Id>(&format!("\"{text}\"")).unwrap(), id);
    }

    #[test]
    fn what_is_not_64_digits_is_refused() {
        for text in ["", "ba78", "zz", &"a".repeat(63), &"g".repeat(64)] {
            assert!(text.parse::<Id>().is_err(), "{text}");
            assert!(serde_json::from_str::<Id>(&format!("\"{text}\"")).is_err(), "{text}");
        }
    }
}
