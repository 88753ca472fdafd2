//! What of a cluster's log a repository holds, told by object names alone.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::lsn::{Lsn, SegmentSize};
use crate::model::resource::SystemId;
use crate::model::timeline::{Timeline, TimelineHistory};

/// Which bytes of its segment an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// All of them.
    Whole,
    /// Those from `from` up to, not including, `to`: a part of a segment that was not finished.
    Part { from: u64, to: u64 },
}

/// One stored stretch of log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalObject {
    pub timeline: Timeline,
    pub segment: u64,
    pub extent: Extent,
    /// Where it is stored.
    pub key: String,
    /// Size as stored, compressed and encrypted.
    pub stored_bytes: u64,
    /// When the store took it.
    pub stored_at: Timestamp,
}

/// An object among the log that no recovery reads: a partial segment, a backup label, or a name
/// that nobody here understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherObject {
    /// Where it is stored.
    pub key: String,
    /// `None` if its name is not understood: then it is not ours to judge.
    pub timeline: Option<Timeline>,
    /// Size as stored, compressed and encrypted.
    pub stored_bytes: u64,
    /// When the store took it.
    pub stored_at: Timestamp,
}

/// All stored log of one cluster: a complete listing, or it must not be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalInventory {
    pub system_id: SystemId,
    pub segment_size: SegmentSize,
    /// Ordered by timeline, segment, extent (whole first, parts by `from`).
    pub objects: Vec<WalObject>,
    /// Every history file stored, parsed. Timeline 1 has none.
    pub histories: BTreeMap<Timeline, TimelineHistory>,
    /// Whatever else lies there, by key: for retention, never for recovery.
    pub others: Vec<OtherObject>,
}

impl WalInventory {
    /// The objects of one segment of one timeline.
    pub fn segment(&self, timeline: Timeline, segment: u64) -> &[WalObject] {
        let key = (timeline, segment);
        let from = self.objects.partition_point(|o| (o.timeline, o.segment) < key);
        let to = self.objects.partition_point(|o| (o.timeline, o.segment) <= key);
        &self.objects[from..to]
    }

    /// How far into its segment the stored bytes reach without a hole, from its first byte.
    pub fn contiguous_bytes(&self, timeline: Timeline, segment: u64) -> u64 {
        let mut reached = 0;
        for object in self.segment(timeline, segment) {
            match object.extent {
                Extent::Whole => return self.segment_size.bytes(),
                Extent::Part { from, to } if from <= reached => reached = reached.max(to),
                Extent::Part { .. } => break,
            }
        }
        reached
    }

    /// The newest segment of `timeline` of which anything is stored.
    pub fn last_segment(&self, timeline: Timeline) -> Option<u64> {
        let end = self.objects.partition_point(|o| o.timeline <= timeline);
        self.objects[..end].last().filter(|o| o.timeline == timeline).map(|o| o.segment)
    }

    /// The history of `timeline`: stored, or the plain root for timeline 1.
    pub fn history(&self, timeline: Timeline) -> Option<TimelineHistory> {
        match self.histories.get(&timeline) {
            Some(history) => Some(history.clone()),
            None if timeline == Timeline(1) => Some(TimelineHistory::root(timeline)),
            None => None,
        }
    }

    /// The first position that is not stored, reading forward from `from` on the way to
    /// `history.timeline`. Equal to `from` if nothing is stored there.
    pub fn stored_until(&self, history: &TimelineHistory, from: Lsn) -> Lsn {
        let size = self.segment_size;
        let mut segment = size.number_of(from);
        loop {
            let owner = history.owner_of_segment(segment, size);
            let reached = self.contiguous_bytes(owner, segment);
            if reached < size.bytes() {
                return size.start_of(segment).plus(reached).max(from);
            }
            segment += 1;
        }
    }
}
