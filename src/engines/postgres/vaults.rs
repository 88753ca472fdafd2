//! The vault of a cluster: where it is, who may write to it, how it is opened.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::error::{Error, Result};
use crate::model::ResourceName;
use crate::ports::Entropy;
use crate::ports::store::Lock;
use crate::repository::vault::Vault;
use crate::repository::{Repository, layout, secrets};

/// The vault's key is of this epoch; rotation of keys counts it up.
pub const EPOCH: u32 = 1;

/// Keeps every other writer out of the vault: snapshots, copies, retention.
///
/// # Errors
/// `Kind::Busy` while another holds it.
pub fn lock(repository: &Repository, resource: &ResourceName) -> Result<Box<dyn Lock>> {
    repository.store.lock(&format!("postgres/{resource}/vault"))
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
