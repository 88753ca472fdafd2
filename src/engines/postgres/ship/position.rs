//! Where shipping goes on: pure, from what is stored and what the server offers.

use crate::error::{Error, Result};
use crate::model::{Lsn, Timeline, TimelineHistory, WalInventory};
use crate::repository::wal::WalArchive;

use super::super::source::Gap;

/// Where to begin streaming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    pub timeline: Timeline,
    /// The segment to ask for, from its first byte.
    pub segment: u64,
    /// Bytes of it that are stored already, from its first byte.
    pub stored: u64,
    /// Whether nothing was stored before, so that there is nothing to go on from.
    pub first: bool,
}

/// The newest stored position on the way to the server's timeline; the end of a recorded gap, if
/// one begins there; or, if nothing is stored, the segment that holds `otherwise`.
///
/// # Errors
/// Refused if the newest stored timeline is not on the server's way: the server is an old primary,
/// or a copy that went its own way.
pub fn start(
    inventory: &WalInventory,
    server: &TimelineHistory,
    gaps: &[Gap],
    otherwise: Lsn,
) -> Result<Start> {
    let size = inventory.segment_size;
    let newest = inventory.objects.last().map(|object| object.timeline);
    if let Some(newest) = newest.filter(|newest| !server.contains(*newest)) {
        return Err(Error::refused(format!(
            "the server is on timeline {}, which does not descend from timeline {newest} in the \
             archive",
            server.timeline
        ))
        .hint(
            "Is this an old primary, or a restored copy? Take it out of `connection`. If it is \
             the rightful one, take a new name for the resource or move the archive away.",
        ));
    }
    let ways = server.ancestors.iter().map(|a| (a.timeline, Some(a.switch)));
    let ways: Vec<_> = ways.chain([(server.timeline, None)]).collect();
    for (timeline, switch) in ways.into_iter().rev() {
        let Some(end) = WalArchive::end_on(inventory, timeline) else { continue };
        let leaps = gaps.iter().filter(|gap| gap.from == end).map(|gap| gap.to);
        if let Some(to) = leaps.max() {
            let segment = size.number_of(to);
            let timeline = server.owner_of_segment(segment, size);
            return Ok(Start { timeline, segment, stored: 0, first: false });
        }
        if let Some(switch) = switch.filter(|switch| end >= *switch) {
            // All of this timeline is stored, perhaps more than its heir ever knew. The heir's
            // first segment holds the switch point.
            let segment = size.number_of(switch);
            let heir = server.owner_of(switch);
            return Ok(Start { timeline: heir, segment, stored: 0, first: false });
        }
        let stored = size.offset_of(end);
        return Ok(Start { timeline, segment: size.number_of(end), stored, first: false });
    }
    let timeline = server.owner_of_segment(size.number_of(otherwise), size);
    Ok(Start { timeline, segment: size.number_of(otherwise), stored: 0, first: true })
}

/// Whether a walsender named `name` would be waited for by commits (RULES 13): `name` or `*` is
/// listed in `synchronous_standby_names` (PostgreSQL manual, section 20.6.2).
pub fn is_synchronous(synchronous_standby_names: &str, name: &str) -> bool {
    let separators = |c: char| c == ',' || c == '(' || c == ')' || c.is_whitespace();
    synchronous_standby_names
        .split(separators)
        .map(|word| word.trim_matches('"'))
        .any(|word| word == "*" || word.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::model::{Extent, SegmentSize, SystemId, WalObject};

    const SEGMENT: u64 = 16 << 20;

    fn inventory(objects: &[(u32, u64, Extent)]) -> WalInventory {
        let object = |&(timeline, segment, extent): &(u32, u64, Extent)| WalObject {
            timeline: Timeline(timeline),
            segment,
            extent,
            key: String::new(),
            stored_bytes: 0,
            stored_at: Timestamp::UNIX_EPOCH,
        };
        WalInventory {
            system_id: SystemId(1),
            segment_size: SegmentSize::DEFAULT,
            objects: objects.iter().map(object).collect(),
            histories: BTreeMap::new(),
        }
    }

    fn begins(inventory: &WalInventory, server: &TimelineHistory) -> (u32, u64, u64) {
        let start = start(inventory, server, &[], Lsn(9 * SEGMENT + 5)).unwrap();
        (start.timeline.0, start.segment, start.stored)
    }

    #[test]
    fn goes_on_after_what_is_stored() {
        let root = TimelineHistory::root(Timeline(1));
        assert_eq!(begins(&inventory(&[]), &root), (1, 9, 0));
        assert_eq!(begins(&inventory(&[(1, 4, Extent::Whole)]), &root), (1, 5, 0));
        let part = Extent::Part { from: 0, to: 77 };
        let stored = inventory(&[(1, 4, Extent::Whole), (1, 5, part)]);
        assert_eq!(begins(&stored, &root), (1, 5, 77));
    }

    #[test]
    fn follows_a_switch_of_timeline() {
        let switch = format!("1\t0/{:X}\tno recovery target specified\n", 5 * SEGMENT + 100);
        let heir = TimelineHistory::parse(Timeline(2), &switch).unwrap();
        let short = inventory(&[(1, 5, Extent::Part { from: 0, to: 60 })]);
        assert_eq!(begins(&short, &heir), (1, 5, 60));
        let all = inventory(&[(1, 5, Extent::Part { from: 0, to: 100 })]);
        assert_eq!(begins(&all, &heir), (2, 5, 0));
        let more = inventory(&[(1, 5, Extent::Whole), (1, 6, Extent::Whole)]);
        assert_eq!(begins(&more, &heir), (2, 5, 0));
        let both = inventory(&[(1, 5, Extent::Whole), (2, 5, Extent::Part { from: 0, to: 200 })]);
        assert_eq!(begins(&both, &heir), (2, 5, 200));
    }

    #[test]
    fn goes_on_after_a_recorded_gap() {
        let root = TimelineHistory::root(Timeline(1));
        let stored = inventory(&[(1, 4, Extent::Whole)]);
        let gap =
            |to: u64| Gap { timeline: Timeline(1), from: Lsn(5 * SEGMENT), to: Lsn(to * SEGMENT) };
        let start = start(&stored, &root, &[gap(8), gap(11)], Lsn(0)).unwrap();
        assert_eq!((start.segment, start.stored, start.first), (11, 0, false));
    }

    #[test]
    fn an_old_primary_is_refused() {
        let root = TimelineHistory::root(Timeline(1));
        let stored = inventory(&[(2, 5, Extent::Whole)]);
        assert!(start(&stored, &root, &[], Lsn(0)).is_err());
    }

    #[test]
    fn synchronous_names_are_read_as_postgresql_reads_them() {
        for (names, is) in [
            ("", false),
            ("*", true),
            ("ANY 1 (a, b)", false),
            ("FIRST 2 (a, \"fenice_registro\", c)", true),
            ("Fenice_Registro", true),
            ("fenice_registro2", false),
        ] {
            assert_eq!(is_synchronous(names, "fenice_registro"), is, "{names}");
        }
    }
}
