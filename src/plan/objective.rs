//! RTO and RPO as measured: DESIGN.md section 2, RULES 15 and 16. A number only where it is earned.
//!
//! A drill rehearses no detection, so the printed `detection_allowance` is added to what it
//! measures; an incident's own detection lies within its times. A drill that recovers to a past
//! instant moves the data, not the clock: its recovery counts from `t_declare`.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::Span;

/// An event's time: the instant for the record, the monotonic reading for durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub at: Timestamp,
    /// Readings of one clock only; `None` after a restart of the daemon.
    pub monotonic: Option<Duration>,
}

/// What disrupted the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disruption {
    /// It really happened, at `t_disrupt`.
    Incident,
    /// A drill; `t_disrupt` is its start.
    Rehearsed,
    /// A drill to a chosen instant in the past, which is `t_disrupt` (RULES 15).
    RehearsedInPast,
}

/// How a check came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
    TimedOut,
}

/// One check that must pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MandatoryCheck {
    pub name: String,
    pub outcome: Outcome,
}

/// The heartbeats found in the restored data of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredData {
    pub resource: String,
    /// Time of the newest one.
    pub t_data: Option<Timestamp>,
    /// No number is missing before it.
    pub heartbeats_contiguous: bool,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub disruption: Disruption,
    pub t_disrupt: Moment,
    pub t_declare: Moment,
    /// `None`: service was never reached.
    pub t_service: Option<Moment>,
    /// One for each resource of the service.
    pub data: Vec<RestoredData>,
    pub checks: Vec<MandatoryCheck>,
}

/// What was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets {
    pub rto: Span,
    pub rpo: Span,
}

/// A number, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    Achieved(Span),
    NotAchieved(String),
}

/// A measure against its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Met,
    Missed { by: Span },
    NotAchieved,
}

/// What was measured; targets and estimates are other columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    pub rto: Measure,
    /// `t_service - t_declare`: what the machines took.
    pub technical: Measure,
    pub rpo: Measure,
    pub rto_verdict: Verdict,
    pub rpo_verdict: Verdict,
    /// Included in `rto`; zero for an incident.
    pub detection_allowance: Span,
    /// Some duration had to be taken from instants, which may step.
    pub wall_clock_used: bool,
}

impl Measured {
    /// Both objectives are met.
    pub fn passed(&self) -> bool {
        (self.rto_verdict, self.rpo_verdict) == (Verdict::Met, Verdict::Met)
    }
}

/// Measures one recovery.
pub fn measure(observed: &Observed, targets: Targets, detection_allowance: Span) -> Measured {
    let unproven = unproven(observed);
    let from = match observed.disruption {
        Disruption::Incident | Disruption::Rehearsed => observed.t_disrupt,
        Disruption::RehearsedInPast => observed.t_declare,
    };
    let allowance = match observed.disruption {
        Disruption::Incident => Span::default(),
        Disruption::Rehearsed | Disruption::RehearsedInPast => detection_allowance,
    };
    let (mut rto, technical) = match (&unproven, observed.t_service) {
        (Some(reason), _) => (not(reason), not(reason)),
        (None, None) => (not("service was not reached"), not("service was not reached")),
        (None, Some(service)) => (elapsed(from, service), elapsed(observed.t_declare, service)),
    };
    if let Measure::Achieved(span) = &mut rto {
        span.0 = span.0.saturating_add(allowance.0);
    }
    let rpo = match &unproven {
        Some(reason) => not(reason),
        None => data_loss(observed),
    };
    let readings = [Some(from), Some(observed.t_declare), observed.t_service];
    Measured {
        rto_verdict: verdict(&rto, targets.rto),
        rpo_verdict: verdict(&rpo, targets.rpo),
        rto,
        technical,
        rpo,
        detection_allowance: allowance,
        wall_clock_used: readings.iter().flatten().any(|moment| moment.monotonic.is_none()),
    }
}

fn not(reason: &str) -> Measure {
    Measure::NotAchieved(reason.to_owned())
}

/// Why nothing counts: a mandatory check that did not pass, or none at all.
fn unproven(observed: &Observed) -> Option<String> {
    if observed.checks.is_empty() {
        return Some("no mandatory check was made".to_owned());
    }
    let reasons = observed.checks.iter().filter_map(|check| match &check.outcome {
        Outcome::Passed => None,
        Outcome::Failed(why) => Some(format!("check `{}` failed: {why}", check.name)),
        Outcome::Skipped(why) => Some(format!("check `{}` was skipped: {why}", check.name)),
        Outcome::TimedOut => Some(format!("check `{}` did not end in time", check.name)),
    });
    let reasons: Vec<String> = reasons.collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn elapsed(from: Moment, to: Moment) -> Measure {
    let span = match (from.monotonic, to.monotonic) {
        (Some(from), Some(to)) => to.checked_sub(from),
        _ => Duration::try_from(to.at.duration_since(from.at)).ok(),
    };
    span.map_or_else(|| not("the clock ran backwards"), |span| Measure::Achieved(Span(span)))
}

/// `t_disrupt` minus the oldest newest heartbeat. Both are instants of records, not readings.
fn data_loss(observed: &Observed) -> Measure {
    let mut reasons = Vec::new();
    let mut oldest: Option<Timestamp> = None;
    for data in &observed.data {
        let resource = &data.resource;
        if !data.heartbeats_contiguous {
            reasons.push(format!("heartbeats are missing in `{resource}`"));
        }
        match data.t_data {
            None => reasons.push(format!("no heartbeat was found in `{resource}`")),
            Some(t_data) if t_data > observed.t_disrupt.at => {
                reasons.push(format!("`{resource}` holds data from after the disruption"));
            }
            Some(t_data) => oldest = Some(oldest.map_or(t_data, |o| o.min(t_data))),
        }
    }
    match (oldest, reasons.is_empty()) {
        (Some(t_data), true) => {
            let loss = Duration::try_from(observed.t_disrupt.at.duration_since(t_data));
            loss.map_or_else(|_| not("the clock ran backwards"), |l| Measure::Achieved(Span(l)))
        }
        (None, true) => not("no resource was restored"),
        (_, false) => not(&reasons.join("; ")),
    }
}

fn verdict(measure: &Measure, target: Span) -> Verdict {
    match measure {
        Measure::NotAchieved(_) => Verdict::NotAchieved,
        Measure::Achieved(span) => match span.0.checked_sub(target.0) {
            None | Some(Duration::ZERO) => Verdict::Met,
            Some(by) => Verdict::Missed { by: Span(by) },
        },
    }
}
