//! Which stored objects are read again today, what that says of the snapshots, and which instants
//! damage takes away (DESIGN.md section 5, Verify). Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::Span;
use crate::plan::condition::age;
use crate::plan::windows::Window;

/// One stored object, as far as reading it again is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub bytes: u64,
    /// When it was last read and found as it was stored.
    pub sound_at: Option<Timestamp>,
    /// Read every time: it is small, and much hangs on it.
    pub always: bool,
}

/// Chooses the objects to read so that none stays unread for longer than `within`, as long as runs
/// come about as often as they did. Returns their places in `objects`.
///
/// What was never found sound is read at once. Of the rest every run reads a share, oldest first:
/// as large a part of all bytes as the time since the last run is of `within`, so that a repository
/// filled in one night is not read again in one night; and what would be over before the next run.
pub fn to_read(objects: &[Known], within: Span, now: Timestamp) -> Vec<usize> {
    let last_run = objects.iter().filter_map(|object| object.sound_at).max();
    let elapsed = last_run.map_or(Span::default(), |last| age(last, now));
    let total: u64 = objects.iter().map(|object| object.bytes).sum();
    let part = (elapsed.0.as_secs_f64() / within.0.as_secs_f64()).min(1.0);
    let share = (total as f64 * part) as u64;
    let mut chosen = Vec::new();
    let mut turns: Vec<(Timestamp, usize)> = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        match object.sound_at {
            Some(sound_at) if !object.always => turns.push((sound_at, at)),
            _ => chosen.push(at),
        }
    }
    turns.sort_unstable();
    let mut read = 0;
    for (sound_at, at) in turns {
        let is_over = age(sound_at, now).0 + elapsed.0 >= within.0;
        if !is_over && read >= share {
            break;
        }
        read += objects[at].bytes;
        chosen.push(at);
    }
    chosen.sort_unstable();
    chosen
}

/// What a run has to say of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// It was last read then, and is as it was stored.
    Sound(Timestamp),
    /// Not as it was stored, or not there; whether it was put right since or not.
    Damaged,
    /// Never read since it was stored, or the store did not give it.
    Unread,
}

/// The snapshots that count as verified, each with since when: the oldest of the instants at which
/// anything was read. `objects` are all that were there when the run began, `committed` the
/// snapshots by then, `recoverable` those that can be recovered from in spite of the damage,
/// `recovered` those of them that only healing made so: what was put there for them is not read
/// back yet.
///
/// Which objects a snapshot needs is not asked: with anything unread none is verified. A damaged
/// object is none that a recoverable snapshot needs.
pub fn verified(
    objects: impl IntoIterator<Item = Looked>,
    committed: &BTreeSet<String>,
    recoverable: &[String],
    recovered: &[String],
) -> BTreeMap<String, Timestamp> {
    let mut since: Option<Timestamp> = None;
    for object in objects {
        match object {
            Looked::Sound(at) => since = Some(since.map_or(at, |since| since.min(at))),
            Looked::Damaged => {}
            Looked::Unread => return BTreeMap::new(),
        }
    }
    let Some(since) = since else { return BTreeMap::new() };
    let counts = |id: &&String| committed.contains(*id) && !recovered.contains(id);
    recoverable.iter().filter(counts).map(|id| (id.clone(), since)).collect()
}

/// How far a recovery point is to be relied on (DESIGN.md section 1, principle 2). Instants are the
/// newest of their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Stored; nobody has looked since.
    Taken,
    /// Everything it needs was read back and found sound since then.
    Verified(Timestamp),
    /// A drill restored it and checked what came back.
    Proven(Timestamp),
}

impl Proof {
    /// A restored one is proven whatever was read since; one with damaged pages is never called
    /// verified, however well it was stored (RULES 11).
    pub fn of(
        damaged_pages: u64,
        proven_at: Option<Timestamp>,
        verified_since: Option<Timestamp>,
    ) -> Proof {
        match (proven_at, verified_since) {
            (Some(at), _) => Proof::Proven(at),
            (None, Some(since)) if damaged_pages == 0 => Proof::Verified(since),
            (None, _) => Proof::Taken,
        }
    }

    /// For JSON and people.
    pub fn name(self) -> &'static str {
        match self {
            Proof::Taken => "taken",
            Proof::Verified(_) => "verified",
            Proof::Proven(_) => "proven",
        }
    }
}

/// The spans of instants that could be recovered to before and cannot be after, in order of time.
pub fn lost_spans(before: &[Window], after: &[Window]) -> Vec<(Timestamp, Timestamp)> {
    let mut lost: Vec<(Timestamp, Timestamp)> = Vec::new();
    for window in before {
        let mut from = window.from;
        let mut kept: Vec<(Timestamp, Timestamp)> = after
            .iter()
            .map(|kept| (kept.from.max(window.from), kept.to.min(window.to)))
            .filter(|(from, to)| from <= to)
            .collect();
        kept.sort_unstable();
        for (kept_from, kept_to) in kept {
            if from < kept_from {
                lost.push((from, kept_from));
            }
            from = from.max(kept_to);
        }
        if from < window.to || !after.iter().any(|kept| kept.from <= from && from <= kept.to) {
            lost.push((from, window.to));
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Lsn, Timeline};

    fn day(days: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + days * 86_400).unwrap()
    }

    const MONTH: Span = Span::seconds(30 * 86_400);

    #[test]
    fn what_is_new_or_small_is_read_at_once() {
        let old = Known { bytes: 100, sound_at: Some(day(0)), always: false };
        let objects = [old, Known { sound_at: None, ..old }, Known { always: true, ..old }, old];
        assert_eq!(to_read(&objects, MONTH, day(0)), [1, 2]);
        assert_eq!(to_read(&objects, MONTH, day(40)), [0, 1, 2, 3]);
    }

    #[test]
    fn with_daily_runs_nothing_stays_unread_for_a_month_and_no_day_reads_it_all() {
        let mut objects: Vec<Known> = (0..1_000)
            .map(|n| Known { bytes: 1_000 + n * 7 % 900, sound_at: None, always: false })
            .collect();
        let total: u64 = objects.iter().map(|object| object.bytes).sum();
        for today in 0..200 {
            let now = day(today);
            for object in objects.iter().filter_map(|object| object.sound_at) {
                assert!(age(object, now) <= MONTH, "day {today}: {object} was too long ago");
            }
            let read = to_read(&objects, MONTH, now);
            let bytes: u64 = read.iter().map(|at| objects[*at].bytes).sum();
            // After the month in which all that came at once is spread out.
            assert!(today < 60 || bytes < total / 10, "day {today} reads {bytes} of {total}");
            assert!(today == 0 || bytes >= total / 31, "day {today} reads {bytes} of {total}");
            for at in read {
                objects[at].sound_at = Some(now);
            }
        }
    }

    #[test]
    fn a_snapshot_is_verified_when_everything_was_read_and_it_can_be_recovered_from() {
        use Looked::{Damaged, Sound, Unread};
        let (old, new) = (Sound(day(1)), Sound(day(5)));
        type Case<'t> = (&'t [Looked], &'t [&'t str], &'t [&'t str], &'t [(&'t str, i64)]);
        let cases: [Case<'_>; 9] = [
            (&[], &["a"], &[], &[]),
            (&[new, old, new], &["a", "b"], &[], &[("a", 1), ("b", 1)]),
            (&[new, Unread], &["a", "b"], &[], &[]),
            // Damage that `b` alone needs, told and healed.
            (&[new, Damaged, old], &["a"], &[], &[("a", 1)]),
            (&[new, Damaged, old], &["a", "b"], &["b"], &[("a", 1)]),
            (&[Damaged, Unread], &["a"], &[], &[]),
            (&[Damaged], &["a"], &[], &[]),
            (&[new], &[], &[], &[]),
            // Taken while the run was on.
            (&[new], &["a", "c"], &[], &[("a", 5)]),
        ];
        let committed = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        for (objects, recoverable, recovered, expected) in cases {
            let (recoverable, recovered) = (owned(recoverable), owned(recovered));
            let found = verified(objects.iter().copied(), &committed, &recoverable, &recovered);
            let found: Vec<(&str, Timestamp)> =
                found.iter().map(|(id, since)| (id.as_str(), *since)).collect();
            let expected: Vec<(&str, Timestamp)> =
                expected.iter().map(|(id, since)| (*id, day(*since))).collect();
            assert_eq!(found, expected, "{objects:?} {recoverable:?} {recovered:?}");
        }
    }

    #[test]
    fn a_restore_proves_more_than_reading_and_reading_more_than_storing() {
        let (one, two) = (Some(day(1)), Some(day(2)));
        let cases = [
            (0, None, None, Proof::Taken),
            (0, None, one, Proof::Verified(day(1))),
            (3, None, one, Proof::Taken),
            (0, one, None, Proof::Proven(day(1))),
            (0, one, two, Proof::Proven(day(1))),
        ];
        for (damaged_pages, proven_at, verified_since, expected) in cases {
            let proof = Proof::of(damaged_pages, proven_at, verified_since);
            assert_eq!(proof, expected, "{damaged_pages} {proven_at:?} {verified_since:?}");
        }
    }

    fn window(from: i64, to: i64) -> Window {
        Window {
            timeline: Timeline(1),
            from: day(from),
            to: day(to),
            start: Lsn(0),
            end: Lsn(0),
            snapshots: Vec::new(),
            gap_after: None,
        }
    }

    #[test]
    fn what_is_lost_is_what_no_window_reaches_any_more() {
        let lost = |before: &[Window], after: &[Window]| lost_spans(before, after);
        let all = [window(1, 9)];
        assert_eq!(lost(&all, &all), []);
        assert_eq!(lost(&all, &[]), [(day(1), day(9))]);
        assert_eq!(lost(&all, &[window(1, 4), window(6, 9)]), [(day(4), day(6))]);
        assert_eq!(lost(&all, &[window(3, 5)]), [(day(1), day(3)), (day(5), day(9))]);
        assert_eq!(lost(&[window(1, 3), window(5, 9)], &[window(5, 9)]), [(day(1), day(3))]);
        assert_eq!(lost(&[window(2, 2)], &[]), [(day(2), day(2))]);
    }
}
