//! Webhooks and the heartbeat URL, against a small server: what it is sent, and what is tried
//! again.

use std::sync::Arc;
use std::time::Duration;

use fenice::adapters::http::{HttpClient, PATIENCE};
use fenice::error::Retry;
use fenice::model::{Wanted, WebAddress, WebhookFormat};
use fenice::notify::channel::{Terms, beat};
use fenice::notify::notice::{About, Notice};
use fenice::notify::outbox::Ended;
use fenice::notify::webhook::{EVENT_ID, SIGNATURE, verify};
use fenice::notify::{Channel, Outbox};
use fenice::ports::Http;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use serde_json::Value;

use super::at;
use super::receiver::{Receiver, Reply, Request};

const FIVE_MINUTES: Duration = Duration::from_secs(300);

fn client(patience: Duration) -> Arc<dyn Http> {
    Arc::new(HttpClient::new(patience).unwrap())
}

fn secret() -> SecretString {
    SecretString::from("only for tests")
}

fn channel(url: WebAddress, patience: Duration) -> Channel {
    let terms = Terms { format: WebhookFormat::Json, secret: Some(secret()), wanted: Wanted::Red };
    Channel::webhook("chat".to_owned(), client(patience), url, terms)
}

fn test_notice() -> Notice {
    Notice { at: at(0), host: "db1".to_owned(), about: About::Test }
}

/// Who sent it, as a receiver checks it that lives at that minute.
#[track_caller]
fn genuine(request: &Request, minute: i64) {
    let signature = request.header(SIGNATURE).unwrap();
    verify(&secret(), signature, &request.body, at(minute), FIVE_MINUTES).unwrap();
}

#[test]
fn a_post_is_signed_and_says_what_it_is() {
    let receiver = Receiver::start([]);
    let channel = channel(receiver.url("/hook?token=hush"), PATIENCE);
    let letter = channel.write(&test_notice(), &TimeZone::UTC).unwrap();
    channel.send(&letter, at(3)).unwrap();
    let requests = receiver.requests();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(request.target, "POST /hook?token=hush");
    assert_eq!(request.header("Content-Type"), Some("application/json"));
    assert_eq!(request.header(EVENT_ID), Some(letter.id.as_str()));
    assert!(request.header("User-Agent").unwrap().starts_with("fenice/"));
    genuine(request, 3);
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!((&body["kind"], &body["id"]), (&Value::from("test"), &Value::from(letter.id)));
}

#[test]
fn answers_are_told_by_their_class() {
    let later = Some(Retry::Later);
    let never = Some(Retry::Never);
    for (status, expected) in [
        (200, None),
        (202, None),
        (204, None),
        (301, never),
        (400, never),
        (401, never),
        (403, never),
        (404, never),
        (408, later),
        (410, never),
        (413, never),
        (429, later),
        (500, later),
        (502, later),
        (503, later),
        (599, later),
    ] {
        let receiver = Receiver::start([Reply::Status(status)]);
        let channel = channel(receiver.url("/hush"), PATIENCE);
        let letter = channel.write(&test_notice(), &TimeZone::UTC).unwrap();
        let sent = channel.send(&letter, at(0));
        assert_eq!(sent.as_ref().err().map(|error| error.retry()), expected, "{status}");
        if let Err(error) = sent {
            let chain = error.chain();
            assert!(chain.contains(&format!("it answers {status}")), "{chain}");
            assert!(chain.contains("the webhook `chat` at http://127.0.0.1:"), "{chain}");
            assert!(!chain.contains("hush"), "{chain}");
        }
    }
}

#[test]
fn no_redirect_is_followed() {
    let elsewhere = Receiver::start([]);
    let to = elsewhere.url("/").url().to_string();
    let receiver = Receiver::start([Reply::Redirect(to.clone()), Reply::Redirect(to)]);
    let channel = channel(receiver.url("/"), PATIENCE);
    let letter = channel.write(&test_notice(), &TimeZone::UTC).unwrap();
    let error = channel.send(&letter, at(0)).unwrap_err();
    assert!(error.chain().contains("it answers 302"), "{error:?}");
    assert!(beat(client(PATIENCE).as_ref(), &receiver.url("/")).is_err());
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn who_is_gone_hangs_up_or_stays_silent_may_come_back() {
    // Of all ports the one that nobody is ever given.
    let gone: WebAddress = "http://127.0.0.1:1/hush".parse().unwrap();
    let receiver = Receiver::start([Reply::HangUp, Reply::Silence]);
    for (url, patience, said) in [
        (gone, PATIENCE, "cannot reach it: Connection refused"),
        (receiver.url("/hush"), PATIENCE, "the request broke off"),
        (receiver.url("/hush"), Duration::from_secs(1), "there is no answer in time"),
    ] {
        let channel = channel(url, patience);
        let letter = channel.write(&test_notice(), &TimeZone::UTC).unwrap();
        let error = channel.send(&letter, at(0)).unwrap_err();
        assert_eq!(error.retry(), Retry::Later, "{error:?}");
        assert!(error.chain().contains(said), "{said}: {error:?}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
    assert_eq!(receiver.requests().len(), 2);
}

#[test]
fn a_letter_is_sent_until_it_is_taken_under_one_id() {
    let refusals = [Reply::Status(500), Reply::HangUp, Reply::Silence, Reply::Status(429)];
    let receiver = Receiver::start(refusals);
    let channel = channel(receiver.url("/"), Duration::from_secs(1));
    let letter = channel.write(&test_notice(), &TimeZone::UTC).unwrap();
    let mut outbox = Outbox::default();
    assert_eq!(outbox.put(letter.clone(), at(0)), None);
    let mut now = at(0);
    let mut tries = Vec::new();
    while let Some(next) = outbox.next_at() {
        now = now.max(next);
        let due = outbox.due(now)[0].clone();
        tries.push(now);
        let ended = Ended::of(&channel.send(&due, now));
        assert_eq!(outbox.record(&due.id, ended, now), None);
    }
    let requests = receiver.requests();
    assert_eq!((requests.len(), tries.len()), (5, 5));
    for (request, now) in requests.iter().zip(tries) {
        assert_eq!(request.header(EVENT_ID), Some(letter.id.as_str()));
        assert_eq!(request.body, letter.body);
        let signature = request.header(SIGNATURE).unwrap();
        assert!(signature.starts_with(&format!("t={},", now.as_second())), "{signature}");
        verify(&secret(), signature, &request.body, now, FIVE_MINUTES).unwrap();
    }
}

#[test]
fn a_letter_that_is_refused_is_given_up_at_once() {
    let receiver = Receiver::start([Reply::Status(404)]);
    let channel = channel(receiver.url("/"), PATIENCE);
    let letter = channel.write(&test_notice(), &TimeZone::UTC).unwrap();
    let mut outbox = Outbox::default();
    outbox.put(letter.clone(), at(0));
    let ended = Ended::of(&channel.send(&letter, at(0)));
    let given_up = outbox.record(&letter.id, ended, at(0)).unwrap();
    assert!(given_up.because.contains("it answers 404: said so"), "{}", given_up.because);
    assert_eq!((receiver.requests().len(), outbox.waiting().len()), (1, 0));
}

#[test]
fn the_heartbeat_url_is_fetched_and_no_long_answer_is_read() {
    let receiver = Receiver::start([Reply::Status(200), Reply::Long(1 << 20), Reply::Status(503)]);
    let client = client(PATIENCE);
    beat(client.as_ref(), &receiver.url("/ping/hush")).unwrap();
    let answer = client.get(&receiver.url("/")).unwrap();
    assert_eq!((answer.status, answer.text.len()), (200, 4 << 10));
    let error = beat(client.as_ref(), &receiver.url("/ping/hush")).unwrap_err();
    assert_eq!(error.retry(), Retry::Later);
    assert!(error.chain().contains("call the heartbeat URL at http://127.0.0.1:"), "{error:?}");
    assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    assert_eq!(receiver.requests()[0].target, "GET /ping/hush");
}
