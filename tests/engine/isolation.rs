//! A restored server cannot touch production (RULES 4): not its tablespaces, not its archive, not
//! through settings that came along, not by replaying `CREATE TABLESPACE`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fenice::error::Kind;
use fenice::model::Lsn;
use fenice::plan::facts::Target;
use jiff::Timestamp;

use super::compare::tree;
use super::rig::{Rig, Shipping};
use crate::support::{Cluster, Stop, wait_for};

/// Waits until all that `cluster` wrote is stored.
pub fn ship_all(cluster: &Cluster, shipping: &Shipping) {
    let end: Lsn = cluster.psql("postgres", "select pg_current_wal_flush_lsn()").parse().unwrap();
    let state = shipping.state.clone();
    wait_for("everything is shipped", || state.borrow().stored >= end);
}

/// Production with two tablespaces, an archive, and settings that would do harm elsewhere.
struct Production {
    cluster: Cluster,
    spaces: [PathBuf; 2],
    archive: PathBuf,
}

fn production() -> Production {
    let cluster = Cluster::builder()
        .version(15)
        .segment_size_mib(1)
        .setting("archive_mode", "on")
        .setting("archive_command", "false")
        .start();
    let spaces = [cluster.subdirectory("space one"), cluster.subdirectory("space-2")];
    let archive = cluster.subdirectory("archive");
    for (number, space) in spaces.iter().enumerate() {
        let sql = format!("create tablespace ts{number} location '{}'", space.display());
        cluster.psql("postgres", &sql);
        let sql = format!("create table t{number} (n int) tablespace ts{number}");
        cluster.psql("postgres", &sql);
    }
    let to = archive.display();
    let harmful = [
        ("archive_command", format!("cp %p {to}/%f")),
        ("restore_command", format!("touch {to}/restored; cp {to}/%f %p")),
        ("archive_cleanup_command", format!("touch {to}/cleaned; rm -rf {to}/0*")),
        ("recovery_end_command", format!("touch {to}/ended")),
        ("primary_conninfo", cluster.conninfo()),
        ("primary_slot_name", "production".to_owned()),
        ("recovery_target_time", "2020-01-01 00:00:00+00".to_owned()),
        ("recovery_target_action", "shutdown".to_owned()),
        ("recovery_target_timeline", "1".to_owned()),
    ];
    for (name, value) in harmful {
        let value = value.replace('\'', "''");
        cluster.psql("postgres", &format!("alter system set {name} = '{value}'"));
    }
    cluster.psql("postgres", "select pg_reload_conf()");
    Production { cluster, spaces, archive }
}

const WRITE: [&str; 4] = [
    "create table c0 tablespace ts0 as select generate_series(1, 1000) n",
    "create table c1 tablespace ts1 as select generate_series(1, 1000) n",
    "insert into t0 select generate_series(1, 1000)",
    "insert into t1 select generate_series(1, 1000)",
];

#[test]
fn a_copy_leaves_tablespaces_and_archive_of_production_alone() {
    let Production { mut cluster, spaces, archive } = production();
    let rig = Rig::new();
    let shipping = rig.ship(&rig.source(&[cluster.conninfo()]), Duration::from_millis(200));
    let snapshot = rig.snapshot(&cluster);
    assert_eq!(snapshot.tablespaces.len(), 2);
    cluster.psql("postgres", "insert into t0 select generate_series(1, 50000)");
    cluster.psql("postgres", "insert into t1 values (1); select pg_switch_wal()");
    ship_all(&cluster, &shipping);
    shipping.stop(&rig).unwrap();
    wait_for("production archives", || {
        cluster.psql("postgres", "select archived_count > 0 from pg_stat_archiver") == "t"
    });
    cluster.stop(Stop::Fast);
    let data_dir = cluster.data_dir();
    let theirs = [spaces[0].as_path(), &spaces[1], &archive, &data_dir];
    let before = tree(&theirs);

    let restored = rig.restore(&cluster, "copy", Target::Latest).unwrap();
    assert_eq!(restored.query("postgres", "select count(*) from t0"), ["50000"]);
    for sql in WRITE {
        restored.query("postgres", sql);
    }
    restored.query("postgres", "select pg_switch_wal()");
    restored.query("postgres", "checkpoint");
    let below = rig.scratch.path().join("copy.tablespaces").display().to_string();
    let places = "select pg_tablespace_location(oid) from pg_tablespace where spcname ~ '^ts'";
    let places = restored.query("postgres", places);
    assert!(places.len() == 2 && places.iter().all(|p| p.starts_with(&below)), "{places:?}");
    let files = restored.query("postgres", "select pg_relation_filepath('c1')");
    let files = rig.scratch.path().join("copy").join(&files[0]);
    assert!(std::fs::canonicalize(&files).unwrap().starts_with(&below), "{}", files.display());
    let files = restored.stop();
    assert_eq!(before, tree(&theirs), "production was touched");

    // Started by hand, without anything of ours on the command line.
    let (dir, side) = (files.place.target.display().to_string(), files.place.side.display());
    let options = format!("-k {side} -c listen_addresses=''");
    let log = format!("{side}/by-hand.log");
    let start = ["-D", &dir, "-o", &options, "-l", &log, "-w", "start"];
    cluster.program("pg_ctl", &start).expect_success("pg_ctl start");
    let host = format!("host={side} port=5432 user=postgres dbname=postgres");
    let sql = "create table by_hand tablespace ts0 as select 1; select pg_switch_wal(); checkpoint";
    let wrote = cluster.program("psql", &["-X", "-c", sql, &host]);
    let stopped = cluster.program("pg_ctl", &["-D", &dir, "-w", "-m", "fast", "stop"]);
    wrote.expect_success("write to the copy started by hand");
    stopped.expect_success("pg_ctl stop");
    assert_eq!(before, tree(&theirs), "production was touched by hand");
}

/// One cluster on whose log a tablespace is made after the snapshot.
fn later_tablespace(version: u32) {
    let mut cluster = Cluster::builder().version(version).segment_size_mib(1).start();
    cluster.psql("postgres", "create table early (n int)");
    // One made before, in the same segment as the start, is none of the guard's business.
    let old = cluster.subdirectory("old");
    cluster.psql("postgres", &format!("create tablespace old location '{}'", old.display()));
    let rig = Rig::new();
    let shipping = rig.ship(&rig.source(&[cluster.conninfo()]), Duration::from_millis(200));
    rig.snapshot(&cluster);
    cluster.psql("postgres", "insert into early values (1)");
    std::thread::sleep(Duration::from_millis(20));
    let before: Timestamp = cluster
        .psql("postgres", "select to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        .parse()
        .unwrap();
    std::thread::sleep(Duration::from_millis(20));
    cluster.psql("postgres", "insert into early values (2)");
    let new = cluster.subdirectory("new");
    cluster.psql("postgres", &format!("create tablespace late location '{}'", new.display()));
    cluster.psql("postgres", "create table t tablespace late as select generate_series(1, 9) n");
    cluster.psql("postgres", "checkpoint");
    ship_all(&cluster, &shipping);
    let untouched = tree(&[&new, &old]);

    let Err(error) = rig.restore(&cluster, "refused", Target::Latest) else {
        panic!("replayed the creation of production's tablespace")
    };
    assert_eq!(error.kind(), Kind::Refused, "{error:?}");
    let text = format!("{error:?}");
    assert!(text.contains(&new.display().to_string()) && text.contains("tablespace"), "{text}");
    assert!(error.hint_text().unwrap().contains("take a new snapshot"), "{text}");
    assert_eq!(untouched, tree(&[&new, &old]));
    at_its_original_place(&rig, &mut cluster, &new);
    assert_eq!(untouched, tree(&[&new, &old]));

    let earlier = rig.restore(&cluster, "earlier", Target::At(before)).unwrap();
    assert_eq!(earlier.query("postgres", "select n from early"), ["1"]);
    drop(earlier.stop());
    rig.snapshot(&cluster);
    let latest = rig.restore(&cluster, "latest", Target::Latest).unwrap();
    assert_eq!(latest.query("postgres", "select count(*) from t"), ["9"]);
    latest.query("postgres", "insert into t values (10)");
    latest.query("postgres", "checkpoint");
    drop(latest.stop());
    assert_eq!(untouched, tree(&[&new, &old]));
}

/// With the operator's leave it is made where it was, unless anything lies there.
fn at_its_original_place(rig: &Rig, cluster: &mut Cluster, place: &Path) {
    let files = rig.restore_files(cluster, "not-free", Target::Latest).unwrap();
    let error = rig.start_elsewhere(cluster, files).err().unwrap();
    assert_eq!(error.kind(), Kind::Refused, "{error:?}");
    assert!(error.chain().contains("is not empty"), "{error:?}");

    // The host is lost, and another one takes over.
    cluster.stop(Stop::Fast);
    let lost = place.with_extension("lost");
    std::fs::rename(place, &lost).unwrap();
    let files = rig.restore_files(cluster, "elsewhere", Target::Latest).unwrap();
    let restored = rig.start_elsewhere(cluster, files).unwrap();
    assert_eq!(restored.query("postgres", "select count(*) from t"), ["9"]);
    assert_eq!(restored.query("postgres", "select n from early order by n"), ["1", "2"]);
    drop(restored.stop());
    assert!(!tree(&[place]).is_empty());
    std::fs::remove_dir_all(place).unwrap();
    std::fs::rename(&lost, place).unwrap();
    cluster.restart();
}

#[test]
fn a_tablespace_made_after_the_snapshot_stops_recovery_15() {
    later_tablespace(15);
}

#[test]
fn a_tablespace_made_after_the_snapshot_stops_recovery_17() {
    later_tablespace(17);
}
