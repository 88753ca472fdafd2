//! What "35 + 25" means, in a few lines from its words alone: every instant of the last 35 days,
//! and the weekly one of each week 25 days more. Nothing of Fenice's own planning is used.

use fenice::model::Lsn;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

/// 35 days of 24 hours, whatever the clocks on the wall do.
pub const DAILY: SignedDuration = SignedDuration::from_hours(35 * 24);
/// 60 of them: nothing is older.
pub const ALL: SignedDuration = SignedDuration::from_hours(60 * 24);
/// So long after its time was over, nothing that only it led to is left.
pub const ERASURE: SignedDuration = SignedDuration::from_hours(48);

/// A snapshot, as the one who ordered it saw it.
#[derive(Debug, Clone)]
pub struct Taken {
    pub id: String,
    /// The date on the wall for which it was scheduled.
    pub due: Date,
    pub start: Lsn,
    pub stop: Lsn,
    pub ended_at: Timestamp,
    /// Rows committed before it.
    pub rows: usize,
}

/// A snapshot and the instant at which its time is over.
pub type Leaving<'t> = (&'t Taken, Timestamp);

/// In the main repository, oldest first: the window's first instants need a snapshot until the
/// window begins after the end of the next one.
pub fn in_main(taken: &[Taken]) -> Vec<Leaving<'_>> {
    let over_at = |number: usize, own: &Taken| {
        let latest = own.ended_at + ALL;
        taken.get(number + 1).map_or(latest, |next| latest.min(next.ended_at + DAILY))
    };
    taken.iter().enumerate().map(|(number, own)| (own, over_at(number, own))).collect()
}

/// Among the copies, oldest first: of each week, which begins on Sunday, the first.
pub fn in_copies(taken: &[Taken]) -> Vec<Leaving<'_>> {
    let week = |own: &Taken| {
        let days = own.due.weekday().to_sunday_zero_offset();
        own.due.checked_sub(jiff::Span::new().days(days)).unwrap()
    };
    let is_first = |number: usize| number == 0 || week(&taken[number - 1]) != week(&taken[number]);
    let weekly = taken.iter().enumerate().filter(|(number, _)| is_first(*number));
    weekly.map(|(_, own)| (own, own.ended_at + ALL)).collect()
}

/// Those whose time is not over at `at`.
pub fn kept<'t>(leaving: &[Leaving<'t>], at: Timestamp) -> Vec<&'t Taken> {
    leaving.iter().filter(|(_, over_at)| *over_at > at).map(|(own, _)| *own).collect()
}
