//! Which log stays: what the window needs, what makes a kept snapshot consistent, what is young.
//! What no recovery reads (partial segments, backup labels) stays while it is young.

use jiff::Timestamp;

use super::facts::{RetentionFacts, Scope};
use super::plan::LogRuling;
use super::rules::Way;
use crate::model::{Extent, Lsn, OtherObject, Span, WalInventory, WalObject};
use crate::plan::facts::SnapshotFact;

/// A part stays so long after the whole segment is stored beside it: a plan made before that may
/// still read it.
pub const SUPERSEDED_STAY: Span = Span::seconds(24 * 3_600);

/// Segments of one cluster's log that something needs.
struct Needed<'w> {
    /// Into [`RetentionFacts::logs`].
    log: usize,
    /// Only objects that recovery uses on this way; `None` for those of every timeline.
    way: Option<&'w Way>,
    first: u64,
    /// `u64::MAX` for all that follow.
    last: u64,
    why: String,
}

/// Rules on every object of the log whose name is understood. `kept` are the snapshots that stay.
pub(super) fn rule(
    facts: &RetentionFacts,
    ways: &[Way],
    kept: &[&SnapshotFact],
    window_start: Timestamp,
    now: Timestamp,
) -> Vec<LogRuling> {
    let everything = keeps_everything(facts, now);
    let needed = needed(facts, ways, kept);
    let mut rulings = Vec::new();
    for (number, log) in facts.logs.iter().enumerate() {
        let needed: Vec<&Needed<'_>> = needed.iter().filter(|need| need.log == number).collect();
        for object in &log.objects {
            let ruled = match &everything {
                Some(why) => Ok(why.clone()),
                None => one(log, object, &needed, window_start, now),
            };
            rulings.push(ruling(&object.key, ruled));
        }
        for object in log.others.iter().filter(|object| object.timeline.is_some()) {
            let ruled = match &everything {
                Some(why) => Ok(why.clone()),
                None => unread(object, window_start),
            };
            rulings.push(ruling(&object.key, ruled));
        }
    }
    rulings
}

/// `ruled` as [`one`] gives it.
fn ruling(key: &str, ruled: Result<String, String>) -> LogRuling {
    let stays = ruled.is_ok();
    let (Ok(because) | Err(because)) = ruled;
    LogRuling { key: key.to_owned(), stays, because }
}

/// The same of an object that no recovery reads: it holds, or speaks of, data of its time, so it
/// goes with the window (RULES 18).
fn unread(object: &OtherObject, window_start: Timestamp) -> Result<String, String> {
    match object.stored_at > window_start {
        true => Ok("it was stored within the window".to_owned()),
        false => Err("no recovery reads it, and the window has passed it".to_owned()),
    }
}

/// Keys that lie among the log and are not understood: never removed, but told.
pub(super) fn strangers(facts: &RetentionFacts) -> Vec<String> {
    let others = facts.logs.iter().flat_map(|log| &log.others);
    let unread = others.filter(|object| object.timeline.is_none()).map(|object| &object.key);
    unread.chain(&facts.unclaimed).cloned().collect()
}

/// A reader may be in the middle of any part, and a hold on everything is one.
fn keeps_everything(facts: &RetentionFacts, now: Timestamp) -> Option<String> {
    let hold = facts.holds_at(now).find(|hold| hold.scope == Scope::Everything);
    let hold = hold.map(|hold| format!("hold `{}` keeps everything", hold.id));
    hold.or_else(|| facts.pins.first().map(|pin| format!("the reader `{}` is at work", pin.id)))
}

/// `Ok` with why the object stays, `Err` with why it goes.
fn one(
    log: &WalInventory,
    object: &WalObject,
    needed: &[&Needed<'_>],
    window_start: Timestamp,
    now: Timestamp,
) -> Result<String, String> {
    if object.extent != Extent::Whole
        && let Some(whole) = log.segment(object.timeline, object.segment).first()
        && whole.extent == Extent::Whole
        && super::facts::on(whole.stored_at, SUPERSEDED_STAY) <= now
    {
        return Err("the whole segment is stored beside it".to_owned());
    }
    if object.stored_at > window_start {
        return Ok("it was stored within the window".to_owned());
    }
    let size = log.segment_size;
    let used = |way: &Way| way.history.owner_of_segment(object.segment, size) == object.timeline;
    let need = needed.iter().find(|need| {
        (need.first..=need.last).contains(&object.segment) && need.way.is_none_or(used)
    });
    match need {
        Some(need) => Ok(need.why.clone()),
        None => Err("no recovery point that stays needs it".to_owned()),
    }
}

fn needed<'w>(facts: &RetentionFacts, ways: &'w [Way], kept: &[&SnapshotFact]) -> Vec<Needed<'w>> {
    let mut needed = Vec::new();
    for way in ways {
        let size = facts.logs[way.log].segment_size;
        let serves = |id: &String| way.anchor.as_ref() == Some(id) || way.serving.contains(id);
        // Positions grow along a way, so the first start is where its log begins to matter.
        let first = kept.iter().filter(|s| serves(&s.id)).min_by_key(|s| s.start);
        needed.extend(first.map(|snapshot| Needed {
            log: way.log,
            way: Some(way),
            first: size.number_of(snapshot.start),
            last: u64::MAX,
            why: format!("recovery within the window begins with snapshot `{}`", snapshot.id),
        }));
    }
    for snapshot in kept {
        let log = facts.logs.iter().position(|log| log.system_id == snapshot.system_id);
        needed.extend(log.map(|log| {
            let size = facts.logs[log].segment_size;
            let last_byte = Lsn(snapshot.stop.0.saturating_sub(1)).max(snapshot.start);
            Needed {
                log,
                way: None,
                first: size.number_of(snapshot.start),
                last: size.number_of(last_byte),
                why: format!("snapshot `{}` is not consistent without it", snapshot.id),
            }
        }));
    }
    needed
}
