//! When a schedule comes: civil times of a zone, each mapped to one instant.
//!
//! A civil time that does not exist comes at the first instant after the jump; one that exists
//! twice comes the first time only. Several that fall on one instant are one occurrence, which has
//! the name of the last of them: where the clock shows any of them, it shows that.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::config::Cron;

/// The rarest schedule there is, 29 February on one day of the week, comes within 40 years.
const DAYS_MOST: usize = 41 * 366;
/// The longest stretch of civil time that ever came twice is a day, where a date line moved.
const REPEATED_MINUTES_MOST: usize = 24 * 60 + 1;
const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// One coming of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// What the schedule says; its date makes a run the Sunday one, whatever the clock shows.
    pub civil: DateTime,
    /// The instant that is.
    pub at: Timestamp,
}

/// The first occurrence later than `after`; `None` if it never comes before the calendar's end.
pub fn next_after(cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Occurrence> {
    let mut civil = zone.to_datetime(after);
    for _ in 0..REPEATED_MINUTES_MOST {
        civil = civil_after(cron, civil)?;
        let at = instant(zone, civil)?;
        if at > after {
            let exists = zone.to_datetime(at) == civil;
            return if exists {
                Some(Occurrence { civil, at })
            } else {
                last_until(cron, zone, at)
            };
        }
    }
    None
}

/// The last occurrence at or before `until`; `None` if there is none since the calendar's
/// beginning.
pub fn last_until(cron: &Cron, zone: &TimeZone, until: Timestamp) -> Option<Occurrence> {
    let mut civil = shown_by(zone, until).saturating_add(MINUTE);
    for _ in 0..REPEATED_MINUTES_MOST {
        civil = civil_before(cron, civil)?;
        let at = instant(zone, civil)?;
        if at <= until {
            return Some(Occurrence { civil, at });
        }
    }
    None
}

/// The instant of a civil time; `None` beyond the calendar's ends.
pub(super) fn instant(zone: &TimeZone, civil: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(civil).ok()
        }
        AmbiguousOffset::Gap { after, .. } => {
            // By the later offset it lies before the jump, by no more than the jump is long.
            let before = after.to_timestamp(civil).ok()?;
            zone.following(before).next().map(|jump| jump.timestamp())
        }
    }
}

/// A civil time that no occurrence until `at` is later than. While civil time comes for the second
/// time, that is not what the clock shows, but what it would show if it had not been put back.
fn shown_by(zone: &TimeZone, at: Timestamp) -> DateTime {
    let shown = zone.to_datetime(at);
    match zone.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Fold { before, .. } => before.to_datetime(at),
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => shown,
    }
}

/// The first civil time of the schedule in a later minute than `civil`.
fn civil_after(cron: &Cron, civil: DateTime) -> Option<DateTime> {
    let mut date = civil.date();
    let mut from = (civil.hour(), civil.minute() + 1);
    for _ in 0..DAYS_MOST {
        let time = cron.runs_on(date).then(|| cron.first_from(from.0, from.1)).flatten();
        if let Some((hour, minute)) = time {
            return Some(date.at(hour, minute, 0, 0));
        }
        date = date.tomorrow().ok()?;
        from = (0, 0);
    }
    None
}

/// The last civil time of the schedule in an earlier minute than `civil`.
fn civil_before(cron: &Cron, civil: DateTime) -> Option<DateTime> {
    let mut date = civil.date();
    let mut before = (civil.hour(), civil.minute());
    for _ in 0..DAYS_MOST {
        let time = cron.runs_on(date).then(|| cron.last_before(before.0, before.1)).flatten();
        if let Some((hour, minute)) = time {
            return Some(date.at(hour, minute, 0, 0));
        }
        date = date.yesterday().ok()?;
        before = (24, 0);
    }
    None
}
