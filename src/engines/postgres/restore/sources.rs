//! Where a recovery reads: one repository, and that of the copies beside it, if there is one.
//!
//! Both know the same snapshots and the same log by the same names. What only one of them has, or
//! what only one can still read, serves as well as if it had both.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::error::{Attempt, Result};
use crate::model::ResourceName;
use crate::ports::store::Entry;
use crate::repository::listing::{Listed, read_each};
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::{Repository, generation, layout};

/// What a recovery may read from.
#[derive(Clone)]
pub struct Sources {
    /// Read first; it must be there.
    pub first: Repository,
    /// Where copies lie.
    pub copies: Option<Repository>,
}

/// The names of everything stored of a resource at one moment: what a drill pins (RULES 15).
#[derive(Debug, Clone, Default)]
pub struct Listing {
    pub first: Vec<Entry>,
    pub copies: Vec<Entry>,
}

/// A snapshot's manifest and where it lies.
pub(super) struct Found {
    pub manifest: SnapshotManifest,
    pub in_copies: bool,
}

/// A manifest that is there and cannot be read. Recovery goes on without it: what it describes is
/// lost, what others describe is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    pub key: String,
    pub because: String,
}

impl Sources {
    /// One repository alone.
    pub fn only(repository: &Repository) -> Sources {
        Sources { first: repository.clone(), copies: None }
    }

    /// Both of them.
    pub fn each(&self) -> impl Iterator<Item = &Repository> {
        std::iter::once(&self.first).chain(&self.copies)
    }

    /// Lists what is stored of `resource` now.
    pub fn list(&self, resource: &ResourceName) -> Result<Listing> {
        let prefix = layout::resource(resource);
        let first = self.first.store.list(&prefix)?;
        let Some(copies) = &self.copies else { return Ok(Listing { first, copies: Vec::new() }) };
        // They are there to help, not to hold up what the first one has.
        let copies = copies.store.list(&prefix).unwrap_or_else(|error| {
            tracing::warn!(error = %error.chain(), "going on without the copies");
            Vec::new()
        });
        Ok(Listing { first, copies })
    }

    /// Every snapshot that `listing` names, once, in order of time; of two, the one that is no
    /// copy. Those that are readable in neither place are told in `unread`.
    ///
    /// # Errors
    /// A manifest that is listed is not there.
    pub(super) fn snapshots(
        &self,
        resource: &ResourceName,
        listing: &Listing,
        unread: &mut Vec<Unread>,
    ) -> Result<Vec<Found>> {
        let prefix = layout::snapshots(resource);
        let mut keys: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
        for entry in listing.first.iter().filter(|entry| entry.key.starts_with(&prefix)) {
            keys.entry(&entry.key).or_default().0 = true;
        }
        for entry in listing.copies.iter().filter(|entry| entry.key.starts_with(&prefix)) {
            keys.entry(&entry.key).or_default().1 = true;
        }
        let keys: Vec<(&str, (bool, bool))> = keys.into_iter().collect();
        let read = read_each(&keys, |(key, (in_first, in_copies))| {
            self.snapshot(key, *in_first, *in_copies)
        })?;
        let mut found = Vec::new();
        for ((key, _), read) in keys.into_iter().zip(read) {
            match read {
                Ok(snapshot) => found.push(snapshot),
                Err(error) => unread.push(Unread { key: key.to_owned(), because: error.chain() }),
            }
        }
        self.without_late(&mut found, unread);
        Ok(found)
    }

    /// Drops what was committed after another installation had taken over. Where it cannot be told
    /// what that is, everything counts, and that is told.
    fn without_late(&self, found: &mut Vec<Found>, unread: &mut Vec<Unread>) {
        for (repository, in_copies) in self.each().zip([false, true]) {
            match generation::newest(repository.store.as_ref()) {
                Ok(None) => {}
                Ok(Some(record)) => {
                    found.retain(|one| one.in_copies != in_copies || record.counts(&one.manifest));
                }
                Err(error) => {
                    let key = layout::GENERATIONS.to_owned();
                    unread.push(Unread { key, because: error.chain() });
                }
            }
        }
    }

    /// The outer error is the store's, the inner one says that it is damaged wherever it lies.
    fn snapshot(&self, key: &str, in_first: bool, in_copies: bool) -> Result<Result<Found>> {
        let Some(copies) = self.copies.as_ref().filter(|_| in_copies) else {
            let read = manifest::read_if_sound(&self.first, key)?;
            return Ok(read.map(|manifest| Found { manifest, in_copies: false }));
        };
        if in_first {
            match manifest::read(&self.first, key) {
                Ok(manifest) => return Ok(Ok(Found { manifest, in_copies: false })),
                Err(error) => {
                    let error = error.chain();
                    tracing::warn!(%error, "{key} is looked for among the copies");
                }
            }
        }
        let read = manifest::read_if_sound(copies, key);
        let read = read.attempt(|| "read the manifest of a copy".to_owned())?;
        Ok(read.map(|manifest| Found { manifest, in_copies: true }))
    }
}

impl Listed for Listing {
    fn is_whole_in(&self, later: &Self) -> bool {
        self.first.is_whole_in(&later.first) && self.copies.is_whole_in(&later.copies)
    }
}

impl Listing {
    /// The log of one cluster, each object once. What is a copy was stored when the original was,
    /// as far as `snapshots` tell: when it was copied says nothing about what it holds.
    pub(super) fn log(&self, prefix: &str, snapshots: &[Found]) -> Vec<Entry> {
        let copied = snapshots.iter().filter_map(|found| found.manifest.copied.as_ref());
        let stored_at: BTreeMap<&str, Timestamp> =
            copied.flat_map(|copied| &copied.log).map(|log| (&*log.key, log.stored_at)).collect();
        let mut log: BTreeMap<&str, Entry> = BTreeMap::new();
        let mut newest: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for entry in self.first.iter().filter(|entry| entry.key.starts_with(prefix)) {
            let at = newest.entry(segment_of(&entry.key)).or_insert(entry.stored_at);
            *at = entry.stored_at.max(*at);
            log.insert(&entry.key, entry.clone());
        }
        for entry in self.copies.iter().filter(|entry| entry.key.starts_with(prefix)) {
            // Older than what it would be a copy of: it may be of a life that was set back.
            let is_older =
                newest.get(segment_of(&entry.key)).is_some_and(|at| entry.stored_at < *at);
            if !is_older {
                log.entry(&entry.key).or_insert_with(|| entry.clone());
            }
        }
        let dated = |entry: Entry| {
            let original = stored_at.get(&*entry.key).copied();
            Entry { stored_at: original.unwrap_or(entry.stored_at).min(entry.stored_at), ..entry }
        };
        log.into_values().map(dated).collect()
    }
}

/// What the objects of one segment have in common: their key up to the range or the suffix.
fn segment_of(key: &str) -> &str {
    let name = key.rfind('/').map_or(0, |slash| slash + 1);
    let end = key[name..].find('.').map_or(key.len(), |dot| name + dot);
    &key[..end]
}
