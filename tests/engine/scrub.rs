//! Verification: each stored object is taken away, cut, flipped in turn. What is named as lost is
//! exactly what cannot be restored any more; what the other repository has comes back.

use std::collections::BTreeSet;
use std::sync::Arc;

use fenice::adapters::system::SystemEntropy;
use fenice::catalog::Catalog;
use fenice::config::Replicate;
use fenice::engines::postgres::scrub::{Order, Scrub, ScrubRun};
use fenice::engines::progress::Progress;
use fenice::model::Span;
use fenice::plan::retention::Role;
use fenice::ports::Store;
use fenice::repository::Repository;
use fenice::repository::vault::WriteSettings;

use super::copy_faults::copying;
use super::world::{At, World, after, copy, resource};
use crate::support::Scratch;

const DAY: Span = Span::seconds(86_400);

pub struct Verifying {
    _dir: Scratch,
    catalog: Catalog,
}

impl Verifying {
    pub fn new() -> Verifying {
        let dir = Scratch::new();
        let catalog = Catalog::open(&dir.path().join("catalog.db")).unwrap();
        Verifying { _dir: dir, catalog }
    }

    /// Day 13: everything is in the window.
    pub fn run(&self, of: &Scrub, all: bool, heal: bool) -> ScrubRun {
        of.run(&self.catalog, &Order { all, heal, within: DAY }).unwrap()
    }
}

pub fn scrub(repository: &Repository, other: Option<&Repository>, role: Role) -> Scrub {
    Scrub {
        repository: repository.clone(),
        other: other.cloned(),
        resource: resource(),
        terms: fenice::plan::retention::Terms { role, ..World::terms() },
        replicate: Replicate::All,
        clock: Arc::new(At(after(13))),
        entropy: Arc::new(SystemEntropy),
        progress: Arc::new(Progress::default()),
        workers: 2,
        write: WriteSettings { pack_bytes: 256 << 10, ..WriteSettings::default() },
    }
}

pub fn copy_all(from: &Repository, to: &Repository) {
    let run = copying(from, to, 13).unwrap();
    assert!(run.failed.is_empty() && run.snapshots.len() == 5, "{run:?}");
}

/// What is done to an object.
#[derive(Debug, Clone, Copy)]
pub enum Harm {
    Gone,
    Cut,
    Flipped,
}

pub fn harm(store: &dyn Store, key: &str, harm: Harm) {
    let mut body = store.get(key).unwrap().unwrap();
    store.remove(key).unwrap();
    match harm {
        Harm::Gone => return,
        Harm::Cut => body.truncate(body.len() / 2),
        Harm::Flipped => {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }
    }
    store.put_new(key, &body).unwrap();
}

/// The objects that a recovery of the resource may need.
fn keys(store: &dyn Store) -> Vec<String> {
    let keys = store.list("").unwrap().into_iter().map(|entry| entry.key);
    keys.filter(|key| key.starts_with("postgres/") || key.starts_with("keys/")).collect()
}

/// The ids of snapshots that restore, each tried by itself.
fn restorable(world: &World, repository: &Repository, ids: &[String]) -> BTreeSet<String> {
    let whole = |id: &&String| world.restores(repository, id);
    ids.iter().filter(whole).cloned().collect()
}

fn ids(repository: &Repository) -> Vec<String> {
    let manifests = fenice::repository::manifest::snapshots(repository, &resource()).unwrap();
    manifests.into_iter().map(|manifest| manifest.id).collect()
}

#[test]
fn exactly_what_cannot_be_restored_any_more_is_named() {
    let world = World::new();
    let all = ids(&world.repository(&world.base));
    for key in keys(world.base.as_ref()) {
        for how in [Harm::Gone, Harm::Flipped] {
            let store = copy(world.base.as_ref());
            let repository = world.repository(&store);
            let verifying = Verifying::new();
            harm(store.as_ref(), &key, how);
            let run = verifying.run(&scrub(&repository, None, Role::Only), true, false);
            let expected = restorable(&world, &repository, &all);
            let sound: BTreeSet<String> = run.sound.iter().cloned().collect();
            assert_eq!(sound, expected, "{how:?} {key}: {run:?}");
            let affected: BTreeSet<String> =
                run.affected.iter().map(|affected| affected.snapshot.clone()).collect();
            let lost = all.iter().filter(|id| !expected.contains(*id)).cloned();
            // One whose manifest is gone, without another repository, is not known any more.
            let is_forgotten = |id: &String| {
                matches!(how, Harm::Gone) && key.ends_with(&format!("snapshots/{id}.json.age"))
            };
            let lost: BTreeSet<String> = lost.filter(|id| !is_forgotten(id)).collect();
            assert_eq!(affected, lost, "{how:?} {key}: {run:?}");
            if matches!(how, Harm::Flipped) {
                assert!(!run.is_well(), "{key}: {run:?}");
            }
        }
    }
}

/// What exists once: keys of a vault, and parts of log beside their whole segment.
fn is_singular(key: &str, other: &World) -> bool {
    let of_vault = key.contains("vault-1.age") || key.contains("/vault/keys/");
    let is_log = key.contains("/wal/");
    let there = other.base.get(key).unwrap().is_some();
    of_vault || key.ends_with("/vault/config") || is_log && !there
}

fn each_object_comes_back(role: Role, how: Harm) {
    let world = World::new();
    let mut there = World::empty();
    there.trees.clone_from(&world.trees);
    copy_all(&world.repository(&world.base), &there.repository(&there.base));
    let (hurt, helper) = match role {
        Role::Copies => (&there, &world),
        Role::Main | Role::Only => (&world, &there),
    };
    for key in keys(hurt.base.as_ref()).into_iter().filter(|key| !is_singular(key, helper)) {
        let store = copy(hurt.base.as_ref());
        let (repository, other) = (hurt.repository(&store), helper.repository(&helper.base));
        harm(store.as_ref(), &key, how);
        let verifying = Verifying::new();
        let scrub = scrub(&repository, Some(&other), role);
        let run = verifying.run(&scrub, true, true);
        // Which index file is gone no one can tell, only what was lost with it.
        let told = run.damage.iter().any(|one| one.key == key && one.healed);
        assert!(told || !run.recovered.is_empty(), "{how:?} {key}: {run:?}");
        assert!(run.is_well(), "{how:?} {key}: {run:?}");
        assert_eq!(hurt.check(&repository).len(), 5, "{how:?} {key}");
        let again = verifying.run(&scrub, true, false);
        assert!(again.is_well() && again.damage.is_empty(), "{how:?} {key}: {again:?}");
    }
}

#[test]
fn what_the_main_repository_loses_comes_back_from_the_copies() {
    each_object_comes_back(Role::Main, Harm::Gone);
}

#[test]
fn what_is_damaged_in_the_main_repository_comes_back_from_the_copies() {
    each_object_comes_back(Role::Main, Harm::Flipped);
    each_object_comes_back(Role::Main, Harm::Cut);
}

#[test]
fn what_the_copies_lose_comes_back_from_the_main_repository() {
    each_object_comes_back(Role::Copies, Harm::Gone);
    each_object_comes_back(Role::Copies, Harm::Flipped);
}

#[test]
fn what_is_lost_for_good_is_never_called_healed() {
    let world = World::new();
    let repository = world.repository(&world.base);
    let packs = keys(world.base.as_ref()).into_iter().filter(|key| key.contains("/data/"));
    packs.for_each(|pack| harm(world.base.as_ref(), &pack, Harm::Flipped));
    let verifying = Verifying::new();
    let run = verifying.run(&scrub(&repository, None, Role::Only), true, true);
    let lost = run.damage.iter().filter(|one| !one.healed && one.unhealed_because.is_some());
    assert!(lost.count() > 0 && !run.affected.is_empty() && !run.is_well(), "{run:?}");
    let findings = verifying.catalog.findings(&resource()).unwrap();
    assert!(findings.len() > run.affected.len(), "{findings:?}");
}

#[test]
fn sound_objects_are_not_read_again_before_their_turn() {
    let world = World::new();
    let repository = world.repository(&world.base);
    let verifying = Verifying::new();
    let scrub = scrub(&repository, None, Role::Only);
    let first = verifying.run(&scrub, false, false);
    assert_eq!(first.read_objects, first.objects, "{first:?}");
    assert!(first.is_well() && first.all_sound_since.is_some());
    let second = verifying.run(&scrub, false, false);
    assert!(second.read_bytes < first.read_bytes / 2, "{second:?}");
    // Known to be sound, and damaged since: found when its turn comes.
    let pack = keys(world.base.as_ref()).into_iter().find(|key| key.contains("/data/")).unwrap();
    harm(world.base.as_ref(), &pack, Harm::Flipped);
    let later = Scrub { clock: Arc::new(At(after(14))), ..scrub };
    let third = verifying.run(&later, false, false);
    assert!(third.damage.iter().any(|one| one.key == pack), "{third:?}");
    let fourth = verifying.run(&later, false, false);
    assert!(!fourth.is_well(), "damage stays told: {fourth:?}");
}
