//! The vault: a strict, parallel writer, reader and checker of the **restic repository format**,
//! version 2 (restic's design document is the source of every fact about it). Whatever lies here
//! can be listed, checked and restored with `restic` alone.
//!
//! Everything is written once under the hash of its content and never changed. Order of a backup:
//! packs, index files, checks, snapshot; a crash before the last leaves packs that the next run
//! adopts, and nothing else.
//!
//! Deliberately absent: locks (the lease of the repository keeps writers apart), a local cache,
//! retries (an adapter's concern), packs of mixed types.

pub mod crypto;
pub mod id;
pub mod key;
pub mod layout;
pub mod sealed;

pub mod config;

pub mod index;
pub mod pack;

pub mod name;
pub mod node;
pub mod snapshot;
pub mod tree;

pub mod adopt;
pub mod commit;
pub mod storer;
pub mod upload;
pub mod write;

pub mod lanes;
pub mod reach;
pub mod read;
pub mod restore;
pub mod restore_plan;

pub mod check;
pub mod check_packs;

pub mod copy;
pub mod mend;
pub mod prune;
pub mod remains;
pub mod stays;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Attempt, Error, Result};
use crate::ports::store::Put;
use crate::ports::{Entropy, Store};
use crate::repository::listing::read_listed;
use config::Config;
use crypto::Cipher;
pub use id::Id;
pub use index::Index;
use index::IndexFile;
use key::{MasterKey, Unlocked};
use layout::{Layout, ids_of};
pub use node::{Node, NodeKind};
pub use pack::BlobType;
pub use snapshot::{About, Snapshot};
pub use tree::Tree;
pub use write::{VaultWriter, WriteSettings};

/// More key files than this are never tried.
const MAX_KEYS: usize = 32;

/// An opened vault. Cheap to clone, shared by threads.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    layout: Layout,
    cipher: Cipher,
    config: Config,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.describe())
    }
}

impl Vault {
    /// Whether there is a vault below `prefix`, which is empty or ends with `/`.
    pub fn exists(store: &dyn Store, prefix: &str) -> Result<bool> {
        Ok(store.get(&Layout::new(prefix)?.config())?.is_some())
    }

    /// Makes a vault below `prefix`: key file first, `config` last, so that a crash between the
    /// two leaves no vault, and `init` can be run again.
    ///
    /// # Errors
    /// `Kind::Refused` if there is a vault already.
    pub fn init(
        store: Arc<dyn Store>,
        prefix: &str,
        password: &SecretString,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Vault> {
        let layout = Layout::new(prefix)?;
        let exists = || {
            let place = format!("{} in {}", layout.prefix(), store.describe());
            Error::refused(format!("there is a vault already at {place}"))
                .hint("Open it with its own password, or choose another place.")
        };
        if store.get(&layout.config())?.is_some() {
            return Err(exists());
        }
        // A key that an interrupted `init` left is taken up, or two keys of one password would
        // stand side by side and only one of them open the config.
        let left = unlock_any(store.as_ref(), &layout, password)?.masters.into_iter().next();
        let master = match left {
            Some(master) => master,
            None => {
                let master = MasterKey::generate(entropy);
                let file = key::lock(&master, password, now, entropy)?;
                store.put_new(&layout.key(&Id::of(&file)), &file)?;
                master
            }
        };
        let cipher = master.cipher();
        let config = Config::generate(entropy)?;
        match store.put_new(&layout.config(), &config.seal(&cipher, entropy)?)? {
            Put::Created => {}
            Put::Exists => return Err(exists()),
        }
        Ok(Vault { inner: Arc::new(Inner { store, layout, cipher, config }) })
    }

    /// Opens the vault below `prefix`.
    ///
    /// # Errors
    /// There is none, no key file opens with `password`, or its config is not readable.
    pub fn open(store: Arc<dyn Store>, prefix: &str, password: &SecretString) -> Result<Vault> {
        let layout = Layout::new(prefix)?;
        let place = format!("{} in {}", layout.prefix(), store.describe());
        let Some(sealed) = store.get(&layout.config())? else {
            return Err(Error::failed(format!("there is no vault at {place}"))
                .hint("`fenice init` makes one the first time; is this the right repository?"));
        };
        let tried = unlock_any(store.as_ref(), &layout, password)?;
        if tried.masters.is_empty() {
            let what = format!("none of the {} keys of the vault at {place} opens", tried.keys);
            return Err(Error::failed(what + " with this password")
                .hint("Use the vault password of this repository; the recovery kit holds it."));
        }
        let mut failure = None;
        for master in tried.masters {
            let cipher = master.cipher();
            match Config::open(sealed.clone(), &cipher) {
                Ok(config) => {
                    return Ok(Vault { inner: Arc::new(Inner { store, layout, cipher, config }) });
                }
                Err(error) => failure = Some(error),
            }
        }
        let what = Error::failed(format!("cannot open the vault at {place}"));
        Err(failure.into_iter().fold(what, Error::because))
    }

    /// For messages: where the vault is.
    pub fn describe(&self) -> String {
        format!("{}{}", self.inner.layout.prefix(), self.inner.store.describe())
    }

    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    pub fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    pub fn cipher(&self) -> &Cipher {
        &self.inner.cipher
    }

    pub fn store(&self) -> &dyn Store {
        self.inner.store.as_ref()
    }

    /// Every index file and the listing of packs, joined.
    ///
    /// # Errors
    /// Any index file cannot be read: it is named.
    pub fn load_index(&self) -> Result<Index> {
        let files = self.index_files()?.into_values().collect();
        Ok(Index::build(files, &self.list_packs()?))
    }

    /// Every index file, by id. Pruning replaces some, so that one which is gone is no damage: what
    /// it held is in a newer one then, and all are read anew.
    fn index_files(&self) -> Result<BTreeMap<Id, IndexFile>> {
        let list = || self.store().list(&self.layout().indexes());
        read_listed(list, |listing| {
            ids_of(listing).map(|(id, _)| Ok((id, self.index_file(&id)?))).collect()
        })
    }

    /// One index file.
    pub fn index_file(&self, id: &Id) -> Result<IndexFile> {
        self.read_sealed(id, &self.layout().index(id), "index file")
    }

    /// Every pack stored, with its size in bytes.
    pub fn list_packs(&self) -> Result<BTreeMap<Id, u64>> {
        Ok(ids_of(&self.store().list(&self.layout().packs())?).collect())
    }

    /// Every snapshot, oldest first. One that pruning removes meanwhile is left out.
    ///
    /// # Errors
    /// Any of them cannot be read: it is named.
    pub fn snapshots(&self) -> Result<Vec<(Id, Snapshot)>> {
        let list = || self.store().list(&self.layout().snapshots());
        let mut snapshots: Vec<(Id, Snapshot)> = read_listed(list, |listing| {
            ids_of(listing).map(|(id, _)| Ok((id, self.snapshot(&id)?))).collect()
        })?;
        snapshots.sort_by_key(|(id, snapshot)| (snapshot.time, *id));
        Ok(snapshots)
    }

    /// One snapshot.
    pub fn snapshot(&self, id: &Id) -> Result<Snapshot> {
        self.read_sealed(id, &self.layout().snapshot(id), "snapshot")
    }

    fn read_sealed<T: DeserializeOwned>(&self, id: &Id, key: &str, what: &str) -> Result<T> {
        let body = self.store().get(key)?;
        let body = body.ok_or_else(|| {
            Error::failed(format!("{what} {id} is missing in {}", self.describe()))
        })?;
        let opened = sealed::open(id, body, self.cipher());
        opened.map_err(|cause| {
            Error::failed(format!("{what} {id} is not readable"))
                .because(cause)
                .hint("`restic check` and `fenice verify` tell what it concerns.")
        })
    }

    /// Stores `value` under its id, where `key` says.
    pub(crate) fn write_sealed<T: Serialize>(
        &self,
        value: &T,
        entropy: &dyn Entropy,
        key: impl Fn(&Layout, &Id) -> String,
    ) -> Result<Id> {
        let (id, body) = sealed::seal(value, self.cipher(), entropy)?;
        self.store().put_new(&key(self.layout(), &id), &body)?;
        Ok(id)
    }
}

/// What trying a password on every key file gave.
struct Tried {
    keys: usize,
    masters: Vec<MasterKey>,
}

fn unlock_any(store: &dyn Store, layout: &Layout, password: &SecretString) -> Result<Tried> {
    let mut tried = Tried { keys: 0, masters: Vec::new() };
    let mut unreadable = None;
    let listing = store.list(&layout.keys())?;
    for (id, _) in ids_of(&listing).take(MAX_KEYS) {
        let key = layout.key(&id);
        // Removed between listing and reading: no longer a key.
        let Some(body) = store.get(&key)? else { continue };
        tried.keys += 1;
        match key::unlock(&body, password).attempt(|| format!("use the key file {key}")) {
            Ok(Unlocked::With(master)) => tried.masters.push(master),
            Ok(Unlocked::WrongPassword) => {}
            Err(error) => unreadable = Some(error),
        }
    }
    match unreadable {
        // One damaged key file does not matter as long as another one opens.
        Some(error) if tried.masters.is_empty() => Err(error),
        _ => Ok(tried),
    }
}
