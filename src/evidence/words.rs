//! Every word the faces of a report print, one language a constant. Nothing else spells any.
//!
//! `{}` is filled in order by [`fill`].

use crate::evidence::drill_report::{
    CheckVerdict, PhaseKind, PhaseOutcome, Reason, Severity, Trigger, Verdict,
};
use crate::evidence::view::Origin;

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
    /// Objective, reason.
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

/// The two verdicts, the answers and the sentences in English.
pub static ENGLISH: Words = Words {
    lang: "en",
    product: "Fenice",
    title: "Recovery drill report",
    passed: "Passed",
    failed: "Failed",
    headline: "{}: {}",
    subline: "Drill {}, {}",
    passed_sentence: "The data was restored, checked and dated; both objectives are met.",
    failed_sentence: "This drill does not prove that the data can be recovered as promised.",
    sections: SECTIONS,
    labels: LABELS,
    columns: COLUMNS,
    states: STATES,
    chart: CHART,
    reasons: REASONS,
    origins: ["configured", "measured", "recorded", "estimated"],
    origin_legend: "configured: claimed by the configuration or the operator; measured: observed \
                    by this drill; recorded: stated by the repository's manifest; estimated: \
                    computed beforehand.",
    how_to_read: HOW_TO_READ,
    signature_lines: ["Prepared by", "Reviewed by"],
    signature_name: "Name and signature",
    signature_date: "Date",
};

const SECTIONS: Sections = Sections {
    objectives: "Objectives",
    reasons: "Why it failed",
    timeline: "Timeline",
    identity: "The drill",
    recovery_point: "Recovery point",
    times: "Times",
    phases: "Phases",
    heartbeats: "Heartbeats",
    checks: "Checks",
    tables: "Rows per table",
    pages: "Page checksums",
    warnings: "Warnings",
    findings: "Findings",
    steps_not_executed: "Steps not executed",
    teardown: "Teardown",
    how_to_read: "How to read this report",
    signatures: "Signatures",
};

const LABELS: Labels = Labels {
    drill: "Drill",
    resource: "Resource",
    kind: "Kind",
    scenario: "Scenario",
    trigger: "Started",
    operator: "Operator",
    tool_version: "Fenice version",
    configuration: "Configuration SHA-256",
    host: "Host of the drill",
    snapshot: "Snapshot",
    snapshot_taken: "Snapshot taken",
    snapshot_age: "Age at the disruption",
    method: "Method",
    requested: "Asked for",
    server_version: "PostgreSQL version",
    system_id: "System identifier",
    timeline: "Timeline",
    snapshot_lsns: "Start and stop position",
    log_end: "End of the log used",
    restored: "Restored",
    fetched: "Log fetched",
    t_disrupt: "t_disrupt, the disruption",
    allowance: "Detection allowance",
    t_declare: "t_declare, recovery ordered",
    t_service: "t_service, service proven",
    t_data: "t_data, newest heartbeat",
    t_end: "End of the teardown",
    technical: "Technical part of RTO",
    newest_heartbeat: "Newest heartbeat",
    heartbeats_read: "Heartbeats read",
    contiguous: "No number missing",
    holes: "Missing numbers",
    authentic: "All signed by the source",
    pages_read: "Pages read",
    pages_damaged: "Pages damaged",
    damaged_at: "Damaged at",
};

const COLUMNS: Columns = Columns {
    objective: "Objective",
    target: "Target",
    estimate: "Estimate",
    measured: "Measured",
    result: "Result",
    phase: "Phase",
    start: "Start",
    end: "End",
    duration: "Duration",
    check: "Check",
    expected: "Expected",
    actual: "Actual",
    table: "Table",
    expected_rows: "Estimate at snapshot",
    actual_rows: "Counted",
    severity: "Severity",
    finding: "Finding",
    step: "Step",
    because: "Reason",
    created: "Created",
    removed: "Removed",
    verified: "Verified by",
};

const STATES: States = States {
    rto: "Recovery time (RTO)",
    rpo: "Recovery point (RPO)",
    met: "met",
    missed: "missed",
    not_achieved: "not achieved",
    not_achieved_because: "{}: not achieved, because {}.",
    reason_unknown: "no reason is recorded",
    none_given: "none",
    none: "None.",
    nothing_restored: "nothing was restored",
    no_recovery_point: "No recovery point was chosen.",
    yes: "yes",
    no: "no",
    cannot_tell: "cannot tell",
    mandatory_check: "{}: {} (mandatory)",
    optional_check: "{}: {} (optional)",
    pass: "pass",
    fail: "fail",
    not_run: "not run",
    timed_out: "timed out",
    done: "done",
    not_checkable: "not checkable: the cluster has no checksums",
    pages_not_read: "The pages were not read.",
    not_removed: "not removed",
    not_verified: "not verified",
    low: "low",
    medium: "medium",
    high: "high",
    by_schedule: "by schedule",
    by_hand: "by hand",
    by_incident: "in an incident",
    hole: "{} to {}",
    heartbeat: "number {} of {}",
    from_to: "{} to {}",
    bytes_in_files: "{} in {} files",
    segments_and_parts: "{} segments, {} parts of segments",
    estimated_rows: "about {}",
    after_order: "{} after the order",
    plan: "Plan",
    restore_files: "Restore files",
    replay_log: "Replay log",
    start: "Start",
    checks: "Checks",
    teardown: "Teardown",
};

const CHART: Chart = Chart {
    timeline_title: "Timeline of the drill",
    timeline_text: "One bar for each phase, in seconds after recovery was ordered. \
                    The tables of phases and times hold the same figures.",
    rto_title: "Recovery time against its target",
    rpo_title: "Recovery point against its target",
    disruption: "disruption",
    ordered: "recovery ordered",
    service: "service proven",
    end: "end of teardown",
    allowance: "Detection",
    not_to_scale: "{}, not to scale",
    target: "target {}",
    estimate: "estimate {}",
    measured: "measured {}",
    not_achieved: "not achieved",
    failed_phase: "{}, failed",
    legend_allowance: "detection allowance (configured)",
    legend_technical: "technical part (measured)",
    legend_target: "target",
    legend_estimate: "estimate",
};

const REASONS: Reasons = Reasons {
    no_recovery_point: "No recovery point could be chosen.",
    rto_not_achieved: "The recovery time was not achieved.",
    rto_missed: "The recovery took longer than its target.",
    rpo_not_achieved: "The recovery point could not be dated.",
    rpo_missed: "More data was lost than the target allows.",
    check: "The mandatory check {} did not pass.",
    table: "The rows of table {} are not as expected.",
    not_contiguous: "The heartbeats are not known to be without a gap.",
    not_authentic: "The heartbeats are not known to come from the source.",
    after_disruption: "The restored data holds a heartbeat from after the disruption.",
    pages: "Restored pages are damaged.",
    phase: "The phase \"{}\" failed.",
    left_behind: "The drill left something behind: {}.",
};

const HOW_TO_READ: &[&str] = &[
    "A drill restores a copy into an isolated place, checks it, measures, and removes everything. \
     Production is not touched.",
    "Target, estimate and measured are three different things: what is promised, what the plan \
     expected before, and what this drill observed. Only the last one proves anything.",
    "Measured RTO runs from the disruption until every mandatory check has passed on the restored \
     service. It includes the detection allowance, a configured time for noticing and deciding; \
     the technical part is what remains without it.",
    "Measured RPO runs from the newest heartbeat found in the restored data to the disruption. \
     The source writes a heartbeat at a fixed interval, so the true loss is at most this figure.",
    "\"Not achieved\" has no figure: a mandatory check failed, did not run or timed out, or the \
     data could not be dated. What cannot be told counts as not passed.",
    "Durations are measured with a clock that is never adjusted. Instants are in UTC.",
];
