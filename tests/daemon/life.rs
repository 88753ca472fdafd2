//! From its start to its end, in order and by the watchdog; a new configuration on the way.

use rustix::process::Signal;
use serde_json::Value;

use super::rig::{Place, edit, ended};
use super::{Daemon, RESOURCE, protecting, small};
use crate::support::Cluster;

fn value_of(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn lease(place: &Place) -> Value {
    let body = place.home.straight().get(fenice::repository::layout::LEASE).unwrap().unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// Everything that was committed by now comes back, proven by a rehearsal.
fn proves(place: &Place, cluster: &Cluster) {
    let end = cluster.psql("postgres", "select pg_current_wal_flush_lsn()");
    let shipped = place.json(0, &["ship", RESOURCE, "--once"]);
    let stored = shipped["stored_until"].as_str().unwrap();
    let reaches = format!("select '{stored}'::pg_lsn >= '{end}'::pg_lsn");
    assert_eq!(cluster.psql("postgres", &reaches), "t", "{stored} is short of {end}");
    place.ends(0, &["drill", "run", RESOURCE]);
}

#[test]
fn a_daemon_looks_after_everything_from_its_start_and_ends_in_order() {
    let cluster = small().start();
    let place = protecting(&cluster, "");
    let daemon = Daemon::start(&place);
    let first = daemon.wait_for_end("snapshot", "done");
    assert_eq!(first["resource"], RESOURCE);
    cluster.psql("postgres", "create table pagelle as select generate_series(1, 1000) n");
    proves(&place, &cluster);
    daemon.wait_for_jobs("nothing that runs", |jobs| jobs["running"] == serde_json::json!([]));
    let measured = |metrics: &str| {
        value_of(metrics, "fenice_last_snapshot_timestamp_seconds{").is_some()
            && value_of(metrics, "fenice_rpo_exposure_seconds{").is_some()
    };
    crate::support::wait_for("the measurements", || measured(&daemon.get("/metrics").1));
    assert_eq!(daemon.get("/healthz").0, 200);
    assert_eq!(daemon.get("/readyz").0, 200);
    let metrics = daemon.get("/metrics").1;
    assert_eq!(value_of(&metrics, "fenice_lease_held{"), Some(1.0));
    daemon.stop();
    // Whoever comes next need not wait for it.
    assert_eq!(lease(&place)["members"], serde_json::json!([]));
    assert!(!place.path("state/control.sock").exists());
}

#[test]
fn a_daemon_that_hangs_is_killed_by_the_watchdog_and_the_next_one_goes_on() {
    let cluster = small().start();
    let place = protecting(&cluster, "");
    let daemon = Daemon::begin(&place, &[], &[("WATCHDOG_USEC", "4000000")]);
    daemon.systemd.wait_for("READY=1");
    daemon.wait_for_end("snapshot", "done");
    (0..3).for_each(|_| drop(daemon.systemd.wait_for("WATCHDOG=1")));
    daemon.signal(Signal::STOP);
    daemon.systemd.forget();
    // It is not fed, however long one waits: systemd kills it then.
    assert_eq!(daemon.systemd.next(), None);
    daemon.kill();
    cluster.psql("postgres", "create table pagelle as select generate_series(1, 1000) n");
    let daemon = Daemon::start(&place);
    proves(&place, &cluster);
    daemon.stop();
}

#[test]
fn a_new_configuration_is_taken_if_it_is_right_and_else_the_old_one_stays() {
    let cluster = small().start();
    let place = protecting(&cluster, "");
    let daemon = Daemon::start(&place);
    daemon.wait_for_end("snapshot", "done");
    let file = place.path("fenice.toml");
    edit(&file, "ship_every", "ship_evry");
    daemon.signal(Signal::HUP);
    daemon.systemd.wait_for("RELOADING=1");
    let told = daemon.systemd.wait_for("READY=1").pop().unwrap();
    assert!(told.contains("not taken"), "{told}");
    assert!(daemon.log().contains("ship_evry"), "{}", daemon.log());
    edit(&file, "ship_evry", "ship_every");
    let text = std::fs::read_to_string(&file).unwrap();
    let nowhere = place.path("nowhere").display().to_string();
    let other = format!(
        "[[resource]]\nname = \"catasto\"\nkind = \"postgres\"\nrepository = \"main\"\n\
         policy = \"standard\"\nconnection = \"host={nowhere} user=x dbname=x\"\n\
         data_dir = \"{nowhere}\"\n"
    );
    place.write("fenice.toml", &(text.clone() + &other));
    daemon.signal(Signal::HUP);
    let told = daemon.systemd.wait_for("READY=1").pop().unwrap();
    assert!(told.contains("protecting 2 resources"), "{told}");
    // No server answers for the other one; that is nobody else's trouble.
    daemon.wait_for_jobs("a job of the new resource", |jobs| {
        ended(jobs, "snapshot").any(|job| job["resource"] == "catasto" && job["result"] == "failed")
    });
    proves(&place, &cluster);
    place.write("fenice.toml", &text);
    daemon.signal(Signal::HUP);
    let told = daemon.systemd.wait_for("READY=1").pop().unwrap();
    assert!(told.contains("protecting one resource"), "{told}");
    let jobs = place.json(0, &["jobs"]);
    let standing = jobs["standing"].as_array().unwrap();
    assert!(standing.iter().all(|line| line["resource"] == RESOURCE), "{standing:?}");
    // What is taken at the start needs a restart.
    edit(&file, "127.0.0.1:0", "127.0.0.1:9");
    daemon.signal(Signal::HUP);
    let told = daemon.systemd.wait_for("READY=1").pop().unwrap();
    assert!(told.contains("not taken"), "{told}");
    daemon.stop();
}
