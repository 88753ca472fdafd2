//! What is beyond its date is told: left in the vault by a crash, not deleted in time, kept by a
//! guard, or by nobody.

use fenice::engines::postgres::expire::outlook;
use fenice::engines::postgres::overview::Overview;
use fenice::repository::{layout, manifest};

use super::expire_faults::expiry;
use super::world::{World, after, resource};

#[test]
fn what_a_crash_left_and_what_is_overdue_is_counted_until_it_is_gone() {
    let world = World::new();
    let repository = world.repository(&world.base);
    let early = expiry(&repository, 0).plan().unwrap();
    assert_eq!((early.unnamed_snapshots, early.overdue_packs), (0, 0));
    // As if its manifest had never been written.
    let newest = manifest::snapshots(&repository, &resource()).unwrap().pop().unwrap();
    repository.store.remove(&layout::snapshot(&resource(), &newest.id)).unwrap();
    assert_eq!(expiry(&repository, 0).plan().unwrap().unnamed_snapshots, 1);

    let (planned, applied) = expiry(&repository, 0).apply(true).unwrap();
    let pruned = applied.vault.unwrap();
    assert_eq!(planned.unnamed_snapshots, 1, "as it was found");
    assert_eq!(pruned.snapshots_removed, applied.snapshots + 1);
    assert!(pruned.packs_marked > 0);
    let in_time = expiry(&repository, 47).plan().unwrap();
    assert_eq!((in_time.unnamed_snapshots, in_time.overdue_packs), (0, 0));
    let late = expiry(&repository, 49).plan().unwrap();
    assert_eq!(late.overdue_packs, pruned.packs_marked);
    let (planned, applied) = expiry(&repository, 49).apply(true).unwrap();
    assert_eq!(planned.overdue_packs, applied.vault.unwrap().packs_deleted);
    assert_eq!(expiry(&repository, 50).plan().unwrap().overdue_packs, 0);
    world.check(&repository);
}

#[test]
fn whoever_only_looks_sees_what_a_guard_keeps_and_what_nobody_removed() {
    let world = World::new();
    let repository = world.repository(&world.base);
    let look = |days: u64| {
        let snapshots = manifest::snapshots(&repository, &resource()).unwrap();
        let seen = Overview { snapshots, ..Overview::default() };
        outlook(&repository, &resource(), &seen, &[], &World::terms(), after(days)).unwrap()
    };
    let told = |days: u64| {
        let plan = look(days).plan;
        (plan.overdue().count(), plan.neglected().count())
    };
    // Of days 0 to 12 the last one anchors the window until day 54; then only guards keep it.
    assert_eq!(told(30), (0, 0));
    assert_eq!(told(52), (0, 3));
    assert_eq!(told(55), (1, 4));
    let ahead = look(55);
    let kept = ahead.plan.overdue().next().unwrap();
    assert_eq!(kept.id, layout::instant(kept.stopped_at));
    assert!(kept.leaves_at <= after(55) && kept.verdict.to_string().contains("keep_min"));
    assert!(ahead.retirement.is_none() && ahead.plan.overdue_packs == 0);
    let applied = expiry(&repository, 8 * 24).apply(true).unwrap().1;
    assert_eq!((applied.snapshots, told(55)), (4, (1, 0)));
}
