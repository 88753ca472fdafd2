//! Copying while one of the two stores fails: every call in turn. It ends loudly, what has a
//! manifest among the copies is whole, and the next run finishes the work.

use std::sync::Arc;

use fenice::adapters::system::SystemEntropy;
use fenice::engines::postgres::copy::{CopyJob, CopyRun};
use fenice::engines::postgres::restore::facts;
use fenice::engines::postgres::restore::sources::Sources;
use fenice::engines::postgres::{cluster, vaults};
use fenice::engines::progress::Progress;
use fenice::error::{Kind, Result};
use fenice::model::{Extent, Timeline};
use fenice::ports::Store;
use fenice::repository::Repository;
use fenice::repository::layout;
use fenice::repository::manifest::{self, SnapshotManifest};
use fenice::repository::vault::WriteSettings;
use fenice::repository::vault::restore::RestoreSettings;

use super::world::{At, SEGMENT_BYTES, World, after, cluster_facts, copy, resource};
use crate::vault::faults::{self, Fault, FaultyStore, Stage};
use crate::vault::model;

const SNAPSHOTS: usize = 3;
/// Days on, everything is in the window.
const IN_WINDOW: u64 = 13;

/// Copies everything that is due so many days on.
pub fn copying(from: &Repository, to: &Repository, days: u64) -> Result<CopyRun> {
    let job = CopyJob {
        from: from.clone(),
        to: to.clone(),
        resource: resource(),
        terms: World::terms(),
        replicate: fenice::config::Replicate::All,
        clock: Arc::new(At(after(days))),
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
    let world = World::of(SNAPSHOTS as u64);
    let mut there = World::empty();
    there.trees.clone_from(&world.trees);
    let stages = [Stage::with(&world.base), Stage::with(&there.base)];
    let [from, to]: [Arc<dyn Store>; 2] = [stages[0].clone(), stages[1].clone()];
    let (from, to) = (world.repository(&from), there.repository(&to));
    for at in (1..1_000).step_by(faults::step(step)) {
        let stores = [copy(world.base.as_ref()), copy(there.base.as_ref())];
        let number = usize::from(failing == Failing::Copies);
        let faulty = Arc::new(FaultyStore::new(&stores[number], fault, at));
        for (stage, store) in stages.iter().zip(&stores) {
            stage.set(store);
        }
        let through: Arc<dyn Store> = faulty.clone();
        stages[number].set(&through);
        let ended = copying(&from, &to, IN_WINDOW);
        let whole = ended.as_ref().is_ok_and(|run| run.failed.is_empty());
        stages[number].set(&stores[number]);
        let copied = there.check(&to).len();
        assert!(whole || faulty.was_hit(), "{fault:?} at {at}: {ended:?}");
        // What could be done without, such as removing a pin, does not make it fail.
        assert!(!whole || copied == SNAPSHOTS, "{fault:?} at {at}: {ended:?}");
        let again = copying(&from, &to, IN_WINDOW).unwrap();
        assert_eq!(
            (again.failed.len(), again.snapshots.len()),
            (0, SNAPSHOTS - copied),
            "{again:?}"
        );
        assert_eq!(there.check(&to).len(), SNAPSHOTS);
        world.assert_same(stores[0].as_ref());
        let vault = vaults::open(&to, &resource(), 1).unwrap();
        assert!(vault.load_index().unwrap().orphans().is_empty(), "all is in an index");
        let nothing = copying(&from, &to, IN_WINDOW).unwrap();
        assert_eq!((nothing.snapshots.len(), nothing.log_objects), (0, 0));
        if !faulty.was_hit() {
            assert!(at > 60, "only {at} calls");
            return;
        }
    }
    panic!("copying never succeeded");
}

#[test]
fn what_a_run_wrote_and_never_read_back_is_read_by_the_next_one() {
    let world = World::new();
    let there = World::empty();
    let (from, to) = (world.repository(&world.base), there.repository(&there.base));
    // A run that ended before it could read back, and packs that are not what it wrote.
    let vault = vaults::open_or_make(&to, &resource(), after(13), &SystemEntropy).unwrap().vault;
    let theirs = vaults::open(&from, &resource(), 1).unwrap();
    let oldest = theirs.snapshots().unwrap().remove(0).0;
    let by = fenice::repository::vault::copy::Copying {
        entropy: Arc::new(SystemEntropy),
        write: WriteSettings { pack_bytes: 256 << 10, ..WriteSettings::default() },
        read: RestoreSettings::default(),
        expect: &|_| {},
        moved: &|_| Ok(()),
        allowed: &|| Ok(()),
    };
    vault.bring_from(&theirs, &theirs.snapshot(&oldest).unwrap(), &by).unwrap();
    for entry in there.base.list(&vault.layout().packs()).unwrap() {
        let mut body = there.base.get(&entry.key).unwrap().unwrap();
        body[20] ^= 1;
        there.base.remove(&entry.key).unwrap();
        there.base.put_new(&entry.key, &body).unwrap();
    }
    let run = copying(&from, &to, IN_WINDOW).unwrap();
    assert!(!run.failed.is_empty(), "{run:?}");
    for copied in &run.snapshots {
        let manifest: SnapshotManifest =
            manifest::read(&to, &layout::snapshot(&resource(), &copied.id)).unwrap();
        let tree = vault.snapshot(&manifest.vault.snapshot.parse().unwrap()).unwrap().tree;
        let index = vault.load_index().unwrap();
        model::restore(&vault, &index, &tree).unwrap();
    }
}

#[test]
fn an_object_of_the_log_that_cannot_be_read_does_not_hold_up_the_others() {
    let world = World::new();
    let there = World::empty();
    // Log after the last snapshot.
    let from = world.repository(&world.base);
    let archive = cluster::archive(&from, &resource(), &cluster_facts(), 3);
    for number in 5..8 {
        let bytes = vec![number as u8; SEGMENT_BYTES as usize];
        archive.put(Timeline(1), number, 0, &bytes, None).unwrap();
    }
    let rotten = archive.inventory().unwrap().segment(Timeline(1), 5)[0].key.clone();
    world.base.remove(&rotten).unwrap();
    world.base.put_new(&rotten, b"rubbish").unwrap();
    let run = copying(&from, &there.repository(&there.base), IN_WINDOW).unwrap();
    let failed: Vec<&String> = run.failed.iter().map(|(what, _)| what).collect();
    assert_eq!((failed, run.log_objects), (vec![&rotten], 2), "{run:?}");
}

#[test]
fn log_of_a_life_that_was_set_back_is_not_joined_to_the_next_one() {
    let world = World::new();
    let there = World::empty();
    let (from, to) = (world.repository(&world.base), there.repository(&there.base));
    assert!(copying(&from, &to, IN_WINDOW).unwrap().failed.is_empty());
    // The host and its main repository are set back, and go on: the newest segment is begun anew.
    let archive = cluster::archive(&from, &resource(), &cluster_facts(), 3);
    for object in archive.inventory().unwrap().segment(Timeline(1), 4) {
        world.base.remove(&object.key).unwrap();
    }
    let bytes = vec![99; SEGMENT_BYTES as usize];
    archive.put(Timeline(1), 4, 0, &bytes[..12_000], None).unwrap();
    let both = Sources { first: from.clone(), copies: Some(to.clone()) };
    let stored = facts::read_now_undated(&both, &resource()).unwrap();
    let segment = stored.facts.wal.segment(Timeline(1), 4);
    assert_eq!(segment[0].extent, Extent::Part { from: 0, to: 12_000 }, "{segment:?}");
    archive.put(Timeline(1), 4, 0, &bytes, None).unwrap();
    let refused = copying(&from, &to, IN_WINDOW).unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused, "{refused:?}");
    assert!(refused.chain().contains("another content"), "{refused:?}");
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
