//! Standbys as sources, and what happens when one becomes the primary.

use std::sync::Arc;
use std::time::Duration;

use fenice::engines::postgres::ship::slots;
use fenice::engines::postgres::snapshot::{files, stream};
use fenice::error::Kind;
use fenice::model::{Lsn, Timeline};
use fenice::plan::facts::Target;

use super::compare::BALANCED;
use super::rig::{Rig, Shipping};
use crate::support::proxy::{Fault, Proxy};
use crate::support::{Cluster, available_versions, wait_for};

const PARTS: Duration = Duration::from_millis(200);

fn flushed(primary: &Cluster) -> Lsn {
    primary.psql("postgres", "select pg_current_wal_flush_lsn()").parse().unwrap()
}

fn wait_stored(shipping: &Shipping, timeline: u32, until: Lsn) {
    wait_for("the log is stored", || {
        let state = shipping.state.borrow();
        state.timeline == Some(Timeline(timeline)) && state.stored >= until
    });
}

/// A primary with some data and a standby that has it.
fn pair(version: u32) -> (Cluster, Cluster) {
    let builder = Cluster::builder().version(version).segment_size_mib(1);
    let primary = builder.setting("wal_keep_size", "64MB").start();
    primary.pgbench_init(1);
    let standby = Cluster::standby_of(&primary);
    (primary, standby)
}

fn caught_up(primary: &Cluster, standby: &Cluster) {
    let end = flushed(primary);
    wait_for("the standby has replayed it", || {
        let at = standby.psql("postgres", "select pg_last_wal_replay_lsn()");
        at.parse::<Lsn>().unwrap() >= end
    });
}

#[test]
fn a_standby_is_shipped_and_copied_under_load_and_idle() {
    for version in available_versions() {
        let (primary, standby) = pair(version);
        let rig = Rig::new();
        let source = rig.source(&[standby.conninfo()]);
        let shipping = rig.ship(&source, PARTS);
        let load = primary.pgbench(&["-T", "120", "-c", "2"]);
        wait_for("log of the load", || shipping.state.borrow().stored > Lsn(8 << 20));
        let by_files = rig.snapshot(&standby);
        let by_stream = rig.stream(&source).unwrap();
        for taken in [&by_files, &by_stream] {
            assert!(taken.from_standby && taken.pages.damaged_count == 0, "{taken:?}");
            assert!(taken.stop_lsn > taken.start_lsn);
            assert!(rig.stored_from(taken) >= taken.stop_lsn);
        }
        load.kill();
        caught_up(&primary, &standby);
        wait_stored(&shipping, 1, flushed(&primary));
        shipping.stop(&rig).unwrap();
        let snapshot = by_files.id.clone();
        let early = rig.restore(&standby, "early", Target::Consistent { snapshot }).unwrap();
        assert_eq!(early.query("postgres", BALANCED), ["t"]);
        let latest = rig.restore(&standby, "latest", Target::Latest).unwrap();
        assert_eq!(latest.files.plan.snapshot.id, by_stream.id);
        let history = "select count(*), sum(delta), sum(aid) from pgbench_history";
        assert_eq!(latest.query("postgres", history), [primary.psql("postgres", history)]);
        assert_eq!(latest.query("postgres", BALANCED), ["t"]);
        drop((early.stop(), latest.stop()));
        // Nobody ships and nothing is written: the log that the snapshot needs comes all the same.
        for taken in [rig.snapshot(&standby), rig.stream(&source).unwrap()] {
            assert!(rig.stored_from(&taken) >= taken.stop_lsn);
        }
        rig.restic_check();
    }
}

#[test]
fn the_first_snapshot_of_a_standby_has_the_log_from_its_restartpoint_on() {
    let (primary, standby) = pair(15);
    // Several segments without a checkpoint: a backup of the standby begins before them.
    for _ in 0..4 {
        primary.psql("postgres", "create table if not exists t (i int); select pg_switch_wal()");
        primary.psql("postgres", "insert into t select generate_series(1, 1000)");
    }
    caught_up(&primary, &standby);
    let rig = Rig::new();
    let taken = rig.stream(&rig.source(&[standby.conninfo()])).unwrap();
    let end: Lsn = standby.psql("postgres", "select pg_last_wal_replay_lsn()").parse().unwrap();
    assert!(end.since(taken.start_lsn) > 3 << 20, "{taken:?}, now {end}");
    assert!(rig.stored_from(&taken) >= taken.stop_lsn);
    let rig = Rig::new();
    let taken = rig.snapshot(&standby);
    assert!(rig.stored_from(&taken) >= taken.stop_lsn);
}

/// Promotes `standby` while `work` is in the phase `reading`, by holding up the network.
fn promoted_during(by_files: bool) {
    let (_primary, standby) = pair(15);
    standby.psql("postgres", "select 1");
    _primary.psql("postgres", "alter role postgres password 'secret'");
    caught_up(&_primary, &standby);
    let proxy = Proxy::to(standby.port());
    let through = format!(
        "host=127.0.0.1 port={} user=postgres password=secret dbname=postgres",
        proxy.port()
    );
    let rig = Rig::new();
    let source = rig.source(&[through]);
    let job = rig.job(&source);
    let progress = Arc::clone(&job.progress);
    let dir = standby.data_dir();
    let taking = rig.runtime.spawn(async move {
        match by_files {
            true => files::take(&job, &dir).await,
            false => stream::take(&job).await,
        }
    });
    wait_for("the backup is under way", || progress.phase().ends_with("ing files"));
    proxy.set(Fault::Stall);
    standby.promote();
    proxy.set(Fault::None);
    let error = rig.runtime.block_on(taking).unwrap().unwrap_err();
    assert!(error.chain().contains("promoted"), "{error:?}");
    assert!(error.hint_text().unwrap().contains("take the snapshot again"), "{error:?}");
    assert!(rig.manifests().is_empty());
    let taken = match by_files {
        true => rig.snapshot(&standby),
        false => rig.stream(&source).unwrap(),
    };
    assert_eq!((taken.timeline, taken.from_standby), (Timeline(2), false));
    assert!(rig.stored_from(&taken) >= taken.stop_lsn);
}

#[test]
fn a_standby_promoted_while_its_files_are_read_fails_the_snapshot() {
    promoted_during(true);
}

#[test]
fn a_standby_promoted_while_it_streams_fails_the_snapshot() {
    promoted_during(false);
}

#[test]
fn shipping_goes_on_across_a_promotion() {
    for version in available_versions() {
        let (primary, standby) = pair(version);
        let rig = Rig::new();
        let source = rig.source(&[standby.conninfo()]);
        let shipping = rig.ship(&source, PARTS);
        let load = primary.pgbench(&["-T", "120", "-c", "2"]);
        wait_for("log of the load", || shipping.state.borrow().stored > Lsn(8 << 20));
        standby.promote();
        load.kill();
        let load = standby.pgbench(&["-T", "120", "-c", "2"]);
        std::thread::sleep(Duration::from_secs(1));
        load.kill();
        let end = flushed(&standby);
        wait_stored(&shipping, 2, end);
        no_hole_along_timeline_2(&rig, end);
        let taken = rig.snapshot(&standby);
        assert_eq!(taken.timeline, Timeline(2));
        shipping.stop(&rig).unwrap();
    }
}

/// From the first byte that was ever stored on, along timeline 2, up to `end`.
fn no_hole_along_timeline_2(rig: &Rig, end: Lsn) {
    let inventory = rig.archive().inventory().unwrap();
    let size = inventory.segment_size;
    let history = &inventory.histories[&Timeline(2)];
    let switch = history.ancestors[0].switch;
    let first = inventory.objects.first().unwrap();
    assert_eq!(first.timeline, Timeline(1));
    let begin = size.start_of(first.segment);
    assert!(begin < switch && switch < end);
    assert!(inventory.stored_until(history, begin) >= end, "a hole before {end}");
    assert!(inventory.contiguous_bytes(Timeline(2), size.number_of(switch)) > 0);
    let before: Vec<_> = inventory.objects.iter().filter(|o| o.timeline == Timeline(2)).collect();
    assert!(before.iter().all(|o| o.segment >= size.number_of(switch)));
}

#[test]
fn a_failover_to_the_other_host_loses_nothing() {
    let (mut primary, standby) = pair(15);
    let rig = Rig::new();
    let source = rig.source(&[primary.conninfo(), standby.conninfo()]);
    let shipping = rig.ship(&source, PARTS);
    let load = primary.pgbench(&["-T", "120", "-c", "2"]);
    wait_for("log of the load", || shipping.state.borrow().stored > Lsn(8 << 20));
    // As `Protection` does now and then.
    let keep = |stored| rig.runtime.block_on(slots::keep_others(&source, stored));
    let stored = shipping.state.borrow().stored;
    assert_eq!(keep(stored), [] as [String; 0]);
    assert_eq!(keep(stored), [] as [String; 0]);
    let held = standby.psql("postgres", "select restart_lsn from pg_replication_slots");
    assert!(held.parse::<Lsn>().unwrap() > Lsn(1 << 20), "{held}");
    std::thread::sleep(Duration::from_secs(1));
    primary.kill_9();
    load.kill();
    standby.promote();
    for _ in 0..3 {
        standby.psql("postgres", "checkpoint");
        standby.psql("postgres", "update pgbench_accounts set abalance = abalance + 1");
        standby.psql("postgres", "select pg_switch_wal()");
    }
    let end = flushed(&standby);
    wait_stored(&shipping, 2, end);
    assert!(shipping.state.borrow().gaps.is_empty());
    no_hole_along_timeline_2(&rig, end);

    // The old primary comes back on timeline 1, and writes.
    primary.restart();
    primary.psql("postgres", "create table stray as select generate_series(1, 10000) i");
    let before = rig.archive().inventory().unwrap();
    let stop = tokio::sync::watch::channel(false).1;
    let shipper = rig.shipper(&rig.source(&[primary.conninfo()]), PARTS);
    let until = fenice::engines::postgres::ship::Until::Stopped;
    let refused = rig.runtime.block_on(shipper.run(until, stop)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused, "{refused:?}");
    standby.psql("postgres", "create table kept as select generate_series(1, 10000) i");
    let end = flushed(&standby);
    wait_stored(&shipping, 2, end);
    shipping.stop(&rig).unwrap();
    let after = rig.archive().inventory().unwrap();
    let on_one = |inventory: &fenice::model::WalInventory| {
        inventory.objects.iter().filter(|o| o.timeline == Timeline(1)).count()
    };
    assert_eq!(on_one(&before), on_one(&after), "the old primary's log was taken");

    // Asked first, it is passed over.
    let shipping = rig.ship(&rig.source(&[standby.conninfo()]), PARTS);
    shipping.stop(&rig).unwrap();
    let both = rig.source(&[primary.conninfo(), standby.conninfo()]);
    let shipping = rig.ship(&both, PARTS);
    standby.psql("postgres", "create table more as select generate_series(1, 10000) i");
    let end = flushed(&standby);
    wait_stored(&shipping, 2, end);
    shipping.stop(&rig).unwrap();
    no_hole_along_timeline_2(&rig, end);
}
