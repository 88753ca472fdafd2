//! Rehearsals: what passes, what turns them red, and what they never see.

use std::fs;
use std::process::Child;

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::rig::{Place, RESOURCE};
use crate::support::{Cluster, available_versions, naming, wait_for};

/// A cluster with pgbench's tables, prepared; nothing is stored yet.
fn prepared(version: u32) -> (Cluster, Place) {
    let cluster = Cluster::builder().version(version).segment_size_mib(1).start();
    cluster.pgbench_init(1);
    let place = Place::for_cluster(&cluster);
    add(&place, &format!("bin_dir = \"{}\"\n", cluster.bin_dir().display()));
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    (cluster, place)
}

/// Adds to the configuration, which ends within the resource.
fn add(place: &Place, text: &str) {
    let present = fs::read_to_string(place.path("fenice.toml")).unwrap();
    place.write("fenice.toml", &format!("{present}{text}"));
}

fn assertion(name: &str, sql: &str) -> String {
    format!("[[resource.check]]\nname = \"{name}\"\nsql = \"{sql}\"\n")
}

#[track_caller]
fn drill(place: &Place, code: i32, extra: &[&str]) -> Value {
    let dir = place.dir().to_str().unwrap();
    let arguments: Vec<&str> =
        ["drill", "run", RESOURCE, "--dir", dir].iter().chain(extra).copied().collect();
    let report = place.json(code, &arguments);
    let left = naming(&place.dir().join("fenice-drill"));
    assert!(left.is_empty(), "the drill left {left:?}");
    report
}

fn instant(of: &Value) -> Timestamp {
    of.as_str().unwrap().parse().unwrap()
}

/// Ended in order, as `systemd` would.
fn end(mut shipping: Child) {
    kill_process(Pid::from_child(&shipping), Signal::TERM).unwrap();
    assert!(shipping.wait().unwrap().success());
}

#[test]
fn a_drill_passes_while_shipping_goes_on() {
    for version in available_versions().into_iter().filter(|version| *version < 18) {
        let (cluster, place) = prepared(version);
        let shipping = place.start(&["ship", RESOURCE]);
        let load = cluster.pgbench(&["-n", "-T", "600", "-c", "2", "-R", "50"]);
        place.does(&["snapshot", RESOURCE]);
        let beats = || cluster.psql("postgres", "select count(*) from fenice.heartbeat");
        wait_for("five heartbeats", || beats().parse::<u32>().unwrap() >= 5);
        let report = drill(&place, 0, &[]);
        load.kill();
        end(shipping);
        assert_eq!(report["verdict"], "passed", "{report}");
        for objective in ["rto", "rpo"] {
            assert!(report["objectives"][objective]["measured_seconds"].is_f64(), "{report}");
        }
        // It was stored before, so it was written before.
        let times = &report["times"];
        assert!(instant(&times["t_data"]) <= instant(&times["t_disrupt"]), "{times}");
        assert!(instant(&times["t_disrupt"]) <= instant(&times["t_service"]), "{times}");
    }
}

/// A red drill has no figures; `what` names the checks that turned it red.
#[track_caller]
fn assert_red(place: &Place, what: &[&str]) {
    let report = drill(place, 3, &[]);
    assert_eq!(report["verdict"], "failed", "{report}");
    assert!(report["objectives"]["rto"]["measured_seconds"].is_null(), "{report}");
    assert!(report["objectives"]["rpo"]["measured_seconds"].is_null(), "{report}");
    let checks = report["checks"].as_array().unwrap();
    let bad: Vec<&str> = checks
        .iter()
        .filter(|check| check["verdict"] != "pass")
        .map(|check| check["id"].as_str().unwrap())
        .collect();
    assert_eq!(bad, what, "{report}");
}

#[test]
fn whatever_is_wrong_turns_a_drill_red() {
    let (cluster, place) = prepared(15);
    cluster.psql("postgres", "vacuum analyze");
    place.does(&["ship", RESOURCE, "--once"]);
    place.does(&["snapshot", RESOURCE]);
    let source_does = |sql: &str| {
        cluster.psql("postgres", sql);
        place.does(&["ship", RESOURCE, "--once"]);
    };
    source_does("select 1");
    assert_eq!(drill(&place, 0, &[])["verdict"], "passed");

    source_does("delete from pgbench_accounts where aid > 1000");
    assert_red(&place, &["row-counts"]);
    source_does("insert into pgbench_accounts select g, 1, 0 from generate_series(1001, 100000) g");

    let asked = fs::read_to_string(place.path("fenice.toml")).unwrap();
    add(&place, &assertion("branches", "select count(*) = 2 from pgbench_branches"));
    assert_red(&place, &["sql:branches"]);
    place.write("fenice.toml", &asked);

    source_does(
        "insert into fenice.heartbeat select max(seq) + 1, now(), repeat('ab', 32) \
         from fenice.heartbeat",
    );
    assert_red(&place, &["heartbeats"]);
    // For ever, as deleting it leaves a hole; so what follows needs no repair either. The snapshot
    // also knows how many rows the table had.
    source_does("drop table fenice.heartbeat");
    assert_red(&place, &["heartbeats", "row-counts"]);
}

#[test]
fn what_was_shipped_after_the_disruption_never_appears() {
    let (cluster, place) = prepared(15);
    let ship = || place.does(&["ship", RESOURCE, "--once"]);
    cluster.psql("postgres", "create table seen (what text)");
    ship();
    place.does(&["snapshot", RESOURCE]);
    cluster.psql("postgres", "insert into seen values ('before')");
    ship();
    let disruption = cluster.psql(
        "postgres",
        "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    );
    cluster.psql("postgres", "insert into seen values ('after')");
    ship();
    add(&place, &assertion("seen", "select string_agg(what, ' ') = 'before' from seen"));
    let report = drill(&place, 0, &["--to", &disruption]);
    assert_eq!(instant(&report["times"]["t_disrupt"]), disruption.parse::<Timestamp>().unwrap());
    // The same question about the present finds what came later.
    assert_red(&place, &["sql:seen"]);
}
