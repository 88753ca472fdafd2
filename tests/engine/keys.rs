//! Recipients that are added and removed while the store fails at every call in turn, and while
//! others write and remove. Nothing is lost, nothing comes back, and the next run finishes.

use std::collections::BTreeMap;
use std::sync::Arc;

use fenice::adapters::system::{SystemClock, SystemEntropy};
use fenice::engines::keys::{Change, Changed, KeyChange, check_kit};
use fenice::engines::postgres::{cluster, vaults};
use fenice::engines::progress::Progress;
use fenice::error::{Kind, Result, Retry};
use fenice::model::Timeline;
use fenice::ports::Store;
use fenice::repository::format::read_format;
use fenice::repository::seal::Identities;
use fenice::repository::{Repository, layout, secrets};

use super::world::{SEGMENT_BYTES, World, cluster_facts, copy, resource};
use crate::vault::faults::{Fault, FaultyStore};
use crate::vault::meanwhile::{Call, Meanwhile};

/// More than any sealed object of the small repository holds.
const LIMIT_BYTES: u64 = 64 << 20;

/// An identity with its recipient.
struct Key {
    identities: Identities,
    recipient: String,
}

impl Key {
    fn new() -> Key {
        let (text, recipient) = Identities::generate();
        Key { identities: Identities::parse(&text).unwrap(), recipient }
    }

    fn of(world: &World) -> Key {
        let identities = Identities::parse(&world.identity).unwrap();
        let recipient = identities.recipients().concat();
        Key { identities, recipient }
    }

    /// What it opens of everything that is sealed, by key.
    fn opens(&self, store: &dyn Store) -> BTreeMap<String, Vec<u8>> {
        let sealed = store.list("").unwrap().into_iter().filter(|e| layout::is_sealed(&e.key));
        let opened = sealed.filter_map(|entry| {
            let body = store.get(&entry.key).unwrap().unwrap();
            Some((entry.key, self.identities.open(&body, LIMIT_BYTES).ok()?))
        });
        opened.collect()
    }

    fn repository(&self, store: &Arc<dyn Store>) -> Repository {
        Repository::open_as_it_is(store.clone(), self.identities.clone()).unwrap()
    }
}

fn run(store: &Arc<dyn Store>, by: &Key, change: Change) -> Result<Changed> {
    let job = KeyChange {
        lease: None,
        store: store.clone(),
        identities: by.identities.clone(),
        change,
        clock: Arc::new(SystemClock),
        progress: Arc::new(Progress::default()),
    };
    job.run()
}

fn add(store: &Arc<dyn Store>, by: &Key, who: &Key) -> Result<Changed> {
    run(store, by, Change::Add(who.recipient.clone()))
}

fn remove(store: &Arc<dyn Store>, by: &Key, who: &Key) -> Result<Changed> {
    run(store, by, Change::Remove(who.recipient.clone()))
}

/// Everything opens as before, and is as old as before.
fn assert_all(key: &Key, store: &dyn Store, plain: &BTreeMap<String, Vec<u8>>) {
    let opened = key.opens(store);
    assert_eq!(opened.len(), plain.len());
    assert!(opened == *plain, "a content differs");
}

#[test]
fn a_second_recipient_takes_over_and_the_first_opens_nothing_more() {
    let world = World::new();
    let (first, second) = (Key::of(&world), Key::new());
    let store = copy(world.base.as_ref());
    let before = store.list("").unwrap();
    let plain = first.opens(store.as_ref());
    assert!(plain.len() > 16, "{:?}", plain.keys());

    let added = add(&store, &first, &second).unwrap();
    assert_eq!((added.changed, added.unreadable), (true, 0));
    assert_eq!(added.objects, plain.len() as u64);
    for key in [&first, &second] {
        assert_all(key, store.as_ref(), &plain);
    }
    let again = add(&store, &first, &second).unwrap();
    assert_eq!((again.changed, again.objects), (false, added.objects));

    let removed = remove(&store, &second, &first).unwrap();
    assert_eq!(removed.recipients, std::slice::from_ref(&second.recipient));
    assert!(first.opens(store.as_ref()).is_empty());
    assert_all(&second, store.as_ref(), &plain);
    assert_eq!(world.check(&second.repository(&store)).len(), 5);
    // Retention judges log by its age.
    let after = store.list("").unwrap();
    let ages = |of: &[fenice::ports::store::Entry]| -> Vec<_> {
        of.iter().map(|entry| (entry.key.clone(), entry.stored_at)).collect()
    };
    assert_eq!(ages(&before), ages(&after));
    let text = String::from_utf8(store.get(layout::FORMAT).unwrap().unwrap()).unwrap();
    assert!(!text.contains("resealing"), "{text}");
}

#[test]
fn what_would_lock_everybody_out_is_refused() {
    let world = World::new();
    let (first, second) = (Key::of(&world), Key::new());
    let store = copy(world.base.as_ref());
    for refused in [
        remove(&store, &first, &first),
        add(&store, &second, &second).and_then(|_| remove(&store, &second, &first)),
    ] {
        // A stranger may not let itself in either: it opens nothing that is there.
        if let Err(error) = refused {
            assert_eq!(error.kind(), Kind::Refused, "{error:?}");
        } else {
            panic!("{refused:?}");
        }
    }
}

fn every_call_fails(fault: Fault, leaving: bool) {
    let world = World::new();
    let (first, second) = (Key::of(&world), Key::new());
    let plain = first.opens(world.base.as_ref());
    let base = copy(world.base.as_ref());
    if leaving {
        add(&base, &first, &second).unwrap();
    }
    let change = |store: &Arc<dyn Store>| match leaving {
        true => remove(store, &second, &first),
        false => add(store, &first, &second),
    };
    for at in 1..1_000 {
        let store = copy(base.as_ref());
        let faulty = Arc::new(FaultyStore::new(&store, fault, at));
        let through: Arc<dyn Store> = faulty.clone();
        let ended = change(&through);
        assert_eq!(ended.is_err(), faulty.was_hit(), "{fault:?} at {at}: {ended:?}");
        // Nothing is lost: whoever stays opens all that was not lost to begin with.
        assert_all(if leaving { &second } else { &first }, store.as_ref(), &plain);
        let again = change(&store).unwrap();
        assert_eq!((again.unreadable, again.objects), (0, plain.len() as u64));
        assert_all(&second, store.as_ref(), &plain);
        match leaving {
            true => assert!(first.opens(store.as_ref()).is_empty()),
            false => assert_all(&first, store.as_ref(), &plain),
        }
        assert_eq!(read_format(store.as_ref()).unwrap().resealing_since, None);
        if !faulty.was_hit() {
            assert!(at > 20, "only {at} calls");
            assert_eq!(world.check(&second.repository(&store)).len(), 5);
            return;
        }
    }
    panic!("it never succeeded");
}

#[test]
fn each_call_of_adding_failing() {
    for fault in [Fault::Once, Fault::ForEver, Fault::DoneButFailed] {
        every_call_fails(fault, false);
    }
}

#[test]
fn each_call_of_removing_failing() {
    for fault in [Fault::Once, Fault::ForEver, Fault::DoneButFailed] {
        every_call_fails(fault, true);
    }
}

#[test]
fn what_retention_removes_meanwhile_stays_removed() {
    let world = World::new();
    let (first, second) = (Key::of(&world), Key::new());
    let store = copy(world.base.as_ref());
    let log = store.list(&layout::wals(&resource())).unwrap();
    let (gone, removing) = (log[3].key.clone(), store.clone());
    let key = gone.clone();
    let meanwhile =
        Meanwhile::before(1, Call::Replace, &gone, &store, move || removing.remove(&key).unwrap());
    let through: Arc<dyn Store> = meanwhile.clone();
    let added = add(&through, &first, &second).unwrap();
    assert!(meanwhile.was_done());
    assert_eq!(added.unreadable, 0);
    assert_eq!(store.get(&gone).unwrap(), None);
    assert_eq!(second.opens(store.as_ref()).len() as u64, added.objects);
}

#[test]
fn what_is_written_meanwhile_is_sealed_to_the_new_ones_or_refused() {
    let world = World::new();
    let (first, second) = (Key::of(&world), Key::new());
    let store = copy(world.base.as_ref());
    // It was opened before, as by a process that ships.
    let before = world.repository(&store);
    let bytes = vec![9; SEGMENT_BYTES as usize];
    let put = |repository: &Repository, segment: u64| {
        let archive = cluster::archive(repository, &resource(), &cluster_facts(), 3);
        archive.put(Timeline(1), segment, 0, &bytes, None)
    };
    put(&before, 8).unwrap();
    let busy = vaults::lock(&before, &resource()).unwrap();
    assert_eq!(add(&store, &first, &second).unwrap_err().kind(), Kind::Busy);
    assert_eq!(
        read_format(store.as_ref()).unwrap().recipients,
        std::slice::from_ref(&first.recipient)
    );
    drop(busy);

    add(&store, &first, &second).unwrap();
    let refused = put(&before, 9).unwrap_err();
    assert_eq!((refused.kind(), refused.retry()), (Kind::Busy, Retry::Never), "{refused:?}");
    assert!(refused.chain().contains(&second.recipient), "{refused:?}");
    let secret = secrets::obtain(&before, "postgres.registro.other", &SystemEntropy);
    assert!(secret.is_err(), "sealed to one only");
    put(&first.repository(&store), 9).unwrap();
    assert_eq!(second.opens(store.as_ref()).len(), first.opens(store.as_ref()).len());
}

#[test]
fn what_cannot_be_opened_is_told_and_left_as_it_is() {
    let world = World::new();
    let (first, second) = (Key::of(&world), Key::new());
    let store = copy(world.base.as_ref());
    let log = store.list(&layout::wals(&resource())).unwrap();
    let mut damaged = store.get(&log[0].key).unwrap().unwrap();
    damaged.truncate(300);
    store.remove(&log[0].key).unwrap();
    store.put_new(&log[0].key, &damaged).unwrap();
    let added = add(&store, &first, &second).unwrap();
    assert_eq!((added.unreadable, added.named[0].key.as_str()), (1, log[0].key.as_str()));
    assert_eq!(store.get(&log[0].key).unwrap().unwrap(), damaged);
    let since = read_format(store.as_ref()).unwrap().resealing_since;
    assert!(since.is_some(), "it is not done");
    assert_eq!(second.opens(store.as_ref()).len() as u64, added.objects);
}

#[test]
fn a_kit_is_tried_by_what_its_identity_alone_opens() {
    let world = World::new();
    let (first, second) = (Key::of(&world), Key::new());
    let store = copy(world.base.as_ref());
    let id = read_format(store.as_ref()).unwrap().repository_id;
    let good = check_kit(store.clone(), first.identities.clone(), Some(&id)).unwrap();
    assert!(good.is_good(), "{good:?}");
    assert_eq!(good.recipients, std::slice::from_ref(&first.recipient));
    assert_eq!(good.findings.len(), 7, "{good:?}");

    let bad = check_kit(store.clone(), second.identities.clone(), Some("another")).unwrap();
    let failed = bad.findings.iter().filter(|finding| finding.failed_because.is_some());
    // With no password there is no vault to open.
    assert_eq!((failed.count(), bad.findings.len()), (5, 5), "{bad:?}");

    // A kit that opens the secrets and not the log does not bring the data back.
    let log = store.list(&layout::wals(&resource())).unwrap();
    for entry in log {
        store.remove(&entry.key).unwrap();
    }
    let lacks = check_kit(store.clone(), first.identities.clone(), None).unwrap();
    assert!(!lacks.is_good(), "{lacks:?}");

    let empty = World::empty();
    let nothing = check_kit(empty.base.clone(), Key::of(&empty).identities, None).unwrap();
    assert!(!nothing.is_good(), "nothing was proven: {nothing:?}");
}
