//! What must not be done, and the exit codes that say so.

use super::rig::{Place, RESOURCE};
use crate::support::Cluster;

#[test]
fn a_broken_configuration_is_told_whole() {
    let place = Place::without_server();
    assert!(place.does(&["check-config"]).contains("is fine"));
    place.write("fenice.toml", "[daemon]\nlistem = 1\n[policy.p]\nship_every = \"1 week\"\n");
    let broken = place.ends(78, &["check-config"]);
    for part in ["error: ", "listem", "ship_every", "hint: "] {
        assert!(broken.stderr.contains(part), "{part}: {}", broken.stderr);
    }
    let json = place.json(78, &["check-config"]);
    assert!(json["problems"].as_array().unwrap().len() >= 2, "{json}");
    let every = place.json(78, &["snapshot", RESOURCE]);
    assert_eq!(every["error"]["kind"], "config");
}

#[test]
fn usage_ends_with_2_and_help_with_0() {
    let place = Place::without_server();
    for wrong in [vec!["nonsense"], vec![], vec!["ship"], vec!["snapshot", "nobody"]] {
        place.ends(2, &wrong);
    }
    place.ends(2, &["ship", RESOURCE, "--once", "--for", "1s"]);
    for right in ["--help", "--version"] {
        place.ends(0, &[right]);
    }
}

#[test]
fn nothing_is_done_without_a_repository_or_with_a_wrong_key() {
    let cluster = Cluster::builder().start();
    let place = Place::for_cluster(&cluster);
    place.ends(78, &["snapshot", RESOURCE]); // no identity yet
    place.does(&["init"]);
    let other = Place::without_server();
    other.does(&["init"]);
    std::fs::copy(other.path("identity.age"), place.path("identity.age")).unwrap();
    let refused = place.ends(4, &["snapshot", RESOURCE]);
    assert!(refused.stderr.contains("recipients"), "{}", refused.stderr);
}

#[test]
fn a_source_that_would_wait_for_us_is_refused() {
    let cluster = Cluster::builder().setting("synchronous_standby_names", "*").start();
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    let refused = place.ends(4, &["prepare", RESOURCE]);
    assert!(refused.stderr.contains("synchronous_standby_names"), "{}", refused.stderr);
}

#[test]
fn another_cluster_must_be_let_in() {
    let (first, second) = (Cluster::builder().start(), Cluster::builder().start());
    let place = Place::for_cluster(&first);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    place.configure(&second.conninfo(), &second.data_dir(), "");
    for verb in [["prepare", RESOURCE], ["snapshot", RESOURCE], ["ship", RESOURCE]] {
        place.ends(4, &verb);
    }
    place.does(&["prepare", RESOURCE, "--new-cluster"]);
    place.does(&["ship", RESOURCE, "--once"]);
}
