//! Where objects live: a folder, a bucket, memory. Objects are written once and never changed,
//! but for being sealed anew to other recipients.
//!
//! Calls block; the S3 adapter drives its own runtime. Keys are relative, `/`-separated, of
//! `a-z A-Z 0-9 . _ -`, without empty, `.` or `..` parts; only `repository::layout` spells them.

use jiff::Timestamp;

use crate::error::{Error, Kind, Result};

pub use super::retained::{Retained, locked, locked_until};

/// One object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub bytes: u64,
    /// When the store took it, by the store's clock.
    pub stored_at: Timestamp,
}

/// How a create-if-absent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Ours is there now, durably.
    Created,
    /// Another was there before, and is unchanged.
    Exists,
}

/// How a replacement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// Ours is there now, durably, and nothing is left of what was there before.
    Done,
    /// Ours is there now, durably, and locked as long; but so many versions of what was there
    /// before are locked, and stay readable until the last of these locks ends.
    Kept { versions: u64, until: Timestamp },
    /// There is no such object, and none was made.
    Absent,
}

/// What an object becomes, made from what it is.
pub type Change<'a> = &'a mut dyn FnMut(&[u8]) -> Result<Vec<u8>>;

/// Held as long as the value lives. If the process dies, the system frees it, or whoever wants it
/// next finds out (each adapter says how).
pub trait Lock: Send {
    /// Whether it is still held: to be asked before each commit that it guards.
    ///
    /// # Errors
    /// `Kind::Busy` if another took it over, which a store across a network cannot prevent.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// Checks that `key` is one: relative, plain, without empty or hidden parts.
pub fn check_key(key: &str) -> Result<()> {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    match key.split('/').all(plain) {
        true => Ok(()),
        false => Err(Error::failed(format!("`{key}` is not an object key"))),
    }
}

/// Checks that `prefix` may be listed: it is empty, or a key and a slash.
pub fn check_prefix(prefix: &str) -> Result<()> {
    match prefix.strip_suffix('/') {
        Some(dir) => check_key(dir),
        None if prefix.is_empty() => Ok(()),
        None => Err(Error::failed(format!("`{prefix}` is not a prefix to list"))),
    }
}

/// The error of a [`Store::replace`] that found its object replaced.
pub fn replaced_by_another(key: &str) -> Error {
    Error::new(Kind::Busy, format!("the object {key} was replaced by another process"))
        .hint("Let that process end, then run this again.")
}

/// Contract of every store:
/// - a write is visible whole or not at all, and durable when the call returns;
/// - an absent object is a value, never an error; anything uncertain is an error, never "absent";
/// - a listing is complete or an error;
/// - unfinished writes of a killed process are never listed.
pub trait Store: Send + Sync {
    /// For messages: `folder /srv/fenice`.
    fn describe(&self) -> String;

    /// Creates the object if no object has this key (`O_EXCL`/link, `If-None-Match: *`).
    fn put_new(&self, key: &str, body: &[u8]) -> Result<Put>;

    /// How many objects are best put at once. A folder takes two: one is flushed while the other is
    /// written.
    fn puts_at_once(&self) -> usize {
        2
    }

    /// The whole object; `None` if there is none.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>>;

    /// Exactly `into.len()` bytes from `offset`; a shorter or absent object is an error.
    fn read_range(&self, key: &str, offset: u64, into: &mut [u8]) -> Result<()>;

    /// Every object whose key begins with `prefix`, by key in byte order. `prefix` ends with `/`
    /// or is empty.
    fn list(&self, prefix: &str) -> Result<Vec<Entry>>;

    /// Replaces the object by what `change` makes of it. Whoever reads meanwhile gets the one or
    /// the other, whole; an object that is removed meanwhile stays removed. It stays as old as it
    /// was: [`Entry::stored_at`] tells when its content came.
    ///
    /// Of two that replace the same object at once, each sees what the other left, or fails: what
    /// `change` is given is what is replaced.
    ///
    /// # Errors
    /// Those of `change`, and then nothing was changed; `Kind::Busy` if the object was replaced by
    /// another meanwhile.
    fn replace(&self, key: &str, change: Change<'_>) -> Result<Replaced>;

    /// Removes the object; one that is not there is removed already.
    ///
    /// # Errors
    /// `Kind::Refused` if it is locked, with the end of the lock for [`locked_until`]; it is as
    /// readable then as before.
    fn remove(&self, key: &str) -> Result<()>;

    /// Whether objects can be locked here. Asking costs nothing.
    fn locks(&self) -> bool {
        false
    }

    /// Locks the object, or extends its lock, so that nobody removes it before `until`, which has
    /// yet to come. A lock that ends later stays as it is: none is ever shortened. A store that
    /// counts in seconds takes the second that has begun by then.
    fn retain(&self, key: &str, until: Timestamp) -> Result<Retained> {
        let _ = until;
        check_key(key).map(|()| Retained::NotLocking)
    }

    /// Until when the object is locked; `None` if it is not, or if there is none.
    fn retained_until(&self, key: &str) -> Result<Option<Timestamp>> {
        check_key(key).map(|()| None)
    }

    /// Takes the exclusive lock `name`, without waiting.
    ///
    /// # Errors
    /// `Kind::Busy` if another process or another part of this one holds it.
    fn lock(&self, name: &str) -> Result<Box<dyn Lock>>;
}
