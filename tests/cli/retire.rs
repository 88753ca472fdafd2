//! `resource`, and what the other commands make of a retired one, as operators use them.

use rustix::process::{Pid, Signal, kill_process};

use super::rig::{Place, RESOURCE};
use crate::support::{Cluster, Stop, wait_for};

const WHY: [&str; 4] = ["--who", "Rossi", "--why", "the contract has ended"];

fn resource(verb: &str) -> Vec<&str> {
    [&["resource", verb, RESOURCE][..], &WHY].concat()
}

fn status(place: &Place) -> serde_json::Value {
    place.json(0, &["status"])["resources"][0].clone()
}

#[test]
fn a_resource_is_retired_shown_and_taken_back() {
    let mut cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    let id = place.json(0, &["snapshot", RESOURCE])["id"].as_str().unwrap().to_owned();
    assert!(place.json(0, &["resource", "list"])[0]["retired"].is_null());
    assert!(place.ends(2, &resource("reinstate")).stderr.contains("is not retired"));

    // Not while anything is still stored of it.
    let mut ship = place.start(&["ship", RESOURCE]);
    let beats = || cluster.psql("postgres", "select count(*) from fenice.heartbeat");
    wait_for("a heartbeat", || beats().parse::<u32>().unwrap() >= 1);
    let busy = place.ends(5, &resource("retire"));
    assert!(busy.stderr.contains("systemctl stop fenice"), "{}", busy.stderr);
    kill_process(Pid::from_child(&ship), Signal::TERM).unwrap();
    assert_eq!(ship.wait().unwrap().code(), Some(0));
    place.does(&["ship", RESOURCE, "--once"]);
    assert!(status(&place)["retired"].is_null());

    let retired = place.json(0, &resource("retire"));
    assert_eq!(retired["retirement"]["who"], "Rossi");
    assert_eq!(retired["slot"], "fenice_registro");
    assert!(place.ends(2, &resource("retire")).stderr.contains("by Rossi"));
    let storing: [&[&str]; 4] = [
        &["snapshot", RESOURCE],
        &["ship", RESOURCE, "--once"],
        &["prepare", RESOURCE],
        &["wal", "push", "/nonexistent/000000010000000000000001"],
    ];
    for arguments in storing {
        let refused = place.ends(4, arguments);
        assert!(refused.stderr.contains("fenice resource reinstate"), "{}", refused.stderr);
    }

    // It need not be there any more.
    cluster.stop(Stop::Fast);
    let shown = status(&place);
    assert_eq!(shown["red"].as_array().unwrap().len(), 0, "{shown}");
    assert_eq!(shown["retired"]["why"], "the contract has ended", "{shown}");
    assert_eq!(shown["retired"]["left"][0]["snapshots"], 1, "{shown}");
    assert!(shown["retired"]["left"][0]["leaves_by"].is_string(), "{shown}");
    assert_eq!(shown["overdue"].as_array().unwrap().len(), 0, "{shown}");
    let text = place.does(&["status"]);
    assert!(text.contains("by Rossi: the contract has ended"), "{text}");
    assert!(text.contains("1 snapshots") && text.contains("the last leaves by"), "{text}");
    let applied = place.json(0, &["retention", RESOURCE, "--apply"]);
    assert_eq!(applied[0]["closing"]["due"], false, "{applied}");
    assert_eq!(applied[0]["applied"]["leftovers"], 0, "{applied}");
    assert!(place.does(&["retention"]).contains("go when all data is gone"));
    assert_eq!(place.json(0, &["list"])[0]["snapshots"][0]["id"], id.as_str());
    assert!(place.does(&["resource", "list"]).contains("retired"));

    cluster.restart();
    let back = place.json(0, &resource("reinstate"));
    assert_eq!(back["reinstatement"]["retirement"], retired["retirement"]["id"]);
    place.does(&["prepare", RESOURCE]);
    place.does(&["snapshot", RESOURCE]);
    place.does(&["ship", RESOURCE, "--once"]);
    assert!(status(&place)["retired"].is_null());
    let list = place.json(0, &["resource", "list"]);
    assert!(list[0]["retired"].is_null());
    assert_eq!(list[0]["records"][0]["reinstatement"]["who"], "Rossi", "{list}");
    assert!(place.does(&["resource", "list"]).contains("taken"));
}

#[test]
fn copies_of_a_retired_resource_are_still_made_and_both_repositories_know() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    let (place, _copies) = Place::with_copies(&cluster, "");
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    place.does(&["ship", RESOURCE, "--once"]);
    place.does(&["snapshot", RESOURCE]);
    place.does(&resource("retire"));
    place.does(&["copy", RESOURCE]);
    let shown = status(&place);
    let left = shown["retired"]["left"].as_array().unwrap();
    let of: Vec<&str> = left.iter().map(|one| one["repository"].as_str().unwrap()).collect();
    assert_eq!(of, ["main", "offsite"], "{shown}");
    assert!(left.iter().all(|one| one["snapshots"] == 1), "{shown}");
    let plans = place.json(0, &["retention"]);
    assert!(plans.as_array().unwrap().iter().all(|plan| plan["closing"]["due"] == false));
    place.does(&resource("reinstate"));
    assert!(status(&place)["retired"].is_null());
    let plans = place.json(0, &["retention"]);
    assert!(plans.as_array().unwrap().iter().all(|plan| plan["closing"].is_null()), "{plans}");
}
