//! A position in the write-ahead log, and the size of the files it is cut into.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// A byte position in the log of one timeline, printed as PostgreSQL prints `pg_lsn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// PostgreSQL's "invalid" position; no record ever starts here.
    pub const ZERO: Lsn = Lsn(0);

    /// The position `bytes` further on.
    pub fn plus(self, bytes: u64) -> Lsn {
        Lsn(self.0.saturating_add(bytes))
    }

    /// How many bytes lie between `earlier` and here; 0 if `earlier` is later.
    pub fn since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Lsn, Error> {
        let parse = |half: &str| u32::from_str_radix(half, 16).ok();
        text.split_once('/')
            .and_then(|(high, low)| {
                Some(Lsn(u64::from(parse(high)?) << 32 | u64::from(parse(low)?)))
            })
            .ok_or_else(|| Error::failed(format!("`{text}` is not a log position like 0/16B3748")))
    }
}

impl serde::Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Lsn, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// `wal_segment_size` in bytes: a power of two from 1 MiB to 1 GiB (`initdb --wal-segsize`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct SegmentSize(u64);

impl SegmentSize {
    /// PostgreSQL's default of 16 MiB.
    pub const DEFAULT: SegmentSize = SegmentSize(16 << 20);

    /// Size in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// Number of the segment that holds the byte at `lsn`.
    pub fn number_of(self, lsn: Lsn) -> u64 {
        lsn.0 / self.0
    }

    /// Where segment `number` begins.
    pub fn start_of(self, number: u64) -> Lsn {
        Lsn(number * self.0)
    }

    /// How far into its segment `lsn` lies.
    pub fn offset_of(self, lsn: Lsn) -> u64 {
        lsn.0 % self.0
    }

    /// Segments per "log id" of 4 GiB, the middle eight digits of a file name.
    pub fn per_log_id(self) -> u64 {
        0x1_0000_0000 / self.0
    }
}

impl TryFrom<u64> for SegmentSize {
    type Error = Error;

    fn try_from(bytes: u64) -> Result<SegmentSize, Error> {
        match bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes) {
            true => Ok(SegmentSize(bytes)),
            false => Err(Error::failed(format!(
                "{bytes} is not a WAL segment size: a power of two from 1 MiB to 1 GiB"
            ))),
        }
    }
}

impl From<SegmentSize> for u64 {
    fn from(size: SegmentSize) -> u64 {
        size.0
    }
}
