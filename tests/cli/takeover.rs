//! `takeover` and `catalog rebuild`: a host with nothing but the repository, the identity and the
//! configuration is in charge after one that was killed, or paused.

use std::fs;
use std::io::Read;
use std::process::Child;

use fenice::catalog::Catalog;
use fenice::catalog::heartbeats::Shipping;
use fenice::repository::layout;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::rig::{Place, RESOURCE};
use crate::support::{Builder, Cluster, wait_for};

const LOG_LOCK: &str = "postgres/registro/wal";

/// A command at work, which does not outlive the test, even stopped.
struct Working(Child);

impl Working {
    fn ship(place: &Place) -> Working {
        Working(place.start(&["ship", RESOURCE]))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// How it ends by itself: the code, and what it said.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut ended = None;
        wait_for("the end of a command", || {
            ended = self.0.try_wait().unwrap();
            ended.is_some()
        });
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (ended.unwrap().code(), said)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn small() -> Builder {
    Cluster::builder().version(15).segment_size_mib(1)
}

/// A host that protects `cluster`, with a snapshot.
fn protecting(cluster: &Cluster) -> Place {
    let place = Place::in_bucket();
    place.configure(&cluster.conninfo(), &cluster.data_dir(), "");
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    place.does(&["snapshot", RESOURCE]);
    place
}

fn bare(place: &Place, cluster: &Cluster) -> Place {
    let other = place.another_host();
    other.configure(&cluster.conninfo(), &cluster.data_dir(), "");
    other
}

fn wait_for_beats(cluster: &Cluster) {
    let beats = || cluster.psql("postgres", "select count(*) from fenice.heartbeat");
    let before: u64 = beats().parse().unwrap();
    wait_for("two heartbeats", || beats().parse::<u64>().unwrap() >= before + 2);
}

fn end_of_log(cluster: &Cluster) -> String {
    cluster.psql("postgres", "select pg_current_wal_flush_lsn()")
}

#[track_caller]
fn assert_reaches(cluster: &Cluster, stored: &Value, wanted: &str) {
    let stored = stored.as_str().unwrap();
    let sql = format!("select '{stored}'::pg_lsn >= '{wanted}'::pg_lsn");
    assert_eq!(cluster.psql("postgres", &sql), "t", "{stored} is short of {wanted}");
}

fn lease(place: &Place) -> Value {
    serde_json::from_slice(&place.home.straight().get(layout::LEASE).unwrap().unwrap()).unwrap()
}

fn installation(place: &Place) -> String {
    fs::read_to_string(place.path("state/installation")).unwrap().trim().to_owned()
}

fn keys(place: &Place) -> Vec<String> {
    let listed = place.home.straight().list(&layout::resource(&RESOURCE.parse().unwrap())).unwrap();
    listed.into_iter().map(|entry| entry.key).collect()
}

fn seconds(taken: &Value, phase: &str) -> f64 {
    let phases = taken["phases"].as_array().unwrap();
    let found = phases.iter().find(|one| one["phase"] == phase);
    found.unwrap_or_else(|| panic!("no {phase}: {taken}"))["seconds"].as_f64().unwrap()
}

/// What the catalog of that host knows of the log.
fn noted(place: &Place, of: &Value) -> Option<Shipping> {
    let catalog = Catalog::open(&place.path("state/catalog.sqlite")).unwrap();
    let system_id = of["system_id"].as_str().unwrap().parse().unwrap();
    catalog.shipping(&RESOURCE.parse().unwrap(), system_id).unwrap()
}

#[test]
fn a_bare_host_takes_over_from_one_that_was_killed() {
    let cluster = small().start();
    let old = protecting(&cluster);
    let mut ship = Working::ship(&old);
    wait_for_beats(&cluster);
    ship.signal(Signal::KILL);
    assert_eq!(ship.end().0, None);
    // Nobody on this machine may be asked whether its process still lives.
    old.home.lock_elsewhere(LOG_LOCK);
    let before = (lease(&old), old.json(0, &["list"]));
    cluster.psql("postgres", "create table t as select g from generate_series(1, 50000) g");
    let end = end_of_log(&cluster);

    let new = bare(&old, &cluster);
    let rebuilt = new.json(0, &["catalog", "rebuild"])[0].clone();
    assert_eq!((&rebuilt["resource"], &rebuilt["snapshots"]), (&RESOURCE.into(), &1.into()));
    assert_eq!(rebuilt["window_from"], before.1[0]["windows"][0]["from"], "{rebuilt}");
    let found = noted(&new, &rebuilt).unwrap();
    assert_eq!(rebuilt["stored_until"], found.stored_until.to_string(), "{rebuilt}");
    assert!(new.does(&["catalog", "rebuild"]).contains("recoverable from "));

    let taken = new.json(0, &["takeover"]);
    assert_eq!(taken["whole"], true, "{taken}");
    // Its last sign of life is waited for; locks and leases at once.
    assert!(seconds(&taken, "lease") >= 30.0, "{taken}");
    for phase in ["repositories", "catalog", "shipping"] {
        assert!(seconds(&taken, phase) > 0.0, "{taken}");
    }
    let generation = before.0["generation"].as_u64().unwrap() + 1;
    assert_eq!(taken["repositories"][0]["generation"], generation, "{taken}");
    let after = lease(&new);
    assert_eq!(after["generation"], generation);
    assert_eq!(after["installation"], installation(&new).as_str());
    // Kept for what is started now.
    assert_eq!(after["members"].as_array().unwrap().len(), 1, "{after}");
    let resource = &taken["resources"][0];
    assert_reaches(&cluster, &resource["shipped"]["stored_until"], &end);
    assert_eq!(resource["catalog"]["snapshots"], 1, "{taken}");
    let start = taken["start"].to_string();
    assert!(start.contains("systemctl enable --now fenice.service"), "{start}");
    assert!(!start.contains("snapshot"), "{start}");

    let list = new.json(0, &["list"]);
    assert_eq!(list[0]["snapshots"], before.1[0]["snapshots"]);
    assert_eq!(list, old.json(0, &["list"]));
    let status = new.json(0, &["status"])["resources"][0].clone();
    assert_eq!(status["last_snapshot"], list[0]["snapshots"][0]["id"], "{status}");
    // What was shipped since is told, and what a shipper noted stays.
    let shipped = noted(&new, &rebuilt).unwrap();
    assert!(shipped.stored_until > found.stored_until);
    new.does(&["ship", RESOURCE, "--once"]);
}

#[test]
fn a_host_that_was_paused_ends_by_itself_and_stores_nothing_more() {
    // The server notices soon that whoever had the slot says nothing.
    let cluster = small().setting("wal_sender_timeout", "5s").start();
    let old = protecting(&cluster);
    let new = bare(&old, &cluster);
    let text = fs::read_to_string(old.path("fenice.toml")).unwrap();
    old.write("fenice.toml", &text.replace("ship_every = \"1s\"", "ship_every = \"10s\""));
    let mut ship = Working::ship(&old);
    wait_for_beats(&cluster);

    // Two at once: the one that is at work stays.
    for verb in [&["snapshot", RESOURCE][..], &["takeover"]] {
        let busy = new.ends(5, verb);
        for part in ["writes to this repository", "hint: Only one installation writes"] {
            assert!(busy.stderr.contains(part), "{verb:?}: {}", busy.stderr);
        }
    }
    assert_eq!(lease(&old)["installation"], installation(&old).as_str());

    // Right after a part of the log: the next one is ten seconds away.
    let before = keys(&old).len();
    wait_for("a part of the log", || keys(&old).len() > before);
    ship.signal(Signal::STOP);
    old.home.lock_elsewhere(LOG_LOCK);
    let taken = new.json(0, &["takeover"]);
    assert_eq!(taken["whole"], true, "{taken}");
    assert!(seconds(&taken, "lease") >= 30.0, "{taken}");

    let stored = keys(&new);
    ship.signal(Signal::CONT);
    let (code, said) = ship.end();
    assert_eq!(code, Some(5), "{said}");
    for part in ["took over the repository", "hint: This installation writes no more"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(keys(&new), stored);

    // Started again, it finds the new host at work.
    let mut next = Working::ship(&new);
    wait_for_beats(&cluster);
    let busy = old.ends(5, &["ship", RESOURCE, "--once"]);
    assert!(busy.stderr.contains("writes to this repository"), "{}", busy.stderr);
    next.signal(Signal::TERM);
    let (code, said) = next.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn what_cannot_be_taken_over_is_told_and_stops_nothing_else() {
    let cluster = small().start();
    let old = Place::for_cluster(&cluster);
    old.does(&["init"]);
    old.does(&["prepare", RESOURCE]);
    old.does(&["snapshot", RESOURCE]);
    let new = bare(&old, &cluster);
    let dir = new.dir().display();
    let text = fs::read_to_string(new.path("fenice.toml")).unwrap();
    let more = format!(
        r#"
[repository.lost]
path = "{dir}/lost"
identity = {{ file = "{dir}/identity.age" }}
[[resource]]
name = "gone"
kind = "postgres"
repository = "lost"
policy = "standard"
connection = "host={dir}/nowhere user=x dbname=x"
data_dir = "{dir}/nowhere"
[[resource]]
name = "away"
kind = "postgres"
repository = "main"
policy = "standard"
connection = "host={dir}/nowhere user=x dbname=x"
data_dir = "{dir}/nowhere"
"#,
    );
    new.write("fenice.toml", &(text + &more));

    let rebuilt = new.json(1, &["catalog", "rebuild"]);
    assert_eq!(rebuilt[0]["snapshots"], 1, "{rebuilt}");
    assert!(rebuilt[1]["failed_because"].as_str().unwrap().contains("lost"), "{rebuilt}");
    assert_eq!((&rebuilt[2]["snapshots"], &rebuilt[2]["system_id"]), (&0.into(), &Value::Null));

    let taken = new.json(3, &["takeover"]);
    assert_eq!(taken["whole"], false, "{taken}");
    let of = |number: usize| &taken["resources"][number];
    assert!(of(0)["shipped"]["stored_until"].is_string(), "{taken}");
    assert!(of(1)["failed_because"].as_str().unwrap().contains("lost"), "{taken}");
    assert!(of(2)["failed_because"].as_str().unwrap().contains("no server answers"), "{taken}");
    assert!(of(2)["hint"].is_string(), "{taken}");
    assert_eq!(taken["repositories"][1]["repository"], "lost", "{taken}");
    let start = taken["start"].to_string();
    assert!(start.contains("fenice snapshot away"), "{start}");
    let text = new.ends(3, &["takeover"]).stdout;
    for part in ["NOT SHIPPED", "`lost` is NOT IN CHARGE", "start now, on this host"] {
        assert!(text.contains(part), "{text}");
    }
}
