//! Readers and holds that come while retention runs: nothing they need is removed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fenice::adapters::memory::MemoryStore;
use fenice::engines::postgres::restore::facts;
use fenice::engines::postgres::restore::sources::Sources;
use fenice::error::Kind;
use fenice::ports::{Clock, Store};
use fenice::repository::hold::{self, HoldManifest};
use fenice::repository::pin::{self, PinFile};
use fenice::repository::{Repository, layout, manifest};
use jiff::Timestamp;

use super::expire_faults::expiry;
use super::world::{World, after, resource};
use crate::vault::meanwhile::{Call, Meanwhile};

/// A clock that is put forward by hand.
struct Wound(Mutex<Timestamp>);

impl Clock for Wound {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// The world's objects as stored today, in a store whose day is that of the retention.
fn store_of(world: &World) -> Arc<dyn Store> {
    let clock = Arc::new(Wound(Mutex::new(Timestamp::now())));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::with_clock(clock.clone()));
    for entry in world.base.list("").unwrap() {
        store.put_new(&entry.key, &world.base.get(&entry.key).unwrap().unwrap()).unwrap();
    }
    *clock.0.lock().unwrap() = after(47);
    store
}

fn ids(repository: &Repository) -> Vec<String> {
    let manifests = manifest::snapshots(repository, &resource()).unwrap();
    manifests.into_iter().map(|manifest| manifest.id).collect()
}

/// Every key but those of snapshots' manifests, pins and holds.
fn data(store: &dyn Store) -> BTreeSet<String> {
    let manifests = layout::snapshots(&resource());
    let others = [manifests.as_str(), layout::PINS, "postgres/registro/holds/"];
    let keys = store.list("").unwrap().into_iter().map(|entry| entry.key);
    keys.filter(|key| !others.iter().any(|prefix| key.starts_with(prefix))).collect()
}

fn give_hold(repository: &Repository, snapshot: Option<String>) {
    let given = HoldManifest {
        version: 1,
        id: "h1".to_owned(),
        snapshot,
        who: "Rossi".to_owned(),
        why: "tribunal of Campobasso".to_owned(),
        given_at: after(47),
        until: None,
    };
    hold::add(repository, &resource(), &given).unwrap();
}

/// The store, with something done just before the `number`th manifest is removed.
fn before_removal(
    number: usize,
    store: &Arc<dyn Store>,
    action: impl FnOnce() + Send + 'static,
) -> Arc<Meanwhile> {
    Meanwhile::before(number, Call::Remove, &layout::snapshots(&resource()), store, action)
}

#[test]
fn a_hold_on_what_has_just_left_brings_it_back_and_stops_the_rest() {
    let world = World::new();
    let store = store_of(&world);
    let repository = world.repository(&store);
    let (all, before) = (ids(&repository), data(store.as_ref()));
    let (other, first) = (repository.clone(), all[0].clone());
    // The first one is gone already, and the second one about to go.
    let meanwhile = before_removal(2, &store, move || give_hold(&other, Some(first)));
    let through: Arc<dyn Store> = meanwhile.clone();
    let error = expiry(&world.repository(&through), 0).apply(true).unwrap_err();
    assert!(meanwhile.was_done());
    assert_eq!(error.kind(), Kind::Refused, "{error:?}");
    assert!(error.chain().contains("hold `h1` was given by Rossi"), "{error:?}");
    assert_eq!(ids(&repository), [&all[0], &all[2], &all[3], &all[4]].map(String::clone));
    assert_eq!(data(store.as_ref()), before, "neither log nor files were touched");
    world.check(&repository);

    // The next run knows of it.
    expiry(&repository, 0).apply(true).unwrap();
    assert_eq!(ids(&repository), [&all[0], &all[4]].map(String::clone));
    world.check(&repository);
}

#[test]
fn a_hold_on_everything_undoes_what_the_plan_let_go() {
    let world = World::new();
    let store = store_of(&world);
    let repository = world.repository(&store);
    let (all, before) = (ids(&repository), data(store.as_ref()));
    let other = repository.clone();
    // Four of five leave; this is the last of them.
    let meanwhile = before_removal(4, &store, move || give_hold(&other, None));
    let through: Arc<dyn Store> = meanwhile.clone();
    let (_, applied) = expiry(&world.repository(&through), 0).apply(true).unwrap();
    assert!(meanwhile.was_done());
    assert_eq!((applied.snapshots, applied.log_objects, applied.vault), (0, 0, None));
    assert_eq!(applied.put_back, all[..4]);
    assert_eq!(applied.arrived, ["hold `h1` was given by Rossi"]);
    assert_eq!((ids(&repository), data(store.as_ref())), (all.clone(), before));
    world.check(&repository);

    let (_, applied) = expiry(&repository, 0).apply(true).unwrap();
    assert_eq!((applied.snapshots, applied.put_back, applied.arrived), (0, vec![], vec![]));
    assert_eq!(ids(&repository), all);
}

#[test]
fn a_reader_that_begins_meanwhile_goes_on_undisturbed() {
    let world = World::new();
    let store = store_of(&world);
    let repository = world.repository(&store);
    let (all, before) = (ids(&repository), data(store.as_ref()));
    let (other, read) = (repository.clone(), all[3].clone());
    let meanwhile = before_removal(4, &store, move || {
        let file = PinFile::reader(resource(), read);
        pin::put(&other, "reader", &file).unwrap().leave();
    });
    let through: Arc<dyn Store> = meanwhile.clone();
    let (_, applied) = expiry(&world.repository(&through), 0).apply(true).unwrap();
    assert!(meanwhile.was_done());
    assert_eq!((applied.snapshots, applied.log_objects, applied.vault), (3, 0, None));
    assert_eq!(applied.put_back, [all[3].clone()]);
    assert_eq!(applied.arrived, ["the reader `reader` has begun"]);
    assert_eq!(ids(&repository), all[3..]);
    assert_eq!(data(store.as_ref()), before, "its log and its files are there");

    // Once it is done, the next run takes up what was left.
    store.remove(&layout::pin("reader")).unwrap();
    let (_, applied) = expiry(&repository, 0).apply(true).unwrap();
    assert!(applied.log_objects > 0 && applied.vault.unwrap().packs_marked > 0);
    assert_eq!(ids(&repository), all[4..]);
    world.check(&repository);
}

/// The store, with a manifest removed when it is about to be read, and was listed long ago.
fn removing(id: &str, store: &Arc<dyn Store>) -> Arc<dyn Store> {
    let (inner, key) = (store.clone(), layout::snapshot(&resource(), id));
    let removed = key.clone();
    Meanwhile::before(1, Call::Get, &key, store, move || inner.remove(&removed).unwrap())
}

#[test]
fn a_manifest_that_goes_while_others_are_read_fails_nobody_but_a_drill() {
    let world = World::new();
    let store = store_of(&world);
    let all = ids(&world.repository(&store));
    let repository = world.repository(&removing(&all[2], &store));
    assert_eq!(ids(&repository), [&all[0], &all[1], &all[3], &all[4]].map(String::clone));

    let repository = world.repository(&removing(&all[3], &store));
    let stored = facts::read_now_undated(&Sources::only(&repository), &resource()).unwrap();
    let read: Vec<&String> = stored.manifests.iter().map(|manifest| &manifest.id).collect();
    assert_eq!(read, [&all[0], &all[1], &all[4]]);

    // What a drill has pinned is what there was at the disruption, and nothing less.
    let repository = world.repository(&removing(&all[4], &store));
    let sources = Sources::only(&repository);
    let pinned = sources.list(&resource()).unwrap();
    let refused = facts::read_undated(&sources, &resource(), &pinned).map(drop).unwrap_err();
    assert!(refused.chain().contains(&all[4]), "{refused:?}");
}
