//! Random ancestries and inventories with holes: a plan is safe or refused.

use fenice::model::{Extent, Timeline, WalName};
use fenice::plan::answer::{Answer, answer};
use fenice::plan::check::check;
use fenice::plan::facts::{RecoveryFacts, Request, Target};
use fenice::plan::recovery::{RecoveryPlan, plan};
use fenice::plan::windows::windows;
use proptest::prelude::*;

use super::recovery::{MIB, facts, history, minute, put, snapshot};

/// A switch: (offset in its segment in 8 KiB, segments written after it).
type Switch = (u64, u64);

#[derive(Debug, Clone)]
struct World {
    facts: RecoveryFacts,
    request: Request,
}

fn world() -> impl Strategy<Value = World> {
    let switches = prop::collection::vec((0u64..4, 1u64..6), 1..5);
    let holes = prop::collection::vec((any::<prop::sample::Index>(), 0u8..4), 0..4);
    let snapshots = prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..9);
    let target = (0u64..4, 0u64..25, any::<bool>(), 0u32..20);
    (switches, holes, snapshots, target, any::<bool>()).prop_map(
        |(switches, holes, snapshots, target, lost_history)| {
            build(&switches, &holes, &snapshots, target, lost_history)
        },
    )
}

fn build(
    switches: &[Switch],
    holes: &[(prop::sample::Index, u8)],
    snapshots: &[(prop::sample::Index, u8)],
    (kind, instant, allow_damaged, named): (u64, u64, bool, u32),
    lost_history: bool,
) -> World {
    let mut facts = facts();
    let (mut ancestors, mut segment, mut taken) = (Vec::new(), 1, Vec::new());
    for ((offset, length), timeline) in switches.iter().zip(1u32..) {
        if timeline > 1 {
            history(&mut facts, timeline, &ancestors);
        }
        // The old primary writes two segments more than the new one knows of.
        for number in segment..segment + length + 2 {
            let extent = match (number + offset) % 3 {
                0 => Extent::Part { from: 0, to: MIB },
                _ => Extent::Whole,
            };
            put(&mut facts, timeline, number, extent);
            taken.push((timeline, number));
        }
        segment += length;
        ancestors.push((timeline, segment * MIB + offset * 8192));
    }
    for (index, how) in holes {
        let place = index.index(facts.wal.objects.len());
        match how {
            0 => facts.wal.objects[place].extent = Extent::Part { from: 0, to: 9000 },
            1 => facts.wal.objects[place].extent = Extent::Part { from: 8192, to: MIB },
            _ => drop(facts.wal.objects.remove(place)),
        }
        if facts.wal.objects.is_empty() {
            break;
        }
    }
    for (index, how) in snapshots {
        let (timeline, number) = taken[index.index(taken.len())];
        snapshot(&mut facts, timeline, number);
        if let Some(last) = facts.snapshots.last_mut() {
            last.id = format!("{timeline}-{number}-{how}");
            last.damaged_pages = u64::from(*how == 0);
        }
    }
    if lost_history && holes.len() == 3 && switches.len() == 2 {
        facts.wal.histories.pop_last();
    }
    let target = match kind {
        0 => Target::Latest,
        1 if !facts.snapshots.is_empty() => {
            Target::Consistent { snapshot: facts.snapshots[0].id.clone() }
        }
        _ => Target::At(minute(instant)),
    };
    let timeline = (named < 4 && named > 0).then_some(Timeline(named));
    World { facts, request: Request { target, timeline, allow_damaged } }
}

/// Whatever PostgreSQL asks: an abandoned timeline's log at or after the switch is never served,
/// and absence is never told of what the plan holds.
fn answers_are_safe(plan: &RecoveryPlan) -> Result<(), TestCaseError> {
    for timeline in (1..9).map(Timeline) {
        for number in 0..60 {
            let end = plan.history.end_of(timeline);
            let abandoned = end.is_some_and(|end| (number + 1) * MIB > end.0);
            let stranger = !plan.history.contains(timeline);
            let reply = answer(plan, &WalName::Segment(timeline, number));
            let planned =
                plan.segments.iter().any(|s| (s.timeline, s.number) == (timeline, number));
            match reply {
                Answer::Serve(served) => {
                    prop_assert!(!abandoned && !stranger, "{timeline} {number}\n{plan}");
                    prop_assert_eq!((served.timeline, served.number), (timeline, number));
                }
                Answer::Absent(_) => {
                    prop_assert!(!planned);
                    // A named snapshot's target keeps PostgreSQL from opening too early.
                    let guarded = matches!(plan.target, Target::Consistent { .. });
                    let beyond_gap = plan.stops_before_gap && !guarded && number > plan.end_segment;
                    prop_assert!(stranger || !beyond_gap);
                }
                Answer::Stop(_) => prop_assert!(!planned),
                Answer::History(_) => prop_assert!(false, "a segment is no history"),
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_plan_is_safe_or_refused(world in world()) {
        if let Ok(plan) = plan(&world.facts, &world.request, minute(1000)) {
            prop_assert_eq!(check(&plan, &world.facts), Vec::<String>::new(), "{}", plan);
            answers_are_safe(&plan)?;
            let again = self::plan(&world.facts, &world.request, minute(1000)).unwrap();
            prop_assert_eq!(again, plan);
        }
    }

    /// Both ends of every window can be planned, and what lies in no window cannot be without
    /// a warning.
    #[test]
    fn windows_hold_what_they_promise(world in world()) {
        let Ok(reach) = windows(&world.facts) else { return Ok(()) };
        for window in &reach.windows {
            prop_assert!(window.from <= window.to);
            for instant in [window.from, window.to] {
                let request = Request::to(Target::At(instant));
                let plan = plan(&world.facts, &request, minute(1000));
                prop_assert!(plan.is_ok(), "{instant}: {plan:?} {window:?}");
            }
        }
        for instant in (0..40).map(minute) {
            let request = Request::to(Target::At(instant));
            let inside = reach.windows.iter().any(|w| (w.from..=w.to).contains(&instant));
            let planned = plan(&world.facts, &request, minute(1000)).is_ok();
            prop_assert_eq!(planned, inside, "{}: {:?}", instant, reach);
        }
    }
}
