//! The vaults of a cluster: where they are, who may write to them, how they are opened.
//!
//! A vault's key is never changed. Rotating it begins a new *epoch*: another vault, under another
//! password, in the same repository. Which epochs there are, the repository alone tells: those
//! whose password is kept in it, and those that a manifest names. The highest one is written to;
//! the others are read until their last snapshot has left (`expire::ended`). Deliberately absent:
//! any record of the present epoch, which could say something else.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use secrecy::SecretString;

use crate::error::{Error, Result};
use crate::model::ResourceName;
use crate::ports::Entropy;
use crate::ports::store::Lock;
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::pin::{self, Pinned, WriterPin};
use crate::repository::vault::layout::Layout;
use crate::repository::vault::remains::snapshot_ids;
use crate::repository::vault::{Id, Vault};
use crate::repository::{Repository, generation, layout, secrets};

/// Epochs count from here.
pub const FIRST_EPOCH: u32 = 1;

/// The epochs of a resource's vault in one repository, each with whether its password is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epochs(BTreeMap<u32, bool>);

/// The vault that is written to.
#[derive(Debug, Clone)]
pub struct Current {
    pub epoch: u32,
    pub vault: Vault,
}

impl Epochs {
    /// Those whose password is among `keys`, which are a listing, and those in `named`, by which
    /// manifests name the vaults of their snapshots.
    pub fn of<'k>(
        resource: &ResourceName,
        keys: impl IntoIterator<Item = &'k str>,
        named: impl IntoIterator<Item = u32>,
    ) -> Epochs {
        let epoch = |key: &'k str| secrets::vault_epoch(resource, layout::secret_name(key)?);
        let mut epochs: BTreeMap<u32, bool> =
            named.into_iter().map(|epoch| (epoch, false)).collect();
        epochs.extend(keys.into_iter().filter_map(epoch).map(|epoch| (epoch, true)));
        Epochs(epochs)
    }

    /// The one that is written to: the highest. One whose password was lost stays the highest as
    /// long as a manifest names it: nothing must be written under the key of before again.
    pub fn current(&self) -> u32 {
        self.0.keys().last().copied().unwrap_or(FIRST_EPOCH)
    }

    /// The one that a rotation begins.
    pub fn following(&self) -> u32 {
        self.0.keys().last().map_or(FIRST_EPOCH, |last| last.saturating_add(1))
    }

    /// Whether nothing was ever stored here.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every one, the current one last. There need not be a vault of it.
    pub fn all(&self) -> impl Iterator<Item = u32> {
        self.0.keys().copied()
    }

    /// Whether nothing is written to the vault of `epoch` any more.
    pub fn is_ended(&self, epoch: u32) -> bool {
        epoch < self.current()
    }

    /// Whether manifests name the vault of `epoch`, and nobody can open it any more.
    pub fn is_lost(&self, epoch: u32) -> bool {
        self.0.get(&epoch) == Some(&false)
    }
}

/// The epochs of which anything is there. `manifests` are all that the repository holds of the
/// resource, as far as they can be read.
pub fn epochs<'m>(
    repository: &Repository,
    resource: &ResourceName,
    manifests: impl IntoIterator<Item = &'m SnapshotManifest>,
) -> Result<Epochs> {
    let listed = repository.store.list(layout::SECRETS)?;
    let keys = listed.iter().map(|entry| entry.key.as_str());
    let named = manifests.into_iter().map(|manifest| manifest.vault.epoch);
    Ok(Epochs::of(resource, keys, named))
}

/// The same, for whoever has no manifests at hand. A damaged one does not hold it up. Call it
/// under [`lock`]: what is listed stays there.
pub fn epochs_now(repository: &Repository, resource: &ResourceName) -> Result<Epochs> {
    let mut manifests: Vec<SnapshotManifest> = Vec::new();
    for entry in repository.store.list(&layout::snapshots(resource))? {
        manifests.extend(manifest::read_if_sound(repository, &entry.key)?.ok());
    }
    epochs(repository, resource, &manifests)
}

/// The snapshots that lie in the vault of each epoch whose password is there, by listing alone.
pub fn listed_snapshots(
    repository: &Repository,
    resource: &ResourceName,
) -> Result<BTreeMap<u32, BTreeSet<Id>>> {
    let snapshots_of = |epoch| {
        let vault = Layout::new(&layout::vault(resource, epoch))?;
        Ok((epoch, snapshot_ids(repository.store.as_ref(), &vault)?))
    };
    epochs(repository, resource, [])?.all().map(snapshots_of).collect()
}

/// Keeps every other writer out of the vaults: snapshots, copies, retention, rotation of keys. Its
/// check also asks the store whether this installation is still the one that writes.
///
/// # Errors
/// `Kind::Busy` while another holds it.
pub fn lock(repository: &Repository, resource: &ResourceName) -> Result<Box<dyn Lock>> {
    Ok(Box::new(fence(repository, resource)?))
}

/// The same for who changes the vault, storing or removing; take it before looking at what the
/// vault holds. Its pin tells whoever removes, should the lock fail to keep him out.
///
/// # Errors
/// Those of [`lock`], and the store's.
pub fn write(
    repository: &Repository,
    resource: &ResourceName,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Writing> {
    let fence = fence(repository, resource)?;
    forget_dead_writers(repository, resource)?;
    let mut token = [0; 4];
    entropy.fill(&mut token);
    let id = format!("write-{}-{}", layout::instant(now), hex::encode(token));
    Ok(Writing { pin: WriterPin::put(repository, id, resource)?, fence })
}

/// Removes the pins of writers that died. Call it under [`lock`]: none of them can be alive but one
/// that was paused so long that it lost the lock. Should that one commit after all, it would be in
/// a generation that is over.
fn forget_dead_writers(repository: &Repository, resource: &ResourceName) -> Result<()> {
    let dead = pin::of_writers(repository, resource)?;
    if dead.is_empty() {
        return Ok(());
    }
    if let Some(lease) = repository.lease() {
        // Without an identity what counts cannot be told; retention, which has one, does it.
        if !repository.can_read() {
            return Ok(());
        }
        let of = |pin: &Pinned| pin.file.as_ref().and_then(|file| file.writer);
        // What the lease says is not enough: whoever took it over may have died before he recorded
        // what counts.
        let recorded = generation::newest(repository.store.as_ref())?;
        let recorded = recorded.map_or(0, |record| record.generation);
        if dead.iter().filter_map(of).max() >= Some(recorded) {
            lease.begin_generation(repository)?;
        }
    }
    dead.iter().try_for_each(|pin| repository.store.remove(&layout::pin(&pin.id)))
}

fn fence(repository: &Repository, resource: &ResourceName) -> Result<Fence> {
    let lock = repository.lock(&format!("postgres/{resource}/vault"))?;
    Ok(Fence { lock, repository: repository.clone() })
}

/// The lock of the vault within the lease of the repository.
struct Fence {
    lock: Box<dyn Lock>,
    repository: Repository,
}

impl Lock for Fence {
    fn check(&self) -> Result<()> {
        self.lock.check()?;
        self.repository.lease().map_or(Ok(()), |lease| lease.ask())
    }
}

/// The right to change the vault. The pin goes before the lock.
pub struct Writing {
    pin: WriterPin,
    fence: Fence,
}

impl Writing {
    /// Of its own pin.
    pub fn pin_id(&self) -> &str {
        self.pin.id()
    }

    /// Whether a snapshot may be committed now, and in which generation of the lease: see
    /// [`crate::repository::commit::snapshot`].
    ///
    /// # Errors
    /// `Kind::Busy` if another writes now, or took this process for dead.
    pub fn may_commit(&self) -> Result<u64> {
        let generation = self.pin.generation()?;
        self.check()?;
        Ok(generation)
    }
}

impl Lock for Writing {
    fn check(&self) -> Result<()> {
        self.fence.check()?;
        self.pin.check()
    }
}

/// Reads the password of an epoch.
///
/// # Errors
/// It is not in the repository, or sealed to others.
pub fn password(
    repository: &Repository,
    resource: &ResourceName,
    epoch: u32,
) -> Result<SecretString> {
    let name = secrets::vault_password(resource, epoch);
    secrets::read(repository, &name)?.ok_or_else(|| {
        let place = repository.store.describe();
        Error::failed(format!("the password of the vault, {name}, is not in {place}")).hint(format!(
            "What lies in that vault cannot be read without it. `fenice keys rotate {resource}` \
             begins another one, so that snapshots can be taken again."
        ))
    })
}

/// Opens the vault of an epoch.
///
/// # Errors
/// There is none, or its password is not in the repository.
pub fn open(repository: &Repository, resource: &ResourceName, epoch: u32) -> Result<Vault> {
    let password = password(repository, resource, epoch)?;
    Vault::open(repository.store.clone(), &layout::vault(resource, epoch), &password)
}

/// Opens the vault of an epoch, if there is one yet, or still.
pub fn open_if_there(
    repository: &Repository,
    resource: &ResourceName,
    epoch: u32,
) -> Result<Option<Vault>> {
    match Vault::exists(repository.store.as_ref(), &layout::vault(resource, epoch))? {
        true => open(repository, resource, epoch).map(Some),
        false => Ok(None),
    }
}

/// Opens the vault that is written to, making it the first time of each epoch. Call it under
/// [`lock`].
///
/// # Errors
/// The vault is there and its password is not: none is made in its place.
pub fn open_or_make(
    repository: &Repository,
    resource: &ResourceName,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Current> {
    let epoch = epochs_now(repository, resource)?.current();
    if let Some(vault) = open_if_there(repository, resource, epoch)? {
        return Ok(Current { epoch, vault });
    }
    let name = secrets::vault_password(resource, epoch);
    let password = secrets::obtain(repository, &name, entropy)?;
    let (store, prefix) = (repository.store.clone(), layout::vault(resource, epoch));
    let vault = Vault::init(store, &prefix, &password, now, entropy)?;
    Ok(Current { epoch, vault })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_epoch_is_written_to_and_the_others_have_ended() {
        type Case<'t> = (&'t [&'t str], &'t [u32], &'t [u32], u32, u32);
        let cases: [Case<'_>; 7] = [
            (&[], &[], &[], 1, 1),
            (&["registro.vault-1"], &[], &[1], 1, 2),
            (&["registro.vault-1", "registro.vault-2"], &[1], &[1, 2], 2, 3),
            // Begun twice without a snapshot between; by number, not by name.
            (
                &["registro.vault-1", "registro.vault-10", "registro.vault-9"],
                &[],
                &[1, 9, 10],
                10,
                11,
            ),
            // The first has ended and is gone.
            (&["registro.vault-2"], &[2, 2], &[2], 2, 3),
            // A password that was lost, of an epoch with snapshots.
            (&["registro.vault-1"], &[1, 2], &[1, 2], 2, 3),
            (
                &[
                    "registro.heartbeat",
                    "registro-2.vault-7",
                    "registro.vault-0",
                    "registro.vault-03",
                ],
                &[],
                &[],
                1,
                1,
            ),
        ];
        let resource: ResourceName = "registro".parse().unwrap();
        for (secrets, named, all, current, following) in cases {
            let keys: Vec<String> =
                secrets.iter().map(|name| layout::secret(&format!("postgres.{name}"))).collect();
            let keys = keys.iter().map(String::as_str).chain(["keys/notes.txt"]);
            let epochs = Epochs::of(&resource, keys, named.iter().copied());
            assert_eq!(epochs.all().collect::<Vec<_>>(), all, "{secrets:?}");
            assert_eq!((epochs.current(), epochs.following()), (current, following), "{secrets:?}");
            assert!(all.iter().all(|epoch| epochs.is_ended(*epoch) == (*epoch < current)));
            assert_eq!(epochs.is_empty(), all.is_empty());
            assert_eq!(
                epochs.is_lost(2),
                named.contains(&2) && secrets.len() == 1 && all.len() == 2
            );
        }
    }
}
