//! Readers of a vault while it is pruned: what is gone since it was listed is no damage, and what
//! is listed and not there is.

use std::collections::BTreeSet;
use std::sync::Arc;

use fenice::adapters::memory::MemoryStore;
use fenice::adapters::system::SystemEntropy;
use fenice::error::Result;
use fenice::ports::Store;
use fenice::ports::store::{Change, Entry, Lock, Put, Replaced};
use fenice::repository::vault::prune::{Guard, Pruning};
use fenice::repository::vault::{Id, Vault, WriteSettings};

use super::meanwhile::{Call, Meanwhile};
use super::model::{self, Model, PREFIX};

/// A vault with two snapshots that have little in common; the second one with its tree.
fn two_snapshots() -> (Arc<dyn Store>, Vault, Id, Model) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = model::init(&store);
    model::back_up(&vault, &model::random_model(61, 30)).unwrap();
    let tree = model::random_model(62, 30);
    let second = model::back_up(&vault, &tree).unwrap().snapshot;
    (store, vault, second, tree)
}

/// Removes every snapshot but `keep`, and takes what only those led to out of the index.
fn prune(vault: &Vault, keep: Id) {
    let pruning = Pruning {
        listed: vault.snapshot_ids().unwrap(),
        now: model::now(),
        grace: std::time::Duration::from_secs(3_600),
        write: WriteSettings::default(),
        entropy: Arc::new(SystemEntropy),
    };
    let guard = Guard { allowed: &|| Ok(()), undisturbed: &|| Ok(true) };
    let pruned = vault.prune(&BTreeSet::from([keep]), &pruning, &guard).unwrap();
    assert!(pruned.snapshots_removed == 1 && pruned.packs_marked > 0, "{pruned:?}");
}

/// The vault as a reader sees it that has listed what lies below `folder`, and comes to read it
/// when it is pruned.
fn read_while_pruned(folder: &str, read: impl FnOnce(&Vault, Id, &Model)) {
    let (store, vault, second, tree) = two_snapshots();
    let below = format!("{PREFIX}{folder}/");
    let meanwhile = Meanwhile::before(1, Call::Get, &below, &store, move || prune(&vault, second));
    let through: Arc<dyn Store> = meanwhile.clone();
    read(&model::open(&through), second, &tree);
    assert!(meanwhile.was_done());
}

#[test]
fn an_index_file_that_is_replaced_is_found_in_its_new_place() {
    read_while_pruned("index", |vault, second, tree| {
        let index = vault.load_index().unwrap();
        let root = vault.snapshot(&second).unwrap().tree;
        let (restored, _) = model::restore(vault, &index, &root).unwrap();
        model::assert_same(&restored, tree);
    });
}

#[test]
fn a_snapshot_that_is_removed_is_left_out() {
    read_while_pruned("snapshots", |vault, second, _| {
        let ids: Vec<Id> = vault.snapshots().unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [second]);
    });
}

/// A store whose listings name an object that is not there.
struct Haunted {
    inner: Arc<dyn Store>,
    ghost: String,
}

impl Store for Haunted {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn put_new(&self, key: &str, body: &[u8]) -> Result<Put> {
        self.inner.put_new(key, body)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.inner.get(key)
    }

    fn read_range(&self, key: &str, offset: u64, into: &mut [u8]) -> Result<()> {
        self.inner.read_range(key, offset, into)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let mut listed = self.inner.list(prefix)?;
        if self.ghost.starts_with(prefix) {
            listed.push(Entry { key: self.ghost.clone(), bytes: 9, stored_at: model::now() });
        }
        Ok(listed)
    }

    fn replace(&self, key: &str, change: Change<'_>) -> Result<Replaced> {
        self.inner.replace(key, change)
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.inner.remove(key)
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Lock>> {
        self.inner.lock(name)
    }
}

#[test]
fn what_is_listed_and_not_there_is_an_error_by_its_name() {
    let (store, _, _, _) = two_snapshots();
    let ghost = Id::of(b"a ghost").to_string();
    let haunted = |folder: &str| -> Vault {
        let ghost = format!("{PREFIX}{folder}/{ghost}");
        let store: Arc<dyn Store> = Arc::new(Haunted { inner: store.clone(), ghost });
        model::open(&store)
    };
    let error = haunted("index").load_index().map(drop).unwrap_err();
    assert!(error.chain().contains(&ghost), "{error:?}");
    let error = haunted("snapshots").snapshots().unwrap_err();
    assert!(error.chain().contains(&ghost), "{error:?}");
}
