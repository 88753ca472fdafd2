//! The key of a vault rotated: snapshots of both epochs restore, are copied, verified and healed;
//! the old vault goes whole with its last snapshot, and nothing else does, whichever call fails.

use std::collections::BTreeSet;
use std::sync::Arc;

use fenice::adapters::system::SystemEntropy;
use fenice::engines::keys::{Rotated, check_kit, rotate};
use fenice::engines::postgres::expire::Expiry;
use fenice::engines::postgres::retire::{self, Order, Places};
use fenice::engines::postgres::vaults;
use fenice::error::{Kind, Result};
use fenice::plan::retention::Role;
use fenice::ports::Store;
use fenice::repository::manifest::SnapshotManifest;
use fenice::repository::seal::Identities;
use fenice::repository::vault::Vault;
use fenice::repository::{Repository, layout, secrets};

use super::copy_faults::copying;
use super::expire_faults::expiry;
use super::scrub::{Harm, Verifying, copy_all, harm, scrub};
use super::world::{At, World, after, copy, resource};
use crate::vault::faults::{Fault, FaultyStore, Stage};
use crate::vault::model::{self, Model};

fn begin(repository: &Repository) -> Result<Rotated> {
    rotate(repository, &resource(), &SystemEntropy)
}

fn tree(number: u64) -> Model {
    model::random_model(100 + number, 6)
}

/// Three snapshots under the first key, of days 0 to 6, and two under the second.
fn rotated() -> World {
    let mut world = World::of(3);
    let repository = world.repository(&world.base);
    begin(&repository).unwrap();
    for number in 3..5 {
        world.take(&repository, tree(number));
    }
    world
}

fn epochs_of(manifests: &[SnapshotManifest]) -> Vec<u32> {
    manifests.iter().map(|manifest| manifest.vault.epoch).collect()
}

/// The keys of an epoch's vault, and of its password.
fn of_epoch(store: &dyn Store, epoch: u32) -> BTreeSet<String> {
    let (prefix, secret) =
        (layout::vault(&resource(), epoch), secrets::vault_password(&resource(), epoch));
    let secret = layout::secret(&secret);
    let keys = store.list("").unwrap().into_iter().map(|entry| entry.key);
    keys.filter(|key| key.starts_with(&prefix) || *key == secret).collect()
}

/// Everything but vaults and their passwords.
fn others(store: &dyn Store) -> BTreeSet<String> {
    let keys = store.list("").unwrap().into_iter().map(|entry| entry.key);
    let of_vault = |key: &str| key.contains("/vault") || key.contains(".vault-");
    keys.filter(|key| !of_vault(key)).collect()
}

/// Retention on that day.
fn day(repository: &Repository, days: u64) -> Expiry {
    Expiry { clock: Arc::new(At(after(days))), ..expiry(repository, 0) }
}

#[test]
fn a_new_key_begins_another_vault_and_the_old_one_stays_as_it_is() {
    let mut world = World::of(3);
    let repository = world.repository(&world.base);
    let before = of_epoch(world.base.as_ref(), 1);
    let busy = vaults::lock(&repository, &resource()).unwrap();
    assert_eq!(begin(&repository).unwrap_err().kind(), Kind::Busy);
    drop(busy);
    let begun = begin(&repository).unwrap();
    assert_eq!((begun.epoch, begun.next_bytes), (2, Some(1)));
    let old: Vec<(u32, u64)> = begun.old.iter().map(|old| (old.epoch, old.snapshots)).collect();
    assert_eq!(old, [(1, 3)]);
    assert_eq!(world.check(&repository).len(), 3);
    for number in 3..5 {
        assert_eq!(world.take(&repository, tree(number)).vault.epoch, 2);
    }
    let manifests = world.check(&repository);
    assert_eq!(epochs_of(&manifests), [1, 1, 1, 2, 2]);
    assert!(manifests.iter().all(|manifest| world.restores(&repository, &manifest.id)));
    assert_eq!(of_epoch(world.base.as_ref(), 1), before);
    // The password of one opens nothing of the other.
    let first = vaults::password(&repository, &resource(), 1).unwrap();
    let second = layout::vault(&resource(), 2);
    let refused = Vault::open(world.base.clone(), &second, &first).unwrap_err();
    assert!(refused.chain().contains("opens with this password"), "{refused:?}");

    let nothing = World::empty();
    let refused = begin(&nothing.repository(&nothing.base)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Usage, "{refused:?}");
}

#[test]
fn a_kit_opens_every_epoch_or_tells_which_it_does_not() {
    let world = rotated();
    let kit = || Identities::parse(&world.identity).unwrap();
    let good = check_kit(world.base.clone(), kit(), None).unwrap();
    assert!(good.is_good(), "{good:?}");
    // The recipients; of the newest: manifest, password, vault, tree, log; of the first: two.
    assert_eq!(good.findings.len(), 8, "{good:?}");
    let first = layout::secret(&secrets::vault_password(&resource(), 1));
    world.base.remove(&first).unwrap();
    let bad = check_kit(world.base.clone(), kit(), None).unwrap();
    let failed: Vec<_> =
        bad.findings.iter().filter(|finding| finding.failed_because.is_some()).collect();
    assert_eq!(failed.len(), 1, "{bad:?}");
    assert_eq!(failed[0].object.as_deref(), Some(first.as_str()));
}

#[test]
fn copies_of_every_epoch_lie_in_the_present_one_of_the_copies() {
    let mut world = rotated();
    let mut there = World::empty();
    let (from, to) = (world.repository(&world.base), there.repository(&there.base));
    there.trees.clone_from(&world.trees);
    let run = copying(&from, &to, 13).unwrap();
    assert_eq!((run.failed.len(), run.snapshots.len()), (0, 5), "{run:?}");
    assert_eq!(epochs_of(&there.check(&to)), [1; 5]);

    assert_eq!(begin(&to).unwrap().epoch, 2);
    world.take(&from, tree(5));
    there.trees.clone_from(&world.trees);
    let run = copying(&from, &to, 16).unwrap();
    assert_eq!((run.failed.len(), run.snapshots.len()), (0, 1), "{run:?}");
    assert_eq!(epochs_of(&there.check(&to)), [1, 1, 1, 1, 1, 2]);
    assert_eq!(epochs_of(&world.check(&from)), [1, 1, 1, 2, 2, 2]);
}

#[test]
fn an_old_epoch_goes_whole_with_its_last_snapshot_and_nothing_else_does() {
    let world = rotated();
    let (store, repository) = (world.base.as_ref(), world.repository(&world.base));
    // The window begins on day 5: the snapshot of day 3 is its anchor.
    let (_, applied) = day(&repository, 40).apply(true).unwrap();
    assert_eq!((applied.snapshots, applied.epochs_removed.len()), (1, 0), "{applied:?}");
    assert!(applied.vault.unwrap().packs_marked > 0);
    assert_eq!(epochs_of(&world.check(&repository)), [1, 1, 2, 2]);

    let (_, applied) = expiry(&repository, 0).apply(true).unwrap();
    assert_eq!((applied.snapshots, applied.epochs_removed.len()), (3, 0), "{applied:?}");
    assert_eq!(epochs_of(&world.check(&repository)), [2]);
    // Whoever reads by an index of before has until the next run.
    vaults::open(&repository, &resource(), 1).unwrap();
    let (before, present) = (others(store), of_epoch(store, 2));
    let (_, applied) = expiry(&repository, 20).apply(true).unwrap();
    assert_eq!(applied.epochs_removed, [1]);
    assert!(of_epoch(store, 1).is_empty(), "{:?}", of_epoch(store, 1));
    assert_eq!(others(store), before);
    // Of the present vault only what was marked the day before went.
    assert!(of_epoch(store, 2).is_subset(&present));
    let left = world.check(&repository);
    assert!(world.restores(&repository, &left[0].id) && epochs_of(&left) == [2]);

    let again = expiry(&repository, 60).apply(true).unwrap().1;
    let pruned = again.vault.unwrap();
    assert_eq!((pruned.packs_marked, pruned.packs_deleted, pruned.packs_waiting), (0, 0, 0));
    assert!(again.epochs_removed.is_empty());
    // Numbers are never given twice.
    assert_eq!(begin(&repository).unwrap().epoch, 3);
}

#[test]
fn an_epoch_that_was_never_used_goes_and_the_present_one_stays() {
    let mut world = World::of(2);
    let repository = world.repository(&world.base);
    assert_eq!((begin(&repository).unwrap().epoch, begin(&repository).unwrap().epoch), (2, 3));
    let (_, applied) = day(&repository, 7).apply(true).unwrap();
    assert_eq!(applied.epochs_removed, [2]);
    assert!(of_epoch(world.base.as_ref(), 2).is_empty());
    assert_eq!(world.take(&repository, tree(2)).vault.epoch, 3);
    assert_eq!(epochs_of(&world.check(&repository)), [1, 1, 3]);
    assert!(day(&repository, 8).apply(true).unwrap().1.epochs_removed.is_empty());
}

#[test]
fn a_lost_password_costs_its_snapshots_and_a_rotation_goes_on_without() {
    let mut world = World::of(3);
    let repository = world.repository(&world.base);
    let secret = layout::secret(&secrets::vault_password(&resource(), 1));
    world.base.remove(&secret).unwrap();
    // Another password in its place would open nothing, and hide the loss.
    let opened = vaults::open_or_make(&repository, &resource(), after(7), &SystemEntropy);
    let refused = opened.unwrap_err();
    assert!(refused.hint_text().unwrap().contains("fenice keys rotate registro"), "{refused:?}");
    assert_eq!(world.base.get(&secret).unwrap(), None);
    expiry(&repository, 0).plan().unwrap_err();

    assert_eq!(begin(&repository).unwrap().epoch, 2);
    let taken = world.take(&repository, tree(3));
    assert_eq!(taken.vault.epoch, 2);
    assert!(world.restores(&repository, &taken.id));
    let (_, applied) = expiry(&repository, 0).apply(true).unwrap();
    assert_eq!((applied.snapshots, applied.epochs_removed), (3, vec![1]));
    assert_eq!(epochs_of(&world.check(&repository)), [2]);
    assert!(of_epoch(world.base.as_ref(), 1).is_empty());
}

#[test]
fn a_retired_resource_leaves_the_vaults_of_every_epoch() {
    let world = rotated();
    let repository = world.repository(&world.base);
    let (who, why) = ("Rossi".to_owned(), "the contract has ended".to_owned());
    let order = Order { who, why, at: after(0) };
    retire::retire(&Places { own: &repository, copies: None }, &resource(), &order).unwrap();
    assert_eq!(begin(&repository).unwrap_err().kind(), Kind::Refused);
    // The last snapshot, of day 12, is beyond the horizon of 42 days.
    for hours in [8 * 24, 8 * 24 + 20] {
        expiry(&repository, hours).apply(true).unwrap();
    }
    let left = world.base.list("").unwrap();
    let of_vault = left.iter().filter(|entry| entry.key.contains("vault"));
    assert_eq!(of_vault.count(), 0, "{left:?}");
}

#[test]
fn blobs_come_back_from_the_other_epoch_of_the_same_repository() {
    // The same tree under either key.
    let mut world = World::of(1);
    let repository = world.repository(&world.base);
    begin(&repository).unwrap();
    world.take(&repository, tree(0));
    for epoch in [1, 2] {
        let packs = layout::vault(&resource(), epoch) + "data/";
        for pack in world.base.list(&packs).unwrap() {
            let store = copy(world.base.as_ref());
            let repository = world.repository(&store);
            harm(store.as_ref(), &pack.key, Harm::Flipped);
            let run = Verifying::new().run(&scrub(&repository, None, Role::Only), true, true);
            let healed = run.damage.iter().any(|one| one.key == pack.key && one.healed);
            assert!(healed && run.is_well(), "{}: {run:?}", pack.key);
            assert_eq!(epochs_of(&world.check(&repository)), [1, 2]);
        }
    }
}

#[test]
fn what_either_epoch_loses_is_named_and_comes_back_from_the_copies() {
    let world = rotated();
    let there = World::empty();
    let (from, to) = (world.repository(&world.base), there.repository(&there.base));
    copy_all(&from, &to);
    let keys = of_epoch(world.base.as_ref(), 1).into_iter().chain(of_epoch(&*world.base, 2));
    let is_singular =
        |key: &String| ["/config", "/keys/", ".age"].iter().any(|part| key.contains(part));
    for key in keys.filter(|key| !is_singular(key)).step_by(3) {
        let store = copy(world.base.as_ref());
        let repository = world.repository(&store);
        harm(store.as_ref(), &key, Harm::Flipped);
        let scrub = scrub(&repository, Some(&to), Role::Main);
        let found = Verifying::new().run(&scrub, true, false);
        assert!(found.damage.iter().any(|one| one.key == key), "{key}: {found:?}");
        // What lies in the other vault is sound all the same.
        assert_eq!(found.affected.len() + found.sound.len(), 5, "{key}: {found:?}");
        assert!(!found.sound.is_empty(), "{key}: {found:?}");
        let run = Verifying::new().run(&scrub, true, true);
        assert!(run.is_well(), "{key}: {run:?}");
        assert_eq!(world.check(&repository).len(), 5, "{key}");
    }
    // A vault that does not open any more is lost, its snapshots are not.
    let store = copy(world.base.as_ref());
    let repository = world.repository(&store);
    harm(store.as_ref(), &(layout::vault(&resource(), 1) + "config"), Harm::Gone);
    let run = Verifying::new().run(&scrub(&repository, Some(&to), Role::Main), true, true);
    assert_eq!((run.recovered.len(), run.is_well()), (3, true), "{run:?}");
    assert_eq!(epochs_of(&world.check(&repository)), [2; 5]);
}

fn each_call_of_rotating_fails(fault: Fault) {
    let world = World::of(2);
    let stage = Stage::with(&world.base);
    let staged: Arc<dyn Store> = stage.clone();
    let repository = world.repository(&staged);
    for at in 1..200 {
        let failed = copy(world.base.as_ref());
        let faulty = Arc::new(FaultyStore::new(&failed, fault, at));
        let through: Arc<dyn Store> = faulty.clone();
        stage.set(&through);
        // With the vault that the next snapshot makes.
        let ended = begin(&repository)
            .and_then(|_| vaults::open_or_make(&repository, &resource(), after(6), &SystemEntropy));
        assert_eq!(ended.is_err(), faulty.was_hit(), "{fault:?} at {at}: {ended:?}");
        for again in [false, true] {
            let store = copy(failed.as_ref());
            stage.set(&store);
            let mut there = world.with(&store);
            assert_eq!(there.check(&repository).len(), 2);
            let mut epoch = vaults::epochs_now(&repository, &resource()).unwrap().current();
            assert!([1, 2].contains(&epoch), "{fault:?} at {at}: {epoch}");
            if again {
                epoch += 1;
                assert_eq!(begin(&repository).unwrap().epoch, epoch);
            }
            assert_eq!(there.take(&repository, tree(2)).vault.epoch, epoch);
            assert_eq!(epochs_of(&there.check(&repository)), [1, 1, epoch]);
            day(&repository, 7).apply(true).unwrap();
            for unused in 2..epoch {
                assert!(of_epoch(store.as_ref(), unused).is_empty(), "{fault:?} at {at}");
            }
            assert_eq!(epochs_of(&there.check(&repository)), [1, 1, epoch]);
        }
        if !faulty.was_hit() {
            assert!(at > 12, "only {at} calls");
            return;
        }
    }
    panic!("rotation never succeeded");
}

#[test]
fn each_call_of_a_rotation_failing() {
    for fault in [Fault::Once, Fault::ForEver, Fault::DoneButFailed] {
        each_call_of_rotating_fails(fault);
    }
}

fn calls_of_removing_fail(fault: Fault, step: usize) {
    let world = rotated();
    expiry(&world.repository(&world.base), 0).apply(true).unwrap();
    let stage = Stage::with(&world.base);
    let staged: Arc<dyn Store> = stage.clone();
    let repository = world.repository(&staged);
    for at in (1..400).step_by(step) {
        let store = copy(world.base.as_ref());
        let faulty = Arc::new(FaultyStore::new(&store, fault, at));
        let through: Arc<dyn Store> = faulty.clone();
        stage.set(&through);
        let ended = expiry(&repository, 20).apply(true);
        let succeeded = ended.is_ok();
        // What could be done without, its pin removed, does not make it fail.
        assert!(succeeded || faulty.was_hit(), "{fault:?} at {at}: {:?}", ended.err());
        stage.set(&store);
        assert_eq!(epochs_of(&world.check(&repository)), [2]);
        for hours in [21, 42] {
            expiry(&repository, hours).apply(true).unwrap();
        }
        assert!(of_epoch(store.as_ref(), 1).is_empty(), "{fault:?} at {at}");
        assert_eq!(others(store.as_ref()), others(world.base.as_ref()));
        let left = world.check(&repository);
        assert!(epochs_of(&left) == [2] && world.restores(&repository, &left[0].id));
        let again = expiry(&repository, 60).apply(true).unwrap().1;
        assert_eq!((again.epochs_removed.len(), again.vault.unwrap().packs_deleted), (0, 0));
        if !faulty.was_hit() {
            assert!(at > 40, "only {at} calls");
            return;
        }
    }
    panic!("retention never succeeded");
}

#[test]
fn every_second_call_of_removing_an_epoch_failing_once() {
    calls_of_removing_fail(Fault::Once, 2);
}

#[test]
fn every_third_call_of_removing_an_epoch_failing_for_ever() {
    calls_of_removing_fail(Fault::ForEver, 3);
}

#[test]
fn every_third_call_of_removing_an_epoch_done_but_answered_with_a_failure() {
    calls_of_removing_fail(Fault::DoneButFailed, 3);
}
