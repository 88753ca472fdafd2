//! The first turn: ship under load, take two snapshots, compare with what the server has.

use std::time::Duration;

use fenice::model::{Extent, Lsn};
use fenice::repository::manifest;

use super::rig::Rig;
use crate::support::{Cluster, wait_for};

#[test]
fn shipped_segments_are_the_servers_own_bytes() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    let rig = Rig::new();
    let source = rig.source(&[cluster.conninfo()]);
    let shipping = rig.ship(&source, Duration::from_millis(200));
    cluster.pgbench_init(2);
    let load = cluster.pgbench(&["-T", "3", "-c", "2"]);
    wait_for("five segments and a part", || {
        let inventory = rig.archive().inventory().unwrap();
        let whole = inventory.objects.iter().filter(|o| o.extent == Extent::Whole).count();
        whole >= 5 && whole < inventory.objects.len()
    });
    load.kill();
    let end: Lsn = cluster.psql("postgres", "select pg_current_wal_flush_lsn()").parse().unwrap();
    let state = shipping.state.clone();
    wait_for("everything is shipped", || state.borrow().stored >= end);
    shipping.stop(&rig).unwrap();

    let archive = rig.archive();
    let inventory = archive.inventory().unwrap();
    let mut compared = 0;
    for object in inventory.objects.iter().filter(|o| o.extent == Extent::Whole) {
        let name = fenice::model::wal_name::segment_name(
            object.timeline,
            object.segment,
            inventory.segment_size,
        );
        let Ok(original) = std::fs::read(cluster.data_dir().join("pg_wal").join(&name)) else {
            continue;
        };
        assert!(archive.read(object).unwrap() == original, "{name} differs");
        compared += 1;
    }
    assert!(compared >= 3, "only {compared} segments could be compared");
}

#[test]
fn a_second_snapshot_costs_only_what_changed_and_restic_reads_both() {
    let cluster = Cluster::builder().version(15).start();
    cluster.pgbench_init(5);
    cluster.psql("postgres", "checkpoint");
    let rig = Rig::new();
    let first = rig.snapshot(&cluster);
    assert!(first.full_read && first.new_bytes > 20 << 20, "{first:?}");
    assert!(first.pages.checkable && first.pages.checked > 8_000, "{:?}", first.pages);
    assert_eq!(first.pages.damaged_count, 0, "{:?}", first.pages);
    assert!(first.tables.iter().any(|t| t.table == "public.pgbench_accounts"));

    std::thread::sleep(Duration::from_millis(2_100));
    cluster.psql("postgres", "update pgbench_branches set bbalance = 1; checkpoint");
    let second = rig.snapshot(&cluster);
    assert!(second.new_bytes < first.new_bytes / 2, "{second:?}");
    assert_eq!(manifest::snapshots(&rig.repository, &rig.resource).unwrap().len(), 2);

    rig.restic_check();
}
