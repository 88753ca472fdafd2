//! The vault of a cluster: where it is, who may write to it, how it is opened.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::error::{Error, Result};
use crate::model::ResourceName;
use crate::ports::Entropy;
use crate::ports::store::Lock;
use crate::repository::pin::{self, OwnPin, PinFile, Pinned};
use crate::repository::vault::Vault;
use crate::repository::{Repository, layout, secrets};

/// The vault's key is of this epoch; rotation of keys counts it up.
pub const EPOCH: u32 = 1;

/// Keeps every other writer out of the vault: snapshots, copies, retention. Its check also asks the
/// store whether this installation is still the one that writes.
///
/// # Errors
/// `Kind::Busy` while another holds it.
pub fn lock(repository: &Repository, resource: &ResourceName) -> Result<Box<dyn Lock>> {
    Ok(Box::new(fence(repository, resource)?))
}

/// The same for who stores anything in the vault; take it before looking at what the vault holds.
/// Its pin tells whoever removes, should the lock fail to keep him out.
pub fn write(
    repository: &Repository,
    resource: &ResourceName,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Box<dyn Lock>> {
    let fence = fence(repository, resource)?;
    forget_dead_writers(repository, resource)?;
    let mut token = [0; 4];
    entropy.fill(&mut token);
    let id = format!("write-{}-{}", layout::instant(now), hex::encode(token));
    let generation = repository.lease().map_or(0, |lease| lease.generation());
    let pin = pin::put(repository, &id, &PinFile::writer(resource.clone(), generation))?;
    Ok(Box::new(Writing { pin, fence }))
}

/// Removes the pins of writers that died. Call it under [`lock`]: none of them can be alive but one
/// that was paused so long that it lost the lock. Should that one commit after all, it would be in
/// a generation that is over.
pub fn forget_dead_writers(repository: &Repository, resource: &ResourceName) -> Result<()> {
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
        if dead.iter().filter_map(of).max() >= Some(lease.generation()) {
            lease.begin_generation(repository)?;
        }
    }
    dead.iter().try_for_each(|pin| repository.store.remove(&layout::pin(&pin.id)))
}

fn fence(repository: &Repository, resource: &ResourceName) -> Result<Fence> {
    let lock = repository.store.lock(&format!("postgres/{resource}/vault"))?;
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

/// The right to store something. The pin goes before the lock.
struct Writing {
    pin: OwnPin,
    fence: Fence,
}

impl Lock for Writing {
    fn check(&self) -> Result<()> {
        self.fence.check()?;
        self.pin.check()
    }
}

/// Opens the vault of an epoch.
///
/// # Errors
/// There is none, or its password is not in the repository.
pub fn open(repository: &Repository, resource: &ResourceName, epoch: u32) -> Result<Vault> {
    let name = secrets::vault_password(resource, epoch);
    let password: SecretString = secrets::read(repository, &name)?.ok_or_else(|| {
        Error::failed(format!("the password of the vault, {name}, is not in the repository"))
    })?;
    Vault::open(repository.store.clone(), &layout::vault(resource, epoch), &password)
}

/// Opens the vault that is written to, if there is one yet.
pub fn open_if_there(repository: &Repository, resource: &ResourceName) -> Result<Option<Vault>> {
    match Vault::exists(repository.store.as_ref(), &layout::vault(resource, EPOCH))? {
        true => open(repository, resource, EPOCH).map(Some),
        false => Ok(None),
    }
}

/// Opens the vault that is written to, making it the first time. Call it under [`lock`].
pub fn open_or_make(
    repository: &Repository,
    resource: &ResourceName,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Vault> {
    let store = repository.store.clone();
    let name = secrets::vault_password(resource, EPOCH);
    let password = secrets::obtain(repository, &name, entropy)?;
    let password = SecretString::from(password.expose_secret().to_owned());
    let prefix = layout::vault(resource, EPOCH);
    match Vault::exists(store.as_ref(), &prefix)? {
        true => Vault::open(store, &prefix, &password),
        false => Vault::init(store, &prefix, &password, now, entropy),
    }
}
