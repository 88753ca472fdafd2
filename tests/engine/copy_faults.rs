//! Copying while one of the two stores fails: every call in turn. It ends loudly, what has a
//! manifest among the copies is whole, and the next run finishes the work.

use std::sync::Arc;

use fenice::adapters::system::SystemEntropy;
use fenice::engines::postgres::copy::{CopyJob, CopyRun};
use fenice::engines::postgres::vaults;
use fenice::engines::progress::Progress;
use fenice::error::Result;
use fenice::ports::Store;
use fenice::repository::Repository;
use fenice::repository::vault::WriteSettings;

use super::world::{At, World, after, copy, resource};
use crate::vault::faults::{Fault, FaultyStore, Stage};

/// Day 13: everything is in the window.
fn copying(from: &Repository, to: &Repository) -> Result<CopyRun> {
    let job = CopyJob {
        from: from.clone(),
        to: to.clone(),
        resource: resource(),
        terms: World::terms(),
        replicate: fenice::config::Replicate::All,
        clock: Arc::new(At(after(13))),
        entropy: Arc::new(SystemEntropy),
        progress: Arc::new(Progress::default()),
        workers: 1,
        write: WriteSettings { pack_bytes: 256 << 10, ..WriteSettings::default() },
    };
    job.run()
}

/// Which of the two fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Failing {
    Original,
    Copies,
}

fn every_call_fails(failing: Failing, fault: Fault, step: usize) {
    let world = World::new();
    let mut there = World::empty();
    there.trees.clone_from(&world.trees);
    let stages = [Stage::with(&world.base), Stage::with(&there.base)];
    let [from, to]: [Arc<dyn Store>; 2] = [stages[0].clone(), stages[1].clone()];
    let (from, to) = (world.repository(&from), there.repository(&to));
    for at in (1..1_000).step_by(step) {
        let stores = [copy(world.base.as_ref()), copy(there.base.as_ref())];
        let number = usize::from(failing == Failing::Copies);
        let faulty = Arc::new(FaultyStore::new(&stores[number], fault, at));
        for (stage, store) in stages.iter().zip(&stores) {
            stage.set(store);
        }
        let through: Arc<dyn Store> = faulty.clone();
        stages[number].set(&through);
        let ended = copying(&from, &to);
        let whole = ended.as_ref().is_ok_and(|run| run.failed.is_empty());
        stages[number].set(&stores[number]);
        let copied = there.check(&to).len();
        // That a pin could not be removed is no failure: it ends by itself.
        let pinned = !stores[0].list("pins/").unwrap().is_empty();
        assert!(whole || faulty.was_hit(), "{fault:?} at {at}: {ended:?}");
        let harmless = pinned && copied == 5;
        assert!(!whole || !faulty.was_hit() || harmless, "{fault:?} at {at}: {ended:?}");
        let again = copying(&from, &to).unwrap();
        assert_eq!((again.failed.len(), again.snapshots.len()), (0, 5 - copied), "{again:?}");
        assert_eq!(there.check(&to).len(), 5);
        world.assert_same(stores[0].as_ref());
        let vault = vaults::open(&to, &resource(), 1).unwrap();
        assert!(vault.load_index().unwrap().orphans().is_empty(), "all is in an index");
        let nothing = copying(&from, &to).unwrap();
        assert_eq!((nothing.snapshots.len(), nothing.log_objects), (0, 0));
        if !faulty.was_hit() {
            assert!(at > 60, "only {at} calls");
            return;
        }
    }
    panic!("copying never succeeded");
}

#[test]
fn each_call_to_the_copies_failing_once() {
    every_call_fails(Failing::Copies, Fault::Once, 1);
}

#[test]
fn each_call_to_the_original_failing_once() {
    every_call_fails(Failing::Original, Fault::Once, 1);
}

#[test]
fn each_third_call_to_the_copies_failing_for_ever() {
    every_call_fails(Failing::Copies, Fault::ForEver, 3);
}

#[test]
fn each_third_call_to_the_original_failing_for_ever() {
    every_call_fails(Failing::Original, Fault::ForEver, 3);
}

#[test]
fn each_second_call_to_the_copies_done_but_answered_with_a_failure() {
    every_call_fails(Failing::Copies, Fault::DoneButFailed, 2);
}

#[test]
fn each_third_call_truncated() {
    every_call_fails(Failing::Original, Fault::Truncated, 3);
    every_call_fails(Failing::Copies, Fault::Truncated, 3);
}
