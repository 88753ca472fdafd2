//! Sizes in bytes, read and printed with binary units.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// A number of bytes. Text is a whole number with a unit: `B`, `KiB`, `MiB`, `GiB`, `TiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<ByteSize, Error> {
        let parsed = UNITS.iter().find_map(|(unit, factor)| {
            let number = text.strip_suffix(unit)?.trim_end();
            number.parse::<u64>().ok()?.checked_mul(*factor)
        });
        parsed.map(ByteSize).ok_or_else(|| {
            Error::usage(format!("`{text}` is not a size"))
                .hint("Write a whole number and a unit: 512KiB, 64MiB, 2GiB.")
        })
    }
}

impl fmt::Display for ByteSize {
    /// Three significant digits: `4.90 GiB`, `512 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) =
            UNITS.iter().find(|(_, factor)| self.0 >= *factor).unwrap_or(&("B", 1));
        if *factor == 1 {
            return write!(f, "{} B", self.0);
        }
        let value = self.0 as f64 / *factor as f64;
        let decimals = if value < 10.0 {
            2
        } else if value < 100.0 {
            1
        } else {
            0
        };
        write!(f, "{value:.decimals$} {unit}")
    }
}
