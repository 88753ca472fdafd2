//! When schedules and windows come, through both changes of the clock, and on rare days.

use fenice::config::{Cron, Window};
use fenice::plan::schedule::{Opening, last_until, next_after, opening};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

pub(super) const ROME: &str = "Europe/Rome";
/// Half an hour, either way.
const LORD_HOWE: &str = "Australia/Lord_Howe";

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(super) fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

pub(super) fn cron(text: &str) -> Cron {
    text.parse().unwrap()
}

/// A zone, a schedule, an instant, and what follows it: civil time and instant.
type Case<'t> = (&'t str, &'t str, &'t str, &'t [&'t str]);

#[track_caller]
fn follows((name, text, after, expected): Case<'_>) {
    let (zone, cron) = (zone(name), cron(text));
    let mut before = at(after);
    for line in expected {
        let due = next_after(&cron, &zone, before).unwrap();
        assert_eq!(format!("{} {}", due.civil, due.at), *line, "{name} {text}");
        assert!(due.at > before, "{name} {text}: {due:?}");
        assert_eq!(last_until(&cron, &zone, due.at), Some(due), "{name} {text}");
        let just_before = due.at - SignedDuration::from_nanos(1);
        assert_eq!(next_after(&cron, &zone, just_before), Some(due), "{name} {text}");
        let last = last_until(&cron, &zone, just_before).unwrap();
        assert!(last.at <= before, "{name} {text}: {last:?}");
        before = due.at;
    }
}

#[test]
fn a_schedule_keeps_to_the_wall_clock_when_it_is_put_forward() {
    let cases: [Case<'_>; 6] = [
        // 02:30 does not exist.
        (
            ROME,
            "30 2 * * *",
            "2027-03-27T00:00:00Z",
            &[
                "2027-03-27T02:30:00 2027-03-27T01:30:00Z",
                "2027-03-28T02:30:00 2027-03-28T01:00:00Z",
                "2027-03-29T02:30:00 2027-03-29T00:30:00Z",
            ],
        ),
        // The Sunday one is Sunday's.
        (
            ROME,
            "0 2 * * sun",
            "2027-03-27T00:00:00Z",
            &[
                "2027-03-28T02:00:00 2027-03-28T01:00:00Z",
                "2027-04-04T02:00:00 2027-04-04T00:00:00Z",
            ],
        ),
        // Two that do not exist, and one that does, are one.
        (
            ROME,
            "0,30 2 * * *",
            "2027-03-27T02:00:00Z",
            &[
                "2027-03-28T02:30:00 2027-03-28T01:00:00Z",
                "2027-03-29T02:00:00 2027-03-29T00:00:00Z",
            ],
        ),
        (
            ROME,
            "*/30 1-3 * * *",
            "2027-03-28T00:00:00Z",
            &[
                "2027-03-28T01:30:00 2027-03-28T00:30:00Z",
                "2027-03-28T03:00:00 2027-03-28T01:00:00Z",
                "2027-03-28T03:30:00 2027-03-28T01:30:00Z",
                "2027-03-29T01:00:00 2027-03-28T23:00:00Z",
            ],
        ),
        (
            LORD_HOWE,
            "15 2 * * *",
            "2027-10-01T16:00:00Z",
            &[
                "2027-10-03T02:15:00 2027-10-02T15:30:00Z",
                "2027-10-04T02:15:00 2027-10-03T15:15:00Z",
            ],
        ),
        (
            LORD_HOWE,
            "*/10 2 * * *",
            "2027-10-02T15:00:00Z",
            &[
                "2027-10-03T02:30:00 2027-10-02T15:30:00Z",
                "2027-10-03T02:40:00 2027-10-02T15:40:00Z",
                "2027-10-03T02:50:00 2027-10-02T15:50:00Z",
                "2027-10-04T02:00:00 2027-10-03T15:00:00Z",
            ],
        ),
    ];
    cases.into_iter().for_each(follows);
}

#[test]
fn every_minute_of_an_hour_that_is_left_out_comes_once() {
    follows((
        ROME,
        "* * * * *",
        "2027-03-28T00:58:30Z",
        &[
            "2027-03-28T01:59:00 2027-03-28T00:59:00Z",
            "2027-03-28T03:00:00 2027-03-28T01:00:00Z",
            "2027-03-28T03:01:00 2027-03-28T01:01:00Z",
        ],
    ));
}

#[test]
fn a_schedule_keeps_to_the_wall_clock_when_it_is_put_back() {
    let cases: [Case<'_>; 4] = [
        // 02:30 exists twice.
        (
            ROME,
            "30 2 * * *",
            "2027-10-30T00:00:00Z",
            &[
                "2027-10-30T02:30:00 2027-10-30T00:30:00Z",
                "2027-10-31T02:30:00 2027-10-31T00:30:00Z",
                "2027-11-01T02:30:00 2027-11-01T01:30:00Z",
            ],
        ),
        (
            ROME,
            "*/30 2,3 * * *",
            "2027-10-30T23:30:00Z",
            &[
                "2027-10-31T02:00:00 2027-10-31T00:00:00Z",
                "2027-10-31T02:30:00 2027-10-31T00:30:00Z",
                "2027-10-31T03:00:00 2027-10-31T02:00:00Z",
                "2027-10-31T03:30:00 2027-10-31T02:30:00Z",
                "2027-11-01T02:00:00 2027-11-01T01:00:00Z",
            ],
        ),
        (
            LORD_HOWE,
            "45 1 * * *",
            "2027-04-02T15:00:00Z",
            &[
                "2027-04-04T01:45:00 2027-04-03T14:45:00Z",
                "2027-04-05T01:45:00 2027-04-04T15:15:00Z",
            ],
        ),
        (
            LORD_HOWE,
            "*/15 1,2 * * *",
            "2027-04-03T14:00:00Z",
            &[
                "2027-04-04T01:15:00 2027-04-03T14:15:00Z",
                "2027-04-04T01:30:00 2027-04-03T14:30:00Z",
                "2027-04-04T01:45:00 2027-04-03T14:45:00Z",
                "2027-04-04T02:00:00 2027-04-03T15:30:00Z",
                "2027-04-04T02:15:00 2027-04-03T15:45:00Z",
            ],
        ),
    ];
    cases.into_iter().for_each(follows);
}

#[test]
fn rare_days_are_found() {
    let cases: [Case<'_>; 4] = [
        (
            ROME,
            "0 0 29 2 *",
            "2027-01-01T00:00:00Z",
            &[
                "2028-02-29T00:00:00 2028-02-28T23:00:00Z",
                "2032-02-29T00:00:00 2032-02-28T23:00:00Z",
            ],
        ),
        (ROME, "0 0 29 2 *", "2096-03-01T00:00Z", &["2104-02-29T00:00:00 2104-02-28T23:00:00Z"]),
        // Only if it is a Sunday.
        (ROME, "0 0 29 2 */7", "2088-03-01T00:00Z", &["2128-02-29T00:00:00 2128-02-28T23:00:00Z"]),
        // The 13th, and every Friday.
        (
            ROME,
            "0 2 13 * fri",
            "2027-09-04T00:00:00Z",
            &[
                "2027-09-10T02:00:00 2027-09-10T00:00:00Z",
                "2027-09-13T02:00:00 2027-09-13T00:00:00Z",
                "2027-09-17T02:00:00 2027-09-17T00:00:00Z",
            ],
        ),
    ];
    cases.into_iter().for_each(follows);
    assert_eq!(next_after(&cron("0 2 * * *"), &zone(ROME), Timestamp::MAX), None);
}

#[test]
fn a_window_opens_and_closes_by_the_wall_clock() {
    for (name, window, asked, from, to) in [
        (ROME, "20:00-06:00", "2027-03-28T00:00Z", "2027-03-27T19:00Z", "2027-03-28T04:00Z"),
        (ROME, "20:00-06:00", "2027-10-31T02:00Z", "2027-10-30T18:00Z", "2027-10-31T05:00Z"),
        (ROME, "20:00-06:00", "2027-10-31T05:00Z", "2027-10-31T19:00Z", "2027-11-01T05:00Z"),
        // Ends where the clock jumps; begins the first time, not the second.
        (ROME, "01:00-02:30", "2027-03-28T00:30Z", "2027-03-28T00:00Z", "2027-03-28T01:00Z"),
        (ROME, "02:30-05:00", "2027-10-30T12:00Z", "2027-10-31T00:30Z", "2027-10-31T04:00Z"),
        // Not at all on the day of the jump.
        (ROME, "02:10-02:50", "2027-03-27T12:00Z", "2027-03-29T00:10Z", "2027-03-29T00:50Z"),
        (LORD_HOWE, "01:00-03:00", "2027-10-02T12:00Z", "2027-10-02T14:30Z", "2027-10-02T16:00Z"),
    ] {
        let parsed: Window = window.parse().unwrap();
        let expected = Opening { from: at(from), to: at(to) };
        assert_eq!(opening(parsed, &zone(name), at(asked)), Some(expected), "{window} {asked}");
    }
}
