//! Random secrets kept in the repository, each sealed to the recovery recipients.

use age::secrecy::{ExposeSecret, SecretString};

use crate::error::{Attempt, Error, Result};
use crate::ports::Entropy;
use crate::ports::store::Put;
use crate::repository::format::Repository;
use crate::repository::layout;

/// Secrets are 32 random bytes, written as hexadecimal so that people can type them into restic.
const SECRET_BYTES: usize = 32;

/// Reads the secret `name`, making it first if it is not there. Two processes may race: the
/// create-if-absent decides, and both end with the same secret.
pub fn obtain(repository: &Repository, name: &str, entropy: &dyn Entropy) -> Result<SecretString> {
    if let Some(secret) = read(repository, name)? {
        return Ok(secret);
    }
    let mut random = [0; SECRET_BYTES];
    entropy.fill(&mut random);
    keep(repository, name, &SecretString::from(hex::encode(random)))
}

/// Keeps `secret` under `name` unless one is kept there already; returns what is there then.
pub fn keep(repository: &Repository, name: &str, secret: &SecretString) -> Result<SecretString> {
    let sealed = repository.recipients_now()?.seal(secret.expose_secret().as_bytes())?;
    match repository.store.put_new(&layout::secret(name), &sealed)? {
        Put::Created | Put::Exists => {}
    }
    read(repository, name)?.ok_or_else(|| {
        Error::failed(format!("the secret {name} vanished from {}", repository.store.describe()))
    })
}

/// Reads the secret `name`; `None` if it was never made.
pub fn read(repository: &Repository, name: &str) -> Result<Option<SecretString>> {
    let key = layout::secret(name);
    let Some(sealed) = repository.store.get(&key)? else { return Ok(None) };
    let plain = repository
        .identities()?
        .open(&sealed, 4_096)
        .attempt(|| format!("open the secret {key}"))?;
    let text = String::from_utf8(plain).attempt(|| format!("read the secret {key}"))?;
    Ok(Some(SecretString::from(text)))
}

/// Name of the password of a cluster's vault.
pub fn vault_password(resource: &crate::model::ResourceName, epoch: u32) -> String {
    format!("postgres.{resource}.vault-{epoch}")
}

/// The epoch of the resource's vault whose password has this name; `None` for other secrets.
pub fn vault_epoch(resource: &crate::model::ResourceName, name: &str) -> Option<u32> {
    let epoch: u32 = name.rsplit('-').next()?.parse().ok()?;
    // One epoch has one spelling.
    (epoch > 0 && name == vault_password(resource, epoch)).then_some(epoch)
}

/// Whether `name` is that of the password of a vault of the resource, of whatever epoch.
pub fn is_vault_password(resource: &crate::model::ResourceName, name: &str) -> bool {
    vault_epoch(resource, name).is_some()
}

/// Name of the key that authenticates a cluster's heartbeats.
pub fn heartbeat_key(resource: &crate::model::ResourceName) -> String {
    format!("postgres.{resource}.heartbeat")
}
