//! Turns what a drill saw into its report: measured by `plan::objective`, judged by `evidence`.

use jiff::Timestamp;

use crate::engines::postgres::heartbeat::HeartbeatState;
use crate::engines::postgres::restore::teardown::Removed;
use crate::evidence::drill_report as report;
use crate::evidence::drill_report::{
    Check, CheckVerdict, DrillReport, Finding, Pages, Phase, RecoveryPoint, Severity, SkippedStep,
    TableCount, Verdict,
};
use crate::model::Span;
use crate::plan::objective::{
    Disruption, MandatoryCheck, Measure, Measured, Moment, Observed, Outcome, RestoredData,
    Targets, measure,
};
use crate::plan::recovery::RecoveryPlan;
use crate::repository::manifest::SnapshotManifest;

/// What a drill has seen so far; whatever is missing was not reached.
pub struct Seen {
    pub t_disrupt: Moment,
    pub t_declare: Moment,
    /// The target was chosen in the past (`--to`).
    pub in_past: bool,
    pub t_service: Option<Moment>,
    pub phases: Vec<Phase>,
    pub recovery_point: Option<RecoveryPoint>,
    pub heartbeats: Option<HeartbeatState>,
    pub checks: Vec<Check>,
    pub tables: Vec<TableCount>,
    pub pages: Option<Pages>,
    pub warnings: Vec<String>,
    pub findings: Vec<Finding>,
    pub skipped: Vec<SkippedStep>,
    pub teardown: Vec<Removed>,
    pub t_end: Timestamp,
}

impl Seen {
    /// Nothing yet.
    pub fn begin(t_disrupt: Moment, t_declare: Moment, in_past: bool) -> Seen {
        Seen {
            t_disrupt,
            t_declare,
            in_past,
            t_service: None,
            phases: Vec::new(),
            recovery_point: None,
            heartbeats: None,
            checks: Vec::new(),
            tables: Vec::new(),
            pages: None,
            warnings: Vec::new(),
            findings: Vec::new(),
            skipped: Vec::new(),
            teardown: Vec::new(),
            t_end: t_declare.at,
        }
    }

    /// Whether every mandatory check was made and passed.
    pub fn all_passed(&self) -> bool {
        let mut mandatory = self.checks.iter().filter(|check| check.mandatory).peekable();
        mandatory.peek().is_some() && mandatory.all(|check| check.verdict == CheckVerdict::Pass)
    }

    /// Notes a finding of the gravest kind.
    pub fn find(&mut self, text: String) {
        self.findings.push(Finding { severity: Severity::High, text });
    }

    /// The report.
    pub fn report(
        self,
        identity: report::Identity,
        targets: Targets,
        allowance: Span,
    ) -> DrillReport {
        let measured = measure(&self.observed(identity.resource.as_str()), targets, allowance);
        let newest = self.heartbeats.as_ref().and_then(|state| state.newest.clone());
        let times = report::Times {
            t_disrupt: self.t_disrupt.at,
            t_declare: self.t_declare.at,
            t_service: self.t_service.map(|moment| moment.at),
            t_data: newest.as_ref().map(|beat| beat.at),
            t_end: self.t_end,
            phases: self.phases,
        };
        DrillReport {
            schema: report::SCHEMA,
            identity,
            verdict: Verdict::Failed,
            reasons: Vec::new(),
            objectives: objectives(&measured, targets, allowance),
            times,
            recovery_point: self.recovery_point,
            heartbeats: heartbeats(self.heartbeats.as_ref()),
            checks: self.checks,
            tables: self.tables,
            pages: self.pages,
            warnings: self.warnings,
            findings: self.findings,
            steps_not_executed: self.skipped,
            teardown: self.teardown.into_iter().map(removal).collect(),
        }
        .judged()
    }

    fn observed(&self, resource: &str) -> Observed {
        let mandatory = self.checks.iter().filter(|check| check.mandatory);
        let checks = mandatory.map(|check| MandatoryCheck {
            name: check.id.clone(),
            outcome: match check.verdict {
                CheckVerdict::Pass => Outcome::Passed,
                CheckVerdict::Fail => Outcome::Failed(check.actual.clone().unwrap_or_default()),
                CheckVerdict::NotRun => Outcome::Skipped(check.detail.clone().unwrap_or_default()),
                CheckVerdict::TimedOut => Outcome::TimedOut,
            },
        });
        let state = self.heartbeats.as_ref();
        let whole = |state: &HeartbeatState| state.missing == 0 && state.forged == 0;
        Observed {
            disruption: match self.in_past {
                true => Disruption::RehearsedInPast,
                false => Disruption::Rehearsed,
            },
            t_disrupt: self.t_disrupt,
            t_declare: self.t_declare,
            t_service: self.t_service,
            data: vec![RestoredData {
                resource: resource.to_owned(),
                t_data: state.and_then(|state| state.newest.as_ref()).map(|beat| beat.at),
                heartbeats_contiguous: state.is_some_and(whole),
            }],
            checks: checks.collect(),
        }
    }
}

fn objectives(measured: &Measured, targets: Targets, allowance: Span) -> report::Objectives {
    let one = |measure: &Measure, target: Span| {
        let (value, because) = match measure {
            Measure::Achieved(span) => (Some(*span), None),
            Measure::NotAchieved(reason) => (None, Some(reason.clone())),
        };
        report::Measurement {
            target,
            estimate: None,
            measured: value,
            not_achieved_because: because,
            met: None,
        }
    };
    report::Objectives {
        rto: one(&measured.rto, targets.rto),
        rpo: one(&measured.rpo, targets.rpo),
        detection_allowance: allowance,
        technical: match measured.technical {
            Measure::Achieved(span) => Some(span),
            Measure::NotAchieved(_) => None,
        },
    }
}

fn heartbeats(state: Option<&HeartbeatState>) -> report::Heartbeats {
    report::Heartbeats {
        newest: state
            .and_then(|state| state.newest.as_ref())
            .map(|beat| report::Heartbeat { sequence: beat.seq, at: beat.at }),
        counted: state.map_or(0, |state| state.found),
        contiguous: state.map(|state| state.missing == 0 && state.found > 0),
        holes: state
            .map(|state| state.holes.clone())
            .unwrap_or_default()
            .into_iter()
            .map(|(first, last)| report::Hole { first, last })
            .collect(),
        authentic: state.map(|state| state.forged == 0),
    }
}

fn removal(removed: Removed) -> report::Removal {
    report::Removal {
        created: removed.what,
        removed_at: removed.gone_at,
        verified_by: removed.gone_at.map(|_| removed.seen_by),
    }
}

/// What was recovered from, for the report.
pub fn recovery_point(
    manifest: &SnapshotManifest,
    plan: &RecoveryPlan,
    t_disrupt: Timestamp,
) -> RecoveryPoint {
    let age = t_disrupt.duration_since(manifest.stopped_at);
    RecoveryPoint {
        snapshot: manifest.id.clone(),
        snapshot_start: manifest.started_at,
        snapshot_stop: manifest.stopped_at,
        age: Span(age.try_into().unwrap_or_default()),
        method: manifest.method.to_string(),
        requested: plan.target.to_string(),
        server_version: version(manifest.cluster.version_num),
        system_id: manifest.cluster.system_id,
        timeline: plan.history.timeline,
        start_lsn: manifest.start_lsn,
        stop_lsn: manifest.stop_lsn,
        restored: None,
    }
}

/// `150018` as PostgreSQL prints it: `15.18`.
fn version(number: u32) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}
