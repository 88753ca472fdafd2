//! Lengths of time, as the configuration writes them and as reports print them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;

/// A length of time. Text is a whole number with a unit: `s`, `m`, `h`, `d` (a day is 24 hours).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

impl Span {
    pub const fn seconds(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }

    /// The whole and fractional seconds, for metrics and JSON.
    pub fn as_seconds(self) -> f64 {
        self.0.as_secs_f64()
    }

    /// As the configuration writes it, in the largest unit that divides it: `90m`, `35d`.
    pub fn to_config(self) -> String {
        let seconds = self.0.as_secs();
        let unit = [("d", 86_400), ("h", 3_600), ("m", 60)]
            .into_iter()
            .find(|(_, length)| seconds > 0 && seconds.is_multiple_of(*length));
        unit.map_or(format!("{seconds}s"), |(unit, length)| format!("{}{unit}", seconds / length))
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Span, Error> {
        let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
        let parsed = units.iter().find_map(|(unit, factor)| {
            let number = text.strip_suffix(unit)?;
            number.parse::<u64>().ok()?.checked_mul(*factor)
        });
        parsed.map(Span::seconds).ok_or_else(|| {
            Error::usage(format!("`{text}` is not a length of time"))
                .hint("Write a whole number and a unit: 30s, 5m, 4h, 35d.")
        })
    }
}

impl fmt::Display for Span {
    /// For people: `0.84 s`, `12.3 s`, `15 min 12 s`, `4 h 0 min`, `35 d 2 h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..10 => write!(f, "{:.2} s", self.0.as_secs_f64()),
            10..60 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            60..3_600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            3_600..172_800 => write!(f, "{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
            _ => write!(f, "{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
        }
    }
}
