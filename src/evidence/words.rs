//! Every word the faces of a report print; one language a constant in a file of its own.
//!
//! `{}` is filled in order by [`fill`].

use crate::evidence::drill_report::{
    CheckVerdict, PhaseKind, PhaseOutcome, Reason, Severity, Trigger, Verdict,
};
use crate::evidence::view::Origin;

pub use crate::evidence::english::ENGLISH;

/// One language.
#[derive(Debug)]
pub struct Words {
    /// BCP 47 tag.
    pub lang: &'static str,
    pub product: &'static str,
    pub title: &'static str,
    pub passed: &'static str,
    pub failed: &'static str,
    /// Resource, scenario.
    pub headline: &'static str,
    /// Drill id, instant.
    pub subline: &'static str,
    pub passed_sentence: &'static str,
    pub failed_sentence: &'static str,
    pub sections: Sections,
    pub labels: Labels,
    pub columns: Columns,
    pub states: States,
    pub chart: Chart,
    pub reasons: Reasons,
    pub origins: [&'static str; 4],
    pub origin_legend: &'static str,
    pub how_to_read: &'static [&'static str],
    pub signature_lines: [&'static str; 2],
    pub signature_name: &'static str,
    pub signature_date: &'static str,
}

#[derive(Debug)]
pub struct Sections {
    pub objectives: &'static str,
    pub reasons: &'static str,
    pub timeline: &'static str,
    pub identity: &'static str,
    pub recovery_point: &'static str,
    pub times: &'static str,
    pub phases: &'static str,
    pub heartbeats: &'static str,
    pub checks: &'static str,
    pub tables: &'static str,
    pub pages: &'static str,
    pub warnings: &'static str,
    pub findings: &'static str,
    pub steps_not_executed: &'static str,
    pub teardown: &'static str,
    pub how_to_read: &'static str,
    pub signatures: &'static str,
}

#[derive(Debug)]
pub struct Labels {
    pub drill: &'static str,
    pub resource: &'static str,
    pub kind: &'static str,
    pub scenario: &'static str,
    pub trigger: &'static str,
    pub operator: &'static str,
    pub tool_version: &'static str,
    pub configuration: &'static str,
    pub host: &'static str,
    pub snapshot: &'static str,
    pub snapshot_taken: &'static str,
    pub snapshot_age: &'static str,
    pub method: &'static str,
    pub requested: &'static str,
    pub server_version: &'static str,
    pub system_id: &'static str,
    pub timeline: &'static str,
    pub snapshot_lsns: &'static str,
    pub log_end: &'static str,
    pub restored: &'static str,
    pub fetched: &'static str,
    pub t_disrupt: &'static str,
    pub allowance: &'static str,
    pub t_declare: &'static str,
    pub t_service: &'static str,
    pub t_data: &'static str,
    pub t_end: &'static str,
    pub technical: &'static str,
    pub newest_heartbeat: &'static str,
    pub heartbeats_read: &'static str,
    pub contiguous: &'static str,
    pub holes: &'static str,
    pub authentic: &'static str,
    pub pages_read: &'static str,
    pub pages_damaged: &'static str,
    pub damaged_at: &'static str,
}

#[derive(Debug)]
pub struct Columns {
    pub objective: &'static str,
    pub target: &'static str,
    pub estimate: &'static str,
    pub measured: &'static str,
    pub result: &'static str,
    pub phase: &'static str,
    pub start: &'static str,
    pub end: &'static str,
    pub duration: &'static str,
    pub check: &'static str,
    pub expected: &'static str,
    pub actual: &'static str,
    pub table: &'static str,
    pub expected_rows: &'static str,
    pub actual_rows: &'static str,
    pub severity: &'static str,
    pub finding: &'static str,
    pub step: &'static str,
    pub because: &'static str,
    pub created: &'static str,
    pub removed: &'static str,
    pub verified: &'static str,
}

/// Short answers.
#[derive(Debug)]
pub struct States {
    pub rto: &'static str,
    pub rpo: &'static str,
    pub met: &'static str,
    pub missed: &'static str,
    pub not_achieved: &'static str,
    pub not_achieved_because: &'static str,
    pub reason_unknown: &'static str,
    pub none_given: &'static str,
    pub none: &'static str,
    pub nothing_restored: &'static str,
    pub no_recovery_point: &'static str,
    pub yes: &'static str,
    pub no: &'static str,
    pub cannot_tell: &'static str,
    /// Id, name.
    pub mandatory_check: &'static str,
    pub optional_check: &'static str,
    pub pass: &'static str,
    pub fail: &'static str,
    pub not_run: &'static str,
    pub timed_out: &'static str,
    pub done: &'static str,
    pub not_checkable: &'static str,
    pub pages_not_read: &'static str,
    pub not_removed: &'static str,
    pub not_verified: &'static str,
    pub low: &'static str,
    pub medium: &'static str,
    pub high: &'static str,
    pub by_schedule: &'static str,
    pub by_hand: &'static str,
    pub by_incident: &'static str,
    /// First, last.
    pub hole: &'static str,
    /// Sequence, instant.
    pub heartbeat: &'static str,
    /// Start, stop.
    pub from_to: &'static str,
    /// Bytes, files.
    pub bytes_in_files: &'static str,
    /// Segments, parts.
    pub segments_and_parts: &'static str,
    pub estimated_rows: &'static str,
    /// Time after the order to recover.
    pub after_order: &'static str,
    pub plan: &'static str,
    pub restore_files: &'static str,
    pub replay_log: &'static str,
    pub start: &'static str,
    pub checks: &'static str,
    pub teardown: &'static str,
}

/// Words inside the drawings.
#[derive(Debug)]
pub struct Chart {
    pub timeline_title: &'static str,
    pub timeline_text: &'static str,
    pub rto_title: &'static str,
    pub rpo_title: &'static str,
    pub disruption: &'static str,
    pub ordered: &'static str,
    pub service: &'static str,
    pub end: &'static str,
    pub allowance: &'static str,
    pub not_to_scale: &'static str,
    pub target: &'static str,
    pub estimate: &'static str,
    pub measured: &'static str,
    pub not_achieved: &'static str,
    pub failed_phase: &'static str,
    pub legend_allowance: &'static str,
    pub legend_technical: &'static str,
    pub legend_target: &'static str,
    pub legend_estimate: &'static str,
}

#[derive(Debug)]
pub struct Reasons {
    pub no_recovery_point: &'static str,
    pub no_mandatory_check: &'static str,
    pub rto_not_achieved: &'static str,
    pub rto_missed: &'static str,
    pub rpo_not_achieved: &'static str,
    pub rpo_missed: &'static str,
    pub check: &'static str,
    pub table: &'static str,
    pub not_contiguous: &'static str,
    pub not_authentic: &'static str,
    pub after_disruption: &'static str,
    pub pages: &'static str,
    pub phase: &'static str,
    pub left_behind: &'static str,
}

/// Replaces each `{}` of `template` by the next of `values`.
pub fn fill(template: &str, values: &[&str]) -> String {
    let mut text = String::with_capacity(template.len() + 32);
    let mut values = values.iter();
    let mut pieces = template.split("{}").peekable();
    while let Some(piece) = pieces.next() {
        text.push_str(piece);
        if pieces.peek().is_some() {
            text.push_str(values.next().copied().unwrap_or_default());
        }
    }
    text
}

impl Words {
    pub fn verdict(&self, verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Passed => self.passed,
            Verdict::Failed => self.failed,
        }
    }

    pub fn check(&self, verdict: CheckVerdict) -> &'static str {
        match verdict {
            CheckVerdict::Pass => self.states.pass,
            CheckVerdict::Fail => self.states.fail,
            CheckVerdict::NotRun => self.states.not_run,
            CheckVerdict::TimedOut => self.states.timed_out,
        }
    }

    pub fn phase(&self, kind: PhaseKind) -> &'static str {
        match kind {
            PhaseKind::Plan => self.states.plan,
            PhaseKind::RestoreFiles => self.states.restore_files,
            PhaseKind::ReplayLog => self.states.replay_log,
            PhaseKind::Start => self.states.start,
            PhaseKind::Checks => self.states.checks,
            PhaseKind::Teardown => self.states.teardown,
        }
    }

    pub fn outcome(&self, outcome: PhaseOutcome) -> &'static str {
        match outcome {
            PhaseOutcome::Done => self.states.done,
            PhaseOutcome::Failed => self.states.fail,
        }
    }

    pub fn severity(&self, severity: Severity) -> &'static str {
        match severity {
            Severity::Low => self.states.low,
            Severity::Medium => self.states.medium,
            Severity::High => self.states.high,
        }
    }

    pub fn trigger(&self, trigger: Trigger) -> &'static str {
        match trigger {
            Trigger::Schedule => self.states.by_schedule,
            Trigger::Manual => self.states.by_hand,
            Trigger::Incident => self.states.by_incident,
        }
    }

    /// The word for `origin`; its first letter stands for it in the text face.
    pub fn origin(&self, origin: Origin) -> &'static str {
        self.origins[origin as usize]
    }

    pub fn answer(&self, known: Option<bool>) -> &'static str {
        match known {
            Some(true) => self.states.yes,
            Some(false) => self.states.no,
            None => self.states.cannot_tell,
        }
    }

    pub fn reason(&self, reason: &Reason) -> String {
        let words = &self.reasons;
        match reason {
            Reason::NoRecoveryPoint => words.no_recovery_point.to_owned(),
            Reason::NoMandatoryCheck => words.no_mandatory_check.to_owned(),
            Reason::RtoNotAchieved => words.rto_not_achieved.to_owned(),
            Reason::RtoMissed => words.rto_missed.to_owned(),
            Reason::RpoNotAchieved => words.rpo_not_achieved.to_owned(),
            Reason::RpoMissed => words.rpo_missed.to_owned(),
            Reason::CheckNotPassed { id } => fill(words.check, &[id]),
            Reason::TableNotPassed { table } => fill(words.table, &[table]),
            Reason::HeartbeatsNotContiguous => words.not_contiguous.to_owned(),
            Reason::HeartbeatsNotAuthentic => words.not_authentic.to_owned(),
            Reason::HeartbeatAfterDisruption => words.after_disruption.to_owned(),
            Reason::PagesDamaged => words.pages.to_owned(),
            Reason::PhaseFailed { phase } => fill(words.phase, &[self.phase(*phase)]),
            Reason::LeftBehind { what } => fill(words.left_behind, &[what]),
        }
    }
}
