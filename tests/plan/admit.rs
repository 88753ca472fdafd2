//! What may begin now: tables, and that everything is begun in the end.

use fenice::model::ResourceName;
use fenice::plan::schedule::{Limits, Ruling, Running, Waiting, Work, admit};
use jiff::Timestamp;
use proptest::prelude::*;

fn named(name: &str) -> ResourceName {
    name.parse().unwrap()
}

fn waits(name: &str, work: Work, due: i64) -> Waiting {
    let due_at = Timestamp::from_second(1_800_000_000 + due).unwrap();
    Waiting { resource: named(name), work, due_at }
}

fn runs(name: &str, work: Work) -> Running {
    Running { resource: named(name), work }
}

/// One line for each that waits: empty if it begins.
fn ruled(waiting: &[Waiting], running: &[Running], most_at_once: u32) -> Vec<String> {
    let told = |ruling: Ruling| match ruling {
        Ruling::Begin => String::new(),
        Ruling::Hold { because } => because,
    };
    admit(waiting, running, &Limits { most_at_once }).into_iter().map(told).collect()
}

#[test]
fn a_restore_and_shipping_wait_for_nobody_and_all_else_waits_for_a_restore() {
    let running = [runs("a", Work::Snapshot), runs("c", Work::Ship)];
    let mut restoring = running.to_vec();
    restoring.push(runs("b", Work::Restore));
    let waiting =
        [waits("a", Work::Ship, 9), waits("b", Work::Ship, 9), waits("b", Work::Snapshot, 0)];
    let full = "as many jobs run as may at once (`jobs` is 1)";
    assert_eq!(ruled(&waiting, &running, 1), ["", "", full]);
    assert_eq!(ruled(&waiting, &running, 2), ["", "", ""]);
    let first = "`b` is being restored, and that goes before all";
    assert_eq!(ruled(&waiting, &restoring, 9), ["", "", first]);
    assert_eq!(ruled(&[waits("a", Work::Restore, 9)], &restoring, 1), [""]);
}

#[test]
fn the_more_urgent_begins_first_and_of_one_kind_what_is_due_the_longest() {
    let waiting = [
        waits("a", Work::Drill, 0),
        waits("b", Work::Verify, 1),
        waits("c", Work::Retention, 2),
        waits("d", Work::Copy, 3),
        waits("e", Work::Snapshot, 5),
        waits("f", Work::Snapshot, 4),
    ];
    let begun = |most: u32| -> Vec<usize> {
        let rulings = ruled(&waiting, &[], most);
        (0..waiting.len()).filter(|place| rulings[*place].is_empty()).collect()
    };
    assert_eq!(begun(1), [5]);
    assert_eq!(begun(2), [4, 5]);
    assert_eq!(begun(3), [3, 4, 5]);
    assert_eq!(begun(5), [1, 2, 3, 4, 5]);
    assert_eq!(begun(6), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn what_is_done_on_one_resource_is_done_one_at_a_time() {
    let snapshot = "it waits for the snapshot of `a`";
    let waiting = [
        waits("a", Work::Verify, 0),
        waits("a", Work::Copy, 0),
        waits("a", Work::Snapshot, 9),
        waits("b", Work::Verify, 9),
    ];
    assert_eq!(ruled(&waiting, &[], 4), [snapshot, snapshot, "", ""]);
    let verify = "it waits for the verify of `a`";
    assert_eq!(ruled(&waiting, &[runs("a", Work::Verify)], 4), [verify, verify, verify, ""]);
}

#[test]
fn a_drill_runs_beside_the_rest_and_alone_among_drills() {
    let waiting = [waits("a", Work::Drill, 0), waits("a", Work::Snapshot, 0)];
    assert_eq!(ruled(&waiting, &[], 2), ["", ""]);
    assert_eq!(ruled(&waiting[..1], &[runs("a", Work::Snapshot)], 2), [""]);
    let drill = "it waits for the drill of `b`, one at a time";
    assert_eq!(ruled(&waiting, &[runs("b", Work::Drill)], 3), [drill, ""]);
    let two = [waits("a", Work::Drill, 1), waits("b", Work::Drill, 0)];
    assert_eq!(ruled(&two, &[], 4), [drill, ""]);
}

fn works() -> impl Strategy<Value = Work> {
    prop::sample::select(vec![
        Work::Restore,
        Work::Ship,
        Work::Snapshot,
        Work::Copy,
        Work::Retention,
        Work::Verify,
        Work::Drill,
    ])
}

fn takes_room(work: Work) -> bool {
    work > Work::Ship
}

fn is_exclusive(work: Work) -> bool {
    takes_room(work) && work < Work::Drill
}

/// Whether the two may not run at once, whatever room there is.
fn conflict(waiting: &Waiting, running: &Running) -> bool {
    let same = waiting.resource == running.resource;
    let drills = waiting.work == Work::Drill && running.work == Work::Drill;
    let emergency = takes_room(waiting.work) && running.work == Work::Restore;
    emergency || drills || same && is_exclusive(waiting.work) && is_exclusive(running.work)
}

/// What runs after a round of admission breaks no rule, and what is held is held for a reason.
fn check(
    begun: &[Waiting],
    held: &[Waiting],
    running: &[Running],
    most: usize,
) -> Result<(), TestCaseError> {
    let exclusive = running.iter().filter(|job| is_exclusive(job.work));
    let mut owned: Vec<&ResourceName> = exclusive.map(|job| &job.resource).collect();
    owned.sort();
    prop_assert!(owned.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", running);
    prop_assert!(running.iter().filter(|job| job.work == Work::Drill).count() <= 1);
    let full = running.iter().filter(|job| takes_room(job.work)).count();
    prop_assert!(full <= most, "{:?}", running);
    let turn = |job: &Waiting| (job.work, job.due_at, job.resource.clone());
    for job in held {
        prop_assert!(takes_room(job.work), "{:?}", job);
        let conflicts = running.iter().any(|other| conflict(job, other));
        prop_assert!(conflicts || full == most, "{:?} is held, {:?} run", job, running);
        // Nobody overtakes it into room that it could have had.
        let overtaken = begun.iter().any(|other| takes_room(other.work) && turn(other) > turn(job));
        prop_assert!(conflicts || !overtaken, "{:?}: {:?} begun", job, begun);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A finite amount of work, whatever it is and however long each takes, is all begun.
    #[test]
    fn nobody_starves(
        jobs in prop::collection::vec((0usize..6, works(), 0i64..50, 1usize..6), 0..40),
        most_at_once in 1u32..5,
    ) {
        let rounds_most: usize = jobs.iter().map(|(_, _, _, rounds)| rounds).sum();
        let job = |(resource, work, due, rounds): (usize, Work, i64, usize)| {
            (waits(["a", "b", "c", "d", "e", "f"][resource], work, due), rounds)
        };
        let mut left: Vec<(Waiting, usize)> = jobs.into_iter().map(job).collect();
        let mut running: Vec<(Running, usize)> = Vec::new();
        let limits = Limits { most_at_once };
        for _ in 0..=rounds_most {
            let waiting: Vec<Waiting> = left.iter().map(|(job, _)| job.clone()).collect();
            let before: Vec<Running> = running.iter().map(|(job, _)| job.clone()).collect();
            let rulings = admit(&waiting, &before, &limits);
            prop_assert_eq!(&rulings, &admit(&waiting, &before, &limits));
            prop_assert_eq!(rulings.len(), waiting.len());
            let (mut begun, mut held) = (Vec::new(), Vec::new());
            for (job, ruling) in left.drain(..).zip(rulings) {
                match ruling {
                    Ruling::Begin => begun.push(job),
                    Ruling::Hold { because } => {
                        prop_assert!(!because.is_empty());
                        held.push(job);
                    }
                }
            }
            running.extend(begun.iter().map(|(job, rounds)| {
                (Running { resource: job.resource.clone(), work: job.work }, *rounds)
            }));
            let of = |jobs: &[(Waiting, usize)]| -> Vec<Waiting> {
                jobs.iter().map(|(job, _)| job.clone()).collect()
            };
            let now: Vec<Running> = running.iter().map(|(job, _)| job.clone()).collect();
            check(&of(&begun), &of(&held), &now, most_at_once as usize)?;
            prop_assert!(held.is_empty() || !running.is_empty());
            left = held;
            running.iter_mut().for_each(|(_, rounds)| *rounds -= 1);
            running.retain(|(_, rounds)| *rounds > 0);
        }
        prop_assert!(left.is_empty(), "{:?} never began", left);
    }
}
