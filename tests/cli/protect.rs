//! From an empty folder to a protected cluster.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use rustix::process::{Pid, Signal, kill_process};

use super::rig::{Place, RESOURCE};
use crate::support::{Cluster, stop_postmaster, wait_for};

#[test]
fn a_repository_is_made_once() {
    let place = Place::without_server();
    let first = place.does(&["init"]);
    assert!(first.contains("FENICE RECOVERY KIT"), "{first}");
    assert!(first.contains("AGE-SECRET-KEY-1"), "{first}");
    assert!(first.contains("recipients = [\"age1"), "{first}");
    let identity = fs::metadata(place.path("identity.age")).unwrap();
    assert_eq!(identity.permissions().mode() & 0o777, 0o600);
    let again = place.does(&["init"]);
    assert!(again.contains("exists already"), "{again}");
    assert!(!again.contains("SECRET"), "{again}");
}

#[test]
fn a_kit_can_go_to_a_private_file() {
    let place = Place::without_server();
    let kit = place.path("kit");
    let made = place.json(0, &["init", "main", "--kit", kit.to_str().unwrap()]);
    assert_eq!(made[0]["created"], true);
    assert!(made[0]["kit"].is_null());
    assert!(fs::read_to_string(&kit).unwrap().contains("AGE-SECRET-KEY-1"));
    assert_eq!(fs::metadata(&kit).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_role_with_few_rights_is_prepared_and_protects() {
    for version in [15, 17] {
        let cluster = Cluster::builder().version(version).start();
        let role = format!(
            "host={} port={} user=fenice dbname=postgres",
            cluster.socket_dir().display(),
            cluster.port()
        );
        let place = Place::with_connection(&role, &cluster.data_dir());
        place.does(&["init"]);
        let unprepared = place.ends(1, &["prepare", RESOURCE]);
        assert!(unprepared.stderr.contains("fenice"), "{}", unprepared.stderr);
        let sql = place.does(&["prepare", RESOURCE, "--print-sql"]);
        cluster.psql("postgres", "revoke connect on database template1 from public");
        cluster.psql("postgres", &sql);
        cluster.psql("postgres", &sql); // safe to run again
        let prepared = place.json(0, &["prepare", RESOURCE]);
        assert_eq!(prepared["slot"], "fenice_registro");
        let slots = cluster.psql("postgres", "select slot_name from pg_replication_slots");
        assert_eq!(slots, "fenice_registro");
        place.does(&["ship", RESOURCE, "--once"]);
        assert_eq!(cluster.psql("postgres", "select count(*) from fenice.heartbeat"), "1");
        let taken = place.json(0, &["snapshot", RESOURCE]);
        assert_eq!(taken["pages"]["damaged_count"], 0);
        assert!(taken["bytes"].as_u64().unwrap() > 1 << 20);
    }
}

#[test]
fn heartbeats_of_an_earlier_repository_are_noticed() {
    let cluster = Cluster::builder().start();
    let protect = |place: &Place, code: i32, extra: &[&str]| {
        place.does(&["init"]);
        place.ends(code, &[["prepare", RESOURCE].as_slice(), extra].concat())
    };
    let earlier = Place::for_cluster(&cluster);
    protect(&earlier, 0, &[]);
    earlier.does(&["ship", RESOURCE, "--once"]);
    protect(&earlier, 0, &[]); // its own

    let place = Place::for_cluster(&cluster);
    let refused = protect(&place, 4, &[]);
    for part in ["holds 1 rows", "--new-heartbeats"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    protect(&place, 0, &["--new-heartbeats"]);
    place.does(&["ship", RESOURCE, "--once"]);
    assert_eq!(cluster.psql("postgres", "select seq from fenice.heartbeat"), "1");
}

#[test]
fn a_superuser_prepares_without_a_dba() {
    let cluster = Cluster::builder().start();
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    let prepared = place.does(&["prepare", RESOURCE]);
    assert!(prepared.contains("registro is prepared"), "{prepared}");
    assert_eq!(cluster.psql("postgres", "select count(*) from fenice.heartbeat"), "0");
}

#[test]
fn shipping_beats_until_it_is_told_to_end() {
    let cluster = Cluster::builder().start();
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    let mut ship = place.start(&["ship", RESOURCE, "--json"]);
    let beats = || cluster.psql("postgres", "select count(*) from fenice.heartbeat");
    wait_for("two heartbeats", || beats().parse::<u64>().unwrap() >= 2);
    let busy = place.ends(5, &["ship", RESOURCE, "--once"]);
    assert!(busy.stderr.contains("hint: "), "{}", busy.stderr);
    // The log a snapshot needs comes from the shipper that runs.
    place.does(&["snapshot", RESOURCE]);
    kill_process(Pid::from_child(&ship), Signal::TERM).unwrap();
    let mut out = String::new();
    ship.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(ship.wait().unwrap().code(), Some(0));
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(answer["trouble"].is_null(), "{answer}");
    place.does(&["ship", RESOURCE, "--for", "1s"]);
}

#[test]
fn list_and_status_tell_what_is_there() {
    let cluster = Cluster::builder().start();
    let place = Place::for_cluster(&cluster);
    let unknown = place.json(3, &["status"]);
    assert!(unknown["resources"][0]["red"][0].as_str().unwrap().contains("cannot be told"));
    place.does(&["init"]);
    let empty = place.json(3, &["status"]);
    assert_eq!(empty["red"], true);
    assert!(empty["resources"][0]["rpo_exposure_seconds"].is_null());
    assert!(place.does(&["list"]).contains("no snapshots"));
    place.does(&["prepare", RESOURCE]);
    let taken = place.json(0, &["snapshot", RESOURCE, "--full"]);
    let dark = place.ends(3, &["status"]);
    assert!(dark.stdout.contains("cannot tell"), "{}", dark.stdout);
    place.does(&["ship", RESOURCE, "--once"]);
    let green = place.json(0, &["status"]);
    let one = &green["resources"][0];
    assert_eq!(one["last_snapshot"], taken["id"], "{green}");
    assert!(one["rpo_exposure_seconds"].as_f64().unwrap() < 600.0, "{green}");
    assert!(one["last_proof_at"].is_null(), "{green}");
    let list = place.json(0, &["list", RESOURCE]);
    assert_eq!(list[0]["snapshots"][0]["proof"], "taken", "{list}");
    assert_eq!(list[0]["windows"][0]["snapshots"][0], taken["id"], "{list}");
    let text = place.does(&["list"]);
    assert!(text.contains("every instant from "), "{text}");
    assert!(place.does(&["status"]).contains("no second copy"));
    let state = fs::metadata(place.path("state")).unwrap();
    assert_eq!(state.permissions().mode() & 0o777, 0o700);
}

#[test]
fn damage_is_told_and_ends_with_3() {
    let cluster = Cluster::builder().start();
    cluster.psql("postgres", "create table t as select g from generate_series(1, 20000) g");
    let path = cluster.psql("postgres", "select pg_relation_filepath('t')");
    cluster.psql("postgres", "checkpoint");
    let file = cluster.data_dir().join(path);
    let mut bytes = fs::read(&file).unwrap();
    bytes[3 * 8_192 + 5_000] ^= 0xFF;
    fs::write(&file, bytes).unwrap();
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    let damaged = place.ends(3, &["snapshot", RESOURCE]);
    assert!(damaged.stdout.contains("1 DAMAGED"), "{}", damaged.stdout);
    let status = place.ends(3, &["status"]);
    assert!(status.stdout.contains("damaged pages"), "{}", status.stdout);
}

#[test]
fn slots_on_other_hosts_follow() {
    let primary = Cluster::builder().start();
    let standby = Cluster::standby_of(&primary);
    let both = format!(
        "host={},{} port={},{} user=postgres dbname=postgres",
        primary.socket_dir().display(),
        standby.socket_dir().display(),
        primary.port(),
        standby.port()
    );
    let place = Place::with_connection(&both, &primary.data_dir());
    place.does(&["init"]);
    let prepared = place.json(0, &["prepare", RESOURCE]);
    assert_eq!(prepared["hosts"].as_array().unwrap().len(), 2, "{prepared}");
    primary.psql("postgres", "create table t as select g from generate_series(1, 90000) g");
    standby.psql("postgres", "select pg_drop_replication_slot('fenice_registro')");
    let mut ship = place.start(&["ship", RESOURCE]);
    let restart = "select coalesce(min(restart_lsn), '0/0') from pg_replication_slots \
                   where slot_name = 'fenice_registro'";
    let before = primary.psql("postgres", "select pg_current_wal_flush_lsn()");
    let passed = format!("select ({restart}) > '{before}'::pg_lsn");
    wait_for("the standby's slot to move on", || standby.psql("postgres", &passed) == "t");
    kill_process(Pid::from_child(&ship), Signal::INT).unwrap();
    assert_eq!(ship.wait().unwrap().code(), Some(0));
}

#[test]
fn a_new_tablespace_calls_for_a_snapshot() {
    let cluster = Cluster::builder().segment_size_mib(1).start();
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    let make = |name: &str| {
        let dir = cluster.subdirectory(name);
        let sql = format!("create tablespace {name} location '{}'", dir.display());
        cluster.psql("postgres", &sql);
    };
    make("old");
    place.does(&["snapshot", RESOURCE]);
    let count = || {
        let list = place.json(0, &["list", RESOURCE]);
        list[0]["snapshots"].as_array().unwrap().len()
    };
    let mut ship = place.start(&["ship", RESOURCE]);
    let beats = || cluster.psql("postgres", "select count(*) from fenice.heartbeat");
    wait_for("three heartbeats", || beats().parse::<u32>().unwrap() >= 3);
    assert_eq!(count(), 1, "the old one is known");
    make("new");
    wait_for("a snapshot with it", || count() == 2);
    kill_process(Pid::from_child(&ship), Signal::INT).unwrap();
    assert_eq!(ship.wait().unwrap().code(), Some(0));
    let target = place.path("restored");
    place.does(&["restore", RESOURCE, "--start", "--target", target.to_str().unwrap()]);
    assert_eq!(std::fs::read_dir(target.join("pg_tblspc")).unwrap().count(), 2);
    stop_postmaster(&target);
}

#[test]
fn a_gap_is_recorded_and_answered_by_a_snapshot_at_once() {
    let small = |builder: crate::support::Builder| {
        builder.segment_size_mib(1).setting("min_wal_size", "2MB").setting("max_wal_size", "2MB")
    };
    let cluster = small(Cluster::builder()).start();
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    place.does(&["snapshot", RESOURCE]);
    cluster.psql("postgres", "select pg_drop_replication_slot('fenice_registro')");
    for _ in 0..4 {
        cluster.psql("postgres", "drop table if exists t");
        cluster.psql("postgres", "create table t as select g from generate_series(1, 90000) g");
        cluster.psql("postgres", "checkpoint");
    }
    let mut ship = place.start(&["ship", RESOURCE]);
    let snapshots = || {
        let list = place.json(0, &["list", RESOURCE]);
        list[0]["snapshots"].as_array().unwrap().len()
    };
    wait_for("the snapshot after the gap", || snapshots() == 2);
    kill_process(Pid::from_child(&ship), Signal::TERM).unwrap();
    assert_eq!(ship.wait().unwrap().code(), Some(0));
    let list = place.json(0, &["list", RESOURCE]);
    assert_eq!(list[0]["gaps"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list[0]["windows"].as_array().unwrap().len(), 2, "{list}");
    assert!(place.does(&["list"]).contains("the log breaks off"));
    // Answered: status is green again.
    place.does(&["ship", RESOURCE, "--once"]);
    assert_eq!(place.json(0, &["status"])["resources"][0]["gaps"], 1);
}
