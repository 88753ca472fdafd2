//! What is due for one work of one resource: caught up, tried again, held back, and why.

use std::collections::BTreeSet;

use fenice::config::{Policy, parse};
use fenice::error::Retry;
use fenice::model::{ResourceName, Span};
use fenice::plan::schedule::{
    ATTEMPTS_MOST, Next, Past, Pause, Standing, Work, decide, standing_of,
};
use jiff::Timestamp;

use super::occurrences::{ROME, at, cron, zone};

const HOUR: Span = Span::seconds(3_600);

fn registro() -> ResourceName {
    "registro".parse().unwrap()
}

fn nightly(work: Work) -> Standing {
    let jitter_most = Span::default();
    Standing { work, cron: cron("0 2 * * *"), zone: zone(ROME), jitter_most, window: None }
}

/// Done up to Monday, 7 June 2027, 02:00 in Rome.
fn settled() -> Past {
    let mut past = Past::new(at("2027-01-01T00:00:00Z"));
    past.succeed(at("2027-06-07T00:00:00Z"));
    past
}

fn shown(standing: &Standing, past: &Past, now: &str) -> String {
    match decide(standing, past, &registro(), at(now)) {
        Next::Run { due_at, reason } => format!("run {}: {reason}", due_at.civil),
        Next::Wait { until, due_at, reason } => {
            format!("wait until {until} for {}: {reason}", due_at.civil)
        }
        Next::Busy { reason } => format!("busy: {reason}"),
        Next::Paused { reason, .. } => format!("paused: {reason}"),
        Next::Never { reason } => format!("never: {reason}"),
    }
}

#[test]
fn what_was_missed_is_caught_up_once() {
    for (now, expected) in [
        (
            "2027-06-07T12:00:00Z",
            "wait until 2027-06-08T00:00:00Z for 2027-06-08T02:00:00: next due 2027-06-08 02:00",
        ),
        ("2027-06-08T00:00:00Z", "run 2027-06-08T02:00:00: due 2027-06-08 02:00"),
        ("2027-06-08T09:30:00Z", "run 2027-06-08T02:00:00: due 2027-06-08 02:00, 9 h 30 min ago"),
        (
            "2027-06-09T00:00:00Z",
            "run 2027-06-09T02:00:00: due 2027-06-09 02:00; the one before it, due \
             2027-06-08 02:00, was missed",
        ),
        (
            "2027-06-17T01:00:00Z",
            "run 2027-06-17T02:00:00: due 2027-06-17 02:00, 1 h 0 min ago; 9 before it were \
             missed since 2027-06-08 02:00",
        ),
        (
            "2028-06-17T00:00:00Z",
            "run 2028-06-17T02:00:00: due 2028-06-17 02:00; 100 or more before it were missed \
             since 2027-06-08 02:00",
        ),
        // The clock went back.
        (
            "2027-06-05T12:00:00Z",
            "wait until 2027-06-08T00:00:00Z for 2027-06-08T02:00:00: the clock is behind what is \
             done already, up to 2027-06-07 02:00; next due 2027-06-08 02:00",
        ),
    ] {
        assert_eq!(shown(&nightly(Work::Retention), &settled(), now), expected, "{now}");
    }
    let mut past = settled();
    past.succeed(at("2027-06-17T00:00:00Z"));
    let after = shown(&nightly(Work::Retention), &past, "2027-06-17T03:00:00Z");
    assert!(after.starts_with("wait until 2027-06-18T00:00:00Z"), "{after}");
}

#[test]
fn a_new_resource_has_its_first_snapshot_at_once_and_the_rest_in_its_turn() {
    let past = Past::new(at("2027-06-07T10:00:00Z"));
    let spread = Standing { jitter_most: HOUR, ..nightly(Work::Snapshot) };
    let windowed =
        Standing { window: Some("20:00-06:00".parse().unwrap()), ..nightly(Work::Snapshot) };
    let first = "run 2027-06-07T12:00:00: there is no snapshot yet";
    let tonight =
        "wait until 2027-06-08T00:00:00Z for 2027-06-08T02:00:00: next due 2027-06-08 02:00";
    for (standing, now, expected) in [
        (&nightly(Work::Snapshot), "2027-06-07T10:00:00Z", first),
        (&spread, "2027-06-07T10:00:00Z", first),
        (&nightly(Work::Copy), "2027-06-07T10:00:00Z", tonight),
        (&nightly(Work::Verify), "2027-06-07T10:00:00Z", tonight),
        (
            &windowed,
            "2027-06-07T10:00:00Z",
            "wait until 2027-06-07T18:00:00Z for 2027-06-07T12:00:00: there is no snapshot yet; \
             its window 20:00-06:00 opens 2027-06-07 20:00",
        ),
        // The night came first; nothing before it was missed.
        (
            &nightly(Work::Snapshot),
            "2027-06-08T00:00:00Z",
            "run 2027-06-08T02:00:00: due 2027-06-08 02:00",
        ),
    ] {
        assert_eq!(shown(standing, &past, now), expected, "{now}");
    }
    let mut past = past;
    past.succeed(at("2027-06-07T10:00:00Z"));
    assert_eq!(shown(&nightly(Work::Snapshot), &past, "2027-06-07T11:00:00Z"), tonight);
}

#[test]
fn a_failure_is_tried_again_later_and_later_and_given_up() {
    let (standing, mut past) = (nightly(Work::Snapshot), settled());
    let due_at = at("2027-06-08T00:00:00Z");
    let (mut now, mut minutes) = (due_at, Vec::new());
    for _ in 1..ATTEMPTS_MOST {
        past.begin();
        past.fail(due_at, now, Retry::Later);
        let Next::Wait { until, due_at: again, .. } = decide(&standing, &past, &registro(), now)
        else {
            panic!("{past:?}");
        };
        assert_eq!(again.at, due_at);
        minutes.push(until.duration_since(now).as_secs() / 60);
        now = until;
        let then = decide(&standing, &past, &registro(), now);
        assert!(matches!(then, Next::Run { due_at: again, .. } if again.at == due_at), "{then:?}");
    }
    assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(past.settled_due_at, settled().settled_due_at);
    past.fail(due_at, now, Retry::Later);
    assert_eq!(past.settled_due_at, Some(due_at));
    assert_eq!(
        shown(&standing, &past, "2027-06-08T06:00:00Z"),
        "wait until 2027-06-09T00:00:00Z for 2027-06-09T02:00:00: the one due 2027-06-08 02:00 was \
         given up after 10 attempts; next due 2027-06-09 02:00"
    );
    assert_eq!(
        shown(&standing, &past, "2027-06-09T00:00:00Z"),
        "run 2027-06-09T02:00:00: due 2027-06-09 02:00"
    );
}

#[test]
fn a_failure_is_not_tried_again_in_vain_nor_past_the_next_occurrence() {
    let hourly = Standing { cron: cron("15 * * * *"), ..nightly(Work::Copy) };
    for (retry, failed_at, expected) in [
        (
            Retry::Later,
            "2027-06-08T00:20:00Z",
            "wait until 2027-06-08T00:21:00Z for 2027-06-08T02:15:00: attempt 1 of 10 at the one \
             due 2027-06-08 02:15 failed; it is tried again after 1 min 0 s",
        ),
        (
            Retry::Later,
            "2027-06-08T01:14:30Z",
            "wait until 2027-06-08T01:15:00Z for 2027-06-08T03:15:00: the one due \
             2027-06-08 02:15 failed; next due 2027-06-08 03:15",
        ),
        (
            Retry::Never,
            "2027-06-08T00:20:00Z",
            "wait until 2027-06-08T01:15:00Z for 2027-06-08T03:15:00: the one due \
             2027-06-08 02:15 failed, and trying again cannot help; next due 2027-06-08 03:15",
        ),
    ] {
        let mut past = settled();
        past.fail(at("2027-06-08T00:15:00Z"), at(failed_at), retry);
        assert_eq!(shown(&hourly, &past, failed_at), expected);
    }
    // After the clock went back it is not waited for until then.
    let mut past = settled();
    past.fail(at("2027-06-08T00:15:00Z"), at("2028-01-01T00:00:00Z"), Retry::Later);
    let now = shown(&hourly, &past, "2027-06-08T00:30:00Z");
    assert!(now.starts_with("run 2027-06-08T02:15:00"), "{now}");
}

#[test]
fn what_is_due_outside_its_window_waits_for_it() {
    let standing = Standing {
        cron: cron("0 14 * * *"),
        window: Some("20:00-06:00".parse().unwrap()),
        ..nightly(Work::Verify)
    };
    let mut past = settled();
    for (now, expected) in [
        (
            "2027-06-07T12:00:00Z",
            "wait until 2027-06-07T18:00:00Z for 2027-06-07T14:00:00: due 2027-06-07 14:00; its \
             window 20:00-06:00 opens 2027-06-07 20:00",
        ),
        ("2027-06-07T18:00:00Z", "run 2027-06-07T14:00:00: due 2027-06-07 14:00, 6 h 0 min ago"),
        ("2027-06-08T03:59:59Z", "run 2027-06-07T14:00:00: due 2027-06-07 14:00, 15 h 59 min ago"),
        // That window was missed. When the next one opens, another is the newest.
        (
            "2027-06-08T04:00:00Z",
            "wait until 2027-06-08T18:00:00Z for 2027-06-08T14:00:00: due 2027-06-07 14:00, \
             16 h 0 min ago; its window 20:00-06:00 opens 2027-06-08 20:00",
        ),
        (
            "2027-06-08T18:00:00Z",
            "run 2027-06-08T14:00:00: due 2027-06-08 14:00, 6 h 0 min ago; the one before it, due \
             2027-06-07 14:00, was missed",
        ),
    ] {
        assert_eq!(shown(&standing, &past, now), expected, "{now}");
    }
    // A failure late in the night is tried again in the next.
    past.fail(at("2027-06-07T12:00:00Z"), at("2027-06-08T03:59:30Z"), Retry::Later);
    let then = shown(&standing, &past, "2027-06-08T03:59:30Z");
    assert!(then.starts_with("wait until 2027-06-08T18:00:00Z for 2027-06-08T14:00:00"), "{then}");
}

#[test]
fn a_pause_and_a_run_under_way_come_before_all() {
    let (standing, mut past) = (nightly(Work::Snapshot), settled());
    past.paused = Some(Pause { why: "disks are replaced".to_owned(), until: None });
    let now = "2027-06-10T07:00:00Z";
    let paused = "paused: paused until it is resumed: disks are replaced";
    assert_eq!(shown(&standing, &past, now), paused);
    let until = Some(at("2027-06-10T08:00:00Z"));
    past.paused = Some(Pause { why: "disks are replaced".to_owned(), until });
    let paused = "paused: paused until 2027-06-10 10:00: disks are replaced";
    assert_eq!(shown(&standing, &past, now), paused);
    past.begin();
    assert_eq!(shown(&standing, &past, now), "busy: it is under way");
    past.fail(at("2027-06-08T00:00:00Z"), at(now), Retry::Later);
    assert_eq!(shown(&standing, &past, now), paused);
    // What came meanwhile is caught up.
    assert_eq!(
        shown(&standing, &past, "2027-06-10T08:00:00Z"),
        "run 2027-06-10T02:00:00: due 2027-06-10 02:00, 8 h 0 min ago; the one before it, due \
         2027-06-09 02:00, was missed"
    );
}

/// When each of many resources begins.
fn beginnings(standing: &Standing, now: Timestamp) -> Vec<Timestamp> {
    let begins = |number: usize| {
        let resource = format!("db-{number:03}").parse().unwrap();
        let next = decide(standing, &settled(), &resource, now);
        assert_eq!(next, decide(standing, &settled(), &resource, now));
        match next {
            Next::Wait { until, .. } => until,
            other => panic!("{other:?}"),
        }
    };
    (0..1_000).map(begins).collect()
}

#[test]
fn beginnings_are_spread_evenly_within_their_bounds() {
    let monday = at("2027-06-07T00:00:30Z");
    let window = |text: &str| Some(text.parse().unwrap());
    let spread = Standing { jitter_most: Span::seconds(300), ..nightly(Work::Snapshot) };
    for (standing, from, seconds) in [
        (spread.clone(), "2027-06-08T00:00:00Z", 300),
        (Standing { jitter_most: HOUR, ..spread.clone() }, "2027-06-08T00:00:00Z", 3_600),
        // Not beyond the next occurrence, nor out of the window.
        (Standing { cron: cron("*/2 * * * *"), ..spread.clone() }, "2027-06-07T00:02:00Z", 120),
        (Standing { window: window("01:30-02:02"), ..spread.clone() }, "2027-06-08T00:00:00Z", 120),
        // From when the window opens.
        (Standing { window: window("04:00-06:00"), ..spread }, "2027-06-08T02:00:00Z", 300),
    ] {
        let after = |begun: Timestamp| begun.duration_since(at(from)).as_secs();
        let begun: Vec<i64> = beginnings(&standing, monday).into_iter().map(after).collect();
        assert!(begun.iter().all(|after| (0..seconds).contains(after)), "{standing:?}");
        let tenth = |number: i64| begun.iter().filter(|b| *b * 10 / seconds == number).count();
        let counts: Vec<usize> = (0..10).map(tenth).collect();
        assert!(counts.iter().all(|count| (50..150).contains(count)), "{standing:?} {counts:?}");
    }
}

#[test]
fn the_same_resource_does_not_always_begin_at_the_same_minute() {
    let standing = Standing { jitter_most: HOUR, ..nightly(Work::Snapshot) };
    let mut minutes = BTreeSet::new();
    let mut past = settled();
    for _ in 0..30 {
        let due = standing.next_after(past.settled_due_at.unwrap()).unwrap();
        let Next::Wait { until, .. } = decide(&standing, &past, &registro(), due.at) else {
            panic!("{due:?} is not spread");
        };
        minutes.insert(until.duration_since(due.at).as_secs() / 60);
        past.succeed(due.at);
    }
    assert!(minutes.len() > 10, "{minutes:?}");
}

fn policy(lines: &str) -> Policy {
    let repositories = "[repository.main]\npath = \"/a\"\n[repository.copies]\npath = \"/b\"\n";
    let mut config = parse(&format!("{repositories}[policy.p]\n{lines}"), "fenice.toml")
        .unwrap_or_else(|problems| panic!("{problems}"));
    config.policies.remove("p").unwrap()
}

#[test]
fn a_policy_gives_its_standing_order() {
    let works = |lines: &str| -> Vec<(&'static str, String, bool)> {
        let order = standing_of(&policy(lines), &zone(ROME));
        let told = |standing: &Standing| {
            assert_eq!(standing.zone, zone(ROME));
            (standing.work.name(), standing.cron.to_string(), standing.window.is_some())
        };
        order.iter().map(told).collect()
    };
    let of = |work: &'static str, cron: &str, windowed: bool| (work, cron.to_owned(), windowed);
    assert_eq!(
        works(""),
        [
            of("snapshot", "0 2 * * *", false),
            of("retention", "30 4,16 * * *", false),
            of("verify", "0 6 * * *", false),
            of("drill", "0 4 1 * *", false),
        ]
    );
    assert_eq!(
        works("copy_to = \"copies\"\ndrill = \"never\"\nwindow = \"20:00-06:00\""),
        [
            of("snapshot", "0 2 * * *", true),
            of("copy", "15 * * * *", false),
            of("retention", "30 4,16 * * *", false),
            of("verify", "0 6 * * *", true),
        ]
    );
    let order = standing_of(&policy("jitter = \"0s\""), &zone(ROME));
    assert!(order.iter().all(|standing| standing.jitter_most == Span::default()));
}
