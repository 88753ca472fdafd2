//! What shipping survives: servers, slots, networks and repositories that fail; what it refuses.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fenice::engines::postgres::ship::Until;
use fenice::error::Kind;
use fenice::model::{Extent, Lsn};
use fenice::repository::manifest;

use super::rig::{Rig, Shipping};
use crate::support::proxy::{Fault, Proxy};
use crate::support::{Cluster, Home, Scratch, Stop, run, wait_for};

const PARTS: Duration = Duration::from_millis(200);

fn cluster() -> Cluster {
    Cluster::builder().segment_size_mib(1).start()
}

fn flushed(cluster: &Cluster) -> Lsn {
    cluster.psql("postgres", "select pg_current_wal_flush_lsn()").parse().unwrap()
}

/// About 2 MiB of log that does not compress away.
fn write_log(cluster: &Cluster) -> Lsn {
    cluster.psql(
        "postgres",
        "create table if not exists filler (t text);
         insert into filler select md5(i::text || random()) from generate_series(1, 20000) i;",
    );
    flushed(cluster)
}

/// Waits until everything up to `end` is stored, without a hole since the archive's first byte.
#[track_caller]
fn wait_whole(rig: &Rig, shipping: &Shipping, end: Lsn) {
    wait_for("the log is stored", || shipping.state.borrow().stored >= end);
    assert_whole(rig, end);
    wait_for("no trouble is told", || shipping.state.borrow().trouble.is_none());
}

#[track_caller]
fn assert_whole(rig: &Rig, end: Lsn) {
    let inventory = rig.archive().inventory().unwrap();
    let first = inventory.objects.first().unwrap();
    let begin = inventory.segment_size.start_of(first.segment);
    let reached = rig.stored_until(first.timeline, begin);
    assert!(reached >= end, "from {begin} on a hole at {reached}, before {end}");
    assert!(manifest::gaps(&rig.repository, &rig.resource).unwrap().is_empty());
}

/// Every stored whole segment that the server still has is the same there.
fn assert_same(rig: &Rig, cluster: &Cluster) -> usize {
    let archive = rig.archive();
    let inventory = archive.inventory().unwrap();
    let mut compared = 0;
    for object in inventory.objects.iter().filter(|o| o.extent == Extent::Whole) {
        let size = inventory.segment_size;
        let name = fenice::model::wal_name::segment_name(object.timeline, object.segment, size);
        let path = cluster.data_dir().join("pg_wal").join(&name);
        if let Ok(original) = std::fs::read(path) {
            assert!(archive.read(object).unwrap() == original, "{name} differs");
            compared += 1;
        }
    }
    compared
}

#[test]
fn a_restarted_server_is_not_held_up_and_shipping_goes_on() {
    let mut cluster = cluster();
    let rig = Rig::new();
    // Parts are an hour away: a shutdown in order must not wait for them.
    let shipping = rig.ship(&rig.source(&[cluster.conninfo()]), Duration::from_secs(3_600));
    let end = write_log(&cluster);
    wait_for("whole segments", || shipping.state.borrow().stored.plus(1 << 20) > end);
    cluster.stop(Stop::Fast);
    wait_for("the end of the log is stored", || shipping.state.borrow().stored > end);
    cluster.restart();
    let end = write_log(&cluster);
    wait_for("whole segments", || shipping.state.borrow().stored.plus(1 << 20) > end);
    cluster.stop(Stop::Immediate);
    cluster.restart();
    let end = write_log(&cluster);
    wait_for("whole segments", || shipping.state.borrow().stored.plus(1 << 20) > end);
    shipping.stop(&rig).unwrap();
    assert_whole(&rig, end);
    assert!(assert_same(&rig, &cluster) >= 3);
}

#[test]
fn a_dropped_slot_whose_log_is_still_there_leaves_no_gap() {
    let cluster = Cluster::builder().segment_size_mib(1).setting("wal_keep_size", "64MB").start();
    let rig = Rig::new();
    let source = rig.source(&[cluster.conninfo()]);
    let shipping = rig.ship(&source, PARTS);
    let end = write_log(&cluster);
    wait_whole(&rig, &shipping, end);
    shipping.stop(&rig).unwrap();
    wait_for("the slot is free", || {
        cluster.psql_try("postgres", "select pg_drop_replication_slot('fenice_registro')").is_ok()
    });
    let end = write_log(&cluster);
    cluster.psql("postgres", "checkpoint");
    let shipping = rig.ship(&source, PARTS);
    wait_whole(&rig, &shipping, end);
    let slots = cluster.psql("postgres", "select slot_name from pg_replication_slots");
    assert_eq!(slots, "fenice_registro");
    shipping.stop(&rig).unwrap();
}

/// Stops shipping, lets the server remove what was not shipped, and ships again.
fn gap_after(cluster: &Cluster, lose_slot: impl Fn()) {
    let rig = Rig::new();
    let source = rig.source(&[cluster.conninfo()]);
    let shipping = rig.ship(&source, PARTS);
    let before = write_log(cluster);
    wait_whole(&rig, &shipping, before);
    shipping.stop(&rig).unwrap();
    lose_slot();
    for _ in 0..6 {
        write_log(cluster);
        cluster.psql("postgres", "select pg_switch_wal(); checkpoint");
    }
    let shipping = rig.ship(&source, PARTS);
    wait_for("a gap is recorded", || !shipping.state.borrow().gaps.is_empty());
    let gap = shipping.state.borrow().gaps[0];
    assert!(gap.from >= before && gap.to > gap.from, "{gap:?} after {before}");
    let end = write_log(cluster);
    wait_for("shipping goes on", || shipping.state.borrow().stored >= end);
    let recorded = manifest::gaps(&rig.repository, &rig.resource).unwrap();
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    assert_eq!((recorded[0].from, recorded[0].to), (gap.from, gap.to));
    let inventory = rig.archive().inventory().unwrap();
    let root = inventory.history(fenice::model::Timeline(1)).unwrap();
    assert!(inventory.stored_until(&root, gap.from) < gap.to);
    assert!(inventory.stored_until(&root, gap.to) >= end);
    let taken = rig.snapshot(cluster);
    assert!(taken.start_lsn > gap.to && rig.stored_from(&taken) >= taken.stop_lsn);
    shipping.stop(&rig).unwrap();
    // The gap is no reason to begin anew.
    let shipping = rig.ship(&source, PARTS);
    let end = write_log(cluster);
    wait_for("shipping goes on", || shipping.state.borrow().stored >= end);
    assert_eq!(manifest::gaps(&rig.repository, &rig.resource).unwrap().len(), 1);
    shipping.stop(&rig).unwrap();
}

#[test]
fn log_that_is_gone_with_its_slot_is_a_recorded_gap() {
    let builder = Cluster::builder().segment_size_mib(1).setting("wal_keep_size", "0");
    let cluster = builder.setting("max_wal_size", "2MB").setting("min_wal_size", "2MB").start();
    gap_after(&cluster, || {
        let drop = "select pg_drop_replication_slot('fenice_registro')";
        wait_for("the slot is free", || cluster.psql_try("postgres", drop).is_ok());
    });
}

#[test]
fn a_slot_that_the_server_invalidated_is_made_again_after_a_gap() {
    let builder = Cluster::builder().segment_size_mib(1).setting("wal_keep_size", "0");
    let builder = builder.setting("max_wal_size", "2MB").setting("min_wal_size", "2MB");
    let cluster = builder.setting("max_slot_wal_keep_size", "1MB").start();
    gap_after(&cluster, || {});
    let status = cluster.psql("postgres", "select wal_status from pg_replication_slots");
    assert!(["reserved", "extended", "unreserved"].contains(&status.as_str()), "{status}");
}

/// How long the repository stays away: a moment, or `FENICE_TEST_OUTAGE_SECONDS`.
fn outage() -> Duration {
    let asked = std::env::var("FENICE_TEST_OUTAGE_SECONDS").ok();
    let seconds = asked.map_or(2, |text| text.parse().expect("FENICE_TEST_OUTAGE_SECONDS"));
    Duration::from_secs(seconds)
}

#[test]
fn a_repository_that_goes_away_is_waited_for() {
    let cluster = cluster();
    let rig = Rig::new();
    let shipping = rig.ship(&rig.source(&[cluster.conninfo()]), PARTS);
    let end = write_log(&cluster);
    wait_whole(&rig, &shipping, end);
    rig.home.take_away();
    let mut end = write_log(&cluster);
    wait_for("trouble is told", || shipping.state.borrow().trouble.is_some());
    for _ in 0..4 {
        end = write_log(&cluster);
    }
    let (gone, outage) = (Instant::now(), outage());
    while gone.elapsed() < outage {
        std::thread::sleep((outage / 20).min(outage.saturating_sub(gone.elapsed())));
        end = write_log(&cluster);
        assert!(shipping.state.borrow().trouble.is_some());
    }
    println!("away for {:.0} s", gone.elapsed().as_secs_f64());
    if let Some(here) = rig.home.folder() {
        assert!(!here.exists(), "the repository was made anew in its old place");
        // An empty mount point in its place is not the repository either.
        std::fs::create_dir(here).unwrap();
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(std::fs::read_dir(here).unwrap().count(), 0, "written into a mount point");
        std::fs::remove_dir(here).unwrap();
    }
    assert!(shipping.state.borrow().trouble.is_some());
    rig.home.give_back();
    wait_whole(&rig, &shipping, end);
    shipping.stop(&rig).unwrap();
    assert!(assert_same(&rig, &cluster) >= 3);
}

#[test]
fn a_server_can_shut_down_while_the_repository_is_away() {
    let mut cluster = cluster();
    let rig = Rig::new();
    let shipping = rig.ship(&rig.source(&[cluster.conninfo()]), PARTS);
    let end = write_log(&cluster);
    wait_whole(&rig, &shipping, end);
    rig.home.take_away();
    let end = write_log(&cluster);
    wait_for("trouble is told", || shipping.state.borrow().trouble.is_some());
    cluster.stop(Stop::Fast);
    rig.home.give_back();
    cluster.restart();
    wait_whole(&rig, &shipping, end);
    shipping.stop(&rig).unwrap();
}

/// A file system of its own, unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    fn mount(at: &Path) -> Option<SmallDisk<'_>> {
        std::fs::create_dir_all(at).unwrap();
        let mut command = Command::new("mount");
        let ended = run(command.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(at), "");
        ended.success().then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(self.0), "");
    }
}

#[test]
fn a_full_disk_is_waited_for() {
    let scratch = Scratch::new();
    let place = scratch.path().join("repository");
    let Some(_disk) = SmallDisk::mount(&place) else {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "NOT TESTED: a full disk (mount needs root)");
        return;
    };
    let cluster = cluster();
    // The rig's own scratch directory is another: the disk is unmounted before this one goes.
    let rig = Rig::on(Scratch::new(), Home::Folder(place.clone()));
    let shipping = rig.ship(&rig.source(&[cluster.conninfo()]), PARTS);
    let end = write_log(&cluster);
    wait_whole(&rig, &shipping, end);
    let ballast = place.join(".ballast");
    // Fills what is left; the error that the disk is full is what we want.
    let _ = std::fs::write(&ballast, vec![1u8; 8 << 20]);
    let end = write_log(&cluster);
    wait_for("trouble is told", || {
        let state = shipping.state.borrow();
        state.trouble.as_ref().is_some_and(|trouble| trouble.contains("space"))
    });
    assert!(shipping.state.borrow().stored < end);
    std::fs::remove_file(&ballast).unwrap();
    wait_whole(&rig, &shipping, end);
    shipping.stop(&rig).unwrap();
}

#[test]
fn a_killed_walsender_and_a_cut_network_are_survived() {
    let cluster = cluster();
    cluster.psql("postgres", "alter role postgres password 'secret'");
    let proxy = Proxy::to(cluster.port());
    let conninfo = format!(
        "host=127.0.0.1 port={} user=postgres password=secret dbname=postgres",
        proxy.port()
    );
    let rig = Rig::new();
    let shipping = rig.ship(&rig.source(&[conninfo]), PARTS);
    for _ in 0..3 {
        let end = write_log(&cluster);
        wait_whole(&rig, &shipping, end);
        let kill = "select count(pg_terminate_backend(pid)) from pg_stat_replication";
        assert_eq!(cluster.psql("postgres", kill), "1");
        let end = write_log(&cluster);
        wait_whole(&rig, &shipping, end);
        proxy.set(Fault::CutAfterBytes(300_000));
        let end = write_log(&cluster);
        wait_for("trouble is told", || shipping.state.borrow().trouble.is_some());
        proxy.set(Fault::None);
        wait_whole(&rig, &shipping, end);
    }
    shipping.stop(&rig).unwrap();
}

#[test]
fn segments_of_every_size_are_shipped_in_parts_and_again_after_a_restart() {
    for mib in [1, 16, 64] {
        let cluster = Cluster::builder().segment_size_mib(mib).start();
        let rig = Rig::new();
        let source = rig.source(&[cluster.conninfo()]);
        for _ in 0..3 {
            let shipping = rig.ship(&source, Duration::from_secs(1));
            let end = write_log(&cluster);
            wait_whole(&rig, &shipping, end);
            let end = write_log(&cluster);
            // Stops in mid-segment; what was received is stored before.
            wait_for("it came", || shipping.state.borrow().server_end >= end);
            shipping.stop(&rig).unwrap();
        }
        cluster.psql("postgres", "select pg_switch_wal()");
        let shipping = rig.ship(&source, Duration::from_secs(1));
        let end = write_log(&cluster);
        wait_whole(&rig, &shipping, end);
        shipping.stop(&rig).unwrap();
        let compared = assert_same(&rig, &cluster);
        assert!(compared >= 1, "{compared} segments of {mib} MiB compared");
        let archive = rig.archive();
        let inventory = archive.inventory().unwrap();
        assert!(inventory.objects.iter().any(|o| o.extent != Extent::Whole));
        // Whatever overlaps says the same: each part joins on to its segment as a whole.
        for object in &inventory.objects {
            let Extent::Part { from, to } = object.extent else { continue };
            let all = inventory.segment(object.timeline, object.segment);
            let segment = archive.read_segment(all).unwrap();
            let part = archive.read(object).unwrap();
            assert!(part == segment[from as usize..to as usize], "{} differs", object.key);
        }
    }
}

#[test]
fn commits_never_wait_for_us() {
    // `local`: the test's own commits do not wait for anybody.
    let builder = Cluster::builder().setting("synchronous_commit", "local");
    let cluster = builder.setting("synchronous_standby_names", "*").start();
    let rig = Rig::new();
    let source = rig.source(&[cluster.conninfo()]);
    let refused = rig.ship(&source, PARTS);
    wait_for("it ended", || refused.ended());
    assert_eq!(refused.stop(&rig).unwrap_err().kind(), Kind::Refused);
    let slots = cluster.psql("postgres", "select count(*) from pg_replication_slots");
    assert_eq!(slots, "0", "it went on after the refusal");

    // The setting comes later: the stream ends by itself.
    cluster.psql("postgres", "alter system set synchronous_standby_names = ''");
    cluster.psql("postgres", "select pg_reload_conf()");
    wait_for("the setting is gone", || {
        cluster.psql("postgres", "show synchronous_standby_names").is_empty()
    });
    let shipping = rig.ship(&source, PARTS);
    let end = write_log(&cluster);
    wait_for("the log is stored", || shipping.state.borrow().stored >= end);
    cluster.psql("postgres", "alter system set synchronous_standby_names = 'a, fenice_registro'");
    cluster.psql("postgres", "select pg_reload_conf()");
    wait_for("it ended", || shipping.ended());
    assert_eq!(shipping.stop(&rig).unwrap_err().kind(), Kind::Refused);
    wait_for("nobody streams", || {
        cluster.psql("postgres", "select count(*) from pg_stat_replication") == "0"
    });
}

#[test]
fn another_cluster_in_its_place_is_refused() {
    let (ours, other) = (cluster(), cluster());
    let rig = Rig::new();
    let shipping = rig.ship(&rig.source(&[ours.conninfo()]), PARTS);
    let end = write_log(&ours);
    wait_whole(&rig, &shipping, end);
    shipping.stop(&rig).unwrap();
    let stop = tokio::sync::watch::channel(false).1;
    let shipper = rig.shipper(&rig.source(&[other.conninfo()]), PARTS);
    let refused = rig.runtime.block_on(shipper.run(Until::Stopped, stop)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused, "{refused:?}");
    assert!(refused.chain().contains("another cluster"), "{refused:?}");
    let slots = other.psql("postgres", "select count(*) from pg_replication_slots");
    assert_eq!(slots, "0");
    let refused = rig.try_snapshot(&other).unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused, "{refused:?}");
    assert!(rig.stream(&rig.source(&[other.conninfo()])).is_err());
    assert!(rig.manifests().is_empty());
}
