//! Pins: what a reader needs to stay while it reads (RULES 22). In clear, because a reader may be
//! without keys, and a pin that cannot be read counts as pinning everything.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Attempt, Error, Result};
use crate::model::{ResourceName, Span};
use crate::ports::store::Put;
use crate::repository::{Repository, layout};

/// A pin of a reader that died frees itself after this; no recovery that meets its objective takes
/// nearly as long.
pub const TTL: Span = Span::seconds(24 * 3_600);

/// What the object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinFile {
    pub version: u32,
    pub resource: ResourceName,
    /// The snapshot that is read, with the log from there on.
    pub snapshot: String,
}

/// A pin in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    pub id: String,
    /// `None` if it cannot be read.
    pub file: Option<PinFile>,
}

/// A pin of our own; dropping it removes it.
pub struct OwnPin {
    repository: Repository,
    key: String,
    left: bool,
}

/// Pins what a reader needs. `id` is the reader's own, unique.
pub fn put(repository: &Repository, id: &str, file: &PinFile) -> Result<OwnPin> {
    let key = layout::pin(id);
    let what = || format!("pin what is read of {}", file.resource);
    let body = serde_json::to_vec(file).attempt(what)?;
    match repository.store.put_new(&key, &body).attempt(what)? {
        Put::Created => Ok(OwnPin { repository: repository.clone(), key, left: false }),
        Put::Exists => Err(Error::failed(format!("{key} exists already"))),
    }
}

impl OwnPin {
    /// Leaves it to run out by itself: what was begun goes on in another process.
    pub fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for OwnPin {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        // Not removed, it frees itself.
        if let Err(error) = self.repository.store.remove(&self.key) {
            tracing::warn!(error = %error.chain(), "a pin could not be removed");
        }
    }
}

/// The pins in force that concern `resource`.
pub fn in_force(
    repository: &Repository,
    resource: &ResourceName,
    now: Timestamp,
) -> Result<Vec<Pinned>> {
    let mut pins = Vec::new();
    for entry in repository.store.list(layout::PINS)? {
        if entry.stored_at.checked_add(TTL.0).is_ok_and(|until| until <= now) {
            continue;
        }
        // Gone since it was listed: its reader has ended.
        let Some(body) = repository.store.get(&entry.key)? else { continue };
        let file: Option<PinFile> = serde_json::from_slice(&body).ok();
        if file.as_ref().is_none_or(|file| file.resource == *resource) {
            let id = entry.key.trim_start_matches(layout::PINS).trim_end_matches(".json");
            pins.push(Pinned { id: id.to_owned(), file });
        }
    }
    Ok(pins)
}
