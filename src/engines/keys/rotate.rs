//! Rotating the key of a resource's vault: a new epoch begins, and the next snapshot makes its
//! vault. The old one is only read from then on, and leaves with its last snapshot.
//!
//! All that is written is the new password, created if absent under the vault's lock: whatever
//! fails, either the old epoch is in force or the new one. Run again, it begins one more, because
//! nobody can say that a password which was never used is not known by then.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::engines::postgres::vaults;
use crate::error::{Error, Result};
use crate::model::ResourceName;
use crate::ports::Entropy;
use crate::repository::{Repository, manifest, retirement, secrets};

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rotated {
    /// The epoch that the next snapshot, or the next copy, is written to.
    pub epoch: u32,
    /// The epochs before that still hold snapshots, oldest first.
    pub old: Vec<OldEpoch>,
    /// Size of the newest snapshot: about so much is read and stored anew, before compression.
    /// `None` if there is none.
    pub next_bytes: Option<u64>,
}

/// An epoch that is read as long as any of its snapshots is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OldEpoch {
    pub epoch: u32,
    pub snapshots: u64,
    /// When the newest of them ended.
    pub newest_at: Timestamp,
}

/// Begins the next epoch of a resource's vault in `repository`.
///
/// # Errors
/// Of kind `Usage` if nothing of the resource was ever stored there; refused if it is retired;
/// `Busy` while a snapshot, a copy or retention is at work; a manifest cannot be read.
pub fn rotate(
    repository: &Repository,
    resource: &ResourceName,
    entropy: &dyn Entropy,
) -> Result<Rotated> {
    let lock = vaults::lock(repository, resource)?;
    retirement::must_be_in_use(repository, resource)?;
    let manifests = manifest::snapshots(repository, resource)?;
    let epochs = vaults::epochs(repository, resource, &manifests)?;
    if epochs.is_empty() {
        let place = repository.store.describe();
        return Err(Error::usage(format!("there is no vault of {resource} in {place}"))
            .hint("The first snapshot, or the first copy, makes it, with a key of its own."));
    }
    let epoch = epochs.following();
    lock.check()?;
    // It is read back, so that it opens before anything is written under it.
    secrets::obtain(repository, &secrets::vault_password(resource, epoch), entropy)?;
    let mut old: BTreeMap<u32, OldEpoch> = BTreeMap::new();
    for manifest in &manifests {
        let (epoch, newest_at) = (manifest.vault.epoch, manifest.stopped_at);
        let of = old.entry(epoch).or_insert(OldEpoch { epoch, snapshots: 0, newest_at });
        of.snapshots += 1;
        of.newest_at = newest_at.max(of.newest_at);
    }
    let newest = manifests.iter().max_by_key(|manifest| manifest.stopped_at);
    Ok(Rotated {
        epoch,
        old: old.into_values().collect(),
        next_bytes: newest.map(|manifest| manifest.bytes),
    })
}
