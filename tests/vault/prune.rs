//! Pruning: what stays restores, what goes is gone to the last blob, and a failure anywhere loses
//! nothing that stays.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use fenice::adapters::memory::MemoryStore;
use fenice::adapters::system::SystemEntropy;
use fenice::error::{Error, Kind, Result};
use fenice::ports::Store;
use fenice::repository::vault::id::IdSet;
use fenice::repository::vault::prune::{Guard, Pruned, Pruning};
use fenice::repository::vault::{BlobType, Id, NodeKind, Vault, WriteSettings};
use jiff::Timestamp;

use super::faults::{self, Fault, FaultyStore, Stage};
use super::model::{self, Model, PREFIX, Random};
use super::restic::Folder;

const GRACE: Duration = Duration::from_secs(12 * 3_600);

/// The vault's snapshots with what each holds.
#[derive(Clone, Default)]
struct Taken(Vec<(Id, Model)>);

impl Taken {
    fn ids(&self) -> BTreeSet<Id> {
        self.0.iter().map(|(id, _)| *id).collect()
    }
}

fn marked_at(vault: &Vault) -> Vec<Timestamp> {
    vault.packs_marked().unwrap().into_iter().map(|pack| pack.marked_at).collect()
}

fn hours(hours: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + hours * 3_600).unwrap()
}

fn pruning(vault: &Vault, now: Timestamp) -> Pruning {
    Pruning {
        listed: vault.snapshot_ids().unwrap(),
        now,
        grace: GRACE,
        write: WriteSettings { pack_bytes: 64 << 10, ..WriteSettings::default() },
        entropy: Arc::new(SystemEntropy),
    }
}

fn prune(vault: &Vault, keep: &Taken, now: Timestamp) -> Result<Pruned> {
    let guard = Guard { allowed: &|| Ok(()), undisturbed: &|| Ok(true) };
    vault.prune(&keep.ids(), &pruning(vault, now), &guard)
}

/// At hour 0, the lock being lost after so many looks at it.
fn prune_until(looks: usize, vault: &Vault, keep: &Taken) -> Result<Pruned> {
    let left = Cell::new(looks);
    let allowed = || match left.get() {
        0 => Err(Error::new(Kind::Busy, "deposed")),
        more => {
            left.set(more - 1);
            Ok(())
        }
    };
    let guard = Guard { allowed: &allowed, undisturbed: &|| Ok(true) };
    vault.prune(&keep.ids(), &pruning(vault, hours(0)), &guard)
}

/// Half of the files of `before` with another content, some gone, some new.
fn changed(before: &Model, seed: u64) -> Model {
    let mut random = Random(seed);
    let new = model::random_model(seed, 12);
    let mut after: Model = before.clone();
    for item in after.values_mut() {
        if let model::Item::File { content, .. } = item
            && random.below(2) == 0
        {
            let bytes = content.len();
            *content = random.content(bytes);
        }
    }
    for (path, item) in new {
        after.entry(path).or_insert(item);
    }
    after
}

/// A vault with `count` snapshots, each half of the one before.
fn history(store: &Arc<dyn Store>, count: u64) -> (Vault, Taken) {
    let vault = model::init(store);
    let mut taken = Taken::default();
    let mut tree = model::random_model(80, 20);
    for number in 0..count {
        taken.0.push((model::back_up(&vault, &tree).unwrap().snapshot, tree.clone()));
        tree = changed(&tree, 90 + number);
    }
    (vault, taken)
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn copy(from: &dyn Store) -> Arc<dyn Store> {
    let to = memory();
    for entry in from.list("").unwrap() {
        to.put_new(&entry.key, &from.get(&entry.key).unwrap().unwrap()).unwrap();
    }
    to
}

/// Exactly `taken` is there, undamaged, and restores.
#[track_caller]
fn assert_holds(vault: &Vault, taken: &Taken) {
    let present: BTreeSet<Id> = vault.snapshots().unwrap().into_iter().map(|(id, _)| id).collect();
    assert_eq!(present, taken.ids());
    model::assert_undamaged(vault);
    let index = vault.load_index().unwrap();
    for (id, expected) in &taken.0 {
        let tree = vault.snapshot(id).unwrap().tree;
        let (restored, _) = model::restore(vault, &index, &tree).unwrap();
        model::assert_same(&restored, expected);
    }
}

/// Every stored byte of every pack is of use: counted from the snapshots, by another walk.
#[track_caller]
fn assert_nothing_unused(vault: &Vault) {
    let index = vault.load_index().unwrap();
    let (mut trees, mut data) = (IdSet::default(), IdSet::default());
    for (_, snapshot) in vault.snapshots().unwrap() {
        trees.insert(snapshot.tree);
        for entry in vault.walk(&index, &snapshot.tree) {
            match entry.unwrap().1.kind {
                NodeKind::Dir { subtree: Some(tree) } => drop(trees.insert(tree)),
                NodeKind::File { content, .. } => data.extend(content),
                _ => {}
            }
        }
    }
    assert_eq!(index.blob_count(), trees.len() + data.len(), "blobs in the index");
    assert_eq!((index.orphans().len(), index.marked().len()), (0, 0));
    let listed = vault.list_packs().unwrap();
    let indexed: BTreeMap<Id, u64> = index.packs().iter().map(|p| (p.id, p.bytes)).collect();
    assert_eq!(listed, indexed, "packs stored and packs in the index");
    for id in &trees {
        assert!(index.holds(BlobType::Tree, id));
    }
}

#[test]
fn what_stays_restores_and_what_goes_is_gone() {
    let folder = Folder::new();
    let (vault, mut taken) = history(&folder.store, 5);
    let all = vault.list_packs().unwrap();
    taken.0.remove(3);
    taken.0.remove(0);
    let first = prune(&vault, &taken, hours(0)).unwrap();
    assert_eq!((first.snapshots_removed, first.packs_deleted), (2, 0));
    assert!(first.packs_marked > 0 && first.bytes_copied > 0, "{first:?}");
    assert_eq!(first.packs_waiting, first.packs_marked);
    assert_holds(&vault, &taken);
    folder.assert_restic_clean();
    let waiting = vault.list_packs().unwrap();
    assert!(all.keys().all(|id| waiting.contains_key(id)), "nothing is deleted in its grace");
    // Not a second before it is over.
    let early = prune(&vault, &taken, hours(11)).unwrap();
    assert_eq!(early, Pruned { packs_waiting: first.packs_marked, ..Pruned::default() });
    let second = prune(&vault, &taken, hours(12)).unwrap();
    assert_eq!((second.packs_deleted, second.packs_waiting), (first.packs_marked, 0));
    assert!(second.bytes_deleted > 0);
    assert_holds(&vault, &taken);
    assert_nothing_unused(&vault);
    folder.assert_restic_clean();
    assert_eq!(
        prune(&vault, &taken, hours(99)).unwrap(),
        Pruned::default(),
        "nothing is left to do"
    );
}

/// What a crash left without a manifest is counted, and what waits for its deletion is dated.
#[test]
fn what_nobody_names_and_what_waits_is_told() {
    let store = memory();
    let (vault, mut taken) = history(&store, 3);
    let left_by_crash = taken.0.remove(1);
    let unnamed = || vault.snapshot_ids().unwrap().difference(&taken.ids()).count();
    assert_eq!(unnamed(), 1, "{left_by_crash:?}");
    assert!(marked_at(&vault).is_empty());
    let pruned = prune(&vault, &taken, hours(0)).unwrap();
    assert_eq!(unnamed(), 0);
    assert_eq!(marked_at(&vault), vec![hours(0); pruned.packs_marked as usize]);
    prune(&vault, &taken, hours(12)).unwrap();
    assert!(marked_at(&vault).is_empty());
    // A mark on what is in use is void, and counts for nothing.
    let left = Taken(taken.0[1..].to_vec());
    prune_until(1, &vault, &left).unwrap_err();
    assert!(marked_at(&vault).is_empty());
}

#[test]
fn pruning_everything_leaves_an_empty_vault_to_go_on_with() {
    let folder = Folder::new();
    let (vault, _) = history(&folder.store, 2);
    prune(&vault, &Taken::default(), hours(0)).unwrap();
    prune(&vault, &Taken::default(), hours(12)).unwrap();
    assert_nothing_unused(&vault);
    assert!(vault.list_packs().unwrap().is_empty());
    let tree = model::random_model(4, 9);
    let taken = Taken(vec![(model::back_up(&vault, &tree).unwrap().snapshot, tree)]);
    assert_holds(&vault, &taken);
    folder.assert_restic_clean();
}

/// A snapshot taken between the marks and their deletion must not lean on what is marked.
#[test]
fn marked_packs_are_neither_used_nor_adopted() {
    let store = memory();
    let (vault, all) = history(&store, 3);
    let mut taken = Taken(vec![all.0[2].clone()]);
    prune(&vault, &taken, hours(0)).unwrap();
    let again = model::back_up(&vault, &all.0[0].1).unwrap();
    assert!(again.counts.blobs_new > 0, "what was removed is stored anew");
    taken.0.push((again.snapshot, all.0[0].1.clone()));
    let pruned = prune(&vault, &taken, hours(12)).unwrap();
    assert!(pruned.packs_deleted > 0);
    assert_holds(&vault, &taken);
    assert_nothing_unused(&vault);
}

#[test]
fn a_kept_snapshot_with_something_missing_stops_it_before_anything_goes() {
    let store = memory();
    let (vault, taken) = history(&store, 3);
    let index = vault.load_index().unwrap();
    let root = vault.snapshot(&taken.0[0].0).unwrap().tree;
    let lost = index.pack(&index.locate(BlobType::Tree, &root).unwrap()).id;
    store.remove(&vault.layout().pack(&lost)).unwrap();
    let before = store.list("").unwrap();
    let keep = Taken(taken.0[..2].to_vec());
    let error = prune(&vault, &keep, hours(0)).unwrap_err();
    assert!(error.hint_text().unwrap().contains("Nothing was removed"), "{error:?}");
    assert_eq!(store.list("").unwrap(), before);
}

#[test]
fn who_lost_the_lock_removes_nothing_more() {
    let store = memory();
    let (vault, taken) = history(&store, 3);
    let keep = Taken(taken.0[2..].to_vec());
    for allowed_calls in 0..4 {
        let store = copy(store.as_ref());
        let vault = model::open(&store);
        let count = |prefix: &str| store.list(&format!("{PREFIX}{prefix}")).unwrap().len();
        let before = (count("snapshots/"), count("data/"));
        let error = prune_until(allowed_calls, &vault, &keep).unwrap_err();
        assert_eq!(error.kind(), Kind::Busy);
        assert_eq!(count("snapshots/"), before.0 - allowed_calls.min(2));
        assert!(count("data/") >= before.1, "no pack goes in its grace");
        assert_holds_at_least(&vault, &keep);
    }
    drop(vault);
}

/// Marks were written and the packs still in the index: their grace begins when they leave it.
#[test]
fn a_mark_that_a_crash_left_void_takes_no_grace_away() {
    let store = memory();
    let (vault, taken) = history(&store, 3);
    let keep = Taken(taken.0[2..].to_vec());
    // Two snapshots go; the third look is for the old index.
    prune_until(2, &vault, &keep).unwrap_err();
    let again = prune(&vault, &keep, hours(24)).unwrap();
    assert!(again.packs_marked > 0 && again.packs_deleted == 0, "{again:?}");
    assert_eq!(prune(&vault, &keep, hours(35)).unwrap().packs_deleted, 0);
    assert!(prune(&vault, &keep, hours(36)).unwrap().packs_deleted > 0);
    assert_holds(&vault, &keep);
    assert_nothing_unused(&vault);
}

#[track_caller]
fn assert_holds_at_least(vault: &Vault, taken: &Taken) {
    model::assert_undamaged(vault);
    let index = vault.load_index().unwrap();
    for (id, expected) in &taken.0 {
        let tree = vault.snapshot(id).unwrap().tree;
        let (restored, _) = model::restore(vault, &index, &tree).unwrap();
        model::assert_same(&restored, expected);
    }
}

/// One run with the `at`th call failing, then runs without faults until all is done; of the calls
/// each `step`th is tried.
fn every_call_fails(fault: Fault, step: usize) {
    let base = memory();
    let (vault, all) = history(&base, 4);
    // So that a single run both marks and deletes.
    prune(&vault, &Taken(all.0[1..].to_vec()), hours(0)).unwrap();
    let keep = Taken(vec![all.0[1].clone(), all.0[3].clone()]);
    let stage = Stage::with(&base);
    let staged: Arc<dyn Store> = stage.clone();
    let vault = model::open(&staged);
    for at in (1..400).step_by(faults::step(step)) {
        let store = copy(base.as_ref());
        let faulty = Arc::new(FaultyStore::new(&store, fault, at));
        let through: Arc<dyn Store> = faulty.clone();
        stage.set(&through);
        let ended = catch_unwind(AssertUnwindSafe(|| prune(&vault, &keep, hours(12))));
        let succeeded = matches!(ended, Ok(Ok(_)));
        assert_eq!(succeeded, !faulty.was_hit(), "{fault:?} at {at}: {ended:?}");
        stage.set(&store);
        assert_holds_at_least(&vault, &keep);
        for later in [12, 24, 36] {
            prune(&vault, &keep, hours(later)).unwrap();
        }
        assert_holds(&vault, &keep);
        assert_nothing_unused(&vault);
        if at % 17 == 5 {
            let folder = Folder::new();
            for entry in store.list("").unwrap() {
                let body = store.get(&entry.key).unwrap().unwrap();
                folder.store.put_new(&entry.key, &body).unwrap();
            }
            folder.assert_restic_clean();
        }
        if succeeded {
            assert!(at > 25, "only {at} calls");
            return;
        }
    }
    panic!("pruning never succeeded");
}

#[test]
fn every_call_failing_once() {
    every_call_fails(Fault::Once, 1);
}

#[test]
fn every_call_failing_for_ever() {
    every_call_fails(Fault::ForEver, 1);
}

#[test]
fn every_call_done_but_answered_with_a_failure() {
    every_call_fails(Fault::DoneButFailed, 1);
}

#[test]
fn every_third_call_truncated() {
    every_call_fails(Fault::Truncated, 3);
}

#[test]
fn every_third_call_panicking() {
    every_call_fails(Fault::Panic, 3);
}
