//! Objects of one log archive brought into another one of the same cluster, in another repository:
//! checked where they come from, sealed to the recipients of where they go, and read back there.

use crate::error::{Attempt, Error, Result};
use crate::model::{Timeline, WalObject};
use crate::ports::store::Put;
use crate::repository::wal::{HISTORY_LIMIT_BYTES, WalArchive};
use crate::repository::wal_codec::{self, Checked};

impl WalArchive {
    /// Copies one stretch of log from `from`. Durable and read back when it returns.
    ///
    /// # Errors
    /// It cannot be read there, it is not what was stored, or another content has its name here.
    pub fn copy_object(&self, from: &WalArchive, object: &WalObject) -> Result<Put> {
        let bytes = self.extent_bytes(object.extent);
        self.copy_key(from, &object.key, bytes, Some(bytes))
    }

    /// Copies the history of a timeline from `from`.
    pub fn copy_history(&self, from: &WalArchive, timeline: Timeline) -> Result<Put> {
        self.copy_key(from, &self.history_key(timeline), HISTORY_LIMIT_BYTES, None)
    }

    /// Copies what `from` has under `key`: at most `limit_bytes` of content, or exactly so many.
    pub fn copy_key(
        &self,
        from: &WalArchive,
        key: &str,
        limit_bytes: u64,
        exact_bytes: Option<u64>,
    ) -> Result<Put> {
        let what = || format!("copy {key} to {}", self.repository.store.describe());
        let original = from.check_key(key, limit_bytes, exact_bytes).attempt(what)?;
        let sealed = original.seal_to(self.repository.recipients_now()?).attempt(what)?;
        let put = self.repository.store.put_new(key, &sealed).attempt(what)?;
        let copied = self.check_key(key, limit_bytes, exact_bytes).attempt(what)?;
        match copied.note.sha256 == original.note.sha256 {
            true => Ok(put),
            false => Err(Error::refused(format!("{key} is in {} with another content", {
                self.repository.store.describe()
            }))
            .because("a copy must never mix with the log of another cluster, or of another life")
            .hint("Find out which of the two is right before anything is removed.")),
        }
    }

    /// Reads one object whole and compares it with what was noted of it when it was stored.
    pub fn check_key(&self, key: &str, limit_bytes: u64, exact: Option<u64>) -> Result<Checked> {
        let store = &self.repository.store;
        let sealed = store
            .get(key)?
            .ok_or_else(|| Error::failed(format!("{key} is not in {}", store.describe())))?;
        let checked = wal_codec::check(self.repository.identities()?, &sealed, limit_bytes)
            .attempt(|| format!("read {key} in {}", store.describe()))?;
        match exact {
            Some(bytes) if bytes != checked.bytes => Err(Error::failed(format!(
                "{key} holds {} bytes instead of {bytes}",
                checked.bytes
            ))),
            _ => Ok(checked),
        }
    }
}
