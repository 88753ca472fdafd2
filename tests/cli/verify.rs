//! `verify`: damage in a real cluster's repository is named with what it costs, and healed.

use fenice::ports::Store;
use jiff::Timestamp;
use serde_json::Value;

use super::rig::{Place, RESOURCE};
use crate::support::Cluster;

fn flip(store: &dyn Store, key: &str) {
    let mut body = store.get(key).unwrap().unwrap();
    let middle = body.len() / 2;
    body[middle] ^= 1;
    store.remove(key).unwrap();
    store.put_new(key, &body).unwrap();
}

fn keys(store: &dyn Store, below: &str) -> Vec<String> {
    store.list(below).unwrap().into_iter().map(|entry| entry.key).collect()
}

#[test]
fn damage_is_named_with_what_it_costs_and_healed_from_the_copies() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    cluster.psql("postgres", "create table numbers as select generate_series(1, 1000) as n");
    let (place, _copies) = Place::with_copies(&cluster, "replicate = \"all\"");
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    let first = place.json(0, &["snapshot", RESOURCE])["id"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        cluster.psql("postgres", "insert into numbers select generate_series(1, 1000)");
        cluster.psql("postgres", "select pg_switch_wal()");
        place.does(&["ship", RESOURCE, "--once"]);
    }
    let second = place.json(0, &["snapshot", RESOURCE])["id"].as_str().unwrap().to_owned();
    place.does(&["ship", RESOURCE, "--once"]);

    let verified = place.json(0, &["verify", RESOURCE]);
    assert_eq!(verified[0]["repository"], "main");
    assert_eq!(verified[0]["well"], true);
    assert_eq!(verified[0]["read_objects"], verified[0]["objects"]);
    assert_eq!(verified[0]["sound"].as_array().unwrap().len(), 2);
    let text = place.does(&["verify", RESOURCE]);
    assert!(text.contains("2 snapshots can be recovered from"), "{text}");
    assert!(text.contains("everything was found sound since"), "{text}");

    let store = place.home.store();
    place.json(0, &["copy", RESOURCE]);
    // A segment between the two snapshots: both serve, some instants do not.
    let log = keys(store.as_ref(), "postgres/registro/wal/");
    let whole: Vec<&String> = log.iter().filter(|key| !key.contains('-')).collect();
    flip(store.as_ref(), whole[whole.len() / 2]);
    let damaged = place.json(3, &["verify", RESOURCE, "--all"]);
    let main = &damaged[0];
    assert_eq!(main["damage"].as_array().unwrap().len(), 1, "{main}");
    assert_eq!(main["affected"].as_array().unwrap().len(), 0, "{main}");
    assert_eq!(main["sound"], serde_json::json!([first, second]), "{main}");
    assert_eq!(main["lost_instants"].as_array().unwrap().len(), 1, "{main}");
    let text = place.ends(3, &["verify", RESOURCE]).stdout;
    assert!(text.contains("DAMAGED") && text.contains("NOT RECOVERABLE instants"), "{text}");

    // And all packs of the vault besides.
    let packs = keys(store.as_ref(), "postgres/registro/vault/data/");
    packs.iter().for_each(|pack| flip(store.as_ref(), pack));
    let text = place.ends(3, &["verify", RESOURCE, "--all"]).stdout;
    assert!(text.contains("NO snapshot can be recovered from"), "{text}");
    let told = place.json(3, &["status"])["resources"][0]["red"].to_string();
    assert!(told.contains("cannot be recovered from") && told.contains(&second), "{told}");
    let healed = place.json(0, &["verify", RESOURCE, "--all", "--heal"]);
    assert_eq!(healed[0]["recovered"], serde_json::json!([first, second]), "{healed}");
    assert_eq!(healed[0]["well"], true, "{healed}");
    place.json(0, &["status"]);
    let again = place.json(0, &["verify", RESOURCE, "--all"]);
    assert_eq!(again[0]["damage"].as_array().unwrap().len(), 0, "{again}");
    assert_eq!(place.json(0, &["drill", "run", RESOURCE])["verdict"], "passed");
}

/// Of every snapshot, oldest first: its proof state, and since when it was read back.
fn proofs(place: &Place) -> Vec<(String, Option<Timestamp>)> {
    let list = place.json(0, &["list", RESOURCE]);
    let snapshots = list[0]["snapshots"].as_array().unwrap().iter();
    let of = |snapshot: &Value| {
        let since = snapshot["verified_since"].as_str().map(|at| at.parse::<Timestamp>().unwrap());
        (snapshot["proof"].as_str().unwrap().to_owned(), since)
    };
    snapshots.map(of).collect()
}

fn states(place: &Place) -> Vec<String> {
    proofs(place).into_iter().map(|(state, _)| state).collect()
}

#[test]
fn what_was_read_back_is_called_verified_until_it_is_found_damaged() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    cluster.psql("postgres", "create table numbers as select generate_series(1, 1000) as n");
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    place.does(&["snapshot", RESOURCE]);
    let store = place.home.store();
    let packs = || keys(store.as_ref(), "postgres/registro/vault/data/");
    let of_first = packs();
    cluster.psql("postgres", "insert into numbers select generate_series(1, 100000)");
    place.does(&["snapshot", RESOURCE]);
    assert_eq!(proofs(&place), [("taken".to_owned(), None), ("taken".to_owned(), None)]);

    // Notes are kept to the microsecond.
    let at = |run: &Value| {
        let at: Timestamp = run[0]["at"].as_str().unwrap().parse().unwrap();
        Timestamp::from_microsecond(at.as_microsecond()).unwrap()
    };
    // Nothing had been read, so everything is.
    let read_at = at(&place.json(0, &["verify", RESOURCE]));
    let verified = ("verified".to_owned(), Some(read_at));
    assert_eq!(proofs(&place), [verified.clone(), verified]);
    assert!(place.does(&["list"]).contains("verified since "));
    // The oldest note counts: what has its turn later was read then.
    place.json(0, &["verify", RESOURCE]);
    assert_eq!(proofs(&place)[0].1, Some(read_at));
    let read_at = at(&place.json(0, &["verify", RESOURCE, "--all"]));
    assert_eq!(proofs(&place)[0].1, Some(read_at));

    // What nobody looked at yet.
    place.does(&["snapshot", RESOURCE]);
    assert_eq!(states(&place), ["verified", "verified", "taken"]);
    let later: Vec<String> = packs().into_iter().filter(|key| !of_first.contains(key)).collect();
    assert!(!later.is_empty(), "the second snapshot stored no pack");
    later.iter().for_each(|pack| flip(store.as_ref(), pack));
    place.json(3, &["verify", RESOURCE, "--all"]);
    // The first one needs none of these packs.
    assert_eq!(states(&place), ["verified", "taken", "taken"]);
    of_first.iter().for_each(|pack| flip(store.as_ref(), pack));
    place.json(3, &["verify", RESOURCE, "--all"]);
    assert_eq!(states(&place), ["taken", "taken", "taken"]);

    // As they were. What another host noted is not known here.
    packs().iter().for_each(|pack| flip(store.as_ref(), pack));
    place.json(0, &["verify", RESOURCE, "--all"]);
    assert_eq!(states(&place), ["verified", "verified", "verified"]);
    std::fs::rename(place.path("state"), place.path("state.of.another.host")).unwrap();
    assert_eq!(states(&place), ["taken", "taken", "taken"]);
}
