//! Schedules: the standard meaning of five fields, and what is refused.

use fenice::config::Cron;
use jiff::civil::{Date, Weekday, date};

fn cron(text: &str) -> Cron {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

#[test]
fn dates_follow_the_standard_meaning() {
    let sunday = date(2026, 3, 1);
    let cases: [(&str, Date, bool); 16] = [
        ("0 2 * * *", sunday, true),
        ("0 2 * * 0", sunday, true),
        ("0 2 * * 7", sunday, true),
        ("0 2 * * SUN", sunday, true),
        ("0 2 * * 5-7", sunday, true),
        ("0 2 * * mon-fri", sunday, false),
        ("0 2 * mar *", sunday, true),
        ("0 2 * 4-12 *", sunday, false),
        // Both given: either is enough.
        ("0 2 13 * 0", sunday, true),
        ("0 2 1 * 5", sunday, true),
        ("0 2 13 * 5", sunday, false),
        // One begins with `*`: both are needed.
        ("0 2 */2 * 5", sunday, false),
        ("0 2 */2 * 0", sunday, true),
        ("0 2 * * */2", sunday, true),
        ("0 2 * * */2", date(2026, 3, 2), false),
        ("0 2 29 feb *", date(2028, 2, 29), true),
    ];
    for (text, day, runs) in cases {
        assert_eq!(cron(text).runs_on(day), runs, "{text} on {day}");
    }
}

#[test]
fn times_are_listed_in_order() {
    let cases: [(&str, &[(i8, i8)]); 4] = [
        ("0 2 * * *", &[(2, 0)]),
        ("30,0 2,1 * * *", &[(1, 0), (1, 30), (2, 0), (2, 30)]),
        ("5-20/7 23 * * *", &[(23, 5), (23, 12), (23, 19)]),
        ("59 */8 * * *", &[(0, 59), (8, 59), (16, 59)]),
    ];
    for (text, expected) in cases {
        assert_eq!(cron(text).times().collect::<Vec<_>>(), expected, "{text}");
        assert_eq!(cron(text).to_string(), text);
    }
    assert_eq!(cron("* * * * *").times().count(), 1_440);
}

#[test]
fn the_nearest_times_of_a_day_are_those_of_the_list() {
    for text in ["0 2 * * *", "30,0 2,1 * * *", "59 */8 * * *", "* * * * *", "0 0 * * *"] {
        let cron = cron(text);
        let times: Vec<(i8, i8)> = cron.times().collect();
        for (hour, minute) in (0..24).flat_map(|hour| (0..=60).map(move |minute| (hour, minute))) {
            let from = times.iter().copied().find(|time| *time >= (hour, minute));
            assert_eq!(cron.first_from(hour, minute), from, "{text} {hour}:{minute}");
            let before = times.iter().copied().rfind(|time| *time < (hour, minute));
            assert_eq!(cron.last_before(hour, minute), before, "{text} {hour}:{minute}");
        }
        assert_eq!(cron.last_before(24, 0), times.last().copied(), "{text}");
    }
}

#[test]
fn the_longest_pause_is_known_where_it_runs_every_day() {
    for (text, expected) in [
        ("30 4,16 * * *", Some("12h")),
        ("0 4 * * *", Some("1d")),
        ("0 4,5 * * *", Some("23h")),
        ("0 8,18 * * *", Some("14h")),
        ("30 */6 * * *", Some("6h")),
        ("* * * * *", Some("1m")),
        ("0 4,16 * * 1-5", None),
        ("0 4,16 */2 * *", None),
        ("0 4,16 * 1-11 *", None),
        // Every date or Monday, and every weekday or the first.
        ("0 4,16 1-31 * 1", Some("12h")),
        ("0 4,16 1 * 0-6", Some("12h")),
        ("0 4,16 1 * 1-5", None),
    ] {
        let pause = cron(text).longest_pause().map(|pause| pause.to_config());
        assert_eq!(pause.as_deref(), expected, "{text}");
    }
}

#[test]
fn a_weekday_that_never_comes_is_known() {
    for (text, can) in [
        ("0 2 * * *", true),
        ("0 2 * * 1-6", false),
        ("0 2 1 * 1-6", true), // the first of a month may be a Sunday
        ("0 2 */2 * 1-6", false),
        ("0 2 1 * *", true),
    ] {
        assert_eq!(cron(text).can_run_on(Weekday::Sunday), can, "{text}");
    }
}

#[test]
fn what_is_not_a_schedule_is_refused_with_a_reason() {
    let cases = [
        ("", "`` has 0 fields instead of five"),
        ("0 2 * *", "`0 2 * *` has 4 fields instead of five"),
        ("@daily", "`@daily` has 1 fields instead of five"),
        ("60 2 * * *", "`60` does not fit the field `minute`"),
        ("0 24 * * *", "`24` does not fit the field `hour`"),
        ("0 2 0 * *", "`0` does not fit the field `day of month`"),
        ("0 2 * 13 *", "`13` does not fit the field `month`"),
        ("0 2 * * 8", "`8` does not fit the field `day of week`"),
        ("0 2 * * lun", "`lun` does not fit the field `day of week`"),
        ("0 2 * * 5-1", "`5-1` does not fit the field `day of week`"),
        ("5/15 2 * * *", "`5/15` does not fit the field `minute`"),
        ("*/0 2 * * *", "`*/0` does not fit the field `minute`"),
        ("+5 2 * * *", "`+5` does not fit the field `minute`"),
        ("1,,2 2 * * *", "`` does not fit the field `minute`"),
        ("0 0 30 2 *", "`0 0 30 2 *` never comes: no year has such a date"),
        ("0 0 31 4,6,9,11 *", "`0 0 31 4,6,9,11 *` never comes: no year has such a date"),
    ];
    for (text, expected) in cases {
        let error = text.parse::<Cron>().expect_err(text);
        assert_eq!(error.to_string(), expected);
        assert!(error.hint_text().is_some(), "{text}");
    }
    // Not impossible: the weekday alone is enough.
    assert!("0 0 30 2 1".parse::<Cron>().is_ok());
}
