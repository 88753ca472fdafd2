//! Sealing with age to the recovery recipients, and opening with an identity.
//!
//! Everything but the vault's own objects is sealed this way, so `age` and `zstd` are enough to
//! read it back. Objects are sealed whole in memory: they are one log segment at most.

use std::io::{Read, Write};

use age::secrecy::ExposeSecret;
use age::x25519;

use crate::error::{Attempt, Error, Result};

/// What to do about an object that was changed where it is stored.
const DAMAGED: &str = "Nothing was changed: take this object from a copy of the repository, or \
                       recover to a point that does not need it.";

/// The public keys everything is sealed to: each of them alone opens it.
#[derive(Clone)]
pub struct Recipients(Vec<x25519::Recipient>);

impl Recipients {
    /// Reads `age1…` recipients.
    ///
    /// # Errors
    /// None given, or one that is not an X25519 recipient.
    pub fn parse(texts: &[String]) -> Result<Recipients> {
        if texts.is_empty() {
            return Err(Error::refused("cannot seal anything without a recipient").hint(
                "Name at least one recipient in the configuration; `fenice init` makes one.",
            ));
        }
        let parse = |text: &String| {
            text.parse().map_err(|cause: &'static str| {
                Error::failed(format!("`{text}` is not an age recipient")).because(cause).hint(
                    "A recipient begins with age1; `age-keygen -y` prints it from an identity.",
                )
            })
        };
        Ok(Recipients(texts.iter().map(parse).collect::<Result<_>>()?))
    }

    /// Their text forms, sorted, for `fenice.json` and for comparing.
    pub fn texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        texts.sort();
        texts
    }

    /// Encrypts and authenticates `plain` to every recipient.
    pub fn seal(&self, plain: &[u8]) -> Result<Vec<u8>> {
        let recipients = self.0.iter().map(|recipient| recipient as &dyn age::Recipient);
        let seal = || -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
            let encryptor = age::Encryptor::with_recipients(recipients)?;
            let mut sealed = Vec::with_capacity(plain.len() + plain.len() / 4_096 + 1_024);
            let mut writer = encryptor.wrap_output(&mut sealed)?;
            writer.write_all(plain)?;
            writer.finish()?;
            Ok(sealed)
        };
        seal().attempt(|| "seal with age".to_owned())
    }
}

/// The private keys that open what was sealed to one of their recipients.
#[derive(Clone)]
pub struct Identities(Vec<x25519::Identity>);

impl Identities {
    /// Reads the text of an identity file: lines of `AGE-SECRET-KEY-1…`, comments, empty lines.
    ///
    /// # Errors
    /// A line that is neither, or no identity at all. The text itself is never repeated.
    pub fn parse(text: &str) -> Result<Identities> {
        let mut identities = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let identity = line.parse().map_err(|cause: &'static str| {
                Error::failed(format!("line {} of the identity is not an age identity", index + 1))
                    .because(cause)
                    .hint(
                        "An identity begins with AGE-SECRET-KEY-1; it stands in the recovery kit.",
                    )
            })?;
            identities.push(identity);
        }
        match identities.is_empty() {
            true => Err(Error::failed("the identity file holds no identity")),
            false => Ok(Identities(identities)),
        }
    }

    /// A fresh identity, as text with its recipient.
    pub fn generate() -> (String, String) {
        let identity = x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        (identity.to_string().expose_secret().to_owned(), recipient)
    }

    /// The recipients these identities open, sorted.
    pub fn recipients(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.0.iter().map(|i| i.to_public().to_string()).collect();
        texts.sort();
        texts
    }

    /// Decrypts `sealed`, which may hold at most `limit_bytes` of plain text.
    ///
    /// # Errors
    /// No identity fits, the object was changed or cut, or it holds more than the limit.
    pub fn open(&self, sealed: &[u8], limit_bytes: u64) -> Result<Vec<u8>> {
        let wrong = |cause: age::DecryptError| match cause {
            age::DecryptError::NoMatchingKeys => {
                Error::failed("none of the identities opens this object").because(cause).hint(
                    "Use an identity whose recipient is listed in the repository's fenice.json.",
                )
            }
            other => {
                Error::failed("the object is not an intact age file").because(other).hint(DAMAGED)
            }
        };
        let decryptor = age::Decryptor::new_buffered(sealed).map_err(wrong)?;
        let identities = self.0.iter().map(|identity| identity as &dyn age::Identity);
        let reader = decryptor.decrypt(identities).map_err(wrong)?;
        let mut plain = Vec::with_capacity(sealed.len());
        reader.take(limit_bytes.saturating_add(1)).read_to_end(&mut plain).map_err(|cause| {
            Error::failed("the object is damaged or cut short").because(cause).hint(DAMAGED)
        })?;
        match plain.len() as u64 > limit_bytes {
            true => Err(Error::failed(format!("the object holds more than {limit_bytes} bytes"))),
            false => Ok(plain),
        }
    }
}
