//! Hours of the day in which work may begin, by the wall clock.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Time;

use super::cron::digits;
use crate::error::Error;

/// A span of the day, from one civil time up to, not including, another; where that is the
/// earlier one, of the next day. Text is `20:00-06:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: Time,
    /// Never the same as `from`.
    pub to: Time,
}

impl Window {
    /// Whether it ends on the day after it began.
    pub fn crosses_midnight(self) -> bool {
        self.to < self.from
    }
}

impl FromStr for Window {
    type Err = Error;

    fn from_str(text: &str) -> Result<Window, Error> {
        let ends = text.split_once('-').and_then(|(from, to)| Some((time(from)?, time(to)?)));
        match ends {
            Some((from, to)) if from != to => Ok(Window { from, to }),
            _ => Err(Error::usage(format!("`{text}` is not a window of hours")).hint(
                "Write two times from 00:00 to 23:59, such as \"20:00-06:00\"; it may cross \
                 midnight.",
            )),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from.strftime("%H:%M"), self.to.strftime("%H:%M"))
    }
}

/// `HH:MM`.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':').filter(|(_, minute)| minute.len() == 2)?;
    let number = |text: &str| i8::try_from(digits(text)?).ok();
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_times_of_a_day_are_a_window() {
        for (text, shown, crosses) in [
            ("20:00-06:00", "20:00-06:00", true),
            ("6:30-07:00", "06:30-07:00", false),
            ("20:00-00:00", "20:00-00:00", true),
            ("00:00-23:59", "00:00-23:59", false),
        ] {
            let window: Window = text.parse().unwrap();
            assert_eq!((window.to_string().as_str(), window.crosses_midnight()), (shown, crosses));
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for text in ["", "20:00", "20:00-", "20-06", "20:00-24:00", "06:00-06:00", "6:5-7:00"] {
            let error = text.parse::<Window>().expect_err(text);
            assert_eq!(error.to_string(), format!("`{text}` is not a window of hours"));
            assert!(error.hint_text().is_some());
        }
    }
}
