//! What is tried when, and what is given up: tables, and what holds whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use fenice::error::Error;
use fenice::notify::outbox::{AGE_MAX, Ended, GivenUp, LETTERS_MAX, TRIES_MAX};
use fenice::notify::{Letter, Outbox, Way};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{address, at};

fn chat() -> Way {
    Way::Webhook { name: "chat".to_owned() }
}

fn mail() -> Way {
    Way::Mail { to: address("ops@example.org") }
}

fn letter(id: &str, way: Way) -> Letter {
    let subject = format!("subject of {id}");
    Letter { id: id.to_owned(), way, written_at: at(0), subject, body: "body".to_owned() }
}

fn ids(due: &[&Letter]) -> Vec<String> {
    due.iter().map(|letter| letter.id.clone()).collect()
}

fn later() -> Ended {
    Ended::Later("no answer".to_owned())
}

/// As a catalog keeps it.
fn stored(outbox: &Outbox) -> Outbox {
    let kept: Outbox = serde_json::from_str(&serde_json::to_string(outbox).unwrap()).unwrap();
    assert_eq!(&kept, outbox);
    kept
}

#[test]
fn a_letter_is_tried_at_once_and_then_ever_more_slowly_for_a_day() {
    let mut outbox = Outbox::default();
    assert_eq!(outbox.put(letter("a", chat()), at(0)), None);
    let (mut now, mut pauses) = (at(0), Vec::new());
    let given_up = loop {
        assert_eq!(ids(&outbox.due(now)), ["a"]);
        outbox = stored(&outbox);
        if let Some(given_up) = outbox.record("a", later(), now) {
            break given_up;
        }
        let next = outbox.next_at().unwrap();
        assert!(outbox.due(next - SignedDuration::from_secs(1)).is_empty());
        pauses.push(next.duration_since(now).as_secs());
        now = next;
    };
    assert_eq!(pauses[..8], [15, 30, 60, 120, 240, 480, 900, 900]);
    assert!(pauses.iter().all(|pause| *pause <= 900));
    let age = now.duration_since(at(0));
    assert!(age >= AGE_MAX && age < AGE_MAX + SignedDuration::from_mins(15), "{age:?}");
    assert!(given_up.tries < TRIES_MAX, "{}", given_up.tries);
    assert_eq!((given_up.because.as_str(), given_up.at), ("no answer", now));
    assert_eq!(given_up.letter, letter("a", chat()));
    assert!(outbox.waiting().is_empty() && outbox.next_at().is_none());
}

#[test]
fn tries_are_bounded_also_where_the_clock_stands_still() {
    let mut outbox = Outbox::default();
    outbox.put(letter("a", chat()), at(0));
    let tries = (1..).find(|_| outbox.record("a", later(), at(0)).is_some());
    assert_eq!(tries, Some(TRIES_MAX));
}

#[test]
fn what_was_taken_is_done_and_what_is_refused_is_given_up_at_once() {
    let mut outbox = Outbox::default();
    outbox.put(letter("a", chat()), at(0));
    outbox.put(letter("b", mail()), at(0));
    assert_eq!(outbox.record("a", Ended::Accepted, at(0)), None);
    let refused = outbox.record("b", Ended::Never("no such user".to_owned()), at(0)).unwrap();
    assert_eq!((refused.tries, refused.because.as_str()), (1, "no such user"));
    assert!(outbox.waiting().is_empty());
    assert_eq!(outbox.record("b", Ended::Accepted, at(0)), None, "nobody waits for it");
}

#[test]
fn errors_are_tried_again_by_their_class() {
    for (sent, expected) in [
        (Ok(()), Ended::Accepted),
        (Err(Error::failed("x").later()), Ended::Later("x".to_owned())),
        (Err(Error::failed("x")), Ended::Never("x".to_owned())),
        (
            Err(Error::failed("outer").because(Error::failed("inner").later())),
            Ended::Later("outer: inner".to_owned()),
        ),
    ] {
        assert_eq!(Ended::of(&sent), expected);
    }
}

#[test]
fn a_letter_that_waits_is_not_taken_twice() {
    let mut outbox = Outbox::default();
    outbox.put(letter("a", chat()), at(0));
    outbox.record("a", later(), at(0));
    assert_eq!(outbox.put(letter("a", chat()), at(1)), None);
    assert_eq!(outbox.waiting().len(), 1);
    assert_eq!(outbox.waiting()[0].tries, 1);
}

#[test]
fn each_way_keeps_its_order_and_waits_for_no_other() {
    let mut outbox = Outbox::default();
    for (id, way) in [("a", chat()), ("b", chat()), ("c", mail()), ("d", mail())] {
        outbox.put(letter(id, way), at(0));
    }
    assert_eq!(ids(&outbox.due(at(0))), ["a", "c"]);
    outbox.record("a", later(), at(0));
    outbox.record("c", Ended::Accepted, at(0));
    assert_eq!(ids(&outbox.due(at(0))), ["d"]);
    assert_eq!(ids(&outbox.due(at(1))), ["a", "d"]);
    outbox.record("a", Ended::Accepted, at(1));
    assert_eq!(ids(&outbox.due(at(1))), ["b", "d"]);
}

#[test]
fn where_there_is_no_room_the_oldest_is_given_up() {
    let mut outbox = Outbox::default();
    for number in 0..LETTERS_MAX {
        assert_eq!(outbox.put(letter(&number.to_string(), chat()), at(0)), None);
    }
    let given_up = outbox.put(letter("new", mail()), at(1)).unwrap();
    assert_eq!((given_up.letter.id.as_str(), given_up.tries), ("0", 0));
    assert!(given_up.because.contains("messages wait"), "{}", given_up.because);
    assert_eq!(outbox.waiting().len(), LETTERS_MAX);
}

#[test]
fn a_clock_that_was_set_back_delays_nothing() {
    let mut outbox = Outbox::default();
    outbox.put(letter("a", chat()), at(1_000_000));
    assert_eq!(ids(&outbox.due(at(0))), ["a"]);
    outbox.record("a", later(), at(1_000_000));
    assert_eq!(ids(&outbox.due(at(0))), ["a"]);
}

#[test]
fn what_left_the_configuration_is_given_up() {
    let mut outbox = Outbox::default();
    outbox.put(letter("a", chat()), at(0));
    outbox.put(letter("b", mail()), at(0));
    let gone: Vec<GivenUp> = outbox.keep_only(&BTreeSet::from([mail()]), at(5));
    assert_eq!(gone.len(), 1);
    assert_eq!((gone[0].letter.id.as_str(), gone[0].at), ("a", at(5)));
    assert_eq!(ids(&outbox.due(at(5))), ["b"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Each letter ends once, accepted or given up; nothing is tried before its time, or after its
    /// end; and a crash before a try was recorded tries the same letter again.
    #[test]
    fn every_letter_comes_to_an_end(
        letters in prop::collection::vec((0_u8..3, 0_i64..2_000), 1..25),
        ends in prop::collection::vec(0_u8..12, 40..200),
    ) {
        let mut outbox = Outbox::default();
        let mut ends = ends.into_iter().cycle();
        let mut ended: BTreeMap<String, u32> = BTreeMap::new();
        let mut now: Timestamp = at(0);
        let mut coming = letters.into_iter().enumerate().collect::<Vec<_>>();
        coming.sort_by_key(|(_, (_, minute))| *minute);
        let count = coming.len();
        for (number, (way, minute)) in coming {
            let way = Way::Webhook { name: way.to_string() };
            now = now.max(at(minute));
            prop_assert_eq!(outbox.put(letter(&number.to_string(), way), now), None);
        }
        for _ in 0..4 * count * TRIES_MAX as usize {
            let Some(next) = outbox.next_at() else { break };
            now = now.max(next);
            let due: Vec<String> = ids(&outbox.due(now));
            prop_assert!(!due.is_empty());
            for id in due {
                prop_assert!(!ended.contains_key(&id), "tried after its end");
                let how = match ends.next() {
                    Some(0) => Ended::Accepted,
                    Some(1) => Ended::Never("refused".to_owned()),
                    Some(2) => {
                        // Killed before the try was noted.
                        outbox = stored(&outbox);
                        prop_assert!(ids(&outbox.due(now)).contains(&id));
                        continue;
                    }
                    _ => later(),
                };
                let accepted = how == Ended::Accepted;
                let given_up = outbox.record(&id, how, now);
                if accepted || given_up.is_some() {
                    *ended.entry(id).or_default() += 1;
                }
            }
        }
        prop_assert!(outbox.waiting().is_empty());
        prop_assert_eq!(ended.len(), count);
        prop_assert!(ended.values().all(|times| *times == 1));
    }
}
