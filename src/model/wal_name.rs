//! Names of the files PostgreSQL archives and asks for: segments, partial ones, histories, labels.

use std::fmt;

use crate::error::Error;
use crate::model::lsn::SegmentSize;
use crate::model::timeline::Timeline;

/// What a file name in `pg_wal` means (PostgreSQL, `xlog_internal.h`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalName {
    /// A whole segment: timeline and segment number.
    Segment(Timeline, u64),
    /// The last segment of a timeline that ended; recovery never asks for it.
    Partial(Timeline, u64),
    /// The history of a timeline.
    History(Timeline),
    /// A backup history file; only people read it. The name is kept as it is.
    BackupLabel(Timeline, String),
}

impl WalName {
    /// Reads a file name; `size` tells how many segments a log id holds.
    ///
    /// # Errors
    /// Any name PostgreSQL would not use, such as a segment beyond its log id.
    pub fn parse(name: &str, size: SegmentSize) -> Result<WalName, Error> {
        let bad = || {
            Error::usage(format!("`{name}` is not a file name of the write-ahead log")).hint(
                "PostgreSQL passes it as %f; examples: 000000010000000000000003, 00000002.history.",
            )
        };
        let (stem, suffix) = name.split_once('.').unwrap_or((name, ""));
        let digits = |text: &str| {
            let upper = text.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
            if upper { u32::from_str_radix(text, 16).ok() } else { None }
        };
        if stem.len() == 8 && suffix == "history" {
            return digits(stem).map(|t| WalName::History(Timeline(t))).ok_or_else(bad);
        }
        if stem.len() != 24 || !stem.is_ascii() {
            return Err(bad());
        }
        let part = |from: usize| digits(&stem[from..from + 8]).ok_or_else(bad);
        let (timeline, log_id, in_log) = (Timeline(part(0)?), part(8)?, u64::from(part(16)?));
        if in_log >= size.per_log_id() || timeline.0 == 0 {
            return Err(bad());
        }
        let number = u64::from(log_id) * size.per_log_id() + in_log;
        match suffix {
            "" if !name.contains('.') => Ok(WalName::Segment(timeline, number)),
            "partial" => Ok(WalName::Partial(timeline, number)),
            _ => match suffix.strip_suffix(".backup") {
                Some(offset) if offset.len() == 8 && digits(offset).is_some() => {
                    Ok(WalName::BackupLabel(timeline, name.to_owned()))
                }
                _ => Err(bad()),
            },
        }
    }

    /// The timeline the name speaks of.
    pub fn timeline(&self) -> Timeline {
        match self {
            WalName::Segment(timeline, _)
            | WalName::Partial(timeline, _)
            | WalName::History(timeline)
            | WalName::BackupLabel(timeline, _) => *timeline,
        }
    }

    /// The name as PostgreSQL writes it.
    pub fn file_name(&self, size: SegmentSize) -> String {
        match self {
            WalName::Segment(timeline, number) => segment_name(*timeline, *number, size),
            WalName::Partial(timeline, number) => {
                format!("{}.partial", segment_name(*timeline, *number, size))
            }
            WalName::History(timeline) => format!("{:08X}.history", timeline.0),
            WalName::BackupLabel(_, name) => name.clone(),
        }
    }
}

/// The 24 digits of a segment's file name.
pub fn segment_name(timeline: Timeline, number: u64, size: SegmentSize) -> String {
    let per_log_id = size.per_log_id();
    format!("{:08X}{:08X}{:08X}", timeline.0, number / per_log_id, number % per_log_id)
}

impl fmt::Display for WalName {
    /// For messages, where the segment size is not at hand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalName::Segment(timeline, number) => {
                write!(f, "segment {number} of timeline {timeline}")
            }
            WalName::Partial(timeline, number) => {
                write!(f, "partial segment {number} of timeline {timeline}")
            }
            WalName::History(timeline) => write!(f, "history of timeline {timeline}"),
            WalName::BackupLabel(_, name) => write!(f, "backup label {name}"),
        }
    }
}
