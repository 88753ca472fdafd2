//! What lies among the log and no recovery reads: it goes with the window, or is told of.

use std::collections::BTreeSet;
use std::sync::Arc;

use fenice::engines::postgres::cluster;
use fenice::engines::postgres::expire::Expiry;
use fenice::model::{SystemId, Timeline, WalName};
use fenice::repository::{Repository, layout};

use super::expire_faults::expiry;
use super::world::{At, World, after, cluster_facts, resource};

/// A partial segment and a backup label.
fn store_unread(repository: &Repository) -> Vec<String> {
    let archive = cluster::archive(repository, &resource(), &cluster_facts(), 3);
    let size = archive.segment_size;
    let label = "000000010000000000000002.00000028.backup";
    let names = [WalName::Partial(Timeline(1), 4), WalName::parse(label, size).unwrap()];
    let key = |name: &WalName| {
        archive.put_file(name, b"START WAL LOCATION").unwrap();
        layout::wal_file(&resource(), archive.system_id, Timeline(1), &name.file_name(size))
    };
    names.iter().map(key).collect()
}

/// Names that are not of the log, and the log of a cluster that nobody registered.
fn store_strangers(repository: &Repository) -> Vec<String> {
    let wal = layout::wal(&resource(), cluster_facts().system_id);
    let elsewhere = layout::wal(&resource(), SystemId(99));
    let keys = [
        format!("{elsewhere}00000001/000000010000000000000001.zst.age"),
        format!("{wal}00000001/000000010000000000000001.old"),
        format!("{wal}00000001/notes.zst.age"),
    ];
    for key in &keys {
        repository.store.put_new(key, b"of another program").unwrap();
    }
    keys.to_vec()
}

#[test]
fn it_goes_with_the_window_and_what_is_not_understood_stays_and_is_told() {
    let world = World::new();
    let repository = world.repository(&world.base);
    let archive = cluster::archive(&repository, &resource(), &cluster_facts(), 3);
    let before = archive.inventory().unwrap();
    let (unread, strangers) = (store_unread(&repository), store_strangers(&repository));
    let with_others = archive.inventory().unwrap();
    assert_eq!(with_others.objects, before.objects, "recovery sees none of them");
    assert_eq!(with_others.histories, before.histories);

    let early = Expiry { clock: Arc::new(At(after(30))), ..expiry(&repository, 0) };
    let young = early.plan().unwrap();
    for key in &unread {
        let ruling = young.log.iter().find(|ruling| ruling.key == *key).expect("it is ruled on");
        assert!(ruling.stays && ruling.because.contains("within the window"), "{ruling:?}");
    }
    early.apply(true).unwrap();
    let is_there = |key: &String| repository.store.get(key).unwrap().is_some();
    assert!(unread.iter().all(is_there));

    let (planned, _) = expiry(&repository, 0).apply(true).unwrap();
    let told: BTreeSet<&String> = planned.strangers.iter().collect();
    assert_eq!(told, strangers.iter().collect::<BTreeSet<_>>());
    assert!(!unread.iter().any(is_there), "nothing is left of before the window");
    assert!(strangers.iter().all(is_there), "what is not understood is not ours to remove");
    assert_eq!(world.check(&repository).len(), 1);
}
