//! Recovery plans, case by case: timelines, switches, gaps, parts, snapshots, refusals.

use std::collections::BTreeMap;

use fenice::error::{Error, Kind};
use fenice::model::timeline::Ancestor;
use fenice::model::{
    Extent, Lsn, SegmentSize, SystemId, Timeline, TimelineHistory, WalInventory, WalName, WalObject,
};
use fenice::plan::answer::{Answer, answer};
use fenice::plan::check::check;
use fenice::plan::facts::{RecoveryFacts, Request, SnapshotFact, Target};
use fenice::plan::recovery::{RecoveryPlan, plan};
use fenice::plan::refusal::Refusal;
use fenice::plan::windows::windows;
use jiff::Timestamp;

pub const MIB: u64 = 1 << 20;

/// Minute `m` of the day all this happens.
pub fn minute(m: u64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + 60 * m as i64).unwrap()
}

/// Log grows by one segment of 1 MiB a minute, from segment 1 at minute 1.
pub fn facts() -> RecoveryFacts {
    let segment_size = SegmentSize::try_from(MIB).unwrap();
    let (objects, histories, others) = (Vec::new(), BTreeMap::new(), Vec::new());
    let wal = WalInventory { system_id: SystemId(7), segment_size, objects, histories, others };
    RecoveryFacts { snapshots: Vec::new(), wal, log_stored_until: None, speeds: None }
}

/// Stored when the segment was full.
pub fn whole(facts: &mut RecoveryFacts, timeline: u32, segments: impl IntoIterator<Item = u64>) {
    for segment in segments {
        put(facts, timeline, segment, Extent::Whole);
    }
}

pub fn put(facts: &mut RecoveryFacts, timeline: u32, segment: u64, extent: Extent) {
    let key = format!("{timeline}/{segment}/{extent:?}");
    let (timeline, stored_at) = (Timeline(timeline), minute(segment + 1));
    let object = WalObject { timeline, segment, extent, key, stored_bytes: 1000, stored_at };
    facts.wal.objects.push(object);
    facts.wal.objects.sort_by_key(|o| (o.timeline, o.segment, o.extent));
}

pub fn history(facts: &mut RecoveryFacts, timeline: u32, ancestors: &[(u32, u64)]) {
    let ancestors = ancestors
        .iter()
        .map(|(timeline, switch)| Ancestor { timeline: Timeline(*timeline), switch: Lsn(*switch) })
        .collect();
    let timeline = Timeline(timeline);
    facts.wal.histories.insert(timeline, TimelineHistory { timeline, ancestors });
}

/// Taken within `segment`, ended half a minute into it.
pub fn snapshot(facts: &mut RecoveryFacts, timeline: u32, segment: u64) {
    let stopped_at = minute(segment).checked_add(jiff::SignedDuration::from_secs(30)).unwrap();
    facts.snapshots.push(SnapshotFact {
        id: format!("s{segment}"),
        system_id: SystemId(7),
        timeline: Timeline(timeline),
        start: Lsn(segment * MIB + 1000),
        stop: Lsn(segment * MIB + 5000),
        started_at: minute(segment),
        stopped_at,
        damaged_pages: 0,
        bytes: 1 << 30,
        files: 1000,
    });
}

fn latest(facts: &RecoveryFacts) -> Result<RecoveryPlan, Refusal> {
    checked(facts, &Request::to(Target::Latest))
}

fn at(facts: &RecoveryFacts, m: u64) -> Result<RecoveryPlan, Refusal> {
    checked(facts, &Request::to(Target::At(minute(m))))
}

fn checked(facts: &RecoveryFacts, request: &Request) -> Result<RecoveryPlan, Refusal> {
    let plan = plan(facts, request, minute(10_000));
    if let Ok(plan) = &plan {
        assert_eq!(check(plan, facts), Vec::<String>::new(), "{plan}");
    }
    plan
}

fn used(plan: &RecoveryPlan) -> Vec<(u32, u64)> {
    plan.segments.iter().map(|s| (s.timeline.0, s.number)).collect()
}

fn ask(plan: &RecoveryPlan, timeline: u32, number: u64) -> &'static str {
    match answer(plan, &WalName::Segment(Timeline(timeline), number)) {
        Answer::Serve(segment) => {
            assert_eq!((segment.timeline.0, segment.number), (timeline, number));
            "serve"
        }
        Answer::History(_) => "history",
        Answer::Absent(_) => "absent",
        Answer::Stop(_) => "stop",
    }
}

#[test]
fn one_timeline_from_the_newest_snapshot_to_the_end() {
    let mut facts = facts();
    whole(&mut facts, 1, 1..=9);
    put(&mut facts, 1, 10, Extent::Part { from: 0, to: 3000 });
    snapshot(&mut facts, 1, 2);
    snapshot(&mut facts, 1, 6);
    let plan = latest(&facts).unwrap();
    assert_eq!(plan.snapshot.id, "s6");
    assert_eq!(used(&plan), (6..=10).map(|n| (1, n)).collect::<Vec<_>>());
    assert_eq!((plan.end, plan.end_segment), (Lsn(10 * MIB + 3000), 10));
    assert!(!plan.segments[4].whole && plan.segments[4].stored_bytes == 3000);
    assert!(!plan.stops_before_gap);
    let asked: Vec<_> = [4, 5, 6, 10, 11].map(|n| ask(&plan, 1, n)).into();
    assert_eq!(asked, ["absent", "serve", "serve", "serve", "absent"]);
    assert!(matches!(answer(&plan, &WalName::History(Timeline(2))), Answer::Absent(_)));
    assert!(matches!(answer(&plan, &WalName::Partial(Timeline(1), 7)), Answer::Absent(_)));
    // An instant before the newest snapshot needs the older one.
    assert_eq!(at(&facts, 5).unwrap().snapshot.id, "s2");
    let text = plan.to_string();
    assert!(text.contains("from snapshot s6") && text.contains("because\n  - "), "{text}");
}

#[test]
fn a_switch_inside_a_segment_leads_over_the_childs_file() {
    let mut facts = facts();
    whole(&mut facts, 1, 1..=8); // the old primary went on after the switch in segment 5
    history(&mut facts, 2, &[(1, 5 * MIB + 70_000)]);
    whole(&mut facts, 2, 5..=7);
    snapshot(&mut facts, 1, 2);
    let plan = latest(&facts).unwrap();
    assert_eq!(used(&plan), [(1, 2), (1, 3), (1, 4), (2, 5), (2, 6), (2, 7)]);
    let parents: Vec<_> = [4, 5, 6, 7, 8].map(|n| ask(&plan, 1, n)).into();
    assert_eq!(parents, ["serve", "stop", "stop", "stop", "absent"]);
    let child: Vec<_> = [4, 5, 7, 8].map(|n| ask(&plan, 2, n)).into();
    assert_eq!(child, ["absent", "serve", "serve", "absent"]);
    assert_eq!(ask(&plan, 3, 5), "absent");
    assert_eq!(answer(&plan, &WalName::History(Timeline(2))), Answer::History(Timeline(2)));
    // The abandoned end of timeline 1 can be had by naming it.
    let named = Request { timeline: Some(Timeline(1)), ..Request::to(Target::Latest) };
    assert_eq!(checked(&facts, &named).unwrap().end, Lsn(9 * MIB));
    // A snapshot taken on the abandoned stretch does not lie on the way.
    snapshot(&mut facts, 1, 7);
    assert_eq!(latest(&facts).unwrap().snapshot.id, "s2");
}

#[test]
fn a_switch_at_a_segments_end_and_two_switches() {
    let mut facts = facts();
    whole(&mut facts, 1, 1..=4);
    history(&mut facts, 2, &[(1, 5 * MIB)]);
    whole(&mut facts, 2, 5..=7);
    history(&mut facts, 3, &[(1, 5 * MIB), (2, 7 * MIB + 8000)]);
    whole(&mut facts, 3, 7..=8);
    snapshot(&mut facts, 1, 3);
    let plan = latest(&facts).unwrap();
    assert_eq!(used(&plan), [(1, 3), (1, 4), (2, 5), (2, 6), (3, 7), (3, 8)]);
    assert_eq!([4, 5].map(|n| ask(&plan, 1, n)), ["serve", "stop"]);
    assert_eq!([6, 7].map(|n| ask(&plan, 2, n)), ["serve", "stop"]);
}

#[test]
fn a_newest_timeline_known_by_its_history_alone_is_a_gap() {
    for switch in [5 * MIB + 70_000, 6 * MIB] {
        let mut facts = facts();
        whole(&mut facts, 1, 1..=8);
        history(&mut facts, 2, &[(1, switch)]);
        snapshot(&mut facts, 1, 2);
        assert!(matches!(latest(&facts), Err(Refusal::Gap { .. })), "{switch}");
        assert!(matches!(at(&facts, 9), Err(Refusal::Gap { .. })), "{switch}");
        let plan = at(&facts, 4).unwrap();
        assert!(plan.stops_before_gap);
        assert_eq!(plan.end, Lsn(switch / MIB * MIB));
        let next = switch / MIB;
        assert_eq!([next - 1, next].map(|n| ask(&plan, 1, n)), ["serve", "stop"]);
        assert_eq!(ask(&plan, 2, next), "stop");
    }
    // Its later segments without the first: the same.
    let mut facts = facts();
    whole(&mut facts, 1, 1..=8);
    history(&mut facts, 2, &[(1, 5 * MIB + 70_000)]);
    whole(&mut facts, 2, 6..=9);
    snapshot(&mut facts, 1, 2);
    let refusal = latest(&facts).unwrap_err();
    assert!(
        matches!(refusal, Refusal::Gap { from, resumes: Some(to), .. }
            if (from, to) == (Lsn(5 * MIB), Lsn(6 * MIB))),
        "{refusal:?}"
    );
    let error = Error::from(refusal);
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.hint_text().is_some());
}

#[test]
fn parts_join_overlap_and_are_superseded_but_may_not_leave_holes() {
    let part = |from, to| Extent::Part { from, to };
    let mut joined = facts();
    whole(&mut joined, 1, 1..=3);
    snapshot(&mut joined, 1, 2);
    for extent in [part(0, 1000), part(0, 4000), part(3000, 6000), part(6000, MIB)] {
        put(&mut joined, 1, 4, extent);
    }
    put(&mut joined, 1, 5, part(0, 100));
    let plan = latest(&joined).unwrap();
    assert_eq!(plan.end, Lsn(5 * MIB + 100));
    let chosen: Vec<Extent> = plan.segments[2].objects.iter().map(|o| o.extent).collect();
    assert_eq!(chosen, [part(0, 4000), part(3000, 6000), part(6000, MIB)]);
    put(&mut joined, 1, 4, Extent::Whole);
    assert_eq!(latest(&joined).unwrap().segments[2].objects.len(), 1);
    assert_eq!(latest(&joined).unwrap().bytes_to_fetch, 4 * 1000);

    let mut hole = facts();
    whole(&mut hole, 1, 1..=3);
    snapshot(&mut hole, 1, 2);
    put(&mut hole, 1, 4, part(0, 1000));
    put(&mut hole, 1, 4, part(1001, 2000));
    let refusal = latest(&hole).unwrap_err();
    assert!(matches!(refusal, Refusal::Gap { from, resumes: Some(to), .. }
        if (from, to) == (Lsn(4 * MIB + 1000), Lsn(4 * MIB + 1001))));
}

#[test]
fn a_gap_ends_one_window_and_a_snapshot_begins_the_next() {
    let mut facts = facts();
    whole(&mut facts, 1, (1..=5).chain(8..=12));
    snapshot(&mut facts, 1, 2);
    assert!(matches!(latest(&facts), Err(Refusal::Gap { .. })));
    snapshot(&mut facts, 1, 9);
    assert_eq!(latest(&facts).unwrap().snapshot.id, "s9");
    let before = at(&facts, 4).unwrap();
    assert!(before.stops_before_gap);
    assert_eq!((before.end, ask(&before, 1, 6)), (Lsn(6 * MIB), "stop"));
    assert!(matches!(at(&facts, 8), Err(Refusal::Gap { .. })), "within the gap");
    assert!(!at(&facts, 11).unwrap().stops_before_gap);

    let reach = windows(&facts).unwrap();
    assert_eq!(reach.windows.len(), 2);
    let gap = reach.windows[0].gap_after.as_ref().unwrap();
    assert_eq!((gap.from, gap.resumes), (Lsn(6 * MIB), Some(Lsn(8 * MIB))));
    assert_eq!(reach.windows[0].to, minute(6));
    assert_eq!(reach.windows[1].from, facts.snapshots[1].stopped_at);
    assert_eq!((reach.windows[1].to, &reach.windows[1].gap_after), (minute(13), &None));

    // Damage beyond the gap: no way to the end, unless allowed.
    facts.snapshots[1].damaged_pages = 3;
    assert!(matches!(latest(&facts), Err(Refusal::Gap { .. })));
    assert_eq!(windows(&facts).unwrap().unusable.len(), 1);
    let allowed = Request { allow_damaged: true, ..Request::to(Target::Latest) };
    let plan = checked(&facts, &allowed).unwrap();
    assert_eq!(plan.snapshot.id, "s9");
    assert!(plan.to_string().contains("3 damaged pages"));
}

#[test]
fn damaged_and_foreign_snapshots_are_passed_over() {
    let mut facts = facts();
    whole(&mut facts, 1, 1..=9);
    for segment in [2, 4, 6] {
        snapshot(&mut facts, 1, segment);
    }
    facts.snapshots[2].damaged_pages = 1;
    facts.snapshots[1].system_id = SystemId(8);
    assert_eq!(latest(&facts).unwrap().snapshot.id, "s2");
    let allowed = Request { allow_damaged: true, ..Request::to(Target::Latest) };
    assert_eq!(checked(&facts, &allowed).unwrap().snapshot.id, "s2", "undamaged is preferred");
    facts.snapshots.remove(0);
    assert_eq!(latest(&facts), Err(Refusal::OnlyDamaged { id: "s6".into(), pages: 1 }));
    facts.snapshots.pop();
    assert_eq!(latest(&facts), Err(Refusal::Foreign { system_id: SystemId(7) }));
    facts.snapshots.clear();
    assert_eq!(latest(&facts), Err(Refusal::NoSnapshot));
}

#[test]
fn each_refusal_has_its_reason() {
    let mut facts = facts();
    whole(&mut facts, 1, 1..=9);
    snapshot(&mut facts, 1, 4);
    let early = at(&facts, 3).unwrap_err();
    assert!(matches!(early, Refusal::BeforeFirst { earliest, .. }
        if earliest == facts.snapshots[0].stopped_at));
    let late = Refusal::AfterLog { target: minute(11), until: minute(10) };
    assert_eq!(at(&facts, 11), Err(late));
    facts.log_stored_until = Some(minute(12));
    assert!(at(&facts, 12).is_ok());
    assert!(matches!(at(&facts, 10_001), Err(Refusal::InFuture { .. })));
    let named = Request { timeline: Some(Timeline(4)), ..Request::to(Target::Latest) };
    assert_eq!(checked(&facts, &named), Err(Refusal::HistoryMissing { timeline: Timeline(4) }));
    whole(&mut facts, 2, 9..=9);
    assert_eq!(latest(&facts), Err(Refusal::HistoryMissing { timeline: Timeline(2) }));
    history(&mut facts, 2, &[(1, 3 * MIB)]);
    let off = Refusal::OffPath { timeline: Timeline(2), on_timelines: vec![Timeline(1)] };
    assert_eq!(latest(&facts), Err(off));
}

#[test]
fn a_snapshot_without_its_own_log_never_serves() {
    let mut facts = facts();
    whole(&mut facts, 1, 1..=3);
    put(&mut facts, 1, 4, Extent::Part { from: 0, to: 4000 });
    snapshot(&mut facts, 1, 4);
    let (snapshot_id, stop) = ("s4".to_owned(), Lsn(4 * MIB + 5000));
    let never = Refusal::NeverConsistent { snapshot: snapshot_id, stop, end: Lsn(4 * MIB + 4000) };
    assert_eq!(latest(&facts), Err(never.clone()));
    snapshot(&mut facts, 1, 2);
    assert_eq!(latest(&facts), Err(never), "the preferred one tells why");
    assert!(at(&facts, 4).is_ok());
}

#[test]
fn a_kept_copy_serves_with_its_own_stretch_of_log_alone() {
    let mut facts = facts();
    whole(&mut facts, 1, [4, 9, 10]);
    snapshot(&mut facts, 1, 4);
    snapshot(&mut facts, 1, 9);
    let target = |id: &str| Request::to(Target::Consistent { snapshot: id.to_owned() });
    let plan = checked(&facts, &target("s4")).unwrap();
    assert_eq!((plan.end, used(&plan)), (facts.snapshots[0].stop, vec![(1, 4)]));
    // PostgreSQL reads ahead, past where it will stop; its target keeps it from opening there.
    assert_eq!(ask(&plan, 1, 5), "absent");
    let unknown = checked(&facts, &target("s5")).unwrap_err();
    assert_eq!(Error::from(unknown).kind(), Kind::Usage);
}

#[test]
fn the_checker_sees_what_is_wrong() {
    let mut facts = facts();
    whole(&mut facts, 1, 1..=9);
    history(&mut facts, 2, &[(1, 7 * MIB + 9000)]);
    whole(&mut facts, 2, 7..=8);
    snapshot(&mut facts, 1, 4);
    let good = at(&facts, 9).unwrap();
    type Spoil = fn(&mut RecoveryPlan);
    let spoiled: [(&str, Spoil); 8] = [
        ("segment dropped", |p| drop(p.segments.remove(1))),
        ("objects dropped", |p| p.segments[2].objects.clear()),
        ("parent past the switch", |p| p.segments[3].timeline = Timeline(1)),
        ("end before stop", |p| p.end = p.snapshot.start),
        ("damage", |p| p.snapshot.damaged_pages = 1),
        ("ends too early", |p| p.end = Lsn(8 * MIB)),
        ("too late a snapshot", |p| p.target = Target::At(p.snapshot.started_at)),
        ("another ancestry", |p| p.history.ancestors[0].switch = Lsn(8 * MIB)),
    ];
    for (what, spoil) in spoiled {
        let mut plan = good.clone();
        spoil(&mut plan);
        assert!(!check(&plan, &facts).is_empty(), "{what}");
    }
}
