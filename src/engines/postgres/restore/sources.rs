//! Where a recovery reads: one repository, and that of the copies beside it, if there is one.
//!
//! Both know the same snapshots and the same log by the same names. What only one of them has, or
//! what only one can still read, serves as well as if it had both.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::error::{Attempt, Error, Result};
use crate::model::ResourceName;
use crate::ports::store::Entry;
use crate::repository::listing::Listed;
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::{Repository, layout};

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
        let copies = self.copies.as_ref().map(|copies| copies.store.list(&prefix)).transpose()?;
        Ok(Listing { first: self.first.store.list(&prefix)?, copies: copies.unwrap_or_default() })
    }

    /// Every snapshot that `listing` names, once, in order of time; of two, the one that is no
    /// copy.
    ///
    /// # Errors
    /// A manifest is readable in neither place.
    pub(super) fn snapshots(
        &self,
        resource: &ResourceName,
        listing: &Listing,
    ) -> Result<Vec<Found>> {
        let prefix = layout::snapshots(resource);
        let mut keys: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
        for entry in listing.first.iter().filter(|entry| entry.key.starts_with(&prefix)) {
            keys.entry(&entry.key).or_default().0 = true;
        }
        for entry in listing.copies.iter().filter(|entry| entry.key.starts_with(&prefix)) {
            keys.entry(&entry.key).or_default().1 = true;
        }
        keys.into_iter().map(|(key, (first, copies))| self.snapshot(key, first, copies)).collect()
    }

    fn snapshot(&self, key: &str, in_first: bool, in_copies: bool) -> Result<Found> {
        let copies = self.copies.as_ref().filter(|_| in_copies);
        let here = match in_first {
            true => manifest::read(&self.first, key),
            false => Err(Error::failed(format!("{key} is only among the copies"))),
        };
        match (here, copies) {
            (Ok(manifest), _) => Ok(Found { manifest, in_copies: false }),
            (Err(error), None) => Err(error),
            (Err(error), Some(copies)) => {
                if in_first {
                    let error = error.chain();
                    tracing::warn!(%error, "{key} is taken from the copies");
                }
                let read = manifest::read(copies, key);
                let manifest = read.attempt(|| "read the manifest of a copy".to_owned())?;
                Ok(Found { manifest, in_copies: true })
            }
        }
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
        for entry in self.copies.iter().chain(&self.first) {
            if entry.key.starts_with(prefix) {
                log.insert(&entry.key, entry.clone());
            }
        }
        let dated = |entry: Entry| {
            let original = stored_at.get(&*entry.key).copied();
            Entry { stored_at: original.unwrap_or(entry.stored_at).min(entry.stored_at), ..entry }
        };
        log.into_values().map(dated).collect()
    }
}
