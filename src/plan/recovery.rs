//! Which snapshot and which log bring a cluster to a target, or why none may.
//!
//! **Timeline.** The one the operator names, else the newest of which anything is stored, be it
//! only its history: an older one would silently give up what was written since. PostgreSQL then
//! replays along that timeline's ancestry and, for an instant T, stops before the first commit or
//! abort stamped later than T. So T before a switch is found on the parent by the same path.
//!
//! **Snapshot.** The newest undamaged one on that path that was finished by T.
//!
//! **Log.** From the snapshot's start as far as it is stored without a hole, each segment from
//! the timeline that owns it. If anything proves that log existed further on, there is a gap:
//! - `latest` is refused unless a snapshot lies beyond the gap;
//! - for T the plan ends where the gap begins, if T may lie before it: no snapshot beyond the gap
//!   was finished by T, and the last object before the gap was stored at T or later. Nothing here
//!   proves that T is reached, so the plan `stops_before_gap`: the log server then stops recovery
//!   hard instead of letting it open what it has (see `answer`). If T was reached before, fine.
//!
//! The newest timeline known by its history alone is such a gap at the segment of the switch.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{ByteSize, Lsn, SegmentSize, Span, Timeline, TimelineHistory};
use crate::plan::facts::{RecoveryFacts, Request, SnapshotFact, Target};
use crate::plan::path::{Later, Path, PlannedSegment, known_timelines, target_history};
use crate::plan::refusal::Refusal;

/// A recovery that can be run as it stands: no choice is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryPlan {
    pub target: Target,
    pub snapshot: SnapshotFact,
    /// The timeline to write as `recovery_target_timeline`, with its ancestry.
    pub history: TimelineHistory,
    pub segment_size: SegmentSize,
    /// Every segment to replay, in order, without a hole.
    pub segments: Vec<PlannedSegment>,
    /// The segment before the first one, if stored whole: PostgreSQL may look back once.
    pub earlier: Option<PlannedSegment>,
    /// Histories that are stored; PostgreSQL looks for them to choose a new timeline's number.
    pub known_histories: BTreeSet<Timeline>,
    /// First position that is not replayed.
    pub end: Lsn,
    /// The segment that holds the byte before `end`.
    pub end_segment: u64,
    /// Stored size of the log to fetch, at most: recovery may end earlier.
    pub bytes_to_fetch: u64,
    /// Log follows `end` that is not stored: recovery that wants more must fail.
    pub stops_before_gap: bool,
    /// The request allowed the damage of this snapshot.
    pub damage_allowed: bool,
    /// From known speeds; an estimate, never a measurement.
    pub estimate: Option<Span>,
    pub reasons: Vec<String>,
}

/// Plans a recovery.
///
/// # Errors
/// Each [`Refusal`]; where several snapshots fail, why the preferred one does.
pub fn plan(
    facts: &RecoveryFacts,
    request: &Request,
    now: Timestamp,
) -> Result<RecoveryPlan, Refusal> {
    if let Target::At(target) = request.target
        && target > now
    {
        return Err(Refusal::InFuture { target, now });
    }
    let history = target_history(facts, request.timeline)?;
    let path = Path { facts, history: &history };
    let mut refused = None;
    for snapshot in candidates(path, request)? {
        match from_snapshot(path, request, snapshot) {
            Ok(plan) => return Ok(plan),
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    Err(refused.unwrap_or(Refusal::NoSnapshot))
}

/// The snapshots that may serve, best first: undamaged before damaged, newest before older.
fn candidates<'a>(path: Path<'a>, request: &Request) -> Result<Vec<&'a SnapshotFact>, Refusal> {
    let facts = path.facts;
    let keep = |list: &[&'a SnapshotFact], wanted: &dyn Fn(&SnapshotFact) -> bool| {
        list.iter().copied().filter(|s| wanted(s)).collect::<Vec<_>>()
    };
    let all: Vec<&SnapshotFact> = facts.snapshots.iter().collect();
    if all.is_empty() {
        return Err(Refusal::NoSnapshot);
    }
    let named = match &request.target {
        Target::Consistent { snapshot } => keep(&all, &|s| s.id == *snapshot),
        _ => all,
    };
    if let (Target::Consistent { snapshot }, true) = (&request.target, named.is_empty()) {
        return Err(Refusal::UnknownSnapshot { id: snapshot.clone() });
    }
    let system_id = facts.wal.system_id;
    let ours = keep(&named, &|s| s.system_id == system_id);
    if ours.is_empty() {
        return Err(Refusal::Foreign { system_id });
    }
    let on_path = keep(&ours, &|s| path.carries(s));
    let earliest = on_path.iter().map(|s| s.stopped_at).min();
    let Some(earliest) = earliest else {
        let timeline = path.history.timeline;
        return Err(Refusal::OffPath { timeline, on_timelines: served_timelines(facts) });
    };
    let in_time = match request.target {
        Target::At(target) => keep(&on_path, &|s| s.stopped_at <= target),
        _ => on_path,
    };
    let Some(newest) = in_time.iter().max_by_key(|s| (s.stopped_at, s.stop)).copied() else {
        let Target::At(target) = request.target else { return Err(Refusal::NoSnapshot) };
        return Err(Refusal::BeforeFirst { target, earliest });
    };
    let mut usable = keep(&in_time, &|s| s.damaged_pages == 0 || request.allow_damaged);
    if usable.is_empty() {
        let (id, pages) = (newest.id.clone(), newest.damaged_pages);
        return Err(Refusal::OnlyDamaged { id, pages });
    }
    usable.sort_by_key(|s| (s.damaged_pages > 0, std::cmp::Reverse((s.stopped_at, s.stop))));
    Ok(usable)
}

/// The timelines that some snapshot lies on the way to.
fn served_timelines(facts: &RecoveryFacts) -> Vec<Timeline> {
    let serves = |timeline: &Timeline| {
        facts.wal.history(*timeline).is_some_and(|history| {
            facts.snapshots.iter().any(|s| Path { facts, history: &history }.carries(s))
        })
    };
    known_timelines(facts).into_iter().filter(serves).collect()
}

fn from_snapshot(
    path: Path<'_>,
    request: &Request,
    snapshot: &SnapshotFact,
) -> Result<RecoveryPlan, Refusal> {
    let stored = path.end(snapshot.start);
    if stored < snapshot.stop {
        let (id, stop) = (snapshot.id.clone(), snapshot.stop);
        return Err(Refusal::NeverConsistent { snapshot: id, stop, end: stored });
    }
    let later = path.later(stored);
    let end = match &request.target {
        Target::Consistent { .. } => snapshot.stop,
        _ => stored,
    };
    match (&request.target, &later) {
        (Target::Latest, Some(later)) => return Err(gap(path, stored, later)),
        (Target::At(target), Some(later)) if *target > gap_instant(path, snapshot, stored) => {
            return Err(gap(path, stored, later));
        }
        (Target::At(target), None) => {
            let until = path.facts.log_stored_until.or_else(|| path.last_stored_at());
            if let Some(until) = until.filter(|until| target > until) {
                return Err(Refusal::AfterLog { target: *target, until });
            }
        }
        _ => {}
    }
    Ok(build(path, request, snapshot, end, later.as_ref()))
}

/// The latest instant that may lie before the gap at `end`: log is stored after it is written, so
/// no commit before the gap is stamped later than the last object was stored; and what a snapshot
/// beyond the gap holds lies beyond it.
pub(crate) fn gap_instant(path: Path<'_>, snapshot: &SnapshotFact, end: Lsn) -> Timestamp {
    let size = path.facts.wal.segment_size;
    let last = path.segment(size.number_of(Lsn(end.0.saturating_sub(1))));
    let objects = last.iter().flat_map(|segment| &segment.objects);
    let stored_at = objects.map(|o| o.stored_at).max().unwrap_or(snapshot.stopped_at);
    let beyond = path.facts.snapshots.iter().filter(|s| path.carries(s) && s.stop > end);
    let before_next = beyond.map(|s| s.stopped_at - Duration::from_micros(1)).min();
    stored_at.min(before_next.unwrap_or(stored_at)).max(snapshot.stopped_at)
}

fn gap(path: Path<'_>, from: Lsn, later: &Later) -> Refusal {
    let beyond = path.facts.snapshots.iter().filter(|s| path.carries(s) && s.start >= from);
    let affected = match beyond.min_by_key(|s| s.stopped_at) {
        Some(next) => format!(
            "no instant between the gap and {}, when snapshot `{}` ended, can be recovered to",
            next.stopped_at, next.id
        ),
        None => "no instant after the gap can be recovered to".to_owned(),
    };
    Refusal::Gap { from, resumes: later.resumes, evidence: later.evidence.clone(), affected }
}

fn build(
    path: Path<'_>,
    request: &Request,
    snapshot: &SnapshotFact,
    end: Lsn,
    later: Option<&Later>,
) -> RecoveryPlan {
    let size = path.facts.wal.segment_size;
    let segments = path.segments(snapshot.start, end);
    let first = size.number_of(snapshot.start);
    let earlier = first.checked_sub(1).and_then(|n| path.segment(n)).filter(|s| s.whole);
    let bytes_to_fetch = segments.iter().flat_map(|s| &s.objects).map(|o| o.stored_bytes).sum();
    let estimate = path.facts.speeds.map(|speeds| {
        let files = snapshot.bytes / speeds.restore_bytes_per_second.max(1);
        let log = end.since(snapshot.start) / speeds.replay_bytes_per_second.max(1);
        Span::seconds(files.saturating_add(log))
    });
    RecoveryPlan {
        target: request.target.clone(),
        snapshot: snapshot.clone(),
        history: path.history.clone(),
        segment_size: size,
        segments,
        earlier,
        known_histories: path.facts.wal.histories.keys().copied().collect(),
        end,
        end_segment: size.number_of(Lsn(end.0.saturating_sub(1))),
        bytes_to_fetch,
        stops_before_gap: later.is_some(),
        damage_allowed: request.allow_damaged,
        estimate,
        reasons: reasons(path, request, snapshot, end, later),
    }
}

fn reasons(
    path: Path<'_>,
    request: &Request,
    snapshot: &SnapshotFact,
    end: Lsn,
    later: Option<&Later>,
) -> Vec<String> {
    let timeline = path.history.timeline;
    let mut reasons = vec![match request.timeline {
        Some(_) => format!("timeline {timeline} was named"),
        None => format!("timeline {timeline} is the newest of which anything is stored"),
    }];
    let by = match &request.target {
        Target::Latest => "there is".to_owned(),
        Target::At(target) => format!("that ended by {target}"),
        Target::Consistent { .. } => "that was named".to_owned(),
    };
    reasons.push(match snapshot.damaged_pages {
        0 => format!("snapshot `{}` is the newest undamaged one {by} with its log", snapshot.id),
        pages => format!(
            "snapshot `{}` has {pages} damaged pages, which was allowed; no undamaged one will do",
            snapshot.id
        ),
    });
    reasons.extend(
        path.history
            .ancestors
            .iter()
            .filter(|a| a.switch > snapshot.start)
            .map(|a| format!("the log of timeline {} is left at {}", a.timeline, a.switch)),
    );
    reasons.push(match (later, &request.target) {
        (_, Target::Consistent { .. }) => format!("the snapshot is consistent at {end}"),
        (Some(later), _) => format!(
            "the log breaks off at {end}: {}; recovery fails if the target is not reached before",
            later.evidence
        ),
        (None, _) => format!("nothing is stored beyond {end}, where the log ends"),
    });
    reasons
}

impl fmt::Display for RecoveryPlan {
    /// What `--plan` prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (snapshot, fetch) = (&self.snapshot, ByteSize(self.bytes_to_fetch));
        writeln!(f, "recover to    {}", self.target)?;
        writeln!(f, "on timeline   {}", self.history.timeline)?;
        writeln!(
            f,
            "from snapshot {}, ended {}, {} in {} files",
            snapshot.id,
            snapshot.stopped_at,
            ByteSize(snapshot.bytes),
            snapshot.files
        )?;
        let (from, to, count) = (snapshot.start, self.end, self.segments.len());
        let segments = if count == 1 { "1 segment".into() } else { format!("{count} segments") };
        writeln!(f, "with the log  {from} to {to}: {segments}, {fetch} to fetch")?;
        if let Some(estimate) = self.estimate {
            writeln!(f, "estimate      {estimate}")?;
        }
        writeln!(f, "because")?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  - {reason}"))
    }
}
