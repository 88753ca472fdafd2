//! The spans of instants a cluster can be recovered to, and the gaps between them.

use jiff::Timestamp;

use crate::model::{Lsn, Timeline};
use crate::plan::facts::{RecoveryFacts, SnapshotFact};
use crate::plan::path::{Later, Path, target_history};
use crate::plan::recovery::gap_instant;
use crate::plan::refusal::Refusal;

/// A span of instants, every one of which can be recovered to along one stretch of log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub timeline: Timeline,
    /// When its first snapshot ended.
    pub from: Timestamp,
    /// The end of the stored log; before a gap, the latest instant that may lie before it.
    pub to: Timestamp,
    pub start: Lsn,
    pub end: Lsn,
    /// The snapshots it can start from, oldest first.
    pub snapshots: Vec<String>,
    /// What is missing after it.
    pub gap_after: Option<Gap>,
}

/// A stretch of log that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub from: Lsn,
    /// Where stored log goes on, if it does.
    pub resumes: Option<Lsn>,
    pub reason: String,
}

/// What can be recovered to on the way to the newest timeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// In order of time.
    pub windows: Vec<Window>,
    /// Snapshots that serve no window, each with the reason.
    pub unusable: Vec<(String, String)>,
}

/// Finds the windows.
///
/// # Errors
/// The newest timeline's history is not stored.
pub fn windows(facts: &RecoveryFacts) -> Result<Reach, Refusal> {
    let history = target_history(facts, None)?;
    let path = Path { facts, history: &history };
    let mut reach = Reach { windows: Vec::new(), unusable: Vec::new() };
    let mut snapshots: Vec<&SnapshotFact> = facts.snapshots.iter().collect();
    snapshots.sort_by_key(|s| (s.stopped_at, s.stop));
    for snapshot in snapshots {
        let end = path.end(snapshot.start);
        if let Some(reason) = unusable(path, snapshot, end) {
            reach.unusable.push((snapshot.id.clone(), reason));
            continue;
        }
        match reach.windows.last_mut().filter(|window| window.end == end) {
            Some(window) => {
                window.snapshots.push(snapshot.id.clone());
                window.to = window.to.max(last_instant(path, snapshot, end));
            }
            None => reach.windows.push(window(path, snapshot, end)),
        }
    }
    Ok(reach)
}

fn unusable(path: Path<'_>, snapshot: &SnapshotFact, end: Lsn) -> Option<String> {
    if snapshot.system_id != path.facts.wal.system_id {
        return Some("it is of another cluster".to_owned());
    }
    if !path.carries(snapshot) {
        return Some(format!("it is not on the way to timeline {}", path.history.timeline));
    }
    if snapshot.damaged_pages > 0 {
        return Some(format!("it has {} damaged pages", snapshot.damaged_pages));
    }
    (end < snapshot.stop).then(|| format!("its log is stored only up to {end}"))
}

fn window(path: Path<'_>, snapshot: &SnapshotFact, end: Lsn) -> Window {
    let gap = |later: Later| Gap { from: end, resumes: later.resumes, reason: later.evidence };
    Window {
        timeline: path.history.timeline,
        from: snapshot.stopped_at,
        to: last_instant(path, snapshot, end),
        start: snapshot.start,
        end,
        snapshots: vec![snapshot.id.clone()],
        gap_after: path.later(end).map(gap),
    }
}

fn last_instant(path: Path<'_>, snapshot: &SnapshotFact, end: Lsn) -> Timestamp {
    let known = path.facts.log_stored_until.or_else(|| path.last_stored_at());
    let instant = match path.later(end) {
        Some(_) => gap_instant(path, snapshot, end),
        None => known.unwrap_or(snapshot.stopped_at),
    };
    instant.max(snapshot.stopped_at)
}
