//! Reading one object: is it what was stored?

use serde_json::Value;

use crate::error::{Attempt, Error, Result};
use crate::ports::store::Entry;
use crate::repository::manifest;
use crate::repository::vault::Id;
use crate::repository::vault::layout::Part;
use crate::repository::wal_codec;

use super::Scrub;
use super::stored::{Stored, What};

const SECRET_LIMIT_BYTES: u64 = 4_096;

/// Why an object does not count as sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    Damaged(String),
    /// Not there any more.
    Gone,
    /// The store did not give it: nothing is known of it.
    Unread(String),
}

impl Scrub {
    /// `None` if the object is as it was stored.
    pub(super) fn examine(&self, stored: &Stored, entry: &Entry) -> Option<Finding> {
        let what = stored.what(&entry.key);
        if matches!(what, What::Stranger) {
            return None;
        }
        match self.repository.store.get(&entry.key) {
            Err(error) => Some(Finding::Unread(error.chain())),
            Ok(None) => Some(Finding::Gone),
            Ok(Some(body)) => {
                let judged = self.judge(what, &entry.key, &body);
                judged.err().map(|error| Finding::Damaged(error.chain()))
            }
        }
    }

    fn judge(&self, what: What<'_>, key: &str, body: &[u8]) -> Result<()> {
        let identities = self.repository.identities()?;
        match what {
            What::Secret => identities.open(body, SECRET_LIMIT_BYTES).map(drop),
            What::Snapshot(_) | What::Record => {
                manifest::decode::<Value>(&self.repository, key, body).map(drop)
            }
            What::Log { limit_bytes, exact_bytes, .. } => {
                let bytes = wal_codec::check(identities, body, limit_bytes)?.bytes;
                match exact_bytes {
                    Some(exact) if exact != bytes => {
                        Err(Error::failed(format!("it holds {bytes} bytes instead of {exact}")))
                    }
                    _ => Ok(()),
                }
            }
            // Opening the vault reads it, and everything depends on that.
            What::Vault { part: Part::Config, .. } | What::Stranger => Ok(()),
            What::Vault {
                part: Part::Key(id) | Part::Index(id) | Part::Snapshot(id) | Part::Pack(id),
                ..
            } => match Id::of(body) {
                actual if actual == id => Ok(()),
                actual => Err(Error::failed(format!("its content has the id {actual}"))),
            },
        }
        .attempt(|| format!("verify {key}"))
    }
}
