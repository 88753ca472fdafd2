//! Which stored objects are read again today, and which instants damage takes away (DESIGN.md
//! section 5, Verify). Pure.

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
