//! Every call to the store fails in turn: once, for ever, done but answered with a failure, with a
//! truncated body, by a panic. A backup then ends loudly without a snapshot, or (where only the
//! answer was lost) with a whole one; running it again converges to a vault without damage.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fenice::adapters::memory::MemoryStore;
use fenice::ports::Store;

use super::faults::{Fault, FaultyStore};
use super::model::{self, Model, PREFIX};
use super::restic::Folder;

fn copy(from: &dyn Store, to: &dyn Store) {
    for entry in from.list("").unwrap() {
        to.put_new(&entry.key, &from.get(&entry.key).unwrap().unwrap()).unwrap();
    }
}

/// A vault that already has a snapshot, and what it holds.
fn vault_with_history() -> (Arc<dyn Store>, Model) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let before = model::random_model(71, 25);
    model::back_up(&model::init(&store), &before).unwrap();
    (store, before)
}

/// Backs `next` up with the `at`th call failing. `None`: there were fewer calls.
fn run_with(fault: Fault, at: u64, base: &dyn Store, next: &Model) -> Option<Arc<dyn Store>> {
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
    copy(base, inner.as_ref());
    let faulty = Arc::new(FaultyStore::new(&inner, fault, at));
    let through: Arc<dyn Store> = faulty.clone();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let vault = fenice::repository::vault::Vault::open(through, PREFIX, &model::password())?;
        model::back_up(&vault, next)
    }));
    let succeeded = matches!(ended, Ok(Ok(_)));
    // A panic in an uploader, too, must end the run; a fault that was hit is never overlooked.
    assert_eq!(succeeded, !faulty.was_hit(), "{fault:?} at {at}: {ended:?}");
    (!succeeded).then_some(inner)
}

fn every_call_fails(fault: Fault) {
    let (base, before) = vault_with_history();
    let next = model::random_model(72, 30);
    let mut checked_by_restic = 0;
    for at in 1..200 {
        let Some(store) = run_with(fault, at, base.as_ref(), &next) else {
            // At least: open 3, index 3, pack, trees, index, index again 4, snapshot.
            assert!(at > 14, "only {at} calls");
            assert!(checked_by_restic >= 2);
            return;
        };
        let vault = model::open(&store);
        model::assert_undamaged(&vault);
        let snapshots = vault.snapshots().unwrap();
        match snapshots.len() {
            1 => model::assert_restores(&vault, &before),
            2 if fault == Fault::DoneButFailed => model::assert_restores(&vault, &next),
            other => panic!("{other} snapshots after {fault:?} at {at}"),
        }
        let stored_before = vault.list_packs().unwrap().len();
        let again = model::back_up(&vault, &next).unwrap();
        assert!(again.counts.packs == 0 || stored_before > 0);
        assert_eq!(vault.check(true).unwrap(), [], "{fault:?} at {at}");
        model::assert_restores(&vault, &next);
        if at % 9 == 5 {
            let folder = Folder::new();
            copy(store.as_ref(), folder.store.as_ref());
            folder.assert_restic_clean();
            checked_by_restic += 1;
        }
    }
    panic!("the backup never succeeded");
}

#[test]
fn every_call_failing_once() {
    every_call_fails(Fault::Once);
}

#[test]
fn every_call_failing_for_ever() {
    every_call_fails(Fault::ForEver);
}

#[test]
fn every_call_done_but_answered_with_a_failure() {
    every_call_fails(Fault::DoneButFailed);
}

#[test]
fn every_call_truncated() {
    every_call_fails(Fault::Truncated);
}

#[test]
fn every_call_panicking() {
    every_call_fails(Fault::Panic);
}

#[test]
fn packs_of_a_crashed_run_are_adopted_and_reused() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = model::init(&store);
    let tree = model::random_model(73, 150);
    let first = model::back_up(&vault, &tree).unwrap();
    // As if the crash had come before index and snapshot.
    for place in ["index/", "snapshots/"] {
        for entry in store.list(&format!("{PREFIX}{place}")).unwrap() {
            store.remove(&entry.key).unwrap();
        }
    }
    assert_eq!(vault.load_index().unwrap().orphans().len() as u64, first.counts.packs);
    let again = model::back_up(&vault, &tree).unwrap();
    assert_eq!((again.tree, again.counts.blobs_new, again.counts.packs), (first.tree, 0, 0));
    assert_eq!(vault.check(true).unwrap(), []);
    model::assert_restores(&vault, &tree);
}

#[test]
fn every_read_of_a_restore_failing_is_an_error() {
    let (base, before) = vault_with_history();
    for fault in [Fault::Once, Fault::ForEver, Fault::Truncated] {
        for at in 1..200 {
            let faulty = Arc::new(FaultyStore::new(&base, fault, at));
            let through: Arc<dyn Store> = faulty.clone();
            let restored = || {
                let opened =
                    fenice::repository::vault::Vault::open(through, PREFIX, &model::password())?;
                let index = opened.load_index()?;
                let (_, snapshot) = opened.snapshots()?.remove(0);
                model::restore(&opened, &index, &snapshot.tree)
            };
            let restored = restored();
            assert_eq!(restored.is_ok(), !faulty.was_hit(), "{fault:?} at {at}");
            if let Ok((model, _)) = restored {
                model::assert_same(&model, &before);
                assert!(at > 20, "only {at} calls");
                break;
            }
        }
    }
}
