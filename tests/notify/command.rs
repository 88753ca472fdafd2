//! `fenice notify test`, as an operator runs it: every way is tried, and told of each.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::receiver::{Receiver, Reply};
use crate::cli::rig::Place;
use crate::support::{Finished, MAIL_PASSWORD, MAIL_USER, MailServer, run};

/// A place whose configuration ends with these lines.
fn place(lines: &str) -> Place {
    let place = Place::without_server();
    let text = fs::read_to_string(place.path("fenice.toml")).unwrap();
    place.write("fenice.toml", &(text + lines));
    place
}

fn mail(server: &MailServer, to: &str, ca_file: &Path) -> String {
    format!(
        "[notify.mail]\nserver = \"localhost\"\nport = {}\nuser = \"{MAIL_USER}\"\n\
         password = {{ env = \"MAIL_PASSWORD\" }}\nfrom = \"fenice@example.org\"\nto = {to}\n\
         ca_file = \"{}\"\n",
        server.smtps_port(),
        ca_file.display()
    )
}

fn webhook(name: &str, url: &str, more: &str) -> String {
    format!("[[notify.webhook]]\nname = \"{name}\"\nurl = {url}\n{more}")
}

fn tried(place: &Place, arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Finished {
    let arguments: Vec<&str> = ["notify", "test"].iter().chain(arguments).copied().collect();
    let mut command = place.command(&arguments);
    command.env("MAIL_PASSWORD", MAIL_PASSWORD);
    prepare(&mut command);
    run(&mut command, "")
}

/// A table's text without its line breaks.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_way_is_tried_and_told() {
    let (server, own, chat) = (MailServer::start(), Receiver::start([]), Receiver::start([]));
    let own_url = format!("\"{}\"", own.url("/own").url());
    let lines = [
        "[notify]\nheartbeat_url = \"http://127.0.0.1:1/never\"\n".to_owned(),
        mail(&server, "[\"ops@example.org\", \"boss@example.org\"]", &server.ca_file()),
        webhook("own", &own_url, "secret = { env = \"SIGN\" }\n"),
        webhook("chat", "{ env = \"CHAT_URL\" }", "format = \"slack\"\nevents = \"all\"\n"),
    ];
    let place = place(&lines.concat());
    let chat_url = chat.url("/T0/hush").url().to_string();
    let ended = tried(&place, &["--json"], |command| {
        command.env("SIGN", "only for tests").env("CHAT_URL", &chat_url);
    });
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let told: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap();
    let to: Vec<&str> = told.iter().map(|one| one["to"].as_str().unwrap()).collect();
    assert_eq!(to, ["ops@example.org", "boss@example.org", "own", "chat"]);
    assert!(told.iter().all(|one| one["accepted"] == true && one["hint"].is_null()));
    for (one, to) in told.iter().zip(["ops@example.org", "boss@example.org"]) {
        let mails = server.mails(to);
        let id = format!("Message-ID: {}\n", one["id"].as_str().unwrap());
        assert!(mails.len() == 1 && mails[0].contains(&id), "{id}: {mails:?}");
        assert!(mails[0].contains("a test of `fenice notify test`"), "{mails:?}");
    }
    let (own, chat) = (own.requests(), chat.requests());
    assert_eq!((own.len(), chat.len()), (1, 1));
    assert_eq!(own[0].header("Fenice-Event-Id"), told[2]["id"].as_str());
    assert!(own[0].header("Fenice-Signature").is_some());
    assert!(chat[0].header("Fenice-Signature").is_none());
    let text: Value = serde_json::from_str(&chat[0].body).unwrap();
    assert!(text["text"].as_str().unwrap().contains("a test"), "{text}");
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains("hush"));
}

#[test]
fn one_that_fails_hides_no_other_and_ends_with_1() {
    let (server, good) = (MailServer::start(), Receiver::start([]));
    let bad = Receiver::start([Reply::Status(404), Reply::Status(404)]);
    let lines = [
        mail(&server, "[\"nobody@example.org\", \"ops@example.org\"]", &server.ca_file()),
        webhook("bad", &format!("\"{}\"", bad.url("/hush").url()), ""),
        webhook("unread", "{ env = \"NO_SUCH_VARIABLE\" }", ""),
        webhook("good", &format!("\"{}\"", good.url("/").url()), ""),
    ];
    let place = place(&lines.concat());
    let ended = tried(&place, &["--json"], |_| {});
    assert_eq!(ended.code, Some(1), "{}{}", ended.stdout, ended.stderr);
    let told: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap();
    let accepted: Vec<bool> = told.iter().map(|one| one["accepted"] == true).collect();
    assert_eq!(accepted, [false, true, false, false, true]);
    for (at, reason) in [(0, "550 5.1.1"), (2, "it answers 404"), (3, "NO_SUCH_VARIABLE")] {
        let because = told[at]["failed_because"].as_str().unwrap();
        assert!(because.contains(reason) && told[at]["hint"].is_string(), "{}", told[at]);
    }
    assert_eq!(server.mails("ops@example.org").len(), 1);
    let ended = tried(&place, &[], |_| {});
    assert_eq!(ended.code, Some(1));
    let flat = flat(&ended.stdout);
    for part in ["mail to ops@example.org", "accepted", "NOT ACCEPTED", "(hint: "] {
        assert!(flat.contains(part), "`{part}` is not in {flat}");
    }
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains("hush"));
}

#[test]
fn a_secret_that_cannot_be_read_is_told_of_every_recipient() {
    let server = MailServer::start();
    let lines = mail(&server, "[\"a@example.org\", \"b@example.org\"]", &server.ca_file());
    let ended = tried(&place(&lines), &["--json"], |command| {
        command.env_remove("MAIL_PASSWORD");
    });
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let told: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(told.len(), 2);
    for one in told {
        assert!(one["failed_because"].as_str().unwrap().contains("MAIL_PASSWORD"), "{one}");
        assert!(one["hint"].is_string() && one["id"].is_null(), "{one}");
    }
}

#[test]
fn webhooks_trust_whom_the_system_trusts() {
    let server = MailServer::start(); // for its certificates
    let dir = server.ca_file().parent().unwrap().to_owned();
    let receiver = Receiver::with_tls(&dir);
    let lines = webhook("own", &format!("\"{}\"", receiver.url("/").url()), "");
    let place = place(&lines);
    let trusting = |file: &Path| {
        tried(&place, &[], |command| {
            command.env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
        })
    };
    let trusted = trusting(&server.ca_file());
    assert_eq!(trusted.code, Some(0), "{}{}", trusted.stdout, trusted.stderr);
    assert_eq!(receiver.requests().len(), 1);
    let untrusted = trusting(Path::new("/nonexistent"));
    assert_eq!(untrusted.code, Some(1), "{}", untrusted.stdout);
    let flat = flat(&untrusted.stdout);
    for part in ["invalid peer certificate", "update-ca-certificates"] {
        assert!(flat.contains(part), "`{part}` is not in {flat}");
    }
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn with_nobody_to_tell_it_is_wrong_usage() {
    let place = place("[notify]\nrepeat_every = \"12h\"\n");
    let ended = tried(&place, &[], |_| {});
    assert_eq!(ended.code, Some(2));
    for part in ["names nobody", "hint: Add [notify.mail]"] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
}
