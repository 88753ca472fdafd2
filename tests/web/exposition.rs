//! Facts to text: each as it is, and what cannot be told as such.

use std::collections::BTreeMap;
use std::time::Duration;

use fenice::web::metrics::text;
use fenice::web::{
    CopyFacts, DrillFacts, Fact, JobCounts, JobResult, LeaseState, Measured, ResourceFacts,
};

use super::sample::{ago, known, name, now, promise, sample};

/// Samples of the text: `name{labels}` and the value as it is written.
fn values(measured: &Measured) -> BTreeMap<String, String> {
    let text = text(measured, now()).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples: Vec<_> = samples.map(|line| line.rsplit_once(' ').unwrap()).collect();
    let count = samples.len();
    let values: BTreeMap<_, _> =
        samples.into_iter().map(|(series, value)| (series.to_owned(), value.to_owned())).collect();
    assert_eq!(values.len(), count, "a series stands there twice");
    values
}

/// The sample with its resource in the place of `registro`.
fn with(facts: ResourceFacts) -> Measured {
    let mut measured = sample();
    measured.resources.insert(name("registro"), facts);
    measured
}

#[track_caller]
fn check(values: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (series, value) in expected {
        assert_eq!(values.get(*series).map(String::as_str), Some(*value), "{series}");
    }
}

#[test]
fn every_fact_is_shown_as_it_is() {
    check(
        &values(&sample()),
        &[
            ("fenice_build_info{version=\"0.1.0\"}", "1"),
            ("fenice_started_timestamp_seconds", "1794910000"),
            ("fenice_scheduler_last_turn_timestamp_seconds", "1794999999"),
            ("fenice_rpo_target_seconds{resource=\"registro\"}", "3600"),
            ("fenice_rpo_exposure_seconds{resource=\"registro\"}", "42"),
            ("fenice_rpo_exposure_without_main_seconds{resource=\"registro\"}", "200100"),
            ("fenice_last_snapshot_timestamp_seconds{resource=\"registro\"}", "1794950000"),
            ("fenice_slot_lag_bytes{resource=\"registro\"}", "16777216"),
            ("fenice_drill_passed{resource=\"registro\"}", "1"),
            ("fenice_drill_measured_rto_seconds{resource=\"registro\"}", "901.5"),
            ("fenice_source_clock_offset_seconds{resource=\"registro\"}", "-0.25"),
            ("fenice_resource_retired{resource=\"registro\"}", "0"),
            ("fenice_unknown{resource=\"registro\",what=\"exposure\"}", "0"),
            ("fenice_repository_bytes{repository=\"main\"}", "1099511627776"),
            ("fenice_lease_held{repository=\"main\"}", "1"),
            ("fenice_lease_held{repository=\"offsite\"}", "0"),
            ("fenice_lease_standing_by{repository=\"offsite\"}", "1"),
            ("fenice_disk_free_bytes{disk=\"state\"}", "600000"),
            ("fenice_disk_free_bytes{disk=\"repository:main\"}", "600000"),
            ("fenice_disk_size_bytes{disk=\"source:registro\"}", "1000000"),
            ("fenice_jobs_running{kind=\"snapshot\"}", "1"),
            ("fenice_jobs_running{kind=\"verify\"}", "0"),
            ("fenice_jobs_waiting{kind=\"copy\"}", "1"),
            ("fenice_job_processed_bytes{resource=\"registro\",kind=\"snapshot\"}", "1048576"),
        ],
    );
}

#[test]
fn jobs_are_counted_by_result_and_their_durations_by_bucket() {
    let counted = |result: &str, kind: &str| {
        format!("fenice_jobs_total{{resource=\"registro\",kind=\"{kind}\",result=\"{result}\"}}")
    };
    let bucket = |bound: &str| {
        format!("fenice_job_duration_seconds_bucket{{kind=\"snapshot\",le=\"{bound}\"}}")
    };
    let in_a_row = |kind: &str| {
        format!("fenice_job_consecutive_failures{{resource=\"registro\",kind=\"{kind}\"}}")
    };
    check(
        &values(&sample()),
        &[
            (counted("done", "snapshot").as_str(), "1"),
            (counted("failed", "snapshot").as_str(), "1"),
            (counted("cancelled", "snapshot").as_str(), "0"),
            // What may come is there before it comes, so that the first failure is a rise.
            (counted("failed", "copy").as_str(), "0"),
            (in_a_row("snapshot").as_str(), "0"),
            (in_a_row("verify").as_str(), "1"),
            (bucket("1").as_str(), "0"),
            (bucket("5").as_str(), "1"),
            (bucket("60").as_str(), "1"),
            (bucket("300").as_str(), "2"),
            (bucket("86400").as_str(), "2"),
            (bucket("+Inf").as_str(), "2"),
            ("fenice_job_duration_seconds_sum{kind=\"snapshot\"}", "252"),
            ("fenice_job_duration_seconds_count{kind=\"snapshot\"}", "2"),
        ],
    );
}

#[test]
fn what_cannot_be_told_has_no_value_and_is_unknown() {
    let copies = Some(CopyFacts::default());
    let facts = ResourceFacts { copies, ..ResourceFacts::unmeasured(Some(promise())) };
    let values = values(&with(facts));
    let of_resource: Vec<_> = values
        .iter()
        .filter(|(series, _)| series.contains("resource=\"registro\""))
        .filter(|(series, _)| !series.starts_with("fenice_job"))
        .collect();
    let mut unknown = 0;
    for (series, value) in of_resource {
        let family = series.split('{').next().unwrap();
        match family {
            "fenice_unknown" => {
                assert_eq!(value, "1", "{series}");
                unknown += 1;
            }
            // What the policy says is known, and what is in use.
            "fenice_resource_retired" => {}
            _ => assert!(family.ends_with("_target_seconds"), "{series} {value}"),
        }
    }
    assert_eq!(unknown, 16, "{values:?}");
}

#[test]
fn what_does_not_exist_has_no_value_and_is_not_unknown() {
    let facts = ResourceFacts {
        last_snapshot_at: Fact::Absent,
        slot_limit_bytes: Fact::Absent,
        drill: Fact::Absent,
        copies: None,
        ..known()
    };
    let values = values(&with(facts));
    for family in [
        "fenice_last_snapshot_timestamp_seconds",
        "fenice_slot_lag_limit_bytes",
        "fenice_drill_passed",
        "fenice_drill_measured_rto_seconds",
        "fenice_copies_late",
        "fenice_rpo_exposure_without_main_seconds",
    ] {
        assert!(!values.contains_key(&format!("{family}{{resource=\"registro\"}}")), "{family}");
    }
    for what in ["snapshot", "slot", "drill", "copies"] {
        let series = format!("fenice_unknown{{resource=\"registro\",what=\"{what}\"}}");
        check(&values, &[(series.as_str(), "0")]);
    }
}

#[test]
fn an_exposure_without_any_heartbeat_is_unknown() {
    let values = values(&with(ResourceFacts { data_until: Fact::Absent, ..known() }));
    assert!(!values.contains_key("fenice_rpo_exposure_seconds{resource=\"registro\"}"));
    check(&values, &[("fenice_unknown{resource=\"registro\",what=\"exposure\"}", "1")]);
}

#[test]
fn a_drill_that_achieved_nothing_has_no_number() {
    let mut facts = known();
    facts.drill =
        facts.drill.map(|drill| DrillFacts { passed: false, rto: None, rpo: None, ..drill });
    let values = values(&with(facts));
    check(&values, &[("fenice_drill_passed{resource=\"registro\"}", "0")]);
    assert!(!values.contains_key("fenice_drill_measured_rto_seconds{resource=\"registro\"}"));
    assert!(!values.contains_key("fenice_drill_measured_rpo_seconds{resource=\"registro\"}"));
}

#[test]
fn of_a_retired_resource_only_what_it_owes_is_told() {
    let values = values(&with(ResourceFacts { promise: None, ..known() }));
    let told = values.keys().filter(|series| series.contains("resource=\"registro\""));
    let mut told: Vec<_> = told.filter(|series| !series.starts_with("fenice_job")).collect();
    told.sort();
    assert_eq!(
        told,
        [
            "fenice_measured_timestamp_seconds{resource=\"registro\"}",
            "fenice_red_reasons{resource=\"registro\"}",
            "fenice_resource_retired{resource=\"registro\"}",
            "fenice_retention_overdue{resource=\"registro\"}",
            "fenice_unknown{resource=\"registro\",what=\"measurement\"}",
            "fenice_unknown{resource=\"registro\",what=\"retention\"}",
            "fenice_unknown{resource=\"registro\",what=\"status\"}",
        ]
    );
}

#[test]
fn a_resource_that_left_leaves_its_counters_alone() {
    let mut measured = sample();
    measured.resources.clear();
    measured.under_way.clear();
    measured.waiting.clear();
    let values = values(&measured);
    let left = values.keys().filter(|series| series.contains("resource=\"registro\""));
    let left: Vec<_> = left.filter(|series| !series.starts_with("fenice_jobs_total{")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(values.keys().any(|series| series.starts_with("fenice_jobs_total{")));
}

#[test]
fn exposure_grows_by_itself_when_nobody_measures() {
    let measured = sample();
    let at = |seconds: i64| text(&measured, ago(-seconds)).unwrap();
    assert!(at(0).contains("fenice_rpo_exposure_seconds{resource=\"registro\"} 42\n"));
    assert!(at(600).contains("fenice_rpo_exposure_seconds{resource=\"registro\"} 642\n"));
    // A clock that is behind makes nothing of it, not less.
    assert!(at(-100).contains("fenice_rpo_exposure_seconds{resource=\"registro\"} 0\n"));
}

#[test]
fn a_lost_lease_is_neither_held_nor_stood_by_for() {
    let mut measured = sample();
    measured.repositories.get_mut("main").unwrap().lease = LeaseState::Lost;
    check(
        &values(&measured),
        &[
            ("fenice_lease_held{repository=\"main\"}", "0"),
            ("fenice_lease_standing_by{repository=\"main\"}", "0"),
        ],
    );
}

#[test]
fn a_daemon_that_has_nothing_yet_shows_itself() {
    let mut measured = sample();
    measured.jobs = JobCounts::default();
    measured.resources.clear();
    measured.repositories.clear();
    measured.disks.clear();
    measured.under_way.clear();
    measured.waiting.clear();
    let values = values(&measured);
    let shown: Vec<_> = values.keys().map(String::as_str).collect();
    assert_eq!(
        shown,
        [
            "fenice_build_info{version=\"0.1.0\"}",
            "fenice_scheduler_last_turn_timestamp_seconds",
            "fenice_started_timestamp_seconds",
        ]
    );
}

#[test]
fn counting_goes_on_from_what_was_counted() {
    let mut measured = sample();
    let again = Duration::from_secs(1);
    measured.jobs.note(&name("registro"), "verify", JobResult::Failed, again);
    let failed = "fenice_jobs_total{resource=\"registro\",kind=\"verify\",result=\"failed\"}";
    check(&values(&measured), &[(failed, "2")]);
}
