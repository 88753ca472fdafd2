//! `keys`, as operators use it: a second key is let in and recovers alone, the first is shut out,
//! and the kit on paper is tried.

use std::fs;
use std::path::Path;
use std::process::Command;

use fenice::repository::layout;
use fenice::repository::seal::Identities;
use serde_json::json;

use super::rig::{Place, RESOURCE};
use crate::support::{Cluster, run, stop_postmaster};

/// Lets the configuration name these recipients besides the one of `identity`.
fn configure(place: &Place, cluster: &Cluster, identity: &Path, recipients: &[&str]) {
    place.configure(&cluster.conninfo(), &cluster.data_dir(), "");
    let text = fs::read_to_string(place.path("fenice.toml")).unwrap();
    let line = format!("identity = {{ file = \"{}\" }}", place.path("identity.age").display());
    assert_eq!(text.matches(&line).count(), 1);
    let quoted: Vec<String> = recipients.iter().map(|who| format!("\"{who}\"")).collect();
    let lines = format!(
        "recipients = [{}]\nidentity = {{ file = \"{}\" }}",
        quoted.join(", "),
        identity.display()
    );
    place.write("fenice.toml", &text.replace(&line, &lines));
}

/// How many sealed objects an identity opens, and how many there are.
fn opened(place: &Place, identity: &str) -> (usize, usize) {
    let (identities, store) = (Identities::parse(identity).unwrap(), place.home.store());
    let listed = store.list("").unwrap().into_iter().filter(|e| layout::is_sealed(&e.key));
    let keys: Vec<String> = listed.map(|entry| entry.key).collect();
    let opens = |key: &&String| {
        let sealed = store.get(key).unwrap().unwrap();
        identities.open(&sealed, 64 << 20).is_ok()
    };
    (keys.iter().filter(opens).count(), keys.len())
}

/// A protected cluster with a snapshot, log after it, and one table.
fn protected(cluster: &Cluster) -> Place {
    cluster.psql("postgres", "create table numbers as select generate_series(1, 3) n");
    let place = Place::for_cluster(cluster);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    place.does(&["snapshot", RESOURCE]);
    cluster.psql("postgres", "insert into numbers values (4)");
    place.does(&["ship", RESOURCE, "--once"]);
    place
}

fn recovers(place: &Place, cluster: &Cluster, name: &str) {
    assert_eq!(rows(place, cluster, name, &[]), "4");
}

/// Restores into a place of that name; how many rows the table has there.
fn rows(place: &Place, cluster: &Cluster, name: &str, options: &[&str]) -> String {
    let target = place.path(name);
    let restore = ["restore", RESOURCE, "--target", target.to_str().unwrap(), "--start"];
    let restored = place.json(0, &[&restore[..], options].concat());
    let socket = restored["socket_dir"].as_str().unwrap();
    let sql = "select count(*) from numbers";
    let asked = ["-X", "-At", "-h", socket, "-U", "postgres", "-d", "postgres", "-c", sql];
    let count = cluster.program("psql", &asked).stdout;
    stop_postmaster(&target);
    count.trim().to_owned()
}

/// With public tools and this identity alone, the vaults of these epochs are whole and the log
/// reads.
fn reads_without_us(place: &Place, identity: &str, epochs: &[u32]) {
    let dir = place.path("by-hand");
    fs::create_dir(&dir).unwrap();
    place.home.copy_to(&dir.join("repo"));
    fs::write(dir.join("identity.txt"), format!("{identity}\n")).unwrap();
    let check = |epoch: &u32| {
        let prefix = layout::vault(&RESOURCE.parse().unwrap(), *epoch);
        let vault = prefix.trim_end_matches('/');
        format!(
            "age -d -i identity.txt repo/keys/postgres.registro.vault-{epoch}.age > password
            restic --no-cache -r repo/{vault} --no-lock check --read-data\n"
        )
    };
    let log = "for object in $(find repo -name '*.zst.age'); do
          age -d -i identity.txt \"$object\" | zstd -dc > read; test -s read; done";
    let mut shell = Command::new("/bin/bash");
    shell.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    shell.env("RESTIC_PASSWORD_FILE", "password").current_dir(&dir);
    let script = epochs.iter().map(check).collect::<String>() + log;
    let ended = run(shell.args(["-eo", "pipefail", "-c", &script]), "");
    let text = ended.expect_success("age, restic and zstd");
    assert_eq!(text.matches("no errors were found").count(), epochs.len(), "{text}");
}

#[test]
fn a_second_key_is_let_in_recovers_alone_and_the_first_is_shut_out() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    let place = protected(&cluster);
    let own = place.path("identity.age");
    let first = fs::read_to_string(&own).unwrap();
    let first_recipient = Identities::parse(&first).unwrap().recipients().concat();
    let (second, second_recipient) = Identities::generate();
    let listed = place.json(0, &["keys", "list"]);
    assert_eq!(listed[0]["recipients"][0], first_recipient.as_str());
    assert_eq!(listed[0]["agree"], true);
    assert_eq!(opened(&place, &second).0, 0);

    // Refused, with nothing changed: the last one; a word that is no key; a host that disagrees.
    place.ends(4, &["keys", "remove", "main", &first_recipient]);
    place.ends(2, &["keys", "add", "main", "age1nonsense"]);
    place.ends(2, &["keys", "add", "nowhere", &second_recipient]);
    let (_, stranger) = Identities::generate();
    configure(&place, &cluster, &own, &[&stranger]);
    let refused = place.ends(4, &["keys", "add", "main", &second_recipient]);
    assert!(refused.stderr.contains("not the repository's own"), "{}", refused.stderr);
    configure(&place, &cluster, &own, &[]);
    assert_eq!(opened(&place, &second).0, 0);

    let added = place.json(0, &["keys", "add", "main", &second_recipient]);
    assert_eq!(added["changed"], true, "{added}");
    assert_eq!(added["unreadable"], 0, "{added}");
    let line = added["configuration_line"].as_str().unwrap();
    assert!(line.contains(&first_recipient) && line.contains(&second_recipient), "{line}");
    let (opens, all) = opened(&place, &second);
    assert_eq!((opens, added["objects"].as_u64().unwrap()), (all, all as u64));
    assert_eq!(opened(&place, &first), (all, all));

    // Nothing is written until the configuration says the same.
    let refused = place.ends(4, &["snapshot", RESOURCE]);
    assert!(refused.stderr.contains("fenice keys add"), "{}", refused.stderr);
    assert_eq!(place.json(3, &["keys", "list"])[0]["agree"], false);
    let again = place.json(0, &["keys", "add", "main", &second_recipient]);
    assert_eq!(again["changed"], false, "{again}");
    configure(&place, &cluster, &own, &[&second_recipient]);
    assert!(place.does(&["keys", "list"]).contains(&second_recipient));
    place.does(&["snapshot", RESOURCE]);

    // The first host is lost with its key.
    let other = place.path("second.age");
    fs::copy(&own, &other).unwrap(); // for its mode
    fs::write(&other, format!("{second}\n")).unwrap();
    fs::remove_file(&own).unwrap();
    configure(&place, &cluster, &other, &[&first_recipient]);
    recovers(&place, &cluster, "by-second");
    place.ends(4, &["keys", "remove", "main", &second_recipient]);
    let removed = place.does(&["keys", "remove", "main", &first_recipient]);
    assert!(removed.contains("recipients = ["), "{removed}");
    configure(&place, &cluster, &other, &[]);
    let (opens, all) = opened(&place, &second);
    assert_eq!((opens, opened(&place, &first).0), (all, 0));
    place.does(&["ship", RESOURCE, "--once"]);
    recovers(&place, &cluster, "without-first");
    reads_without_us(&place, &second, &[1]);
}

#[test]
fn a_rotated_key_begins_another_vault_and_snapshots_of_both_restore() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    let place = protected(&cluster);
    let first = place.json(0, &["list", RESOURCE])[0]["snapshots"][0].clone();
    assert_eq!(first["vault_epoch"], 1, "{first}");
    place.ends(2, &["keys", "rotate", "nobody"]);
    place.ends(2, &["keys", "rotate", RESOURCE, "--in", "nowhere"]);
    let rotated = place.json(0, &["keys", "rotate", RESOURCE, "--in", "main"]);
    assert_eq!((&rotated["epoch"], &rotated["repository"]), (&json!(2), &json!("main")));
    assert_eq!(rotated["next_bytes"], first["bytes"]);
    assert_eq!(
        (&rotated["old"][0]["epoch"], &rotated["old"][0]["snapshots"]),
        (&json!(1), &json!(1))
    );

    cluster.psql("postgres", "insert into numbers values (5)");
    let second = place.json(0, &["snapshot", RESOURCE]);
    assert_eq!((&second["vault_epoch"], &second["full_read"]), (&json!(2), &json!(true)));
    assert_eq!(second["unread_bytes"], 0, "{second}");
    let vault = place.home.store().list(&format!("postgres/{RESOURCE}/vault/")).unwrap();
    for (name, taken, count) in [("of-first", &first, "3"), ("of-second", &second, "5")] {
        let id = taken["id"].as_str().unwrap();
        assert_eq!(rows(&place, &cluster, name, &["--snapshot", id]), count);
    }
    let own = place.path("identity.age").display().to_string();
    let checked = place.json(0, &["keys", "check", "main", "--identity", &own]);
    assert_eq!(checked["good"], true, "{checked}");
    place.does(&["verify", RESOURCE, "--all"]);
    let identity = fs::read_to_string(&own).unwrap();
    reads_without_us(&place, &identity, &[1, 2]);

    // Nothing more is written to the old vault; the third is begun for the next snapshot only.
    let said = place.does(&["keys", "rotate", RESOURCE]);
    assert!(said.contains("epoch 3") && said.contains("epoch 1 is read as before"), "{said}");
    assert_eq!(place.home.store().list(&format!("postgres/{RESOURCE}/vault/")).unwrap(), vault);
    // A password that is lost is told at once.
    place.home.store().remove("keys/postgres.registro.vault-1.age").unwrap();
    let status = place.json(3, &["status"]);
    let reds = status["resources"][0]["red"].to_string();
    assert!(reds.contains("postgres.registro.vault-1"), "{reds}");
}

#[test]
fn a_kit_is_tried_as_it_lies_on_paper() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    let place = protected(&cluster);
    let own = place.path("identity.age").display().to_string();
    let secret = fs::read_to_string(&own).unwrap();
    let secret = secret.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap();
    let checked = place.json(0, &["keys", "check", "main", "--identity", &own]);
    assert_eq!(checked["good"], true, "{checked}");
    let id = checked["id"].as_str().unwrap();
    let whats: Vec<&str> = checked["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["resource"] == RESOURCE)
        .map(|finding| finding["what"].as_str().unwrap())
        .collect();
    assert_eq!(whats.len(), 5, "{whats:?}");

    // Typed, with the id that the paper tells.
    let typed = run(&mut place.command(&["keys", "check", "main", "--id", id]), secret);
    let said = typed.stdout.clone() + &typed.stderr;
    assert_eq!(typed.code, Some(0), "{said}");
    assert!(said.contains("the kit works") && !said.contains("SECRET"), "{said}");
    place.ends(3, &["keys", "check", "main", "--identity", &own, "--id", "another"]);

    // Of another repository; and mistyped.
    let (other, _) = Identities::generate();
    let failed = run(&mut place.command(&["keys", "check", "main"]), &other);
    assert_eq!(failed.code, Some(3), "{}", failed.stderr);
    assert!(failed.stdout.contains("NOT OPENED"), "{}", failed.stdout);
    let mistyped = run(&mut place.command(&["keys", "check", "main"]), &secret[..40]);
    assert_eq!(mistyped.code, Some(1), "{}", mistyped.stderr);
    assert!(!mistyped.stderr.contains(&secret[20..40]), "{}", mistyped.stderr);

    // An object of the log that does not read is told by its key.
    let store = place.home.store();
    let log = store.list(&format!("postgres/{RESOURCE}/wal/")).unwrap();
    for entry in &log {
        let mut body = store.get(&entry.key).unwrap().unwrap();
        body.truncate(body.len() - 1);
        store.remove(&entry.key).unwrap();
        store.put_new(&entry.key, &body).unwrap();
    }
    let damaged = place.json(3, &["keys", "check", "main", "--identity", &own]);
    let failed: Vec<_> = damaged["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| !finding["failed_because"].is_null())
        .collect();
    assert_eq!(failed.len(), 1, "{damaged}");
    assert!(failed[0]["object"].as_str().unwrap().contains("/wal/"), "{damaged}");
}
