//! Pins: what a reader needs to stay while it reads (RULES 22). In clear, because a reader may be
//! without keys, and a pin that cannot be read counts as pinning everything.
//!
//! Who writes to a vault pins it as well, before he looks at what it holds. Whoever removes looks
//! for pins after he marked what is to go: of the two, one sees the other, whatever pauses.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Attempt, Error, Kind, Result};
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
    /// The snapshot that is read, with the log from there on. Empty for a writer, who needs the
    /// vault as it is.
    pub snapshot: String,
    /// Of one who writes: the generation of his lease, 0 without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<u64>,
}

impl PinFile {
    /// Of one who reads a snapshot.
    pub fn reader(resource: ResourceName, snapshot: String) -> PinFile {
        PinFile { version: 1, resource, snapshot, writer: None }
    }

    /// Of one who writes to the vault of a resource.
    pub fn writer(resource: ResourceName, generation: u64) -> PinFile {
        PinFile { version: 1, resource, snapshot: String::new(), writer: Some(generation) }
    }
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
    /// Whether it is there still.
    ///
    /// # Errors
    /// `Kind::Busy` if another took it for that of a process that had died.
    pub fn check(&self) -> Result<()> {
        match self.repository.store.get(&self.key)? {
            Some(_) => Ok(()),
            None => Err(Error::new(Kind::Busy, format!("{} was removed by another", self.key))
                .hint("This process seemed to have died. Nothing was committed; run it again.")),
        }
    }

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

/// The pin of one who writes, with the generation of the lease that it stands for.
pub struct WriterPin {
    repository: Repository,
    resource: ResourceName,
    id: String,
    held: Mutex<(u64, OwnPin)>,
}

impl WriterPin {
    /// Pins the vault of a resource. `id` is the writer's own, unique.
    pub fn put(repository: &Repository, id: String, resource: &ResourceName) -> Result<WriterPin> {
        let generation = generation_of(repository);
        let pin = put(repository, &id, &PinFile::writer(resource.clone(), generation))?;
        let (repository, resource) = (repository.clone(), resource.clone());
        Ok(WriterPin { repository, resource, id, held: Mutex::new((generation, pin)) })
    }

    /// As it was put first.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is there still: see [`OwnPin::check`].
    pub fn check(&self) -> Result<()> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).1.check()
    }

    /// The generation it stands for, which is the lease's, as far as that is known here: if that
    /// went on, a new pin takes the place of the old one.
    ///
    /// # Errors
    /// `Kind::Busy` if the old one was removed: then something of what it protected may be gone.
    pub fn generation(&self) -> Result<u64> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = generation_of(&self.repository);
        if held.0 < now {
            // The new one first: who saw neither of them comes later, and finds it.
            let id = format!("{}-{now}", self.id);
            let next = PinFile::writer(self.resource.clone(), now);
            let next = put(&self.repository, &id, &next)?;
            held.1.check()?;
            *held = (now, next);
        }
        Ok(held.0)
    }
}

fn generation_of(repository: &Repository) -> u64 {
    repository.lease().map_or(0, |lease| lease.generation())
}

/// The pins in force that concern `resource`. A writer's does not lapse by itself.
pub fn in_force(
    repository: &Repository,
    resource: &ResourceName,
    now: Timestamp,
) -> Result<Vec<Pinned>> {
    let lapsed = |stored_at: Timestamp| stored_at.checked_add(TTL.0).is_ok_and(|at| at <= now);
    let mut pins = all(repository, resource)?;
    pins.retain(|(pin, stored_at)| pin.is_of_writer() || !lapsed(*stored_at));
    Ok(pins.into_iter().map(|(pin, _)| pin).collect())
}

/// The pins of those who write, or died while they did.
pub fn of_writers(repository: &Repository, resource: &ResourceName) -> Result<Vec<Pinned>> {
    let pins = all(repository, resource)?.into_iter().map(|(pin, _)| pin);
    Ok(pins.filter(Pinned::is_of_writer).collect())
}

impl Pinned {
    fn is_of_writer(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.writer.is_some())
    }
}

/// Every pin that concerns `resource`, with the instant it came.
fn all(repository: &Repository, resource: &ResourceName) -> Result<Vec<(Pinned, Timestamp)>> {
    let mut pins = Vec::new();
    for entry in repository.store.list(layout::PINS)? {
        // Gone since it was listed: its reader has ended.
        let Some(body) = repository.store.get(&entry.key)? else { continue };
        let file: Option<PinFile> = serde_json::from_slice(&body).ok();
        if file.as_ref().is_none_or(|file| file.resource == *resource) {
            let id = entry.key.trim_start_matches(layout::PINS).trim_end_matches(".json");
            pins.push((Pinned { id: id.to_owned(), file }, entry.stored_at));
        }
    }
    Ok(pins)
}
