//! Why a recovery is refused: each reason with what the operator can do about it.

use jiff::Timestamp;

use crate::error::{Error, Kind};
use crate::model::{Lsn, SystemId, Timeline};

/// A recovery that would be unsafe or cannot be planned. Exit 4 (DESIGN.md section 7).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the target {target} lies in the future; it is {now}")]
    InFuture { target: Timestamp, now: Timestamp },
    #[error("the target {target} is later than the stored log, which is complete until {until}")]
    AfterLog { target: Timestamp, until: Timestamp },
    #[error("no snapshot was finished by {target}; the earliest recovery point is {earliest}")]
    BeforeFirst { target: Timestamp, earliest: Timestamp },
    #[error("there is no snapshot")]
    NoSnapshot,
    #[error("there is no snapshot `{id}`")]
    UnknownSnapshot { id: String },
    #[error("every snapshot is of another cluster than the stored log of system {system_id}")]
    Foreign { system_id: SystemId },
    #[error("snapshot `{id}` has {pages} damaged pages, and no undamaged one will do")]
    OnlyDamaged { id: String, pages: u64 },
    #[error("no snapshot lies on the way to timeline {timeline}")]
    OffPath { timeline: Timeline, on_timelines: Vec<Timeline> },
    #[error("the history of timeline {timeline} is not stored")]
    HistoryMissing { timeline: Timeline },
    #[error(
        "the log is stored only up to {end}, and snapshot `{snapshot}` is consistent from {stop} on"
    )]
    NeverConsistent { snapshot: String, stop: Lsn, end: Lsn },
    #[error("the log has a gap at {from}: {evidence}; {affected}")]
    Gap { from: Lsn, resumes: Option<Lsn>, evidence: String, affected: String },
}

impl Refusal {
    /// What to do about it: a sentence.
    pub fn hint(&self) -> String {
        match self {
            Refusal::InFuture { .. } => "Give an instant that has passed, or `latest`.".into(),
            Refusal::AfterLog { until, .. } => {
                format!(
                    "Recover to `latest`, or to {until} or earlier; what came later is not here."
                )
            }
            Refusal::BeforeFirst { earliest, .. } => {
                format!("Give {earliest} or later; `fenice list` shows every window.")
            }
            Refusal::NoSnapshot => "Take one with `fenice snapshot`.".into(),
            Refusal::UnknownSnapshot { .. } => "`fenice list` shows the snapshots.".into(),
            Refusal::Foreign { .. } => {
                "Check which cluster the resource names; log of another one never fits.".into()
            }
            Refusal::OnlyDamaged { .. } => {
                "Choose an earlier target, or allow a damaged snapshot and check what it yields."
                    .into()
            }
            Refusal::OffPath { on_timelines, .. } => {
                let names: Vec<String> = on_timelines.iter().map(ToString::to_string).collect();
                format!("Snapshots exist on the way to timeline {}; name it.", names.join(", "))
            }
            Refusal::HistoryMissing { timeline } => format!(
                "Archive {:08X}.history from the server that wrote it, or name an older timeline.",
                timeline.0
            ),
            Refusal::NeverConsistent { .. } => {
                "Use an earlier snapshot by giving an earlier target; this one lacks its log."
                    .into()
            }
            Refusal::Gap { .. } => {
                "Recover to an instant before the gap, ship what is missing, or name a timeline \
                 whose log is whole."
                    .into()
            }
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        let kind = match refusal {
            Refusal::UnknownSnapshot { .. } => Kind::Usage,
            _ => Kind::Refused,
        };
        Error::new(kind, refusal.to_string()).hint(refusal.hint())
    }
}
