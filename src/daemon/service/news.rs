//! How jobs and the daemon itself stand, as events: pure. How resources stand is `watch`'s matter.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::message::Failing;
use super::state::Last;
use crate::model::ResourceName;
use crate::notify::{Event, Key, Severity};

/// One failure is soon mended by itself; from so many on it is told.
const TOLD_FROM: u32 = 2;
/// From so many on it is red, tried again or not.
const RED_FROM: u32 = 4;

/// What may be wrong with the daemon itself, and how bad that is.
const TROUBLES: [(&str, Severity, &str); 5] = [
    ("catalog", Severity::Red, "the catalog takes nothing, so that nothing begins"),
    ("telling", Severity::Red, "nobody can be told"),
    ("listen", Severity::Red, "nobody can watch this daemon"),
    ("configuration", Severity::Warning, "the new configuration is not taken"),
    ("leftovers", Severity::Warning, "a job that was cut short left something behind"),
];

/// The works of all resources: those that fail, and those whose last run was not as promised, are
/// not good; all others are.
pub(super) fn of_jobs(
    all: &[(ResourceName, &'static str)],
    failing: &[Failing],
    last: &BTreeMap<(ResourceName, &'static str), Last>,
    now: Timestamp,
) -> Vec<Event> {
    let failing: BTreeMap<(&ResourceName, &str), &Failing> =
        failing.iter().map(|one| ((&one.resource, one.work), one)).collect();
    let event = |(resource, work): &(ResourceName, &'static str)| {
        let last = last.get(&(resource.clone(), *work));
        let (severity, title) = match failing.get(&(resource, *work)) {
            Some(one) if one.attempts >= TOLD_FROM || one.is_final => told_failing(one, work),
            _ => match last.filter(|last| last.not_met) {
                Some(last) => {
                    (Severity::Red, format!("the {work} was not as promised: {}", last.told))
                }
                None => (Severity::Good, format!("the {work} is done as ordered")),
            },
        };
        let details = match (severity, last) {
            (Severity::Good, _) | (_, None) => Vec::new(),
            (_, Some(last)) if last.not_met => Vec::new(),
            (_, Some(last)) => vec![last.told.clone()],
        };
        Event {
            key: Key::new(Some(resource), &format!("job-{work}")),
            resource: Some(resource.clone()),
            severity,
            title,
            details,
            at: now,
        }
    };
    all.iter().map(event).collect()
}

fn told_failing(one: &Failing, work: &str) -> (Severity, String) {
    match (one.is_final, one.attempts) {
        (true, 1) => (Severity::Red, format!("the {work} failed, and is not tried again")),
        (true, attempts) => {
            (Severity::Red, format!("the {work} was given up after {attempts} attempts"))
        }
        (false, attempts) => {
            let severity = if attempts < RED_FROM { Severity::Warning } else { Severity::Red };
            (severity, format!("the {work} failed {attempts} times, and is tried again"))
        }
    }
}

/// The daemon itself.
pub(super) fn of_daemon(troubles: &BTreeMap<&'static str, String>, now: Timestamp) -> Vec<Event> {
    let event = |(about, severity, title): (&'static str, Severity, &str)| {
        let told = troubles.get(about);
        Event {
            key: Key::new(None, about),
            resource: None,
            severity: told.map_or(Severity::Good, |_| severity),
            title: match told {
                Some(_) => title.to_owned(),
                None => format!("{about}: as it should be"),
            },
            details: told.cloned().into_iter().collect(),
            at: now,
        }
    };
    TROUBLES.into_iter().map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn name() -> ResourceName {
        "registro".parse().unwrap()
    }

    fn failing(attempts: u32, is_final: bool) -> Failing {
        Failing { resource: name(), work: "snapshot", attempts, since: NOW, is_final }
    }

    #[test]
    fn a_job_is_told_once_it_failed_twice_and_red_once_it_is_given_up() {
        let cases: [(Option<Failing>, Option<bool>, Severity); 8] = [
            (None, None, Severity::Good),
            (Some(failing(1, false)), Some(false), Severity::Good),
            (Some(failing(2, false)), Some(false), Severity::Warning),
            (Some(failing(4, false)), Some(false), Severity::Red),
            (Some(failing(1, true)), Some(false), Severity::Red),
            (Some(failing(10, true)), None, Severity::Red),
            (None, Some(true), Severity::Red),
            (None, Some(false), Severity::Good),
        ];
        for (failing, not_met, expected) in cases {
            let failing: Vec<Failing> = failing.into_iter().collect();
            let last = not_met.map(|not_met| {
                let told = "3 pages are damaged".to_owned();
                ((name(), "snapshot"), Last { told, not_met })
            });
            let last = last.into_iter().collect();
            let events = of_jobs(&[(name(), "snapshot")], &failing, &last, NOW);
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].severity, expected, "{failing:?} {last:?}");
            assert_eq!(events[0].key.as_str(), "registro/job-snapshot");
        }
    }

    #[test]
    fn each_trouble_of_the_daemon_has_a_key_that_becomes_good_again() {
        for (about, severity, _) in TROUBLES {
            let bad = of_daemon(&[(about, "why".to_owned())].into(), NOW);
            let good = of_daemon(&BTreeMap::new(), NOW);
            let of = |events: &[Event]| {
                let key = format!("-/{about}");
                events.iter().find(|event| event.key.as_str() == key).unwrap().severity
            };
            assert_eq!((of(&bad), of(&good)), (severity, Severity::Good));
            assert_eq!(bad.iter().filter(|event| event.severity != Severity::Good).count(), 1);
        }
    }
}
