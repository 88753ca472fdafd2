//! What messages say: whole texts, and what never gets into them.

use fenice::model::{Span, Wanted, WebhookFormat};
use fenice::notify::decide::Why;
use fenice::notify::notice::{About, Due, Facts, Summary};
use fenice::notify::webhook::body;
use fenice::notify::words::{subject, text};
use fenice::notify::{Event, Notice, Severity};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{at, event, telling};

use Severity::{Good, Red, Warning};

fn rome() -> TimeZone {
    TimeZone::get("Europe/Rome").unwrap()
}

fn notice(about: About) -> Notice {
    Notice { at: at(0), host: "db1".to_owned(), about }
}

fn exposed() -> Event {
    let details = vec!["last heartbeat stored: 14:00".to_owned()];
    let title = "the exposure is 20 min 0 s, more than the RPO of 15 min 0 s".to_owned();
    Event { title, details, ..event("exposure", Red, 0) }
}

fn facts(name: &str, reds: &[&str]) -> Facts {
    Facts {
        resource: name.parse().unwrap(),
        last_snapshot_at: Some(at(-300)),
        exposure: Some(Span::seconds(9)),
        last_proof_at: None,
        reds: reds.iter().map(|red| (*red).to_owned()).collect(),
        next: Some(Due { what: "snapshot".to_owned(), at: at(600) }),
    }
}

fn json_of(notice: &Notice) -> Value {
    let text = body(WebhookFormat::Json, "0123", notice, &rome());
    serde_json::from_str(&text).unwrap()
}

#[test]
fn one_red_thing_is_told_in_subject_and_text() {
    let news = notice(About::News(vec![telling(exposed(), Why::New, Red, 1)]));
    assert_eq!(
        subject(&news),
        "[fenice db1] RED: registro: the exposure is 20 min 0 s, more than the RPO of 15 min 0 s"
    );
    let expected = "\
RED: registro: the exposure is 20 min 0 s, more than the RPO of 15 min 0 s
  seen 2026-09-21 16:13:20+02:00
  last heartbeat stored: 14:00

fenice on db1, 2026-09-21 16:13:20+02:00; `fenice status` tells how things stand now.
";
    assert_eq!(text(&news, &rome()), expected);
}

#[test]
fn several_things_come_in_one_message_the_worst_first() {
    let news = notice(About::News(vec![
        telling(event("copies", Good, 0), Why::Resolved { since: at(-90) }, Red, 1),
        telling(event("disk", Warning, 0), Why::Better, Red, 3),
        telling(exposed(), Why::Still { times: 3, since: at(-2_880) }, Red, 0),
        telling(event("slot", Red, 0), Why::Unsteady, Red, 8),
    ]));
    assert_eq!(subject(&news), "[fenice db1] 2 RED, 1 warning, 1 resolved");
    let expected = "\
still RED: registro: the exposure is 20 min 0 s, more than the RPO of 15 min 0 s
  seen 2026-09-21 16:13:20+02:00
  so since 2026-09-19 16:13:20+02:00, told 3 times
  last heartbeat stored: 14:00

unsteady, RED now: registro: the slot is red
  seen 2026-09-21 16:13:20+02:00
  it changed 8 times since it was last told

no longer RED, a warning: registro: the disk is warning
  seen 2026-09-21 16:13:20+02:00
  it changed 3 times since it was last told

resolved: registro: the copies is good
  seen 2026-09-21 16:13:20+02:00
  it lasted 1 h 30 min

";
    assert!(text(&news, &rome()).starts_with(expected), "{}", text(&news, &rome()));
}

#[test]
fn the_summary_tells_how_each_resource_stands() {
    let resources = vec![facts("a", &[]), facts("b", &["there is no snapshot"])];
    let notes = vec!["2 messages could not be delivered".to_owned()];
    let summary = notice(About::Summary(Summary { resources, notes }));
    assert_eq!(subject(&summary), "[fenice db1] 1 of 2 RED");
    let expected = "\
1 of 2 RED

2 messages could not be delivered

b: RED
  - there is no snapshot
  last snapshot  2026-09-21 11:13:20+02:00 (5 h 0 min ago)
  exposure       9.00 s
  last proof     never
  next due       snapshot, 2026-09-22 02:13:20+02:00

a: as promised
  last snapshot  2026-09-21 11:13:20+02:00 (5 h 0 min ago)
  exposure       9.00 s
  last proof     never
  next due       snapshot, 2026-09-22 02:13:20+02:00

fenice on db1, 2026-09-21 16:13:20+02:00.
";
    assert_eq!(text(&summary, &rome()), expected);
    for (resources, word) in [
        (vec![], "[fenice db1] no resource is configured"),
        (vec![facts("a", &[])], "[fenice db1] the one resource is as promised"),
        (vec![facts("a", &[]), facts("b", &[])], "[fenice db1] all 2 resources are as promised"),
    ] {
        let summary = Summary { resources, notes: Vec::new() };
        assert_eq!(subject(&notice(About::Summary(summary))), word);
    }
    let unknown = Facts { exposure: None, next: None, ..facts("a", &["x"]) };
    let summary = Summary { resources: vec![unknown], notes: Vec::new() };
    let told = text(&notice(About::Summary(summary)), &rome());
    assert!(told.contains("exposure       CANNOT BE TOLD\n"), "{told}");
    assert!(told.contains("next due       nothing\n"), "{told}");
}

#[test]
fn json_has_the_documented_shape() {
    let news = notice(About::News(vec![
        telling(exposed(), Why::Still { times: 3, since: at(-2_880) }, Red, 0),
        telling(event("copies", Good, 0), Why::Resolved { since: at(-90) }, Warning, 1),
    ]));
    assert_eq!(
        json_of(&news),
        json!({
            "version": 1,
            "id": "0123",
            "kind": "news",
            "at": "2026-09-21T14:13:20Z",
            "host": "db1",
            "text": "[fenice db1] 1 RED, 1 resolved",
            "omitted": 0,
            "events": [
                {
                    "key": "registro/exposure",
                    "resource": "registro",
                    "severity": "red",
                    "was": "red",
                    "title": "the exposure is 20 min 0 s, more than the RPO of 15 min 0 s",
                    "details": ["last heartbeat stored: 14:00"],
                    "at": "2026-09-21T14:13:20Z",
                    "why": "still",
                    "since": "2026-09-19T14:13:20Z",
                    "times": 3,
                    "changes": 0,
                },
                {
                    "key": "registro/copies",
                    "resource": "registro",
                    "severity": "good",
                    "was": "warning",
                    "title": "the copies is good",
                    "details": [],
                    "at": "2026-09-21T14:13:20Z",
                    "why": "resolved",
                    "since": "2026-09-21T12:43:20Z",
                    "times": null,
                    "changes": 1,
                },
            ],
        })
    );
    let resources = vec![facts("a", &["there is no snapshot"])];
    let summary = json_of(&notice(About::Summary(Summary { resources, notes: Vec::new() })));
    assert_eq!((&summary["kind"], &summary["omitted"]), (&json!("summary"), &json!(0)));
    assert_eq!(
        summary["resources"],
        json!([{
            "resource": "a",
            "last_snapshot_at": "2026-09-21T09:13:20Z",
            "exposure_seconds": 9.0,
            "last_proof_at": null,
            "reds": ["there is no snapshot"],
            "next": { "what": "snapshot", "at": "2026-09-22T00:13:20Z" },
        }])
    );
    assert_eq!(json_of(&notice(About::Test))["kind"], "test");
}

#[test]
fn slack_gets_one_text_in_its_own_spelling() {
    let told = Event { title: "a < b & c > d".to_owned(), ..event("x", Red, 0) };
    let news = notice(About::News(vec![telling(told, Why::New, Red, 1)]));
    let text: Value =
        serde_json::from_str(&body(WebhookFormat::Slack, "0123", &news, &rome())).unwrap();
    let text = text["text"].as_str().unwrap();
    let start = "*[fenice db1] RED: registro: a &lt; b &amp; c &gt; d*\nRED: registro: a &lt; b";
    assert!(text.starts_with(start), "{text}");
    assert!(!text.contains(['<', '>']), "{text}");
}

#[test]
fn whoever_wants_only_red_gets_nothing_else() {
    let warning = telling(event("disk", Warning, 0), Why::New, Warning, 1);
    let red = telling(exposed(), Why::New, Red, 1);
    let both = notice(About::News(vec![warning.clone(), red.clone()]));
    assert_eq!(both.for_who_wants(Wanted::All), Some(both.clone()));
    assert_eq!(both.for_who_wants(Wanted::Red), Some(notice(About::News(vec![red]))));
    assert_eq!(notice(About::News(vec![warning])).for_who_wants(Wanted::Red), None);
    assert_eq!(notice(About::Summary(Summary::default())).for_who_wants(Wanted::Red), None);
    assert_eq!(notice(About::Test).for_who_wants(Wanted::Red), Some(notice(About::Test)));
}

#[test]
fn the_same_notice_has_the_same_id_and_another_one_another() {
    let first = notice(About::News(vec![telling(exposed(), Why::New, Red, 1)]));
    assert_eq!(first.id(), first.clone().id());
    assert_eq!(first.id().len(), 32);
    let later = Notice { at: at(1), ..first.clone() };
    let elsewhere = Notice { host: "db2".to_owned(), ..first.clone() };
    for other in [later, elsewhere, notice(About::Test)] {
        assert_ne!(first.id(), other.id());
    }
}

#[test]
fn many_things_stay_one_message() {
    let many = |kind: usize| telling(event(&kind.to_string(), Red, 0), Why::New, Red, 1);
    let news = notice(About::News((0..500).map(many).collect()));
    assert_eq!(subject(&news), "[fenice db1] 500 RED");
    assert!(text(&news, &rome()).contains("And 450 more.\n"));
    let json = json_of(&news);
    assert_eq!((json["events"].as_array().unwrap().len(), &json["omitted"]), (50, &json!(450)));
    let resources = (0..900).map(|number| facts(&format!("r{number}"), &["x"; 40])).collect();
    let summary = notice(About::Summary(Summary { resources, notes: vec!["n".repeat(9_000); 90] }));
    assert!(text(&summary, &rome()).len() < 256 << 10);
    assert!(body(WebhookFormat::Json, "0123", &summary, &rome()).len() < 256 << 10);
    assert!(body(WebhookFormat::Slack, "0123", &summary, &rome()).len() < 32 << 10);
}

proptest! {
    #[test]
    fn foreign_text_stays_on_its_line(title in any::<String>(), detail in any::<String>()) {
        let details = vec![detail];
        let told = Event { title, details, ..event("x", Red, 0) };
        let news = notice(About::News(vec![telling(told, Why::New, Red, 1)]));
        let hides = |c: char| ('\u{202a}'..='\u{202e}').contains(&c);
        let hostile = |c: char| c != '\n' && (c.is_control() || hides(c));
        prop_assert!(!subject(&news).contains(|c: char| c.is_control()));
        prop_assert!(subject(&news).chars().count() <= 150);
        prop_assert!(!text(&news, &rome()).contains(hostile));
        prop_assert_eq!(text(&news, &rome()).lines().count(), 5);
        let json = json_of(&news);
        prop_assert_eq!(json["events"].as_array().unwrap().len(), 1);
    }
}
