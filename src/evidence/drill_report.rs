//! The record of one drill: plain data, filled by the drill, shown by the faces, kept as evidence.
//!
//! Times are instants in UTC; durations come from the monotonic clock and stand in JSON as seconds.
//! The verdict is never entered by hand: [`DrillReport::judged`] derives it from everything else.
//! `docs/formats/drill-report.md` explains every field; change both, and [`SCHEMA`], together.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Lsn, ResourceName, Span, SystemId, Timeline};

/// Version of the record; a reader refuses another one.
pub const SCHEMA: u32 = 1;

/// Everything a drill leaves behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillReport {
    pub schema: u32,
    pub identity: Identity,
    pub verdict: Verdict,
    /// Why the verdict is not "passed"; empty if it is.
    pub reasons: Vec<Reason>,
    pub objectives: Objectives,
    pub times: Times,
    /// `None`: no recovery point could be chosen.
    pub recovery_point: Option<RecoveryPoint>,
    pub heartbeats: Heartbeats,
    pub checks: Vec<Check>,
    pub tables: Vec<TableCount>,
    /// `None`: the pages were not read.
    pub pages: Option<Pages>,
    pub warnings: Vec<String>,
    pub findings: Vec<Finding>,
    pub steps_not_executed: Vec<SkippedStep>,
    pub teardown: Vec<Removal>,
}

/// Which drill, of what, by whom, with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub drill_id: String,
    pub resource: ResourceName,
    /// Kind of the resource, as in the configuration: `postgres`.
    pub kind: String,
    /// What is rehearsed: `loss of host`.
    pub scenario: String,
    pub trigger: Trigger,
    pub operator: String,
    pub tool_version: String,
    /// SHA-256 of the configuration in force, hexadecimal.
    pub configuration_hash: String,
    /// Name of the machine the drill ran on.
    pub host: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Schedule,
    Manual,
    Incident,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Passed,
    Failed,
}

impl Verdict {
    /// Exit code of the command that ran or shows the drill (DESIGN.md section 7).
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Passed => 0,
            Verdict::Failed => 3,
        }
    }
}

/// One reason why a drill did not pass. Data, not a sentence: faces speak several languages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    NoRecoveryPoint,
    RtoNotAchieved,
    RtoMissed,
    RpoNotAchieved,
    RpoMissed,
    CheckNotPassed { id: String },
    TableNotPassed { table: String },
    HeartbeatsNotContiguous,
    HeartbeatsNotAuthentic,
    HeartbeatAfterDisruption,
    PagesDamaged,
    PhaseFailed { phase: PhaseKind },
    LeftBehind { what: String },
}

/// Target, estimate, measurement: three different things, never in one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// What the configuration promises.
    #[serde(rename = "target_seconds", with = "seconds")]
    pub target: Span,
    /// What the plan expected before the drill ran.
    #[serde(rename = "estimate_seconds", with = "seconds_or_null")]
    pub estimate: Option<Span>,
    /// What the drill measured. `None` with a reason beside it: not achieved.
    #[serde(rename = "measured_seconds", with = "seconds_or_null")]
    pub measured: Option<Span>,
    pub not_achieved_because: Option<String>,
    /// Whether `measured` is within `target`; `None` if nothing was measured.
    pub met: Option<bool>,
}

impl Measurement {
    /// The measured number, unless something says that it was not achieved.
    pub fn achieved(&self) -> Option<Span> {
        self.measured.filter(|_| self.not_achieved_because.is_none())
    }

    fn withdraw(&mut self, because: &str) {
        self.measured = None;
        self.met = None;
        self.not_achieved_because.get_or_insert_with(|| because.to_owned());
    }
}

/// The two objectives, with what the recovery time consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objectives {
    /// `t_service - t_disrupt`, detection allowance included.
    pub rto: Measurement,
    /// `t_disrupt - t_data`.
    pub rpo: Measurement,
    /// Time granted for noticing and deciding: configured, not measured.
    #[serde(rename = "detection_allowance_seconds", with = "seconds")]
    pub detection_allowance: Span,
    /// `t_service - t_declare`.
    #[serde(rename = "technical_seconds", with = "seconds_or_null")]
    pub technical: Option<Span>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// The disruption that is rehearsed; what was stored later does not exist for the drill.
    pub t_disrupt: Timestamp,
    /// Recovery was ordered: here the technical clock starts.
    pub t_declare: Timestamp,
    /// Every mandatory check had passed and the probe had answered.
    pub t_service: Option<Timestamp>,
    /// Time of the newest heartbeat in the restored data.
    pub t_data: Option<Timestamp>,
    /// The drill's last act, after teardown.
    pub t_end: Timestamp,
    /// In order of their start.
    pub phases: Vec<Phase>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    pub kind: PhaseKind,
    pub outcome: PhaseOutcome,
    pub start: Timestamp,
    pub end: Timestamp,
    /// From the monotonic clock; may differ from `end - start` if the wall clock stepped.
    #[serde(rename = "duration_seconds", with = "seconds")]
    pub duration: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    Plan,
    RestoreFiles,
    ReplayLog,
    Start,
    Checks,
    Teardown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseOutcome {
    Done,
    Failed,
}

/// The snapshot and log that were restored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryPoint {
    pub snapshot: String,
    pub snapshot_start: Timestamp,
    pub snapshot_stop: Timestamp,
    /// `t_disrupt - snapshot_stop`.
    #[serde(rename = "age_seconds", with = "seconds")]
    pub age: Span,
    /// `files` or `stream`.
    pub method: String,
    /// What was asked for: `latest`, or an instant.
    pub requested: String,
    pub server_version: String,
    pub system_id: SystemId,
    pub timeline: Timeline,
    pub start_lsn: Lsn,
    pub stop_lsn: Lsn,
    /// `None`: the restore did not get that far.
    pub restored: Option<Restored>,
}

/// What was really fetched and replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restored {
    /// End of the log that was replayed.
    pub log_end_lsn: Lsn,
    pub files: u64,
    pub bytes: u64,
    /// Whole segments fetched.
    pub segments: u64,
    /// Parts of unfinished segments fetched.
    pub parts: u64,
}

/// The markers by which restored data is dated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeats {
    /// The newest one found in the restored data.
    pub newest: Option<Heartbeat>,
    /// How many were read.
    pub counted: u64,
    /// Whether no number is missing between the first and the newest; `None`: cannot tell.
    pub contiguous: Option<bool>,
    /// Stretches of missing numbers.
    pub holes: Vec<Hole>,
    /// Whether every HMAC was right; `None`: not looked at.
    pub authentic: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    pub sequence: u64,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hole {
    pub first: u64,
    pub last: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub id: String,
    pub name: String,
    pub mandatory: bool,
    pub expected: Option<String>,
    pub actual: Option<String>,
    pub verdict: CheckVerdict,
    #[serde(rename = "duration_seconds", with = "seconds_or_null")]
    pub duration: Option<Span>,
    pub detail: Option<String>,
}

/// Only `Pass` is a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    Pass,
    Fail,
    NotRun,
    TimedOut,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableCount {
    pub table: String,
    /// The source's own estimate when the snapshot was taken (`pg_class.reltuples`).
    pub expected_rows_estimate: Option<u64>,
    /// Rows counted in the restored data.
    pub actual_rows: Option<u64>,
    pub verdict: CheckVerdict,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// Whether the cluster has checksums at all.
    pub checkable: bool,
    pub read: u64,
    pub damaged: u64,
    /// Where: `base/5/16384 block 12`.
    pub damaged_at: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    pub severity: Severity,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Low,
    Medium,
    High,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkippedStep {
    pub step: String,
    pub because: String,
}

/// One thing the drill made, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    pub created: String,
    pub removed_at: Option<Timestamp>,
    /// How its absence was verified afterwards; `None`: it was not.
    pub verified_by: Option<String>,
}

impl Removal {
    /// Removed, and seen to be gone.
    pub fn is_proven(&self) -> bool {
        self.removed_at.is_some() && self.verified_by.is_some()
    }
}

impl DrillReport {
    /// Derives verdict and reasons. Unknown is not passed: what could not be told counts against.
    /// A mandatory check that did not pass withdraws the measured recovery time.
    #[must_use]
    pub fn judged(mut self) -> DrillReport {
        let open = self.checks.iter().find(|c| c.mandatory && c.verdict != CheckVerdict::Pass);
        if let Some(check) = open {
            let because = format!("the mandatory check {} did not pass", check.id);
            self.objectives.rto.withdraw(&because);
        }
        if self.objectives.rto.achieved().is_none() {
            self.objectives.technical = None;
        }
        self.reasons = self.reasons_against();
        self.verdict = if self.reasons.is_empty() { Verdict::Passed } else { Verdict::Failed };
        self
    }

    fn reasons_against(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.recovery_point.is_none() {
            reasons.push(Reason::NoRecoveryPoint);
        }
        let Objectives { rto, rpo, .. } = &self.objectives;
        reasons.extend(against(rto, Reason::RtoNotAchieved, Reason::RtoMissed));
        reasons.extend(against(rpo, Reason::RpoNotAchieved, Reason::RpoMissed));
        let failed = self.times.phases.iter().filter(|p| p.outcome == PhaseOutcome::Failed);
        reasons.extend(failed.map(|p| Reason::PhaseFailed { phase: p.kind }));
        let open = self.checks.iter().filter(|c| c.mandatory && c.verdict != CheckVerdict::Pass);
        reasons.extend(open.map(|c| Reason::CheckNotPassed { id: c.id.clone() }));
        let open = self.tables.iter().filter(|t| t.verdict != CheckVerdict::Pass);
        reasons.extend(open.map(|t| Reason::TableNotPassed { table: t.table.clone() }));
        reasons.extend(self.reasons_of_heartbeats());
        if self.pages.as_ref().is_some_and(|pages| pages.damaged > 0) {
            reasons.push(Reason::PagesDamaged);
        }
        let left = self.teardown.iter().filter(|removal| !removal.is_proven());
        reasons.extend(left.map(|r| Reason::LeftBehind { what: r.created.clone() }));
        reasons
    }

    fn reasons_of_heartbeats(&self) -> Vec<Reason> {
        let beats = &self.heartbeats;
        let later = beats.newest.is_some_and(|newest| newest.at > self.times.t_disrupt);
        let found = [
            (beats.contiguous != Some(true), Reason::HeartbeatsNotContiguous),
            (beats.authentic != Some(true), Reason::HeartbeatsNotAuthentic),
            (later, Reason::HeartbeatAfterDisruption),
        ];
        found.into_iter().filter(|(is_so, _)| *is_so).map(|(_, reason)| reason).collect()
    }
}

fn against(of: &Measurement, not_achieved: Reason, missed: Reason) -> Option<Reason> {
    match (of.achieved(), of.met) {
        (None, _) => Some(not_achieved),
        (Some(_), Some(true)) => None,
        (Some(_), _) => Some(missed),
    }
}

/// A length of time as seconds with a fraction.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::model::Span;

    pub(super) fn serialize<S: Serializer>(span: &Span, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(span.as_seconds())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
        let number = f64::deserialize(from)?;
        Duration::try_from_secs_f64(number).map(Span).map_err(D::Error::custom)
    }
}

/// The same, or `null`.
mod seconds_or_null {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::model::Span;

    pub(super) fn serialize<S: Serializer>(span: &Option<Span>, to: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => to.serialize_some(&span.as_seconds()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Span>, D::Error> {
        let number = Option::<f64>::deserialize(from)?;
        let span = number.map(Duration::try_from_secs_f64).transpose().map_err(D::Error::custom)?;
        Ok(span.map(Span))
    }
}
