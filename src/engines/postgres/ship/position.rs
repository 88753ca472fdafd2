//! Where shipping goes on: pure, from what is stored and what the server offers.

use crate::error::{Error, Result};
use crate::model::{Lsn, Timeline, TimelineHistory, WalInventory};

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

/// How far back a hole is looked for: more segments than are ever on their way at once. Uploads end
/// out of order, so a kill may leave a hole before the newest segment.
const HOLES_WITHIN: u64 = 16;

/// The end of what is stored without a hole on the way to the server's timeline; the end of a
/// recorded gap, if one begins there; or, if nothing is stored, the segment that holds `otherwise`.
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
    let newest = newest.max(inventory.histories.keys().next_back().copied());
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
    let mut begins_at = None;
    let mut found = None;
    for (timeline, switch) in ways {
        if let Some(end) = end_on(inventory, timeline, begins_at, gaps) {
            // All of an ancestor may be stored, perhaps more than its heir ever knew. The heir's
            // first segment holds the switch point.
            let begins = switch.filter(|switch| end >= *switch).map(|switch| {
                let heir = server.owner_of(switch);
                (heir, size.start_of(size.number_of(switch)))
            });
            found = Some(begins.unwrap_or((timeline, end)));
        }
        begins_at = switch.filter(|_| found.is_some()).map(|switch| size.number_of(switch));
    }
    let Some((mut timeline, mut at)) = found else {
        let segment = size.number_of(otherwise);
        let timeline = server.owner_of_segment(segment, size);
        return Ok(Start { timeline, segment, stored: 0, first: true });
    };
    // Gaps may follow each other; each leads on.
    while let Some(to) = gaps.iter().filter(|gap| gap.from == at && gap.to > at).map(|g| g.to).max()
    {
        at = size.start_of(size.number_of(to));
        timeline = server.owner_of_segment(size.number_of(to), size);
        if to > at {
            break;
        }
    }
    Ok(Start { timeline, segment: size.number_of(at), stored: size.offset_of(at), first: false })
}

/// The end of what is stored of `timeline` without a hole, looking back a little. `begins_at`: the
/// segment that must be its first, as far as we want it.
fn end_on(
    inventory: &WalInventory,
    timeline: Timeline,
    begins_at: Option<u64>,
    gaps: &[Gap],
) -> Option<Lsn> {
    let size = inventory.segment_size;
    let last = inventory.last_segment(timeline)?;
    let first = inventory.objects.iter().find(|object| object.timeline == timeline)?.segment;
    let leaps = gaps.iter().map(|gap| size.number_of(gap.to)).filter(|to| *to <= last);
    let first = begins_at.unwrap_or(first).max(leaps.max().unwrap_or(0));
    for segment in first.max(last.saturating_sub(HOLES_WITHIN))..=last {
        let reached = inventory.contiguous_bytes(timeline, segment);
        if reached < size.bytes() {
            return Some(size.start_of(segment).plus(reached));
        }
    }
    Some(size.start_of(last + 1))
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
            others: Vec::new(),
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
    fn goes_on_after_a_gap_that_begins_at_a_switch_and_leads_to_another() {
        let switch = format!("1\t0/{:X}\tx\n", 5 * SEGMENT + 100);
        let heir = TimelineHistory::parse(Timeline(2), &switch).unwrap();
        let stored = inventory(&[(1, 5, Extent::Whole)]);
        let gap = |from: u64, to: u64| Gap {
            timeline: Timeline(2),
            from: Lsn(from * SEGMENT),
            to: Lsn(to * SEGMENT),
        };
        let gaps = [gap(5, 8), gap(8, 12)];
        let start = start(&stored, &heir, &gaps, Lsn(0)).unwrap();
        assert_eq!((start.timeline.0, start.segment, start.stored), (2, 12, 0));
    }

    #[test]
    fn a_hole_that_a_kill_left_is_filled() {
        let root = TimelineHistory::root(Timeline(1));
        let whole = |segment| (1, segment, Extent::Whole);
        assert_eq!(begins(&inventory(&[whole(4), whole(6), whole(7)]), &root), (1, 5, 0));
        let part = (1, 5, Extent::Part { from: 0, to: 9 });
        let lost = (1, 5, Extent::Part { from: 20, to: 30 });
        assert_eq!(begins(&inventory(&[whole(4), part, lost, whole(6)]), &root), (1, 5, 9));
        let switch = format!("1\t0/{:X}\tx\n", 5 * SEGMENT + 100);
        let heir = TimelineHistory::parse(Timeline(2), &switch).unwrap();
        let stored = inventory(&[whole(4), whole(5), (2, 6, Extent::Whole)]);
        assert_eq!(begins(&stored, &heir), (2, 5, 0));
        // What a gap explains is no hole.
        let gap = Gap { timeline: Timeline(1), from: Lsn(5 * SEGMENT), to: Lsn(7 * SEGMENT) };
        let start = start(&inventory(&[whole(4), whole(7)]), &root, &[gap], Lsn(0)).unwrap();
        assert_eq!((start.segment, start.stored), (8, 0));
    }

    #[test]
    fn an_old_primary_is_refused_as_soon_as_the_new_history_is_stored() {
        let root = TimelineHistory::root(Timeline(1));
        let mut stored = inventory(&[(1, 5, Extent::Whole)]);
        assert!(start(&stored, &root, &[], Lsn(0)).is_ok());
        let heir = TimelineHistory::parse(Timeline(2), "1\t0/5000000\tx\n").unwrap();
        stored.histories.insert(Timeline(2), heir);
        assert!(start(&stored, &root, &[], Lsn(0)).is_err());
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
