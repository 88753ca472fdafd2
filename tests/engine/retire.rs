//! A retired resource, on a calendar of the test's: guards lapse, everything leaves in time, and
//! nothing is left but the evidence, whichever call fails meanwhile.

use std::sync::Arc;

use fenice::adapters::system::SystemEntropy;
use fenice::engines::postgres::cluster;
use fenice::engines::postgres::retire::{self, Order, Places};
use fenice::engines::postgres::snapshot::log::lock_name;
use fenice::engines::postgres::vaults;
use fenice::error::Kind;
use fenice::model::{Lsn, Timeline, WalName};
use fenice::plan::retention::{Closing, Verdict};
use fenice::ports::Store;
use fenice::ports::store::Put;
use fenice::repository::hold::{self, HoldManifest, Release};
use fenice::repository::manifest::{self, GapManifest};
use fenice::repository::{Repository, layout, retirement, secrets};
use serde_json::json;

use super::expire_faults::expiry;
use super::world::{World, after, cluster_facts, copy, resource};
use crate::vault::faults::{self, Fault, FaultyStore, Stage};

/// Hours after day 47 at which the last snapshot, of day 12, is beyond the horizon of 42 days.
const OVER: u64 = 8 * 24;

fn order(who: &str) -> Order {
    Order { who: who.to_owned(), why: "the contract has ended".to_owned(), at: after(0) }
}

fn retire(own: &Repository, copies: Option<&Repository>) -> fenice::error::Result<String> {
    let retired = retire::retire(&Places { own, copies }, &resource(), &order("Rossi"));
    retired.map(|retired| retired.id)
}

fn reinstate(own: &Repository, copies: Option<&Repository>) -> fenice::error::Result<String> {
    let ended = retire::reinstate(&Places { own, copies }, &resource(), &order("Bianchi"));
    ended.map(|ended| ended.retirement)
}

fn is_retired(repository: &Repository) -> bool {
    retirement::in_force(repository, &resource()).unwrap().is_some()
}

/// All that may lie in a repository besides snapshots and log.
fn store_everything_else(repository: &Repository) {
    let archive = cluster::archive(repository, &resource(), &cluster_facts(), 3);
    let history = b"1\t0/500000\tno recovery target specified\n";
    archive.put_file(&WalName::History(Timeline(2)), history).unwrap();
    let gap = GapManifest {
        version: 1,
        recorded_at: after(1),
        system_id: cluster_facts().system_id,
        timeline: Timeline(1),
        from: Lsn(1),
        to: Lsn(2),
        reason: "the slot was dropped".to_owned(),
    };
    let put = manifest::create(repository, &layout::gap(&resource(), "g1"), &gap).unwrap();
    assert_eq!(put, Put::Created);
    let key = secrets::heartbeat_key(&resource());
    secrets::obtain(repository, &key, &SystemEntropy).unwrap();
    let drill = json!({ "verdict": "failed" });
    let put = manifest::create(repository, &layout::drill(&resource(), "d1"), &drill).unwrap();
    assert_eq!(put, Put::Created);
    give_hold(repository);
    let release = Release {
        version: 1,
        hold: "h1".to_owned(),
        who: "Rossi".to_owned(),
        why: "judged".to_owned(),
        released_at: after(2),
    };
    hold::release(repository, &resource(), &release).unwrap();
    // Of a neighbour whose name begins the same way.
    let neighbour = "registro-2".parse().unwrap();
    let key = secrets::vault_password(&neighbour, 1);
    secrets::obtain(repository, &key, &SystemEntropy).unwrap();
}

fn give_hold(repository: &Repository) {
    let given = HoldManifest {
        version: 1,
        id: "h1".to_owned(),
        snapshot: None,
        who: "Rossi".to_owned(),
        why: "tribunal of Campobasso".to_owned(),
        given_at: after(1),
        until: None,
    };
    hold::add(repository, &resource(), &given).unwrap();
}

#[track_caller]
fn assert_only_evidence(store: &dyn Store, retirement: &str) {
    let keys: Vec<String> = store.list("").unwrap().into_iter().map(|entry| entry.key).collect();
    let neighbour = secrets::vault_password(&"registro-2".parse().unwrap(), 1);
    let mut evidence = [
        layout::FORMAT.to_owned(),
        layout::drill(&resource(), "d1"),
        layout::hold(&resource(), "h1"),
        layout::hold_release(&resource(), "h1"),
        layout::retirement(&resource(), retirement),
        layout::secret(&neighbour),
    ];
    evidence.sort();
    assert_eq!(keys, evidence);
}

#[test]
fn a_retired_resource_leaves_in_time_and_nothing_stays_but_the_evidence() {
    let world = World::new();
    let repository = world.repository(&world.base);
    store_everything_else(&repository);
    // In use, the newest one stays for ever.
    let active = expiry(&repository, OVER).plan().unwrap();
    let newest = active.snapshots.last().unwrap();
    assert!(matches!(newest.verdict, Verdict::Guarded(_)), "{newest:?}");
    assert_eq!(active.closing, Closing::InUse);

    let id = retire(&repository, None).unwrap();
    assert!(is_retired(&repository));
    let again = retire(&repository, None).unwrap_err();
    assert_eq!(again.kind(), Kind::Usage);
    assert!(again.chain().contains("by Rossi: the contract has ended"), "{again:?}");
    // Before the horizon it is kept as ever.
    let early = expiry(&repository, 0).plan().unwrap();
    assert!(early.snapshots.last().unwrap().stays());
    assert!(matches!(&early.closing, Closing::Waits(because) if because.len() == 3), "{early:?}");

    let (_, applied) = expiry(&repository, OVER).apply(true).unwrap();
    assert_eq!((applied.snapshots, applied.leftovers), (5, 0), "packs are only marked yet");
    assert!(applied.vault.unwrap().packs_marked > 0);
    let waits = expiry(&repository, OVER + 1).plan().unwrap().closing;
    assert!(matches!(&waits, Closing::Waits(because) if because.len() == 1), "{waits:?}");
    let (_, applied) = expiry(&repository, OVER + 20).apply(true).unwrap();
    assert!(applied.vault.unwrap().packs_deleted > 0);
    assert!(applied.leftovers >= 6, "{applied:?}");
    assert_only_evidence(world.base.as_ref(), &id);
    let (planned, applied) = expiry(&repository, OVER + 40).apply(true).unwrap();
    assert_eq!(planned.closing, Closing::Due(Vec::new()));
    assert_eq!(applied.leftovers, 0);
    assert_only_evidence(world.base.as_ref(), &id);

    // Whoever comes back begins anew.
    reinstate(&repository, None).unwrap();
    vaults::open_or_make(&repository, &resource(), after(60), &SystemEntropy).unwrap();
}

#[test]
fn a_hold_keeps_what_explains_the_data_and_a_reinstated_resource_keeps_all() {
    let world = World::new();
    let repository = world.repository(&world.base);
    retire(&repository, None).unwrap();
    for hours in [OVER, OVER + 20] {
        if hours > OVER {
            give_hold(&repository);
        }
        expiry(&repository, hours).apply(true).unwrap();
    }
    let closing = expiry(&repository, OVER + 40).plan().unwrap().closing;
    assert!(
        matches!(&closing, Closing::Waits(because) if because[0].contains("h1")),
        "{closing:?}"
    );
    assert!(!manifest::clusters(&repository, &resource()).unwrap().is_empty());

    let world = World::new();
    let repository = world.repository(&world.base);
    assert_eq!(reinstate(&repository, None).unwrap_err().kind(), Kind::Usage);
    let first = retire(&repository, None).unwrap();
    let refused = retirement::must_be_in_use(&repository, &resource()).unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);
    assert!(refused.hint_text().unwrap().contains("fenice resource reinstate registro"));
    assert_eq!(reinstate(&repository, None).unwrap(), first);
    assert_eq!(reinstate(&repository, None).unwrap_err().kind(), Kind::Usage);
    retirement::must_be_in_use(&repository, &resource()).unwrap();
    expiry(&repository, OVER).apply(true).unwrap();
    assert_eq!(world.check(&repository).len(), 1, "the newest stays again");
    let records = retirement::all(&repository, &resource()).unwrap();
    assert_eq!(records[0].reinstatement.as_ref().unwrap().who, "Bianchi");
}

#[test]
fn nobody_is_at_work_while_it_is_retired_or_reinstated() {
    let world = World::new();
    let repository = world.repository(&world.base);
    let ships = repository.store.lock(&lock_name(&resource())).unwrap();
    let busy = retire(&repository, None).unwrap_err();
    assert_eq!(busy.kind(), Kind::Busy);
    assert!(busy.hint_text().unwrap().contains("systemctl stop fenice"), "{busy:?}");
    drop(ships);
    let snapshot = vaults::lock(&repository, &resource()).unwrap();
    assert_eq!(retire(&repository, None).unwrap_err().kind(), Kind::Busy);
    drop(snapshot);
    retire(&repository, None).unwrap();
    let retention = vaults::lock(&repository, &resource()).unwrap();
    assert_eq!(reinstate(&repository, None).unwrap_err().kind(), Kind::Busy);
    drop(retention);
    reinstate(&repository, None).unwrap();
}

#[test]
fn either_repository_failing_at_any_call_is_made_good_by_the_same_command() {
    let (world, there) = (World::new(), World::empty());
    for failing in [0, 1] {
        for at in 1..60 {
            let stores = [copy(world.base.as_ref()), copy(there.base.as_ref())];
            let faulty = FaultyStore::new(&stores[failing], Fault::DoneButFailed, at);
            let faulty = Arc::new(faulty);
            let mut through = stores.clone();
            through[failing] = faulty.clone();
            let (own, copies) = (world.repository(&stores[0]), there.repository(&stores[1]));
            let stage = Stage::with(&stores[failing]);
            let mut staged = stores.clone();
            staged[failing] = stage.clone();
            let (bad_own, bad_copies) =
                (world.repository(&staged[0]), there.repository(&staged[1]));
            stage.set(&through[failing]);
            let retired = retire(&bad_own, Some(&bad_copies));
            // Where the copies are said to be retired, the resource's own repository says so too.
            assert!(is_retired(&own) || !is_retired(&copies), "{failing} at {at}");
            if retired.is_err() {
                match retire(&own, Some(&copies)) {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), Kind::Usage, "{error:?}"),
                }
            }
            assert!(is_retired(&own) && is_retired(&copies), "{failing} at {at}");
            let ended = reinstate(&bad_own, Some(&bad_copies));
            assert!(is_retired(&own) || !is_retired(&copies), "{failing} at {at}");
            if ended.is_err() {
                match reinstate(&own, Some(&copies)) {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), Kind::Usage, "{error:?}"),
                }
            }
            assert!(!is_retired(&own) && !is_retired(&copies), "{failing} at {at}");
            if !faulty.was_hit() {
                assert!(at > 5, "only {at} calls");
                break;
            }
            assert!(at < 59, "it never succeeded");
        }
    }
}

fn every_call_fails(fault: Fault, step: usize) {
    let world = World::new();
    let stage = Stage::with(&world.base);
    let staged: Arc<dyn Store> = stage.clone();
    let repository = world.repository(&staged);
    store_everything_else(&repository);
    let id = retire(&repository, None).unwrap();
    for at in (1..800).step_by(faults::step(step)) {
        let store = copy(world.base.as_ref());
        let faulty = Arc::new(FaultyStore::new(&store, fault, at));
        let through: Arc<dyn Store> = faulty.clone();
        stage.set(&through);
        // Two days: packs are marked on the first, and everything ends on the second.
        let mut failed = false;
        for hours in [OVER, OVER + 20] {
            failed |= expiry(&repository, hours).apply(true).is_err();
        }
        // What could be done without, its pin removed, does not make it fail.
        assert!(!failed || faulty.was_hit(), "{fault:?} at {at}");
        stage.set(&store);
        world.check(&repository);
        for hours in [40, 60, 80] {
            expiry(&repository, OVER + hours).apply(true).unwrap();
        }
        assert_only_evidence(store.as_ref(), &id);
        if !faulty.was_hit() {
            assert!(at > 60, "only {at} calls");
            return;
        }
    }
    panic!("retention never succeeded");
}

#[test]
fn every_third_call_failing_once() {
    every_call_fails(Fault::Once, 3);
}

#[test]
fn every_fourth_call_failing_for_ever() {
    every_call_fails(Fault::ForEver, 4);
}

#[test]
fn every_fourth_call_done_but_answered_with_a_failure() {
    every_call_fails(Fault::DoneButFailed, 4);
}
