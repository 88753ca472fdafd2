//! Windows of the day, mapped to instants by the rules of occurrences.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::occurrence::instant;
use crate::config::Window;

/// Days looked at: yesterday's window may reach into today, today's may be over, and tomorrow's
/// or a whole day may fall into a jump of the clock.
const DAYS_MOST: usize = 5;

/// A span of instants in which work may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    pub from: Timestamp,
    /// Not included.
    pub to: Timestamp,
}

impl Opening {
    /// Of work without a window.
    pub const ALWAYS: Opening = Opening { from: Timestamp::MIN, to: Timestamp::MAX };
}

/// The first opening of a window that ends after `at`: the present one, or the next. `None` only
/// at the calendar's ends.
pub fn opening(window: Window, zone: &TimeZone, at: Timestamp) -> Option<Opening> {
    let mut date = zone.to_datetime(at).date().yesterday().ok()?;
    for _ in 0..DAYS_MOST {
        let opening = opening_on(window, zone, date)?;
        if opening.from < opening.to && at < opening.to {
            return Some(opening);
        }
        date = date.tomorrow().ok()?;
    }
    None
}

/// The one that begins on that date; empty where all of it falls into a jump of the clock.
fn opening_on(window: Window, zone: &TimeZone, date: Date) -> Option<Opening> {
    let last = if window.crosses_midnight() { date.tomorrow().ok()? } else { date };
    let from = instant(zone, date.to_datetime(window.from))?;
    Some(Opening { from, to: instant(zone, last.to_datetime(window.to))? })
}
