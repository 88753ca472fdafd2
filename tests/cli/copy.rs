//! `copy`, and what the other commands make of a second repository, as operators use them.

use std::path::Path;

use super::rig::{Place, RESOURCE};
use crate::support::{Cluster, stop_postmaster};

fn status(place: &Place, code: i32) -> serde_json::Value {
    place.json(code, &["status"])["resources"][0].clone()
}

#[test]
fn a_copy_is_made_shown_kept_and_recovered_from_when_the_main_repository_is_lost() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    cluster.psql("postgres", "create table numbers as select 1 as n");
    let (place, _copies) = Place::with_copies(&cluster, "");
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    place.does(&["ship", RESOURCE, "--once"]);
    let id = place.json(0, &["snapshot", RESOURCE])["id"].as_str().unwrap().to_owned();
    cluster.psql("postgres", "insert into numbers values (2)");
    place.does(&["ship", RESOURCE, "--once"]);

    let before = status(&place, 0);
    assert_eq!(before["copies"]["snapshots"], 0);
    assert_eq!(before["copies"]["due"][0], id.as_str());
    assert!(before["copies"]["rpo_without_main_seconds"].is_null(), "{before}");
    let text = place.does(&["status"]);
    assert!(
        text.contains("0 in `offsite`; 1 due") && text.contains("everything is lost"),
        "{text}"
    );
    let plan = place.json(0, &["copy", RESOURCE, "--plan"]);
    assert_eq!(plan["snapshots"][0]["id"], id.as_str());
    assert_eq!(plan["log"], false);

    let run = place.json(0, &["copy", RESOURCE]);
    assert_eq!(run["to"], "offsite");
    assert_eq!(run["snapshots"][0]["id"], id.as_str());
    assert!(place.does(&["copy", RESOURCE]).contains("everything that is due"));
    let after = status(&place, 0);
    assert_eq!(after["copies"]["snapshots"], 1);
    assert_eq!(after["copies"]["newest"], id.as_str());
    // The newest beat that the copy holds is older than the newest one that was shipped.
    let without_main = after["copies"]["rpo_without_main_seconds"].as_f64().unwrap();
    assert!(without_main > after["rpo_exposure_seconds"].as_f64().unwrap(), "{after}");

    let retention = place.json(0, &["retention"]);
    let of: Vec<&str> =
        retention.as_array().unwrap().iter().map(|r| r["repository"].as_str().unwrap()).collect();
    assert_eq!(of, ["main", "offsite"]);
    place.json(0, &["retention", "--apply"]);

    // A hold binds both.
    let hold = ["hold", "add", RESOURCE, "--snapshot", &id, "--who", "Rossi", "--why", "tribunal"];
    let hold = place.json(0, &hold)["hold"]["id"].as_str().unwrap().to_owned();
    place.does(&["hold", "remove", RESOURCE, &hold, "--who", "Rossi", "--why", "judged"]);

    // The main repository is gone with the server.
    place.home.take_away();
    let target = place.path("back").display().to_string();
    let restore = ["restore", RESOURCE, "--target", &target, "--start"];
    let failed = place.ends(1, &restore);
    assert!(failed.stderr.contains("--from offsite"), "{}", failed.stderr);
    let usage = [&restore[..], &["--from", "nowhere"]].concat();
    assert!(place.ends(2, &usage).stderr.contains("main, offsite"));
    let red = status(&place, 3);
    assert!(red["red"][0].as_str().unwrap().contains("cannot be told"), "{red}");
    let report = place.json(0, &["drill", "run", RESOURCE, "--from", "offsite"]);
    assert_eq!(report["verdict"], "passed", "{report}");
    assert!(report["identity"]["scenario"].as_str().unwrap().contains("main repository"));
    let restored = place.json(0, &[&restore[..], &["--from", "offsite"]].concat());
    let socket = restored["socket_dir"].as_str().unwrap();
    let sql = "select string_agg(n::text, ' ') from numbers";
    let asked = ["-X", "-At", "-h", socket, "-U", "postgres", "-d", "postgres", "-c", sql];
    let numbers = cluster.program("psql", &asked).stdout;
    stop_postmaster(Path::new(&target));
    assert_eq!(numbers.trim(), "1");
    place.home.give_back();
    assert_eq!(place.json(0, &["drill", "list"]).as_array().unwrap().len(), 1);
}
