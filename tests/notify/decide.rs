//! What is news: tables, and what holds whatever happens.

use std::time::Duration;

use fenice::notify::decide::{Decided, MESSAGES_AN_HOUR, Told, Why, decide};
use fenice::notify::{Event, Severity};
use proptest::prelude::*;

use super::{at, event};

use Severity::{Good, Red, Warning};

const DAY: i64 = 24 * 60;
const REPEAT: Duration = Duration::from_secs(24 * 3_600);

/// What was told so far of one key, minute by minute.
#[derive(Default)]
struct Story(Vec<Told>);

impl Story {
    /// It stands so at a minute; what is told then, and how many changes it sums up.
    fn is(&mut self, severity: Severity, minute: i64) -> Option<(Why, u32)> {
        let mut decided = self.look(&[event("exposure", severity, minute)], minute);
        assert!(decided.tell.len() <= 1);
        decided.tell.pop().map(|told| (told.why, told.changes))
    }

    fn look(&mut self, present: &[Event], minute: i64) -> Decided {
        let decided = decide(&self.0, present, REPEAT, at(minute));
        // As a catalog keeps it.
        let text = serde_json::to_string(&decided.told).unwrap();
        self.0 = serde_json::from_str(&text).unwrap();
        assert_eq!(self.0, decided.told);
        decided
    }
}

#[test]
fn what_stays_red_is_told_at_once_and_then_once_a_day() {
    let mut story = Story::default();
    assert_eq!(story.is(Red, 0), Some((Why::New, 1)));
    for minute in [1, 60, DAY - 1] {
        assert_eq!(story.is(Red, minute), None, "{minute}");
    }
    let still = |times| Some((Why::Still { times, since: at(0) }, 0));
    assert_eq!(story.is(Red, DAY), still(2));
    assert_eq!(story.is(Red, DAY + 1), None);
    assert_eq!(story.is(Red, 2 * DAY + 30), still(3));
    let resolved = Why::Resolved { since: at(0) };
    assert_eq!(story.is(Good, 3 * DAY), Some((resolved, 1)));
    assert_eq!(story.is(Good, 3 * DAY + 1), None);
    assert_eq!(story.is(Good, 3 * DAY + 60), None);
    assert!(story.0.is_empty(), "what is over needs no memory");
    assert_eq!(story.is(Red, 4 * DAY), Some((Why::New, 1)));
}

#[test]
fn what_was_always_good_is_not_told() {
    let mut story = Story::default();
    assert_eq!(story.is(Good, 0), None);
    assert!(story.0.is_empty());
}

#[test]
fn it_is_told_when_it_gets_worse_or_better() {
    let mut story = Story::default();
    assert_eq!(story.is(Warning, 0), Some((Why::New, 1)));
    assert_eq!(story.is(Red, 10), Some((Why::Worse, 1)));
    assert_eq!(story.is(Warning, 20), Some((Why::Better, 1)));
    assert_eq!(story.is(Good, 30), Some((Why::Resolved { since: at(0) }, 1)));
}

#[test]
fn who_wants_only_red_hears_of_its_end_too() {
    let mut story = Story::default();
    for (minute, severity, concerns) in
        [(0, Warning, false), (10, Red, true), (20, Good, true), (120, Warning, false)]
    {
        let decided = story.look(&[event("exposure", severity, minute)], minute);
        assert_eq!(decided.tell[0].concerns_red(), concerns, "{minute}");
    }
    assert!(!story.look(&[event("exposure", Good, 130)], 130).tell[0].concerns_red());
}

#[test]
fn what_comes_and_goes_is_summed_up() {
    let mut story = Story::default();
    let told: Vec<(i64, Why, u32)> = (0..=180)
        .filter_map(|minute| {
            let severity = if minute % 2 == 0 { Red } else { Good };
            story.is(severity, minute).map(|(why, changes)| (minute, why, changes))
        })
        .collect();
    let minutes: Vec<i64> = told.iter().map(|(minute, ..)| *minute).collect();
    assert_eq!(minutes, [0, 1, 2, 3, 60, 61, 62, 63, 120, 121, 122, 123, 180]);
    // Red at 60, as it was last told good at 3: 57 changes, in one message.
    assert_eq!(told[4], (60, Why::New, 57));
    // Quiet at last: what was held back is told once there is room for it.
    assert_eq!(story.is(Good, 181), Some((Why::Resolved { since: at(180) }, 1)));
}

#[test]
fn what_was_not_told_in_time_is_not_forgotten() {
    let mut story = Story::default();
    for minute in 0..MESSAGES_AN_HOUR as i64 {
        assert!(story.is(if minute % 2 == 0 { Warning } else { Good }, minute).is_some());
    }
    // Good was told last; red comes and goes while nothing can be told.
    assert_eq!(story.is(Red, 10), None);
    assert_eq!(story.is(Good, 20), None);
    let decided = story.look(&[event("exposure", Good, 60)], 60);
    let [told] = &decided.tell[..] else { panic!("{decided:?}") };
    assert_eq!((told.why, told.was, told.changes), (Why::Unsteady, Red, 2));
    assert!(told.concerns_red());
}

#[test]
fn what_nobody_looked_at_is_not_good() {
    let mut story = Story::default();
    assert!(story.is(Red, 0).is_some());
    for minute in [1, DAY, 20 * DAY] {
        assert!(story.look(&[], minute).tell.is_empty(), "{minute}");
    }
    assert_eq!(story.is(Good, 20 * DAY), Some((Why::Resolved { since: at(0) }, 1)));
    assert!(story.is(Red, 21 * DAY).is_some());
    assert_eq!(story.look(&[], 50 * DAY).told.len(), 1);
    assert!(story.look(&[], 52 * DAY).told.is_empty(), "thirty days are enough");
}

#[test]
fn of_several_events_of_one_key_the_worst_counts() {
    let mut story = Story::default();
    let all = [Warning, Red, Good].map(|severity| event("exposure", severity, 0));
    let decided = story.look(&all, 0);
    assert_eq!(decided.tell.len(), 1);
    assert_eq!(decided.tell[0].event.severity, Red);
}

#[test]
fn a_clock_that_was_far_ahead_silences_nothing() {
    let mut story = Story::default();
    assert!(story.is(Red, 1_000 * DAY).is_some());
    assert_eq!(story.is(Red, 0), None);
    assert!(matches!(story.is(Red, DAY), Some((Why::Still { .. }, _))));
    assert!(story.is(Good, DAY + 1).is_some());
}

fn severities() -> impl Strategy<Value = Option<Severity>> {
    prop::sample::select(vec![Some(Red), Some(Red), Some(Good), Some(Good), Some(Warning), None])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happens_is_told_in_bounds_and_in_the_end(
        steps in prop::collection::vec((1_i64..90, severities()), 1..120),
    ) {
        let (mut story, mut minute) = (Story::default(), 0);
        let (mut seen, mut told) = (Good, Good);
        let (mut changes_seen, mut changes_told) = (0_u32, 0_u32);
        let mut messages: Vec<i64> = Vec::new();
        for (pause, severity) in steps {
            minute += pause;
            let Some(severity) = severity else {
                prop_assert!(story.look(&[], minute).tell.is_empty());
                continue;
            };
            changes_seen += u32::from(severity != seen);
            seen = severity;
            let room = messages.iter().filter(|at| minute - **at < 60).count() < MESSAGES_AN_HOUR;
            match story.is(severity, minute) {
                Some((why, changes)) => {
                    prop_assert!(room, "more than so many an hour");
                    let (was_good, is_good) = (told == Good, severity == Good);
                    prop_assert_eq!(matches!(why, Why::New), was_good && !is_good);
                    prop_assert_eq!(matches!(why, Why::Resolved { .. }), !was_good && is_good);
                    if let Why::Still { .. } = why {
                        prop_assert!(minute - messages.last().unwrap() >= DAY);
                        prop_assert_eq!(changes, 0);
                    }
                    changes_told += changes;
                    told = severity;
                    messages.push(minute);
                }
                None => {
                    let news = severity != told || changes_seen != changes_told;
                    prop_assert!(!(news && room), "held back without need");
                }
            }
        }
        // Nothing is lost: an hour of quiet tells all that was held back.
        let last = story.is(seen, minute + 60);
        changes_told += last.map_or(0, |(_, changes)| changes);
        prop_assert_eq!(changes_seen, changes_told);
    }
}
