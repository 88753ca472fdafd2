//! What a drill's facts amount to: passed or failed, and every reason.
//!
//! Fail closed: what is not known is not passed.

use crate::evidence::drill_report::{
    CheckVerdict, DrillReport, Measurement, Objectives, PhaseOutcome, Reason, Verdict,
};

impl DrillReport {
    /// Derives verdict and reasons. Unknown is not passed: what could not be told counts against.
    /// A mandatory check that did not pass, or no `t_service`, withdraws the measured recovery
    /// time. `met` is computed here, whatever it was.
    #[must_use]
    pub fn judged(mut self) -> DrillReport {
        let open = self.checks.iter().find(|c| c.mandatory && c.verdict != CheckVerdict::Pass);
        if let Some(check) = open {
            let because = format!("the mandatory check \"{}\" did not pass", check.id);
            self.objectives.rto.withdraw(&because);
        }
        if self.times.t_service.is_none() {
            self.objectives.rto.withdraw("the service was not proven");
        }
        self.objectives.rto.settle();
        self.objectives.rpo.settle();
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
        if !self.checks.iter().any(|check| check.mandatory) {
            reasons.push(Reason::NoMandatoryCheck);
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
