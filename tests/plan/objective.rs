//! RTO and RPO: a number only where it is earned, and the right one.

use std::time::Duration;

use fenice::model::Span;
use fenice::plan::objective::{
    Disruption, MandatoryCheck, Measure, Moment, Observed, Outcome, RestoredData, Targets, Verdict,
    measure,
};
use jiff::Timestamp;
use proptest::prelude::*;

const TARGETS: Targets = Targets { rto: Span::seconds(4 * 3600), rpo: Span::seconds(24 * 3600) };
const ALLOWANCE: Span = Span::seconds(900);

fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn moment(seconds: i64) -> Moment {
    let monotonic = Some(Duration::from_secs(5_000_000_u64.saturating_add_signed(seconds)));
    Moment { at: instant(seconds), monotonic }
}

fn check(outcome: Outcome) -> MandatoryCheck {
    MandatoryCheck { name: "rows".into(), outcome }
}

fn data(t_data: Option<i64>) -> RestoredData {
    let t_data = t_data.map(instant);
    RestoredData { resource: "registro".into(), t_data, heartbeats_contiguous: true }
}

/// Starts at 0, is declared at 60, serves at 660; the newest heartbeat is 40 s old.
fn drill() -> Observed {
    Observed {
        disruption: Disruption::Rehearsed,
        t_disrupt: moment(0),
        t_declare: moment(60),
        t_service: Some(moment(660)),
        data: vec![data(Some(-40))],
        checks: vec![check(Outcome::Passed)],
    }
}

#[test]
fn a_drill_adds_the_allowance_and_an_incident_does_not() {
    let measured = measure(&drill(), TARGETS, ALLOWANCE);
    assert_eq!(measured.rto, Measure::Achieved(Span::seconds(1560)));
    assert_eq!(measured.technical, Measure::Achieved(Span::seconds(600)));
    assert_eq!(measured.rpo, Measure::Achieved(Span::seconds(40)));
    assert!(measured.passed() && !measured.wall_clock_used);
    let incident = Observed { disruption: Disruption::Incident, ..drill() };
    let measured = measure(&incident, TARGETS, ALLOWANCE);
    assert_eq!(measured.rto, Measure::Achieved(Span::seconds(660)));
    assert_eq!(measured.detection_allowance, Span::default());
}

#[test]
fn a_past_instant_moves_the_data_and_not_the_clock() {
    let past = Observed {
        disruption: Disruption::RehearsedInPast,
        t_disrupt: Moment { at: instant(-864_000), monotonic: None },
        data: vec![data(Some(-864_030))],
        ..drill()
    };
    let measured = measure(&past, TARGETS, ALLOWANCE);
    assert_eq!(measured.rto, Measure::Achieved(Span::seconds(1500)));
    assert_eq!(measured.rpo, Measure::Achieved(Span::seconds(30)));
    assert!(!measured.wall_clock_used);
}

#[test]
fn what_is_not_proven_has_no_number() {
    let failed = |why: &str| Outcome::Failed(why.into());
    let unproven: [(&str, Observed); 5] = [
        (
            "failed",
            Observed { checks: vec![check(Outcome::Passed), check(failed("x"))], ..drill() },
        ),
        ("skipped", Observed { checks: vec![check(Outcome::Skipped("y".into()))], ..drill() }),
        ("in time", Observed { checks: vec![check(Outcome::TimedOut)], ..drill() }),
        ("no mandatory check", Observed { checks: vec![], ..drill() }),
        ("backwards", Observed { t_service: Some(moment(-1)), ..drill() }),
    ];
    for (word, observed) in unproven {
        let measured = measure(&observed, TARGETS, ALLOWANCE);
        let Measure::NotAchieved(reason) = &measured.rto else { panic!("{word}: {measured:?}") };
        assert!(reason.contains(word), "{reason}");
        assert_eq!(measured.rto_verdict, Verdict::NotAchieved);
        assert!(!measured.passed());
    }
    let unreached = measure(&Observed { t_service: None, ..drill() }, TARGETS, ALLOWANCE);
    assert!(matches!(unreached.rto, Measure::NotAchieved(_)));
    assert_eq!(unreached.rpo, Measure::Achieved(Span::seconds(40)));
}

#[test]
fn data_must_be_dated_contiguous_and_from_before() {
    let hole = RestoredData { heartbeats_contiguous: false, ..data(Some(-40)) };
    let cases = [
        (vec![data(Some(1))], "after the disruption"),
        (vec![data(None)], "no heartbeat"),
        (vec![data(Some(-5)), hole], "missing"),
        (vec![], "no resource"),
    ];
    for (data, word) in cases {
        let measured = measure(&Observed { data, ..drill() }, TARGETS, ALLOWANCE);
        let Measure::NotAchieved(reason) = &measured.rpo else { panic!("{word}: {measured:?}") };
        assert!(reason.contains(word), "{reason}");
        assert!(!measured.passed());
    }
    // A service is as old as its oldest resource.
    let two = vec![data(Some(-5)), data(Some(-300))];
    let measured = measure(&Observed { data: two, ..drill() }, TARGETS, ALLOWANCE);
    assert_eq!(measured.rpo, Measure::Achieved(Span::seconds(300)));
}

#[test]
fn verdicts_say_by_how_much() {
    let targets = Targets { rto: Span::seconds(1560), rpo: Span::seconds(10) };
    let measured = measure(&drill(), targets, ALLOWANCE);
    assert_eq!(measured.rto_verdict, Verdict::Met, "just in time is in time");
    assert_eq!(measured.rpo_verdict, Verdict::Missed { by: Span::seconds(30) });
}

#[test]
fn durations_ignore_a_clock_that_steps() {
    let stepped = Moment { at: instant(-9_000), ..moment(660) };
    let measured = measure(&Observed { t_service: Some(stepped), ..drill() }, TARGETS, ALLOWANCE);
    assert_eq!(measured.rto, Measure::Achieved(Span::seconds(1560)));
    let restarted = Moment { monotonic: None, ..moment(660) };
    let measured = measure(&Observed { t_service: Some(restarted), ..drill() }, TARGETS, ALLOWANCE);
    assert_eq!(measured.rto, Measure::Achieved(Span::seconds(1560)));
    assert!(measured.wall_clock_used);
}

proptest! {
    /// RULES 16: true loss <= measured RPO <= true loss + heartbeat interval + 1 s.
    #[test]
    fn the_measured_loss_bounds_the_true_one(
        interval in 1i64..120, phase in 0i64..120, loss in 0i64..100_000,
    ) {
        // Everything up to `-loss` was recovered; heartbeats lie at phase + k * interval.
        let newest = -loss - (-loss - phase).rem_euclid(interval);
        let observed = Observed { data: vec![data(Some(newest))], ..drill() };
        let Measure::Achieved(rpo) = measure(&observed, TARGETS, ALLOWANCE).rpo else {
            return Err(TestCaseError::fail("measured"));
        };
        let rpo = rpo.0.as_secs() as i64;
        prop_assert!((loss..=loss + interval + 1).contains(&rpo));
    }

    /// No failed check, however it is mixed with others, leaves a number.
    #[test]
    fn one_bad_check_is_enough(before in 0usize..5, after in 0usize..5, kind in 0u8..3) {
        let bad = match kind {
            0 => Outcome::Failed("x".into()),
            1 => Outcome::Skipped("x".into()),
            _ => Outcome::TimedOut,
        };
        let mut checks = vec![check(Outcome::Passed); before + after];
        checks.insert(before, check(bad));
        let measured = measure(&Observed { checks, ..drill() }, TARGETS, ALLOWANCE);
        for measure in [&measured.rto, &measured.technical, &measured.rpo] {
            prop_assert!(matches!(measure, Measure::NotAchieved(_)));
        }
    }
}
