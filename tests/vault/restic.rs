//! restic as oracle: what we write it must check, restore and dump; what it writes we must read.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use fenice::adapters::folder::FolderStore;
use fenice::ports::Store;
use jiff::Timestamp;
use tempfile::TempDir;

use super::model::{self, Item, Model, PASSWORD, PREFIX};

/// A repository folder with a vault in it at the usual place.
pub struct Folder {
    pub dir: TempDir,
    pub store: Arc<dyn Store>,
}

impl Folder {
    pub fn new() -> Folder {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(FolderStore::open(dir.path()).unwrap());
        Folder { dir, store }
    }

    pub fn vault_path(&self) -> PathBuf {
        self.dir.path().join(PREFIX)
    }

    /// Runs restic on the vault; absent restic is a failure, never a skip.
    pub fn restic_raw(&self, args: &[&OsStr]) -> Output {
        Command::new("restic")
            .arg("--no-cache")
            .arg("-r")
            .arg(self.vault_path())
            .args(args)
            .env("RESTIC_PASSWORD", PASSWORD)
            .env("HOME", self.dir.path())
            .output()
            .expect("the program `restic` is needed as an oracle: apt install restic")
    }

    pub fn restic(&self, args: &[&str]) -> Output {
        let args: Vec<_> = args.iter().map(OsStr::new).collect();
        let output = self.restic_raw(&args);
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "restic {args:?}: {out}\n{err}");
        output
    }

    /// `restic check --read-data` without a word of complaint.
    pub fn assert_restic_clean(&self) {
        let output = self.restic(&["check", "--read-data", "--no-lock"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("no errors were found"), "{text}");
    }

    /// As above, and not even a hint, such as of packs in no index.
    fn assert_restic_silent(&self) {
        let output = self.restic(&["check", "--read-data", "--no-lock"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for word in ["not referenced", "additional files", "duplicate", "error for"] {
            assert!(!text.contains(word), "{text}");
        }
    }

    /// What restic restores of the newest snapshot.
    pub fn restic_restore(&self) -> (TempDir, Model) {
        let target = tempfile::tempdir().unwrap();
        let to = target.path().to_str().unwrap();
        self.restic(&["restore", "latest", "--no-lock", "--target", to]);
        let restored = model::from_disk(target.path());
        (target, restored)
    }
}

#[test]
fn restic_checks_and_restores_what_we_write() {
    for (seed, items) in [(1, 0), (2, 10), (3, 120), (4, 400)] {
        let expected = model::random_model(seed, items);
        let folder = Folder::new();
        let vault = model::init(&folder.store);
        let committed = model::back_up(&vault, &expected).unwrap();
        assert_eq!(committed.files, model::promise_of(&expected).files);
        folder.assert_restic_clean();
        folder.assert_restic_silent();
        let (target, restored) = folder.restic_restore();
        model::assert_same(&restored, &expected);
        for path in expected.keys() {
            let facts = std::fs::symlink_metadata(target.path().join(path)).unwrap();
            let at = Timestamp::new(facts.mtime(), facts.mtime_nsec() as i32).unwrap();
            assert_eq!(at, model::mtime_of(path), "{}", path.display());
            assert_eq!((facts.uid(), facts.gid()), (0, 1234), "{}", path.display());
        }
    }
}

#[test]
fn restic_finds_every_path_and_dumps_its_content() {
    let expected = model::random_model(5, 60);
    let folder = Folder::new();
    model::back_up(&model::init(&folder.store), &expected).unwrap();
    let mut dumped = 0;
    for (path, item) in &expected {
        let Item::File { content, .. } = item else { continue };
        let path = Path::new("/").join(path);
        let args = ["dump", "--no-lock", "latest"].map(OsStr::new);
        let output = folder.restic_raw(&[&args[..], &[path.as_os_str()]].concat());
        assert!(output.status.success(), "{}: {output:?}", path.display());
        assert!(output.stdout == *content, "{}", path.display());
        dumped += 1;
        if dumped == 12 {
            break;
        }
    }
    assert!(dumped >= 10);
}

#[test]
fn we_check_and_restore_what_restic_writes() {
    for (seed, items) in [(11, 5), (12, 150)] {
        let expected = model::random_model(seed, items);
        let folder = Folder::new();
        folder.restic(&["init", "--repository-version", "2"]);
        let source = tempfile::tempdir().unwrap();
        model::to_disk(&expected, source.path());
        let from = source.path().to_str().unwrap();
        folder.restic(&["backup", from]);
        // A second one, so that there is more than one index file and something known.
        std::fs::write(source.path().join("added"), b"later").unwrap();
        folder.restic(&["backup", "--compression", "off", from]);
        let mut expected = expected;
        let added = Item::File { content: b"later".to_vec(), mode: 0o644 };
        expected.insert("added".into(), added);

        let vault = model::open(&folder.store);
        assert_eq!(vault.check(true).unwrap(), []);
        let index = vault.load_index().unwrap();
        let snapshots = vault.snapshots().unwrap();
        assert_eq!(snapshots.len(), 2);
        let (restored, _) = model::restore(&vault, &index, &snapshots[1].1.tree).unwrap();
        let inside = source.path().strip_prefix("/").unwrap();
        model::assert_same(&model::below(&restored, inside), &expected);
    }
}

#[test]
fn both_write_into_one_vault() {
    let folder = Folder::new();
    let ours = model::random_model(21, 80);
    let vault = model::init(&folder.store);
    model::back_up(&vault, &ours).unwrap();
    let source = tempfile::tempdir().unwrap();
    let theirs = model::random_model(22, 40);
    model::to_disk(&theirs, source.path());
    folder.restic(&["backup", source.path().to_str().unwrap()]);
    let again = model::back_up(&vault, &ours).unwrap();
    assert_eq!(again.counts.blobs_new, 0);
    folder.assert_restic_clean();
    assert_eq!(vault.check(true).unwrap(), []);
    assert_eq!(vault.snapshots().unwrap().len(), 3);
}

#[test]
fn an_unchanged_tree_costs_only_a_snapshot() {
    let folder = Folder::new();
    let vault = model::init(&folder.store);
    let expected = model::random_model(31, 100);
    let first = model::back_up(&vault, &expected).unwrap();
    assert!(first.counts.packs > 2 && first.counts.bytes_stored > 0, "{first:?}");
    let sizes = |prefix: &str| -> BTreeMap<String, u64> {
        let entries = folder.store.list(prefix).unwrap();
        entries.into_iter().map(|entry| (entry.key, entry.bytes)).collect()
    };
    let before = sizes("");
    let second = model::back_up(&vault, &expected).unwrap();
    assert_eq!(second.tree, first.tree);
    assert_eq!((second.counts.blobs_new, second.counts.packs), (0, 0));
    assert_eq!(second.counts.bytes_read, first.counts.bytes_read);
    let new: Vec<_> = sizes("").into_keys().filter(|key| !before.contains_key(key)).collect();
    assert_eq!(new.len(), usize::from(second.snapshot != first.snapshot), "{new:?}");
}
