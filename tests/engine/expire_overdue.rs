//! What the vault holds for nobody is told: left by a crash, or not deleted in time.

use fenice::repository::{layout, manifest};

use super::expire_faults::expiry;
use super::world::{World, resource};

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
