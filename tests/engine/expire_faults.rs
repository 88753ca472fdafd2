//! Retention while the store fails: every call in turn. It ends loudly, what stays is whole, and
//! the next runs finish the work.

use std::sync::Arc;
use std::time::Duration;

use fenice::adapters::system::SystemEntropy;
use fenice::engines::postgres::cluster;
use fenice::engines::postgres::expire::Expiry;
use fenice::ports::Store;
use fenice::repository::Repository;
use fenice::repository::vault::WriteSettings;

use super::world::{At, SEGMENT_BYTES, World, after, cluster_facts, copy, resource};
use crate::vault::faults::{self, Fault, FaultyStore, Stage};

/// Day 47 on: the window begins on day 12.
pub fn expiry(repository: &Repository, hours: u64) -> Expiry {
    let now = after(47).checked_add(Duration::from_secs(hours * 3_600)).unwrap();
    Expiry {
        copies: None,
        repository: repository.clone(),
        resource: resource(),
        terms: World::terms(),
        clock: Arc::new(At(now)),
        entropy: Arc::new(SystemEntropy),
        write: WriteSettings { pack_bytes: 64 << 10, ..WriteSettings::default() },
    }
}

fn every_call_fails(fault: Fault, step: usize) {
    let world = World::new();
    let stage = Stage::with(&world.base);
    let staged: Arc<dyn Store> = stage.clone();
    let repository = world.repository(&staged);
    for at in (1..400).step_by(faults::step(step)) {
        let store = copy(world.base.as_ref());
        let faulty = Arc::new(FaultyStore::new(&store, fault, at));
        let through: Arc<dyn Store> = faulty.clone();
        stage.set(&through);
        let ended = expiry(&repository, 0).apply(true);
        let succeeded = ended.is_ok();
        // What could be done without, its pin removed, does not make it fail.
        assert!(succeeded || faulty.was_hit(), "{fault:?} at {at}: {:?}", ended.err());
        stage.set(&store);
        assert!(!world.check(&repository).is_empty(), "the newest always stays");
        for hours in [20, 41] {
            expiry(&repository, hours).apply(true).unwrap();
        }
        // The window begins on day 12 to 14: of days 0, 3, 6, 9 and 12 the last ones stay.
        let left = world.check(&repository);
        let segments: Vec<u64> = left.iter().map(|m| m.start_lsn.0 / SEGMENT_BYTES).collect();
        assert_eq!(segments, [4], "{fault:?} at {at}");
        let inventory =
            cluster::archive(&repository, &resource(), &cluster_facts(), 3).inventory().unwrap();
        assert_eq!(inventory.objects.len(), 1, "{:?}", inventory.objects);
        let again = expiry(&repository, 60).apply(true).unwrap().1;
        let pruned = again.vault.unwrap();
        assert_eq!((again.snapshots, again.log_objects), (0, 0));
        assert_eq!((pruned.packs_marked, pruned.packs_deleted, pruned.packs_waiting), (0, 0, 0));
        if !faulty.was_hit() {
            assert!(at > 40, "only {at} calls");
            return;
        }
    }
    panic!("retention never succeeded");
}

#[test]
fn every_second_call_failing_once() {
    every_call_fails(Fault::Once, 2);
}

#[test]
fn every_third_call_failing_for_ever() {
    every_call_fails(Fault::ForEver, 3);
}

#[test]
fn every_third_call_done_but_answered_with_a_failure() {
    every_call_fails(Fault::DoneButFailed, 3);
}
