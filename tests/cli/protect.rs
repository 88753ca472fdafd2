//! From an empty folder to a protected cluster.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use rustix::process::{Pid, Signal, kill_process};

use super::rig::{Place, RESOURCE};
use crate::support::{Cluster, wait_for};

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
