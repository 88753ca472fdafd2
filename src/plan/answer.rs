//! What `wal fetch` is told in a recovery: the plan's word, no new decision (RULES 1 to 3).
//!
//! PostgreSQL asks for more than it needs, asks again, and takes *absent* for the end of the log.
//! So absent is said only where the log provably ends or where PostgreSQL merely probes; every
//! other refusal stops recovery.

use crate::model::{Timeline, WalName};
use crate::plan::facts::Target;
use crate::plan::path::PlannedSegment;
use crate::plan::recovery::RecoveryPlan;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// These bytes, always the same ones.
    Serve(&'a PlannedSegment),
    /// The stored history of this timeline.
    History(Timeline),
    /// Proven absence: `wal fetch` exits 1.
    Absent(String),
    /// Recovery must not go on: `wal fetch` kills itself.
    Stop(String),
}

/// Answers a request for `name`.
pub fn answer<'a>(plan: &'a RecoveryPlan, name: &WalName) -> Answer<'a> {
    match name {
        WalName::History(timeline) if plan.known_histories.contains(timeline) => {
            Answer::History(*timeline)
        }
        WalName::Segment(timeline, number) => segment(plan, *timeline, *number),
        WalName::History(_) => Answer::Absent(format!("no {name} is stored")),
        WalName::Partial(..) | WalName::BackupLabel(..) => {
            Answer::Absent(format!("recovery needs no {name}"))
        }
    }
}

fn segment(plan: &RecoveryPlan, timeline: Timeline, number: u64) -> Answer<'_> {
    let size = plan.segment_size;
    let owner = plan.history.owner_of_segment(number, size);
    if !plan.history.contains(timeline) {
        let target = plan.history.timeline;
        return Answer::Absent(format!("timeline {timeline} is not on the way to {target}"));
    }
    if number > plan.end_segment {
        return beyond(plan);
    }
    if timeline > owner {
        // PostgreSQL tries the newest timeline first, then its parents.
        return Answer::Absent(format!("timeline {timeline} begins after segment {number}"));
    }
    if timeline < owner {
        return Answer::Stop(format!(
            "segment {number} contains or follows the end of timeline {timeline}; \
             the way leads over timeline {owner}"
        ));
    }
    let first = size.number_of(plan.snapshot.start);
    let planned = match number.checked_sub(first) {
        Some(place) => usize::try_from(place).ok().and_then(|place| plan.segments.get(place)),
        // Replay never needs what precedes its start; PostgreSQL fails by itself if it did.
        None => match &plan.earlier {
            Some(earlier) if earlier.number == number => return Answer::Serve(earlier),
            _ => return Answer::Absent(format!("segment {number} precedes the snapshot")),
        },
    };
    match planned.filter(|s| (s.timeline, s.number) == (timeline, number)) {
        Some(segment) => Answer::Serve(segment),
        None => Answer::Stop(format!("the plan lacks segment {number}, which it should hold")),
    }
}

/// Behind the last planned segment.
fn beyond(plan: &RecoveryPlan) -> Answer<'_> {
    let end = plan.end;
    match (&plan.target, plan.stops_before_gap) {
        // PostgreSQL reads ahead of what it replays (`recovery_prefetch`), so asking says nothing
        // yet; and it never opens where its log ends before a target that was set.
        (Target::Consistent { .. }, _) => {
            Answer::Absent(format!("the snapshot is consistent at {end}"))
        }
        (_, true) => Answer::Stop(format!("a gap in the log begins at {end}, short of the target")),
        (_, false) => Answer::Absent(format!("the stored log ends at {end}")),
    }
}
