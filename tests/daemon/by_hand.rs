//! Commands that ask the daemon, pauses, cancelling, and what a killed rehearsal leaves.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use fenice::config::{Config, parse};
use fenice::daemon::control::client::Client;
use fenice::daemon::control::wire::{Reply, Request};
use fenice::daemon::work::Wish;
use serde_json::Value;

use super::rig::ended;
use super::{Daemon, RESOURCE, protecting, small};
use crate::cli::rig::Place;
use crate::support::{naming, wait_for};

fn config(place: &Place) -> Config {
    let text = std::fs::read_to_string(place.path("fenice.toml")).unwrap();
    parse(&text, "fenice.toml").unwrap()
}

/// Asks the daemon on a thread of its own, and waits there for the last answer.
fn ask(place: &Place, request: Request) -> JoinHandle<fenice::error::Result<Reply>> {
    let config = Arc::new(config(place));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = Client::find(&config).await.unwrap().expect("a daemon");
            client.ask(&request, &mut |_| {}).await
        })
    })
}

fn drill() -> Request {
    Request::Do(Wish::Drill { resource: RESOURCE.parse().unwrap() })
}

/// The drill that runs, once its server replays.
fn replaying(daemon: &Daemon<'_>) -> i64 {
    let jobs = daemon.wait_for_jobs("a drill that replays", |jobs| {
        let running = jobs["running"].as_array().unwrap();
        running.iter().any(|job| job["work"] == "drill" && job["phase"] == "replaying the log")
    });
    jobs["running"][0]["id"].as_i64().unwrap()
}

#[test]
fn commands_ask_the_daemon_and_answer_as_without_it() {
    let cluster = small().start();
    let place = protecting(&cluster, "");
    let without = place.json(0, &["snapshot", RESOURCE]);
    let daemon = Daemon::start(&place);
    let with = place.json(0, &["snapshot", RESOURCE, "--full"]);
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&with), keys(&without));
    assert_eq!((&with["resource"], &with["full_read"]), (&RESOURCE.into(), &true.into()));
    let job = daemon.wait_for_end("snapshot", "done");
    assert!(job["id"].as_i64().unwrap() > 0);
    let retained = place.json(0, &["retention", RESOURCE, "--apply"]);
    assert_eq!(retained[0]["applied"]["snapshots"], 0, "{retained}");
    let verified = place.json(0, &["verify", RESOURCE, "--heal"]);
    assert_eq!(verified[0]["well"], true, "{verified}");
    let text = place.does(&["snapshot", RESOURCE]);
    assert!(text.contains("none damaged"), "{text}");
    let jobs = place.json(0, &["jobs"]);
    for work in ["snapshot", "retention", "verify"] {
        assert!(ended(&jobs, work).next().is_some(), "no {work}: {jobs}");
    }
    // Shipping is the daemon's, and goes on.
    let busy = place.ends(5, &["ship", RESOURCE]);
    assert!(busy.stderr.contains("hint:"), "{}", busy.stderr);
    place.ends(2, &["snapshot", "nobody"]);
    daemon.stop();
}

#[test]
fn a_pause_holds_what_is_ordered_and_not_what_is_asked_for() {
    let cluster = small().start();
    let place = protecting(&cluster, "");
    place.does(&["pause", RESOURCE, "--why", "migration"]);
    let daemon = Daemon::start(&place);
    let paused = |jobs: &Value| {
        let standing = jobs["standing"].as_array().unwrap();
        !standing.is_empty() && standing.iter().all(|line| line["state"] == "paused")
    };
    let jobs = daemon.wait_for_jobs("the pause", paused);
    assert_eq!(jobs["last"], serde_json::json!([]));
    place.json(0, &["snapshot", RESOURCE]);
    place.does(&["resume", RESOURCE]);
    daemon.wait_for_jobs("a schedule that waits", |jobs| {
        jobs["standing"].as_array().unwrap().iter().any(|line| line["state"] == "waits")
    });
    place.does(&["pause", RESOURCE, "--why", "again"]);
    daemon.wait_for_jobs("the pause", paused);
    daemon.stop();
    // The pause outlives the daemon.
    let daemon = Daemon::start(&place);
    daemon.wait_for_jobs("the pause", paused);
    daemon.stop();
}

#[test]
fn a_job_that_is_cancelled_ends_and_leaves_nothing() {
    let cluster = small().start();
    let place = protecting(&cluster, "");
    let daemon = Daemon::start(&place);
    daemon.wait_for_end("snapshot", "done");
    let asked = ask(&place, drill());
    let id = replaying(&daemon);
    place.does(&["jobs", "cancel", &id.to_string()]);
    let error = asked.join().unwrap().unwrap_err();
    assert!(error.chain().contains("cancelled"), "{}", error.chain());
    let ended = daemon.wait_for_end("drill", "cancelled");
    assert_eq!(ended["id"], id);
    place.ends(2, &["jobs", "cancel", &id.to_string()]);
    assert_eq!(place.json(0, &["drill", "list"]), serde_json::json!([]));
    daemon.stop();
}

#[test]
fn what_a_killed_daemon_left_of_a_rehearsal_is_removed_by_the_next() {
    let cluster = small().start();
    let place = protecting(&cluster, "");
    let daemon = Daemon::start(&place);
    daemon.wait_for_end("snapshot", "done");
    let asked = ask(&place, drill());
    replaying(&daemon);
    daemon.kill();
    assert!(asked.join().unwrap().is_err());
    let catalog = fenice::catalog::Catalog::open(&place.path("state/catalog.sqlite")).unwrap();
    let left: Vec<PathBuf> =
        catalog.open_steps().unwrap().into_iter().map(|step| step.detail.into()).collect();
    assert!(left.len() == 1 && left[0].exists(), "{left:?}");
    drop(catalog);
    let daemon = Daemon::start(&place);
    assert!(!left[0].exists(), "{left:?}");
    let server = left[0].join("data").display().to_string();
    wait_for("the end of its server", || naming(server.as_ref()).is_empty());
    daemon.wait_for_jobs("the journal tells", |jobs| {
        ended(jobs, "drill").any(|job| job["result"] == "interrupted")
    });
    assert!(daemon.log().contains("what a job left behind is gone"), "{}", daemon.log());
    daemon.stop();
}
