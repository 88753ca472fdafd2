//! rustic_core as oracle, through a backend over our store.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use fenice::adapters::folder::FolderStore;
use fenice::adapters::memory::MemoryStore;
use fenice::error::Error;
use fenice::ports::Store;
use rustic_core::repofile::{Node, NodeType, SnapshotFile};
use rustic_core::{
    BackupOptions, BytesList, CheckOptions, ConfigOptions, Credentials, ErrorKind, FileType, Id,
    KeyOptions, LsOptions, PathList, ReadBackend, Repository, RepositoryBackends,
    RepositoryOptions, RusticError, RusticResult, WriteBackend,
};

use super::model::{self, Item, Model, PASSWORD, PREFIX};

/// rustic's blocking backend over one of our stores.
struct OverStore(Arc<dyn Store>);

fn key(tpe: FileType, id: &Id) -> String {
    let name = id.to_hex();
    match tpe {
        FileType::Config => format!("{PREFIX}config"),
        FileType::Pack => format!("{PREFIX}data/{}/{}", &name[..2], &*name),
        _ => format!("{PREFIX}{}/{}", tpe.dirname(), &*name),
    }
}

fn theirs(error: Error) -> Box<RusticError> {
    RusticError::with_source(ErrorKind::Backend, "the store failed", error)
}

fn missing(key: &str) -> Box<RusticError> {
    theirs(Error::failed(format!("{key} is not there")))
}

impl ReadBackend for OverStore {
    fn location(&self) -> String {
        self.0.describe()
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        if tpe == FileType::Config {
            let config = self.0.get(&format!("{PREFIX}config")).map_err(theirs)?;
            return Ok(config.iter().map(|body| (Id::default(), body.len() as u32)).collect());
        }
        let entries = self.0.list(&format!("{PREFIX}{}/", tpe.dirname())).map_err(theirs)?;
        let named = entries.iter().filter_map(|entry| {
            let name = entry.key.rsplit('/').next()?;
            Some((Id::parse_some(name, tpe)?, entry.bytes as u32))
        });
        Ok(named.collect())
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        let key = key(tpe, id);
        self.0.get(&key).map_err(theirs)?.map(Bytes::from).ok_or_else(|| missing(&key))
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let mut bytes = vec![0; length as usize];
        self.0.read_range(&key(tpe, id), u64::from(offset), &mut bytes).map_err(theirs)?;
        Ok(bytes.into())
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        key(tpe, id)
    }
}

impl WriteBackend for OverStore {
    fn write_bytes(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        let mut body = Vec::new();
        for slice in content.slice() {
            body.write_all(slice).unwrap();
        }
        let key = key(tpe, id);
        if tpe == FileType::Config {
            self.0.remove(&key).map_err(theirs)?;
        }
        self.0.put_new(&key, &body).map(drop).map_err(theirs)
    }

    fn remove(&self, tpe: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        self.0.remove(&key(tpe, id)).map_err(theirs)
    }
}

fn repository(store: &Arc<dyn Store>) -> Repository<()> {
    let backends = RepositoryBackends::new(Arc::new(OverStore(Arc::clone(store))), None);
    Repository::new(&RepositoryOptions::default().no_cache(true), &backends).unwrap()
}

fn credentials() -> Credentials {
    Credentials::Password(PASSWORD.into())
}

#[test]
fn rustic_checks_and_reads_what_we_write() {
    for (seed, items) in [(41, 0), (42, 200)] {
        let expected = model::random_model(seed, items);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let vault = model::init(&store);
        let committed = model::back_up(&vault, &expected).unwrap();
        let opened = repository(&store).open(&credentials()).unwrap();
        let results = opened.check(CheckOptions::default().read_data(true)).unwrap();
        assert!(results.0.is_empty(), "{:?}", results.0);
        let indexed = opened.to_indexed().unwrap();
        let snapshots = indexed.get_all_snapshots().unwrap();
        assert_eq!(snapshots.len(), 1);
        assert_eq!(snapshots[0].id.to_hex().to_string(), committed.snapshot.to_string());
        let root = indexed.node_from_snapshot_and_path(&snapshots[0], "").unwrap();
        let mut read = Model::new();
        for entry in indexed.ls(&root, &LsOptions::default()).unwrap() {
            let (path, node) = entry.unwrap();
            let mode = unix_mode(&node);
            let item = match &node.node_type {
                NodeType::Dir => Item::Dir { mode },
                NodeType::File => {
                    let mut content = Vec::new();
                    indexed.dump(&node, &mut content).unwrap();
                    Item::File { content, mode }
                }
                link => Item::Link { target: link.to_link().as_os_str().to_owned() },
            };
            read.insert(path, item);
        }
        model::assert_same(&read, &expected);
    }
}

fn unix_mode(node: &Node) -> u32 {
    let mode = node.meta.mode.unwrap();
    let special = (mode >> 23 & 1) << 11 | (mode >> 22 & 1) << 10 | (mode >> 20 & 1) << 9;
    mode & 0o777 | special
}

#[test]
fn we_check_and_restore_what_rustic_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(FolderStore::open(dir.path()).unwrap());
    let source = tempfile::tempdir().unwrap();
    let expected = model::random_model(51, 150);
    model::to_disk(&expected, source.path());
    let opened = repository(&store)
        .init(&credentials(), &KeyOptions::default(), &ConfigOptions::default())
        .unwrap();
    let indexed = opened.to_indexed_ids().unwrap();
    let paths = PathList::from_string(source.path().to_str().unwrap()).unwrap();
    indexed.backup(&BackupOptions::default(), &paths, SnapshotFile::default()).unwrap();

    let vault = model::open(&store);
    assert_eq!(vault.check(true).unwrap(), []);
    let index = vault.load_index().unwrap();
    let snapshots = vault.snapshots().unwrap();
    assert_eq!(snapshots.len(), 1);
    let (restored, _) = model::restore(&vault, &index, &snapshots[0].1.tree).unwrap();
    let inside = source.path().strip_prefix("/").unwrap();
    model::assert_same(&model::below(&restored, inside), &expected);
    // And we go on where it stopped.
    let ours = model::random_model(52, 50);
    model::back_up(&vault, &ours).unwrap();
    let results = repository(&store)
        .open(&credentials())
        .unwrap()
        .check(CheckOptions::default().read_data(true))
        .unwrap();
    assert!(results.0.is_empty(), "{:?}", results.0);
}
