//! A second opinion on a recovery plan, reached by other means than the planner's.
//!
//! The planner asks which timeline owns a segment and how far bytes reach. The checker lays the
//! ancestry out as stretches of positions, marks which bytes the plan's objects cover, and looks
//! through all facts for anything that contradicts the plan. It shares no function with `path`.

use crate::model::{Extent, Lsn, Timeline, WalObject};
use crate::plan::facts::{RecoveryFacts, Target};
use crate::plan::recovery::RecoveryPlan;

/// What is wrong with `plan`; nothing, if it is safe.
pub fn check(plan: &RecoveryPlan, facts: &RecoveryFacts) -> Vec<String> {
    let mut wrong = Vec::new();
    snapshot(plan, facts, &mut wrong);
    order(plan, &mut wrong);
    coverage(plan, facts, &mut wrong);
    nothing_follows(plan, facts, &mut wrong);
    wrong
}

fn require(wrong: &mut Vec<String>, holds: bool, text: impl Into<String>) {
    if !holds {
        wrong.push(text.into());
    }
}

fn snapshot(plan: &RecoveryPlan, facts: &RecoveryFacts, wrong: &mut Vec<String>) {
    let s = &plan.snapshot;
    require(wrong, facts.snapshots.contains(s), "the snapshot is not among the facts");
    require(wrong, s.system_id == facts.wal.system_id, "the snapshot is of another cluster");
    let damage_ok = s.damaged_pages == 0 || plan.damage_allowed;
    require(wrong, damage_ok, "the snapshot is damaged, which was not allowed");
    require(wrong, plan.end >= s.stop, "the log ends before the snapshot is consistent");
    if let Target::At(target) = plan.target {
        require(wrong, s.stopped_at <= target, "the snapshot ended after the target");
    }
    let known = match facts.wal.histories.get(&plan.history.timeline) {
        Some(history) => *history == plan.history,
        None => plan.history.timeline == Timeline(1) && plan.history.ancestors.is_empty(),
    };
    require(wrong, known, "the ancestry is not the stored one");
    let last_byte = Lsn(s.stop.0.saturating_sub(1)).max(s.start);
    let on_way = owner(plan, s.start) == s.timeline && owner(plan, last_byte) == s.timeline;
    require(wrong, on_way, "the snapshot was taken off the way");
}

/// The timeline whose stretch of positions holds `at`, walking from the newest back.
fn owner(plan: &RecoveryPlan, at: Lsn) -> Timeline {
    let mut owner = plan.history.timeline;
    for ancestor in plan.history.ancestors.iter().rev() {
        if at >= ancestor.switch {
            break;
        }
        owner = ancestor.timeline;
    }
    owner
}

fn order(plan: &RecoveryPlan, wrong: &mut Vec<String>) {
    let bytes = plan.segment_size.bytes();
    let last = plan.end.0.saturating_sub(1) / bytes;
    let expected: Vec<u64> = (plan.snapshot.start.0 / bytes..=last).take(1 << 24).collect();
    let found: Vec<u64> = plan.segments.iter().map(|s| s.number).collect();
    require(wrong, found == expected, "the segments are not those from start to end in order");
    require(wrong, plan.end_segment == last, "the last segment does not hold the end");
}

fn stretch(object: &WalObject, bytes: u64) -> (u64, u64) {
    match object.extent {
        Extent::Whole => (0, bytes),
        Extent::Part { from, to } => (from, to),
    }
}

fn coverage(plan: &RecoveryPlan, facts: &RecoveryFacts, wrong: &mut Vec<String>) {
    let bytes = plan.segment_size.bytes();
    let mut fetched = 0u64;
    for segment in &plan.segments {
        let name = format!("segment {} of timeline {}", segment.number, segment.timeline);
        // A segment's last byte tells whose file it is: the child's from the switch on.
        let last_byte = Lsn((segment.number + 1) * bytes - 1);
        let owned = segment.timeline == owner(plan, last_byte);
        require(wrong, owned, format!("{name} is not the owner's"));
        let mut ends: Vec<(u64, u64)> = Vec::new();
        for object in &segment.objects {
            let fits = (object.timeline, object.segment) == (segment.timeline, segment.number);
            let known = fits && facts.wal.objects.contains(object);
            require(wrong, known, format!("{name} uses a foreign or unknown object"));
            ends.push(stretch(object, bytes));
            fetched += object.stored_bytes;
        }
        ends.sort_unstable();
        let reached = ends.iter().fold(0, |r, (from, to)| if *from <= r { r.max(*to) } else { r });
        let needed = plan.end.0.saturating_sub(segment.number * bytes).min(bytes);
        require(wrong, reached >= needed, format!("{name} has a hole before byte {needed}"));
        let told = segment.stored_bytes == reached && segment.whole == (reached == bytes);
        require(wrong, told, format!("{name} tells a wrong length"));
    }
    require(wrong, fetched == plan.bytes_to_fetch, "the bytes to fetch do not add up");
}

/// A plan that does not announce a gap must end where everything ends.
fn nothing_follows(plan: &RecoveryPlan, facts: &RecoveryFacts, wrong: &mut Vec<String>) {
    if plan.stops_before_gap || matches!(plan.target, Target::Consistent { .. }) {
        require(wrong, plan.target != Target::Latest, "the latest state lies beyond a gap");
        return;
    }
    let bytes = plan.segment_size.bytes();
    for object in &facts.wal.objects {
        let last_byte = Lsn((object.segment + 1) * bytes - 1);
        let ours = object.timeline == owner(plan, last_byte);
        let to = object.segment * bytes + stretch(object, bytes).1;
        let covered = !ours || to <= plan.end.0;
        require(wrong, covered, format!("log is stored beyond the end: {}", object.key));
    }
    for history in facts.wal.histories.values() {
        let target = plan.history.timeline;
        let switch = match history.timeline == target {
            true => history.ancestors.last(),
            false => history.ancestors.iter().find(|a| a.timeline == target),
        };
        let reached = switch.is_none_or(|ancestor| ancestor.switch <= plan.end);
        require(wrong, reached, format!("the end precedes timeline {}", history.timeline));
    }
}
