//! Timelines and their history files: which timeline owns which stretch of the log.

use std::fmt;

use crate::error::Error;
use crate::model::lsn::{Lsn, SegmentSize};

/// A timeline's number, from 1. Printed as in file names: eight hexadecimal digits.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timeline(pub u32);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One ancestor: the log belonged to `timeline` up to (not including) `switch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ancestor {
    pub timeline: Timeline,
    pub switch: Lsn,
}

/// The ancestry of one timeline, as its `.history` file tells it. Timeline 1 has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineHistory {
    pub timeline: Timeline,
    /// Oldest first; timelines and switch points ascend.
    pub ancestors: Vec<Ancestor>,
}

impl TimelineHistory {
    /// A timeline without ancestors.
    pub fn root(timeline: Timeline) -> TimelineHistory {
        TimelineHistory { timeline, ancestors: Vec::new() }
    }

    /// Reads the text of a history file (PostgreSQL, `readTimeLineHistory`): lines of parent
    /// timeline, switch point and reason; empty lines and `#` comments are skipped.
    ///
    /// # Errors
    /// A line that does not parse, or ancestors that do not ascend below `timeline`.
    pub fn parse(timeline: Timeline, text: &str) -> Result<TimelineHistory, Error> {
        let mut ancestors: Vec<Ancestor> = Vec::new();
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let bad = || Error::failed(format!("`{line}` is not a line of a timeline history"));
            let mut words = line.split_whitespace();
            let parent = words.next().and_then(|word| word.parse().ok()).ok_or_else(bad)?;
            let switch = words.next().ok_or_else(bad)?.parse().map_err(|e| bad().because(e))?;
            let ancestor = Ancestor { timeline: Timeline(parent), switch };
            let ascends = ancestors
                .last()
                .is_none_or(|last| last.timeline < ancestor.timeline && last.switch <= switch);
            if !ascends || ancestor.timeline >= timeline {
                return Err(
                    bad().hint("The history file is damaged; take it from the primary again.")
                );
            }
            ancestors.push(ancestor);
        }
        Ok(TimelineHistory { timeline, ancestors })
    }

    /// The timeline that owns the byte at `lsn`, on the way to this timeline.
    pub fn owner_of(&self, lsn: Lsn) -> Timeline {
        let owner = self.ancestors.iter().find(|ancestor| lsn < ancestor.switch);
        owner.map_or(self.timeline, |ancestor| ancestor.timeline)
    }

    /// The timeline whose file of segment `number` recovery must use. A segment that contains a
    /// switch point belongs to the child, whose file repeats the parent's bytes before it
    /// (PostgreSQL copies them, `XLogInitNewTimeline`).
    pub fn owner_of_segment(&self, number: u64, size: SegmentSize) -> Timeline {
        let owner = self.ancestors.iter().find(|a| number < size.number_of(a.switch));
        owner.map_or(self.timeline, |ancestor| ancestor.timeline)
    }

    /// Whether `timeline` is this one or one of its ancestors.
    pub fn contains(&self, timeline: Timeline) -> bool {
        self.timeline == timeline || self.ancestors.iter().any(|a| a.timeline == timeline)
    }

    /// Where `timeline` ends on the way here; `None` for this timeline itself or a stranger.
    pub fn end_of(&self, timeline: Timeline) -> Option<Lsn> {
        self.ancestors.iter().find(|a| a.timeline == timeline).map(|a| a.switch)
    }
}
