//! What a snapshot is refused for. In every case none exists afterwards.

use std::os::unix::ffi::OsStringExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use fenice::adapters::memory::MemoryStore;
use fenice::adapters::system::SystemEntropy;
use fenice::error::{Error, Kind, Result};
use fenice::ports::Store;
use fenice::repository::vault::commit::{Committed, Promise};
use fenice::repository::vault::{Id, Node, NodeKind, Vault, VaultWriter, WriteSettings};

use super::faults::{Fault, FaultyStore};
use super::model::{self, Random, about, now};

fn start(vault: &Vault) -> VaultWriter {
    let index = Arc::new(vault.load_index().unwrap());
    VaultWriter::start(vault, index, Arc::new(SystemEntropy), model::small_packs()).unwrap()
}

fn new_vault() -> (Arc<dyn Store>, Vault) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = model::init(&store);
    (store, vault)
}

/// Stores one file's content and tries to commit what `change` makes of the entries and promise.
fn commit_changed(
    change: impl FnOnce(&mut Vec<(PathBuf, Node)>, &mut Promise),
) -> Result<Committed> {
    let (store, vault) = new_vault();
    let writer = start(&vault);
    let mut storer = writer.storer().unwrap();
    let (id, new) = storer.store_chunk(b"content").unwrap();
    assert_eq!((new, storer.store_chunk(b"content").unwrap()), (7, (id, 0)));
    storer.finish().unwrap();
    let mut entries = vec![
        ("base/1".into(), Node::file(7, vec![id], 0o600, now())),
        ("base".into(), Node::dir(0o700, now())),
        ("base.txt".into(), Node::file(14, vec![id, id], 0o600, now())),
        ("link".into(), Node::symlink("base", now())),
    ];
    let mut promise = Promise { files: 2, bytes: 21 };
    change(&mut entries, &mut promise);
    let committed = writer.finish(entries, promise, about());
    let snapshots = model::open(&store).snapshots().unwrap();
    assert_eq!(snapshots.len(), usize::from(committed.is_ok()));
    model::assert_undamaged(&vault);
    committed
}

fn refused_with(words: &str, change: impl FnOnce(&mut Vec<(PathBuf, Node)>, &mut Promise)) {
    let error = commit_changed(change).unwrap_err();
    assert!(error.chain().contains(words), "{error:?}");
}

#[test]
fn what_keeps_the_promise_is_committed() {
    let committed = commit_changed(|_, _| {}).unwrap();
    assert_eq!((committed.files, committed.bytes), (2, 21));
    assert_eq!((committed.directories, committed.symlinks), (1, 1));
    assert_eq!(committed.counts.blobs_new, 3, "a chunk and two trees");
}

#[test]
fn other_numbers_than_promised_are_refused() {
    refused_with("no snapshot", |_, promise| promise.files += 1);
    refused_with("no snapshot", |_, promise| promise.bytes -= 1);
    refused_with("no snapshot", |entries, _| drop(entries.remove(0)));
}

#[test]
fn a_file_unlike_its_chunks_is_refused() {
    refused_with("base.txt has 15 bytes, but its chunks have 14", |entries, promise| {
        if let NodeKind::File { size, .. } = &mut entries[2].1.kind {
            *size += 1;
        }
        promise.bytes += 1;
    });
    refused_with("base/1 has 7 bytes, but its chunks have 14", |entries, _| {
        if let NodeKind::File { content, .. } = &mut entries[0].1.kind {
            content.push(content[0]);
        }
    });
}

#[test]
fn a_chunk_that_was_never_stored_is_refused() {
    let unknown = Id::of(b"never stored");
    refused_with(&format!("blob {unknown} of base/1 is in no index"), |entries, _| {
        entries[0].1.kind = NodeKind::File { size: 7, content: vec![unknown] };
    });
}

#[test]
fn entries_that_form_no_tree_are_refused() {
    let file = || Node::file(0, vec![], 0o600, now());
    let mut cases: Vec<(&str, PathBuf, Node)> = vec![
        ("no directory entry above", "other/1".into(), file()),
        ("no directory entry above", "base.txt/1".into(), file()),
        ("twice", "base".into(), Node::dir(0o700, now())),
        ("twice", "base".into(), file()),
        ("twice", "base/1".into(), file()),
        ("not stored", "fifo".into(), Node::new(NodeKind::Other("fifo".into()), 0, now())),
    ];
    for path in ["", "/base", "base/", "base//2", "base/./2", "base/../2", "..", ".", "base/."] {
        cases.push(("cannot be a path", path.into(), file()));
    }
    let with_nul = std::ffi::OsString::from_vec(b"a\0b".to_vec());
    cases.push(("cannot be a path", with_nul.into(), file()));
    for (words, path, node) in cases {
        let counted = matches!(node.kind, NodeKind::File { .. });
        refused_with(words, |entries, promise| {
            entries.push((path, node));
            promise.files += u64::from(counted);
        });
    }
}

#[test]
fn a_thread_that_did_not_hand_in_its_chunks_fails_the_run() {
    for panics in [false, true] {
        let (_store, vault) = new_vault();
        let writer = start(&vault);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut storer = writer.storer().unwrap();
                storer.store_chunk(b"x").unwrap();
                assert!(!panics, "injected panic in a reader");
            });
            assert_eq!(reader.join().is_err(), panics);
        });
        writer.check().unwrap_err();
        let nothing = Promise { files: 0, bytes: 0 };
        let error = writer.finish(Vec::new(), nothing, about()).unwrap_err();
        assert!(error.chain().contains("without handing in"), "{error:?}");
        assert_eq!(vault.snapshots().unwrap(), []);
    }
}

#[test]
fn a_storer_still_open_is_refused_without_waiting_for_ever() {
    let (_store, vault) = new_vault();
    let writer = start(&vault);
    let storer = writer.storer().unwrap();
    let error = writer.finish(Vec::new(), Promise { files: 0, bytes: 0 }, about()).unwrap_err();
    assert!(error.chain().contains("not handed in"), "{error:?}");
    drop(storer);
    assert_eq!(vault.snapshots().unwrap(), []);
}

#[test]
fn failing_from_outside_stops_everybody_with_that_reason() {
    let (_store, vault) = new_vault();
    let writer = start(&vault);
    let mut storer = writer.storer().unwrap();
    writer.fail(&Error::new(Kind::Refused, "cannot read base/1").hint("Look at the disk."));
    let error = storer.store_chunk(b"x").unwrap_err();
    assert_eq!((error.kind(), error.chain().as_str()), (Kind::Refused, "cannot read base/1"));
    assert_eq!(error.hint_text(), Some("Look at the disk."));
    assert!(storer.finish().is_err());
    assert!(writer.finish(Vec::new(), Promise { files: 0, bytes: 0 }, about()).is_err());
}

#[test]
fn the_first_failed_write_ends_the_run_promptly_and_is_its_error() {
    for fault in [Fault::ForEver, Fault::Once, Fault::Panic] {
        let (store, _) = new_vault();
        // Calls of opening (config, list, key) and of loading the index (two lists) work.
        let faulty: Arc<dyn Store> = Arc::new(FaultyStore::new(&store, fault, 6));
        let vault = model::open(&faulty);
        let writer = start(&vault);
        let mut storer = writer.storer().unwrap();
        let mut random = Random(7);
        let chunk_bytes = 64 << 10;
        let mut stored = 0;
        let error = loop {
            let chunk: Vec<u8> = (0..chunk_bytes).map(|_| random.next() as u8).collect();
            match storer.store_chunk(&chunk) {
                Ok(_) => stored += chunk_bytes,
                Err(error) => break error,
            }
            assert!(stored <= 64 << 20, "{fault:?} goes on for ever");
        };
        // One pack open, one waiting, two with uploaders, one handed in late.
        let pack_bytes = model::small_packs().pack_bytes;
        assert!(stored <= 8 * pack_bytes, "{fault:?}: {stored} bytes were taken");
        let words = if fault == Fault::Panic { "panicked" } else { "injected fault 6 in put" };
        assert!(error.chain().contains(words), "{error:?}");
        drop(storer);
        let nothing = Promise { files: 0, bytes: 0 };
        let error = writer.finish(Vec::new(), nothing, about()).unwrap_err();
        assert!(error.chain().contains(words), "{error:?}");
        assert_eq!(model::open(&store).snapshots().unwrap(), []);
    }
}

#[test]
fn a_pack_that_vanished_since_the_index_was_loaded_refuses_the_snapshot() {
    let (store, vault) = new_vault();
    let tree = model::random_model(61, 60);
    model::back_up(&vault, &tree).unwrap();
    let writer = start(&vault);
    let pack = *vault.list_packs().unwrap().keys().next().unwrap();
    store.remove(&vault.layout().pack(&pack)).unwrap();
    let entries = model::store_all(&writer, &tree).unwrap();
    let error = writer.finish(entries, model::promise_of(&tree), about()).unwrap_err();
    assert!(error.chain().contains(&format!("pack {pack}")), "{error:?}");
    assert_eq!(vault.snapshots().unwrap().len(), 1);
    // The next run sees the loss and stores again what was in it.
    let healed = model::back_up(&vault, &tree).unwrap();
    assert!(healed.counts.blobs_new > 0);
    model::assert_restores(&vault, &tree);
}

#[test]
fn files_of_an_earlier_snapshot_are_taken_over_unread() {
    let (_store, vault) = new_vault();
    let tree = model::random_model(62, 60);
    let first = model::back_up(&vault, &tree).unwrap();
    let index = vault.load_index().unwrap();
    let writer = start(&vault);
    let entries: Vec<_> = vault.walk(&index, &first.tree).map(Result::unwrap).collect();
    for (path, node) in &entries {
        assert_eq!(vault.find(&index, &first.tree, path).unwrap().as_ref(), Some(node));
        let NodeKind::File { content, .. } = &node.kind else { continue };
        assert!(writer.holds_all(content));
    }
    assert!(!writer.holds_all(&[Id::of(b"unknown")]));
    assert_eq!(vault.find(&index, &first.tree, "no/such".as_ref()).unwrap(), None);
    let second = writer.finish(entries, model::promise_of(&tree), about()).unwrap();
    assert_eq!((second.tree, second.counts.bytes_new), (first.tree, 0));
}

#[test]
fn many_blobs_make_several_packs_and_index_files() {
    let (store, vault) = new_vault();
    let writer = start(&vault);
    let mut storer = writer.storer().unwrap();
    let chunk = |number: u32| number.to_le_bytes();
    let ids = (0..70_000).map(|number| storer.store_chunk(&chunk(number)).unwrap().0);
    let content: Vec<_> = ids.collect();
    storer.finish().unwrap();
    let bytes = 4 * content.len() as u64;
    let node = Node::file(bytes, content, 0o600, now());
    let promise = Promise { files: 1, bytes };
    let committed = writer.finish(vec![("1".into(), node.clone())], promise, about()).unwrap();
    assert_eq!(committed.counts.blobs_new, 70_001);
    assert!(committed.counts.packs >= 9, "at most 8192 blobs a pack: {committed:?}");
    let indexes = store.list(&vault.layout().indexes()).unwrap();
    assert!(indexes.len() >= 2, "{indexes:?}");
    assert_eq!(vault.check(true).unwrap(), []);
    let index = vault.load_index().unwrap();
    let whole = vault.read_file(&index, &node).unwrap();
    assert_eq!(whole, (0..70_000).flat_map(chunk).collect::<Vec<_>>());
}

#[test]
fn senseless_settings_are_refused() {
    let (_store, vault) = new_vault();
    let sound = WriteSettings::default();
    for settings in [
        WriteSettings { pack_bytes: 0, ..sound },
        WriteSettings { pack_bytes: 1 << 30, ..sound },
        WriteSettings { uploaders: 0, ..sound },
        WriteSettings { compression_level: 99, ..sound },
    ] {
        let index = Arc::new(vault.load_index().unwrap());
        let started = VaultWriter::start(&vault, index, Arc::new(SystemEntropy), settings);
        assert_eq!(started.err().map(|error| error.kind()), Some(Kind::Usage), "{settings:?}");
    }
}

#[test]
fn a_panic_while_committing_leaves_no_snapshot() {
    let (store, _) = new_vault();
    let mut hits = 0;
    for at in 6..40 {
        let faulty = Arc::new(FaultyStore::new(&store, Fault::Panic, at));
        let through: Arc<dyn Store> = faulty.clone();
        let tree = model::random_model(at, 8);
        let vault = model::open(&through);
        let ended = catch_unwind(AssertUnwindSafe(|| model::back_up(&vault, &tree)));
        if !faulty.was_hit() {
            ended.unwrap().unwrap();
            break;
        }
        hits += 1;
        assert!(!matches!(ended, Ok(Ok(_))), "call {at}");
        assert_eq!(model::open(&store).snapshots().unwrap(), []);
    }
    assert!(hits >= 8, "{hits}");
}
