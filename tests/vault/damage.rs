//! Damage of every kind: each is found by its own name, and no restore delivers damaged bytes.

use std::sync::Arc;

use fenice::adapters::memory::MemoryStore;
use fenice::adapters::system::SystemEntropy;
use fenice::ports::Store;
use fenice::repository::vault::check::{Finding, Problem};
use fenice::repository::vault::index::{IndexFile, IndexPack};
use fenice::repository::vault::layout::ids_of;
use fenice::repository::vault::pack::{BlobType, OpenPack};
use fenice::repository::vault::{About, Id, Vault, sealed};
use serde_json::{Value, json};

use super::model::{self, Model};

struct Damaged {
    store: Arc<dyn Store>,
    vault: Vault,
    model: Model,
}

impl Damaged {
    fn new(seed: u64) -> Damaged {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let vault = model::init(&store);
        let model = model::random_model(seed, 60);
        model::back_up(&vault, &model).unwrap();
        Damaged { store, vault, model }
    }

    fn change(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut body = self.store.get(key).unwrap().unwrap();
        change(&mut body);
        self.store.remove(key).unwrap();
        self.store.put_new(key, &body).unwrap();
    }

    fn found(&self) -> Vec<Finding> {
        self.vault.check(true).unwrap()
    }

    fn restore_error(&self) -> String {
        let index = self.vault.load_index().unwrap();
        let tree = self.vault.snapshots().unwrap().pop().unwrap().1.tree;
        model::restore(&self.vault, &index, &tree).unwrap_err().chain()
    }

    /// The index file with its id; there is one.
    fn index_file(&self) -> (Id, IndexFile) {
        let listing = self.store.list(&self.vault.layout().indexes()).unwrap();
        let (id, _) = ids_of(&listing).next().unwrap();
        assert_eq!(listing.len(), 1);
        (id, self.vault.index_file(&id).unwrap())
    }

    fn replace_index(&self, change: impl FnOnce(&mut IndexFile)) {
        let (id, mut file) = self.index_file();
        self.store.remove(&self.vault.layout().index(&id)).unwrap();
        change(&mut file);
        self.put_index(&file);
    }

    fn put_index(&self, file: &IndexFile) {
        let (id, body) = sealed::seal(file, self.vault.cipher(), &SystemEntropy).unwrap();
        self.store.put_new(&self.vault.layout().index(&id), &body).unwrap();
    }

    /// A pack of chunks with more than one of them.
    fn data_pack(&self) -> IndexPack {
        let (_, file) = self.index_file();
        let mut packs = file.packs.into_iter();
        packs.find(|p| p.blobs.len() > 1 && p.blobs[0].blob_type == BlobType::Data).unwrap()
    }

    /// Stores trees as given, and a snapshot of the last one.
    fn put_snapshot(&self, trees: &[Value]) -> (Id, Id) {
        let mut pack = OpenPack::new(BlobType::Tree, Vec::new());
        let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
        let cipher = self.vault.cipher();
        let mut root = Id([0; 32]);
        for tree in trees {
            let text = serde_json::to_vec(tree).unwrap();
            root = Id::of(&text);
            pack.append(root, &text, &mut compressor, cipher, &SystemEntropy).unwrap();
        }
        let closed = pack.close(cipher, &SystemEntropy).unwrap();
        self.store.put_new(&self.vault.layout().pack(&closed.id), closed.body()).unwrap();
        let packs = vec![IndexPack::new(closed.id, closed.blobs.clone())];
        self.put_index(&IndexFile { packs, packs_to_delete: Vec::new() });
        let about = About { time: "2026-08-22T00:00:00Z".parse().unwrap(), ..model::about() };
        let snapshot = about.snapshot_of(root);
        let (id, body) = sealed::seal(&snapshot, cipher, &SystemEntropy).unwrap();
        self.store.put_new(&self.vault.layout().snapshot(&id), &body).unwrap();
        (id, root)
    }
}

fn problems(findings: &[Finding]) -> Vec<Problem> {
    let mut problems: Vec<_> = findings.iter().map(|finding| finding.problem).collect();
    problems.sort_unstable();
    problems.dedup();
    problems
}

#[test]
fn a_flipped_bit_in_a_chunk_is_found_and_never_restored() {
    let damaged = Damaged::new(81);
    let pack = damaged.data_pack();
    let blob = pack.blobs[1];
    let middle = (blob.offset + blob.length / 2) as usize;
    damaged.change(&damaged.vault.layout().pack(&pack.id), |body| body[middle] ^= 0x10);
    let findings = damaged.found();
    assert_eq!(problems(&findings), [Problem::WrongPackId, Problem::WrongMac]);
    assert!(findings.iter().all(|finding| finding.pack == Some(pack.id)));
    let mac = findings.iter().find(|finding| finding.problem == Problem::WrongMac).unwrap();
    assert_eq!(mac.blob, Some(blob.id));
    let error = damaged.restore_error();
    for word in [blob.id.to_string(), pack.id.to_string(), "MAC".into()] {
        assert!(error.contains(&word), "{error}");
    }
    // Without reading the data nothing shows: the check says only what it looked at.
    assert_eq!(damaged.vault.check(false).unwrap(), []);
}

#[test]
fn a_flipped_bit_in_a_pack_header_is_found() {
    let damaged = Damaged::new(82);
    let pack = damaged.data_pack();
    for from_end in [1, 5, 40] {
        let key = damaged.vault.layout().pack(&pack.id);
        let flip = |body: &mut Vec<u8>| {
            let at = body.len() - from_end;
            body[at] ^= 1;
        };
        damaged.change(&key, flip);
        let findings = damaged.found();
        assert_eq!(problems(&findings), [Problem::WrongPackId, Problem::WrongHeader]);
        damaged.change(&key, flip);
    }
    assert_eq!(damaged.found(), []);
}

#[test]
fn a_truncated_and_a_missing_pack_are_found_and_refuse_the_restore() {
    let damaged = Damaged::new(83);
    let pack = damaged.data_pack();
    let key = damaged.vault.layout().pack(&pack.id);
    damaged.change(&key, |body| body.truncate(body.len() - 1));
    let findings = damaged.vault.check(false).unwrap();
    assert_eq!(problems(&findings), [Problem::WrongPackSize]);
    assert_eq!(findings[0].pack, Some(pack.id));
    assert!(damaged.restore_error().contains(&format!("pack {}", pack.id)));
    damaged.store.remove(&key).unwrap();
    let findings = damaged.vault.check(false).unwrap();
    assert_eq!(problems(&findings), [Problem::MissingPack]);
    assert_eq!(findings[0].pack, Some(pack.id));
    assert!(damaged.restore_error().contains(&format!("pack {}", pack.id)));
    // A backup of the same files stores again what was lost; both snapshots are whole again.
    model::back_up(&damaged.vault, &damaged.model).unwrap();
    model::assert_restores(&damaged.vault, &damaged.model);
    assert_eq!(problems(&damaged.found()), [Problem::MissingPack]);
}

#[test]
fn a_missing_tree_pack_names_snapshot_and_path() {
    let damaged = Damaged::new(84);
    let (_, file) = damaged.index_file();
    let trees = file.packs.iter().find(|p| p.blobs[0].blob_type == BlobType::Tree).unwrap();
    damaged.store.remove(&damaged.vault.layout().pack(&trees.id)).unwrap();
    let findings = damaged.found();
    assert_eq!(problems(&findings), [Problem::UnreadableTree, Problem::MissingPack]);
    let (snapshot, committed) = damaged.vault.snapshots().unwrap().remove(0);
    let tree = findings.iter().find(|f| f.problem == Problem::UnreadableTree).unwrap();
    assert_eq!((tree.snapshot, tree.tree), (Some(snapshot), Some(committed.tree)));
    assert_eq!(tree.pack, Some(trees.id));
}

#[test]
fn a_deleted_index_is_found_and_adoption_heals_it() {
    let damaged = Damaged::new(85);
    let (id, _) = damaged.index_file();
    damaged.store.remove(&damaged.vault.layout().index(&id)).unwrap();
    let findings = damaged.found();
    assert_eq!(problems(&findings), [Problem::MissingBlob, Problem::OrphanPack]);
    let missing = findings.iter().find(|f| f.problem == Problem::MissingBlob).unwrap();
    let (snapshot, committed) = damaged.vault.snapshots().unwrap().remove(0);
    assert_eq!((missing.snapshot, missing.blob), (Some(snapshot), Some(committed.tree)));
    let index = damaged.vault.load_index().unwrap();
    let adopted = damaged.vault.adopt(&index, &SystemEntropy).unwrap();
    assert!(adopted.packs > 2 && adopted.unreadable.is_empty());
    assert_eq!(damaged.found(), []);
    model::assert_restores(&damaged.vault, &damaged.model);
}

#[test]
fn an_orphan_without_a_readable_header_is_told_and_left_alone() {
    let damaged = Damaged::new(86);
    for body in [&b""[..], b"abc", &[0; 100], &[0xff; 100]] {
        let id = Id::of(body);
        damaged.store.put_new(&damaged.vault.layout().pack(&id), body).unwrap();
        let index = damaged.vault.load_index().unwrap();
        let adopted = damaged.vault.adopt(&index, &SystemEntropy).unwrap();
        assert_eq!((adopted.packs, adopted.unreadable.len()), (0, 1));
        assert_eq!(adopted.unreadable[0].0, id);
        assert_eq!(problems(&damaged.found()), [Problem::OrphanPack]);
        damaged.store.remove(&damaged.vault.layout().pack(&id)).unwrap();
    }
}

#[test]
fn damaged_index_files_and_snapshots_are_errors_by_name() {
    let damaged = Damaged::new(87);
    let (index, _) = damaged.index_file();
    let (snapshot, _) = damaged.vault.snapshots().unwrap().remove(0);
    let layout = damaged.vault.layout();
    let cases = [
        (layout.index(&index), index, Problem::UnreadableIndex),
        (layout.snapshot(&snapshot), snapshot, Problem::UnreadableSnapshot),
    ];
    for (key, id, problem) in cases {
        let body = damaged.store.get(&key).unwrap().unwrap();
        for damage in 0..3 {
            damaged.change(&key, |body| match damage {
                0 => body[20] ^= 1,
                1 => body.truncate(30),
                _ => body.push(0),
            });
            let error = match problem {
                Problem::UnreadableIndex => damaged.vault.load_index().map(drop).unwrap_err(),
                _ => damaged.vault.snapshots().map(drop).unwrap_err(),
            };
            assert!(error.chain().contains(&id.to_string()), "{error:?}");
            let findings = damaged.found();
            let named = findings.iter().find(|finding| finding.problem == problem).unwrap();
            assert!(named.index == Some(id) || named.snapshot == Some(id), "{named}");
            damaged.change(&key, |changed| changed.clone_from(&body));
        }
    }
    assert_eq!(damaged.found(), []);
}

#[test]
fn an_index_with_swapped_ids_is_found_and_nothing_is_restored_from_it() {
    let damaged = Damaged::new(88);
    let pack = damaged.data_pack();
    damaged.replace_index(|file| {
        let pack = file.packs.iter_mut().find(|candidate| candidate.id == pack.id).unwrap();
        let (first, second) = (pack.blobs[0].id, pack.blobs[1].id);
        pack.blobs[0].id = second;
        pack.blobs[1].id = first;
    });
    let findings = damaged.found();
    let found = problems(&findings);
    assert!(
        found.contains(&Problem::WrongHeader) && found.contains(&Problem::WrongId),
        "{found:?}"
    );
    let wrong: Vec<_> =
        findings.iter().filter(|finding| finding.problem == Problem::WrongId).collect();
    assert_eq!(wrong.len(), 2);
    assert!(wrong.iter().all(|finding| finding.pack == Some(pack.id) && finding.blob.is_some()));
    // The two contents may differ in length, which shows before anything is read.
    let error = damaged.restore_error();
    assert!(error.contains("has the id") || error.contains("its chunks have"), "{error}");
}

#[test]
fn an_index_with_wrong_lengths_is_found() {
    let damaged = Damaged::new(89);
    let pack = damaged.data_pack();
    let at = pack.blobs.iter().position(|blob| blob.uncompressed_length.is_some()).unwrap();
    let change = |by: fn(&mut fenice::repository::vault::pack::PackedBlob)| {
        damaged.replace_index(|file| {
            let pack = file.packs.iter_mut().find(|candidate| candidate.id == pack.id).unwrap();
            by(&mut pack.blobs[at]);
        });
    };
    change(|blob| *blob.uncompressed_length.as_mut().unwrap() += 1);
    let found = problems(&damaged.found());
    assert!(found.contains(&Problem::WrongLength), "{found:?}");
    assert!(found.contains(&Problem::WrongFileSize), "{found:?}");
    damaged.restore_error();
    change(|blob| *blob.uncompressed_length.as_mut().unwrap() -= 1);
    assert_eq!(damaged.found(), []);
    change(|blob| blob.length -= 1);
    let found = problems(&damaged.found());
    assert!(found.contains(&Problem::WrongPackSize), "{found:?}");
    damaged.restore_error();
    change(|blob| {
        blob.length += 1;
        blob.offset += 1;
    });
    let found = problems(&damaged.found());
    assert!(found.contains(&Problem::WrongOffsets), "{found:?}");
    assert!(found.contains(&Problem::WrongMac), "{found:?}");
    damaged.restore_error();
}

fn dir(name: &str, subtree: Id) -> Value {
    json!({"name": name, "type": "dir", "mode": 0x8000_01edu32, "subtree": subtree,
        "mtime": "2026-01-01T00:00:00Z", "uid": 0, "gid": 0, "content": null})
}

fn file(name: &str, size: u64, content: &[Id]) -> Value {
    json!({"name": name, "type": "file", "mode": 0o644, "size": size, "content": content,
        "mtime": "2026-01-01T01:00:00+01:00", "uid": 0, "gid": 0})
}

#[test]
fn damaged_trees_are_each_found_by_name() {
    let chunk = Damaged::new(90).data_pack().blobs[0];
    let bytes = chunk.content_bytes();
    let cases = [
        (Problem::UnsortedTree, vec![file("b", 0, &[]), file("a", 0, &[])], "a"),
        (Problem::DuplicateName, vec![file("a", 0, &[]), file("a", 0, &[])], "a"),
        (Problem::WrongFileSize, vec![file("a", 5, &[])], "a"),
        (Problem::WrongFileSize, vec![file("a", bytes + 1, &[chunk.id])], "a"),
        (Problem::MissingBlob, vec![file("a", 5, &[Id([9; 32])])], "a"),
        (Problem::MissingBlob, vec![dir("d", Id([9; 32]))], "d"),
        (Problem::UnreadableTree, vec![file("../a", 0, &[])], ""),
        (Problem::UnreadableTree, vec![file("..", 0, &[])], ""),
        (Problem::UnreadableTree, vec![file("", 0, &[])], ""),
        (Problem::UnreadableTree, vec![json!({"name": "d", "type": "dir"})], ""),
        (Problem::UnreadableTree, vec![json!({"name": "d", "type": "file"})], ""),
        (Problem::UnreadableTree, vec![json!({"name": "d", "type": "hole"})], ""),
    ];
    for (problem, nodes, path) in cases {
        // The same seed gives the same chunks.
        let damaged = Damaged::new(90);
        let sub = json!({ "nodes": nodes });
        let sub_id = Id::of(&serde_json::to_vec(&sub).unwrap());
        let (snapshot, _) = damaged.put_snapshot(&[sub, json!({"nodes": [dir("sub", sub_id)]})]);
        let findings = damaged.found();
        assert_eq!(problems(&findings), [problem]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].snapshot, Some(snapshot));
        let expected = std::path::Path::new("sub").join(path);
        assert_eq!(findings[0].path, Some(expected), "{}", findings[0]);
        let sizes_only = matches!(problem, Problem::WrongFileSize | Problem::MissingBlob);
        let walked = {
            let index = damaged.vault.load_index().unwrap();
            let tree = damaged.vault.snapshot(&snapshot).unwrap().tree;
            // The walk ends at the first error, and it restores nothing that is not whole.
            let entries: Vec<_> = damaged.vault.walk(&index, &tree).collect();
            assert!(entries.iter().rev().skip(1).all(Result::is_ok));
            let failed = entries.last().is_some_and(Result::is_err);
            assert!(failed || sizes_only, "{problem:?}");
            model::restore(&damaged.vault, &index, &tree)
        };
        assert!(walked.is_err(), "{problem:?}");
    }
}

#[test]
fn a_pack_marked_for_deletion_is_not_used() {
    let damaged = Damaged::new(91);
    let pack = damaged.data_pack();
    damaged.replace_index(|file| {
        let at = file.packs.iter().position(|candidate| candidate.id == pack.id).unwrap();
        let marked = file.packs.remove(at);
        file.packs_to_delete.push(marked);
    });
    let index = damaged.vault.load_index().unwrap();
    assert!(index.marked().contains(&pack.id) && index.orphans().is_empty());
    assert_eq!(problems(&damaged.found()), [Problem::MissingBlob]);
    let again = model::back_up(&damaged.vault, &damaged.model).unwrap();
    assert!(again.counts.blobs_new as usize >= pack.blobs.len());
    model::assert_restores(&damaged.vault, &damaged.model);
}
