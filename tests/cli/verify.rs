//! `verify`: damage in a real cluster's repository is named with what it costs, and healed.

use std::fs;

use fenice::ports::Store;

use super::rig::{Place, RESOURCE};
use crate::support::{Cluster, Home};

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
    let place = Place::for_cluster(&cluster);
    let terms = "copy_to = \"offsite\"\nreplicate = \"all\"";
    place.configure(&cluster.conninfo(), &cluster.data_dir(), terms);
    fs::create_dir(place.path("far")).unwrap();
    let copies = Home::new(&place.path("far"));
    let lines = copies.configuration(&place.path("far.key"));
    let identity = place.path("far.age").display().to_string();
    let text = fs::read_to_string(place.path("fenice.toml")).unwrap();
    let offsite = format!("[repository.offsite]\n{lines}identity = {{ file = \"{identity}\" }}\n");
    place.write("fenice.toml", &(text + &offsite));
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
