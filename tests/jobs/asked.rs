//! Jobs asked for by hand, restores that go before all, bars, cancelling, and a new configuration.

use std::collections::BTreeMap;

use fenice::error::Kind;
use fenice::jobs::{Order, Outcome, next_of};
use fenice::model::Span;
use fenice::plan::schedule::{Limits, Work};
use jiff::Timestamp;

use super::{at, catalog, live, names, open, registro, standings};

const MIDNIGHT: &str = "2027-06-01T00:00:00Z";

fn settled(order: &mut Order, from: Timestamp, to: &str) -> Timestamp {
    live(order, from, at(to));
    at(to)
}

#[test]
fn what_is_asked_for_waits_for_room_as_orders_do_and_settles_none_of_them() {
    let (catalog, from) = (catalog(), at(MIDNIGHT));
    let (mut order, _) = open(&catalog, 4, from);
    let scheduled = order.turn(from).unwrap().remove(0);
    let ask = |order: &mut Order, work: Work| {
        order.ask(registro(), work, "asked for by hand".to_owned(), from).unwrap()
    };
    let snapshot = ask(&mut order, Work::Snapshot);
    let drill = ask(&mut order, Work::Drill);
    let begun = order.turn(from).unwrap();
    assert_eq!((names(&begun), begun[0].ticket), (vec!["drill"], Some(drill)));
    assert_eq!(order.asked()[0].held.as_deref(), Some("it waits for the snapshot of `registro`"));
    order.ended(begun[0].id, &Outcome::Done, from).unwrap();
    order.ended(scheduled.id, &Outcome::Done, from).unwrap();
    let begun = order.turn(from).unwrap();
    assert_eq!((names(&begun), begun[0].ticket), (vec!["snapshot"], Some(snapshot)));
    assert_eq!(catalog.last_jobs(1).unwrap()[0].due_at, None);
    // One that fails is not tried again by itself.
    let told = "the disk is full".to_owned();
    let failed = Outcome::Failed { told, retry: fenice::error::Retry::Later };
    order.ended(begun[0].id, &failed, from).unwrap();
    let line = order.shown().find(|line| line.work == Work::Snapshot).unwrap();
    assert_eq!((line.past.failed, line.past.settled_due_at), (None, Some(scheduled.due_at)));
    assert_eq!(order.running(), 0);
}

#[test]
fn what_is_asked_for_can_be_withdrawn_and_is_bounded() {
    let (mut order, _) = open(&catalog(), 4, at(MIDNIGHT));
    let ask = |order: &mut Order| {
        order.ask(registro(), Work::Verify, "asked for by hand".to_owned(), at(MIDNIGHT))
    };
    let ticket = ask(&mut order).unwrap();
    assert!(order.withdraw(ticket) && !order.withdraw(ticket));
    let refused = (0..1_000).find_map(|_| ask(&mut order).err()).expect("a bound");
    assert_eq!(refused.kind(), Kind::Busy);
}

#[test]
fn a_restore_in_an_emergency_goes_before_all() {
    let (mut order, _) = open(&catalog(), 4, at(MIDNIGHT));
    let ticket = order.restoring(registro());
    assert_eq!(order.turn(at(MIDNIGHT)).unwrap(), []);
    let held = order.shown().find_map(|line| line.held.map(str::to_owned)).unwrap();
    assert_eq!(held, "`registro` is being restored, and that goes before all");
    order.restored(ticket);
    assert_eq!(names(&order.turn(at(MIDNIGHT)).unwrap()), ["snapshot"]);
}

#[test]
fn nothing_ordered_begins_where_another_is_in_charge() {
    let (mut order, _) = open(&catalog(), 4, at(MIDNIGHT));
    order.bar(BTreeMap::from([(registro(), "another host writes".to_owned())]));
    assert_eq!(order.turn(at(MIDNIGHT)).unwrap(), []);
    let held = order.shown().find_map(|line| line.held.map(str::to_owned));
    assert_eq!(held.as_deref(), Some("another host writes"));
    order.bar(BTreeMap::new());
    assert_eq!(names(&order.turn(at(MIDNIGHT)).unwrap()), ["snapshot"]);
}

#[test]
fn what_somebody_cancels_is_not_tried_again_before_it_is_due_again() {
    let catalog = catalog();
    let (mut order, _) = open(&catalog, 4, at(MIDNIGHT));
    let job = order.turn(at(MIDNIGHT)).unwrap().remove(0);
    let told = "it was cancelled".to_owned();
    order.ended(job.id, &Outcome::Cancelled { told }, at(MIDNIGHT)).unwrap();
    assert_eq!(catalog.last_jobs(1).unwrap()[0].ended.as_ref().unwrap().result, "cancelled");
    let begun = live(&mut order, at(MIDNIGHT), at("2027-06-02T00:00:00Z"));
    let snapshots: Vec<_> = begun.iter().filter(|(_, job)| job.work == Work::Snapshot).collect();
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0].0, at("2027-06-02T00:00:00Z"));
}

#[test]
fn a_new_configuration_keeps_what_became_of_what_stays() {
    let (catalog, from) = (catalog(), at(MIDNIGHT));
    let (mut order, _) = open(&catalog, 4, from);
    let now = settled(&mut order, from, "2027-06-01T10:00:00Z");
    let other = "catasto".parse().unwrap();
    let ours = standings(&[registro()], Span::default());
    let both = standings(&[other, registro()], Span::default());
    let limits = Limits { most_at_once: 4 };
    order.adopt(both, limits, now).unwrap();
    // The new one has its first snapshot at once; the other had its own.
    let begun = order.turn(now).unwrap();
    assert_eq!((names(&begun), begun[0].resource.as_str()), (vec!["snapshot"], "catasto"));
    // One that runs while its line goes still ends, and one that stays still is under way.
    order.adopt(ours.clone(), limits, now).unwrap();
    assert_eq!(order.running(), 1);
    order.ended(begun[0].id, &Outcome::Done, now).unwrap();
    assert_eq!((order.running(), catalog.open_jobs().unwrap().len()), (0, 0));
    let next = at("2027-06-02T00:00:00Z");
    let job = order.turn(next).unwrap().into_iter().find(|job| job.work == Work::Snapshot).unwrap();
    order.adopt(ours, limits, next).unwrap();
    assert!(order.turn(next).unwrap().iter().all(|job| job.work != Work::Snapshot));
    order.ended(job.id, &Outcome::Done, next).unwrap();
    let line = order.shown().find(|line| line.work == Work::Snapshot).unwrap();
    assert_eq!(line.past.settled_due_at, Some(next));
}

#[test]
fn whoever_only_looks_sees_what_comes_next() {
    let (catalog, from) = (catalog(), at(MIDNIGHT));
    let standings = standings(&[registro()], Span::default());
    assert_eq!(next_of(&catalog, &standings, from).unwrap(), []);
    let (mut order, _) = open(&catalog, 4, from);
    let job = order.turn(from).unwrap().remove(0);
    let next = next_of(&catalog, &standings, from).unwrap();
    assert_eq!(next.len(), standings.len());
    assert_eq!((next[0].work, next[0].at), (Work::Snapshot, None));
    assert_eq!(next[0].text, "it is under way");
    order.ended(job.id, &Outcome::Done, from).unwrap();
    let next = next_of(&catalog, &standings, from).unwrap();
    assert_eq!(next[0].at, Some(at("2027-06-02T00:00:00Z")));
}
