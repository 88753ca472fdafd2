//! What is red is told, once, whatever happens to the daemon meanwhile; and nobody is told that all
//! is well.

use std::collections::BTreeSet;

use fenice::notify::webhook::EVENT_ID;
use serde_json::Value;

use super::Daemon;
use super::rig::{Place, listen_anywhere};
use crate::notify::receiver::{Receiver, Reply, Request};
use crate::support::wait_for;

fn told(receiver: &Receiver) -> Vec<Request> {
    let all = receiver.requests().into_iter();
    all.filter(|request| request.target == "POST /hook").collect()
}

/// The keys that a message tells of.
fn keys(request: &Request) -> BTreeSet<String> {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let events = body["events"].as_array().unwrap();
    events.iter().map(|event| event["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_red_is_told_once_however_often_the_daemon_is_killed() {
    let place = Place::without_server();
    listen_anywhere(&place);
    // Who is to be told is away at first.
    let receiver = Receiver::start([Reply::Status(503)]);
    let text = std::fs::read_to_string(place.path("fenice.toml")).unwrap();
    let notify = format!(
        "[notify]\nheartbeat_url = \"{}\"\n[[notify.webhook]]\nname = \"ops\"\nurl = \"{}\"\n",
        format_args!("{}/beat", receiver.url("/").origin()),
        format_args!("{}/hook", receiver.url("/").origin()),
    );
    place.write("fenice.toml", &(text + &notify));
    place.does(&["init"]);
    let daemon = Daemon::start(&place);
    wait_for("the first try", || !told(&receiver).is_empty());
    daemon.kill();
    let daemon = Daemon::start(&place);
    let first = told(&receiver).remove(0);
    let id = first.header(EVENT_ID).unwrap().to_owned();
    let same = |request: &Request| request.header(EVENT_ID) == Some(&id);
    wait_for("the second try", || told(&receiver).iter().filter(|one| same(one)).count() == 2);
    // Killed now, before it has noted the answer, it would ask a third time, under the same id.
    daemon.stop();
    let daemon = Daemon::start(&place);
    wait_for("another look at everything", || {
        daemon.get("/metrics").1.contains("fenice_red_reasons{")
    });
    daemon.stop();
    let all = told(&receiver);
    assert_eq!(all.iter().filter(|one| same(one)).count(), 2, "{all:?}");
    assert!(keys(&first).contains("registro/snapshot"), "{}", first.body);
    let later = all.iter().filter(|one| !same(one));
    let repeated: Vec<_> = later.filter(|one| !keys(one).is_disjoint(&keys(&first))).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
    // The silence of this URL is what tells that something is wrong.
    assert!(receiver.requests().iter().all(|request| request.target != "GET /beat"));
}
