//! Trees of files for tests: made from a seed, written to disk, backed up and restored by us,
//! compared as a whole.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use fenice::adapters::system::SystemEntropy;
use fenice::error::Result;
use fenice::ports::Store;
use fenice::repository::vault::commit::{Committed, Promise};
use fenice::repository::vault::restore::{RestoreSettings, Restored, Sink};
use fenice::repository::vault::restore_plan::RestoreFile;
use fenice::repository::vault::{
    About, Id, Index, Node, NodeKind, Vault, VaultWriter, WriteSettings,
};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

pub const PREFIX: &str = "postgres/registro/vault/";
pub const PASSWORD: &str = "a password of the tests";
/// Small, so that small files have several chunks, and few files fill several packs.
pub const CHUNK_BYTES: usize = 16 << 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    File { content: Vec<u8>, mode: u32 },
    Dir { mode: u32 },
    Link { target: OsString },
}

/// Path to item; every directory is among them.
pub type Model = BTreeMap<PathBuf, Item>;

/// SplitMix64: the same everywhere, from a seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Compressible, incompressible or zero.
    pub fn content(&mut self, bytes: usize) -> Vec<u8> {
        match self.below(4) {
            0 => vec![0; bytes],
            1 => (0..bytes).map(|_| self.next() as u8).collect(),
            _ => {
                let words = [&b"registro "[..], b"scuola\n", b"\x00\x01\xff", b"2026-11-22"];
                let mut content = Vec::with_capacity(bytes + 16);
                while content.len() < bytes {
                    content.extend(words[self.below(4) as usize]);
                    content.push(self.next() as u8);
                }
                content.truncate(bytes);
                content
            }
        }
    }

    fn name(&mut self) -> OsString {
        const ODD: [&[u8]; 12] = [
            b"two words",
            "perché-è".as_bytes(),
            b"a\"quote'",
            b"back\\slash",
            b"new\nline",
            b"tab\t",
            b"not\xff\xfeutf8",
            "火の鳥".as_bytes(),
            b"-dash",
            b"*?[x]",
            b" ",
            b"\x7f\x01",
        ];
        match self.below(3) {
            0 => OsString::from_vec(ODD[self.below(12) as usize].to_vec()),
            1 => format!("{}", 1000 + self.below(90_000)).into(),
            _ => format!("file.{}-{}", self.below(50), self.below(9)).into(),
        }
    }
}

/// A tree of about `items` files, directories and links.
pub fn random_model(seed: u64, items: usize) -> Model {
    let mut random = Random(seed);
    let mut model = Model::new();
    let mut dirs = vec![PathBuf::new()];
    for _ in 0..items {
        let parent = dirs[random.below(dirs.len() as u64) as usize].clone();
        let path = parent.join(random.name());
        if model.contains_key(&path) {
            continue;
        }
        let item = match random.below(10) {
            0 | 1 => {
                dirs.push(path.clone());
                // Restic restores set-group-id and sticky bits too.
                Item::Dir { mode: [0o755, 0o700, 0o2750, 0o1777][random.below(4) as usize] }
            }
            2 => Item::Link { target: "../some where/é".into() },
            _ => {
                let chunk = CHUNK_BYTES as u64;
                let bytes = match random.below(6) {
                    0 => 0,
                    1 => 1,
                    2 => chunk * random.below(4),
                    3 => chunk * 20 + random.below(chunk),
                    _ => random.below(3 * chunk),
                };
                let mode = [0o600, 0o644, 0o755, 0o400][random.below(4) as usize];
                Item::File { content: random.content(bytes as usize), mode }
            }
        };
        model.insert(path, item);
    }
    // A chain of directories, and a directory with nothing in it.
    let mut deep = PathBuf::from("deep");
    for _ in 0..40 {
        model.insert(deep.clone(), Item::Dir { mode: 0o755 });
        deep.push("er");
    }
    model.insert(deep, Item::File { content: b"bottom".to_vec(), mode: 0o644 });
    model.insert("empty".into(), Item::Dir { mode: 0o711 });
    model
}

/// Seconds and nanoseconds that depend on the path only.
pub fn mtime_of(path: &Path) -> Timestamp {
    let hash = path
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(7u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let second = 1_600_000_000 + (hash % 100_000_000) as i64;
    Timestamp::new(second, (hash % 1_000_000_000) as i32).unwrap()
}

/// Writes the tree below `dir`.
pub fn to_disk(model: &Model, dir: &Path) {
    for (path, item) in model {
        let path = dir.join(path);
        match item {
            Item::Dir { .. } => fs::create_dir(&path).unwrap(),
            Item::File { content, .. } => fs::write(&path, content).unwrap(),
            Item::Link { target } => symlink(target, &path).unwrap(),
        }
    }
    for (path, item) in model {
        if let Item::File { mode, .. } | Item::Dir { mode } = item {
            fs::set_permissions(dir.join(path), fs::Permissions::from_mode(*mode)).unwrap();
        }
    }
}

/// What lies below `dir`.
pub fn from_disk(dir: &Path) -> Model {
    let mut model = Model::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(parent) = pending.pop() {
        for entry in fs::read_dir(dir.join(&parent)).unwrap() {
            let entry = entry.unwrap();
            let path = parent.join(entry.file_name());
            let facts = fs::symlink_metadata(entry.path()).unwrap();
            let mode = facts.mode() & 0o7777;
            let item = if facts.is_dir() {
                pending.push(path.clone());
                Item::Dir { mode }
            } else if facts.is_symlink() {
                Item::Link { target: fs::read_link(entry.path()).unwrap().into() }
            } else {
                Item::File { content: fs::read(entry.path()).unwrap(), mode }
            };
            model.insert(path, item);
        }
    }
    model
}

/// Compares without printing megabytes.
pub fn assert_same(actual: &Model, expected: &Model) {
    for (path, item) in expected {
        match (actual.get(path), item) {
            (None, _) => panic!("{} is missing", path.display()),
            (Some(found), wanted) if found != wanted => {
                panic!("{}: {} is not {}", path.display(), brief(found), brief(wanted))
            }
            _ => {}
        }
    }
    let extra: Vec<_> = actual.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(extra.is_empty(), "more than expected: {extra:?}");
}

fn brief(item: &Item) -> String {
    match item {
        Item::File { content, mode } => {
            format!("file {mode:o} of {} bytes {}", content.len(), Id::of(content).short())
        }
        other => format!("{other:?}"),
    }
}

pub fn password() -> SecretString {
    SecretString::from(PASSWORD)
}

pub fn now() -> Timestamp {
    "2026-08-21T10:00:00.123456789Z".parse().unwrap()
}

pub fn init(store: &Arc<dyn Store>) -> Vault {
    Vault::init(Arc::clone(store), PREFIX, &password(), now(), &SystemEntropy).unwrap()
}

pub fn open(store: &Arc<dyn Store>) -> Vault {
    Vault::open(Arc::clone(store), PREFIX, &password()).unwrap()
}

/// Packs of 256 KiB: a few megabytes fill many.
pub fn small_packs() -> WriteSettings {
    WriteSettings { pack_bytes: 256 << 10, ..WriteSettings::default() }
}

/// As the engine will do it: load the index, adopt what a crash left, write with two threads.
pub fn back_up(vault: &Vault, model: &Model) -> Result<Committed> {
    let mut index = vault.load_index()?;
    if vault.adopt(&index, &SystemEntropy)?.packs > 0 {
        index = vault.load_index()?;
    }
    let writer =
        VaultWriter::start(vault, Arc::new(index), Arc::new(SystemEntropy), small_packs())?;
    let entries = store_all(&writer, model)?;
    writer.finish(entries, promise_of(model), about())
}

/// Each a second later than the one before, so that the newest is the last written.
pub fn about() -> About {
    static TAKEN: AtomicI64 = AtomicI64::new(0);
    let seconds = TAKEN.fetch_add(1, Ordering::SeqCst);
    About {
        time: now() + SignedDuration::from_secs(seconds),
        hostname: "db1".into(),
        paths: vec!["/var/lib/postgresql".into()],
        tags: vec!["registro".into()],
        parent: None,
    }
}

pub fn promise_of(model: &Model) -> Promise {
    let contents = model.values().filter_map(|item| match item {
        Item::File { content, .. } => Some(content.len() as u64),
        _ => None,
    });
    Promise { files: contents.clone().count() as u64, bytes: contents.sum() }
}

/// Stores every file's chunks with two threads; the entries in no particular order.
pub fn store_all(writer: &VaultWriter, model: &Model) -> Result<Vec<(PathBuf, Node)>> {
    let items: Vec<_> = model.iter().collect();
    let next = AtomicUsize::new(0);
    let entries = Mutex::new(Vec::new());
    let work = || -> Result<()> {
        let mut storer = writer.storer()?;
        while let Some((path, item)) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mtime = mtime_of(path);
            let node = match item {
                Item::Dir { mode } => Node::dir(*mode, mtime),
                Item::Link { target } => Node::symlink(target, mtime),
                Item::File { content, mode } => {
                    let chunks = content.chunks(CHUNK_BYTES);
                    let ids = chunks.map(|chunk| Ok(storer.store_chunk(chunk)?.0));
                    let ids = ids.collect::<Result<Vec<_>>>()?;
                    Node::file(content.len() as u64, ids, *mode, mtime)
                }
            };
            let node = Node { gid: 1234, inode: 42, device_id: 64768, ctime: Some(mtime), ..node };
            entries.lock().unwrap().push(((*path).clone(), node));
        }
        storer.finish()
    };
    thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(fenice::error::Error::failed("a reader panicked")))
        })
    })?;
    Ok(entries.into_inner().unwrap())
}

/// Files restored into memory; checks that every byte comes once and completion last.
struct MemorySink {
    files: Vec<Mutex<Restoring>>,
}

struct Restoring {
    content: Vec<u8>,
    written: u64,
    complete: bool,
}

impl Sink for MemorySink {
    fn write_at(&self, file: usize, offset: u64, content: &[u8]) -> Result<()> {
        let mut file = self.files[file].lock().unwrap();
        assert!(!file.complete, "a write after completion");
        let start = offset as usize;
        file.content[start..start + content.len()].copy_from_slice(content);
        file.written += content.len() as u64;
        Ok(())
    }

    fn complete(&self, file: usize) -> Result<()> {
        let mut file = self.files[file].lock().unwrap();
        assert!(!file.complete, "completed twice");
        file.complete = true;
        Ok(())
    }
}

/// Restores a whole snapshot through the walker and the parallel reader.
pub fn restore(vault: &Vault, index: &Index, tree: &Id) -> Result<(Model, Restored)> {
    let mut model = Model::new();
    let mut files = Vec::new();
    let mut last: Option<PathBuf> = None;
    for entry in vault.walk(index, tree) {
        let (path, node) = entry?;
        assert!(last.as_ref().is_none_or(|last| last < &path), "{last:?} before {path:?}");
        let mode = node.permissions;
        match node.kind {
            NodeKind::Dir { .. } => {
                model.insert(path.clone(), Item::Dir { mode });
            }
            NodeKind::Symlink { target } => {
                model.insert(path.clone(), Item::Link { target });
            }
            NodeKind::File { size, content } => {
                files.push(RestoreFile { path: path.clone(), size, content });
                model.insert(path.clone(), Item::File { content: Vec::new(), mode });
            }
            NodeKind::Other(kind) => panic!("{} is a {kind}", path.display()),
        }
        last = Some(path);
    }
    let empty = |file: &RestoreFile| {
        let content = vec![0xaa; file.size as usize];
        Mutex::new(Restoring { content, written: 0, complete: false })
    };
    let sink = MemorySink { files: files.iter().map(empty).collect() };
    let settings = RestoreSettings { workers: 3, read_bytes: 100 << 10 };
    let restored = vault.restore(index, &files, &sink, settings)?;
    for (wanted, got) in files.iter().zip(sink.files) {
        let got = got.into_inner().unwrap();
        assert!(got.complete && got.written == wanted.size, "{}", wanted.path.display());
        if let Some(Item::File { content, .. }) = model.get_mut(&wanted.path) {
            *content = got.content;
        }
    }
    Ok((model, restored))
}

/// Restores the newest snapshot and compares; the check must find nothing.
pub fn assert_restores(vault: &Vault, expected: &Model) {
    let index = vault.load_index().unwrap();
    let (_, snapshot) = vault.snapshots().unwrap().pop().unwrap();
    let (model, _) = restore(vault, &index, &snapshot.tree).unwrap();
    assert_same(&model, expected);
}

/// Nothing at all may be found, orphans excepted where a crash may have left them.
pub fn assert_undamaged(vault: &Vault) {
    let findings = vault.check(true).unwrap();
    let damage: Vec<_> = findings.iter().filter(|finding| finding.is_damage()).collect();
    assert!(damage.is_empty(), "{damage:?}");
}

/// The part of `model` below `dir`.
pub fn below(model: &Model, dir: &Path) -> Model {
    let inside = model.iter().filter_map(|(path, item)| {
        let path = path.strip_prefix(dir).ok()?;
        (path != OsStr::new("")).then(|| (path.to_owned(), item.clone()))
    });
    inside.collect()
}
