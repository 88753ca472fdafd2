//! What has become of a resource since the last look, at the cost of one question to the catalog.
//!
//! The log is followed from where it could be recovered up to at the look: what the shipper has
//! stored since leads on from there, unless log is missing between the two. Then nothing that is
//! stored counts until another look has found a snapshot after the gap.

use jiff::Timestamp;

use super::super::judge::{OF_REPOSITORIES, Red};
use super::look::{Condition, Looked, StoredLog};
use crate::catalog::Catalog;
use crate::engines::postgres::ship::ShipState;
use crate::error::Result;
use crate::model::{Lsn, ResourceName, Span};
use crate::plan::condition::{KINDS, Seen, age, exposure, kind, missing_bytes, reds};
use crate::web::{Fact, ResourceFacts};

/// An older look tells nothing any more: three of them were missed.
pub const STALE_AFTER: Span = Span::seconds(3 * 3_600);

/// One resource from one look to the next.
#[derive(Debug, Clone)]
pub struct Follower {
    resource: ResourceName,
    looked: Looked,
    /// The newest beat that is stored, with its number, of those that came after the look's.
    beat: Option<(u64, Timestamp)>,
}

/// How a resource stands now.
#[derive(Debug, Clone, PartialEq)]
pub struct Glanced {
    /// As of the look, but for what has changed; what the source tells is unknown.
    pub facts: ResourceFacts,
    /// All there are, those of jobs too.
    pub reds: Vec<Red>,
    /// Kinds of which it cannot be told whether there is more than `reds` says.
    pub untold: &'static [&'static str],
    /// What a loss of the source would cost now; `None` if it cannot be told, and of a resource
    /// that is retired.
    pub exposure: Option<Span>,
    /// Another look would tell more. As long as it does not, this stays so: look every few minutes.
    pub look_again: bool,
}

impl Follower {
    pub fn new(resource: ResourceName, looked: Looked) -> Follower {
        Follower { resource, looked, beat: None }
    }

    /// The look that it follows.
    pub fn looked(&self) -> &Looked {
        &self.looked
    }

    /// Judges anew. `shipping` is what this process's shipper of the resource says, with what ended
    /// it as its trouble; without one nothing that was stored since the look counts. `jobs` are the
    /// reds of its standing orders.
    pub fn glance(
        &mut self,
        shipping: Option<&ShipState>,
        jobs: &[Red],
        catalog: &Catalog,
        now: Timestamp,
    ) -> Glanced {
        let since = age(self.looked.at, now);
        if since > STALE_AFTER {
            let text = format!("its repositories were last looked at {since} ago");
            let unmeasured = ResourceFacts::unmeasured(self.looked.facts.promise);
            let glanced = Glanced::of(unmeasured, vec![Red::new(kind::STATUS, text)], jobs, now);
            return Glanced { untold: OF_REPOSITORIES, look_again: true, ..glanced };
        }
        let (mut facts, untold) = (self.looked.facts.clone(), self.looked.untold);
        let Some(condition) = self.looked.condition.clone() else {
            let glanced = Glanced::of(facts, self.looked.reds.clone(), jobs, now);
            return Glanced { untold, ..glanced };
        };
        let beside = self.looked.reds.iter().filter(|red| !KINDS.contains(&red.kind));
        let mut beside: Vec<Red> = beside.cloned().collect();
        let mut seen = condition.seen.clone();
        let followed = self.follow(&condition, &mut seen, shipping, catalog, now);
        let is_whole = followed.unwrap_or_else(|error| {
            seen.heartbeat_at = None;
            beside.push(Red::new(kind::STATUS, error.chain()));
            true
        });
        facts.data_until = Fact::from(seen.heartbeat_at);
        facts.gap_bytes = Fact::Known(missing_bytes(&seen));
        if shipping.is_some() {
            facts.shipping_in_trouble = Fact::Known(seen.trouble.is_some());
        }
        let exposure = exposure(&seen, now).filter(|_| facts.promise.is_some());
        let mut all = reds(&seen, condition.rpo, now);
        all.extend(beside);
        let glanced = Glanced::of(facts, all, jobs, now);
        Glanced { untold, exposure, look_again: !is_whole, ..glanced }
    }

    /// Brings `seen` up to date. Whether the log leads on from the look without a gap.
    fn follow(
        &mut self,
        condition: &Condition,
        seen: &mut Seen,
        shipping: Option<&ShipState>,
        catalog: &Catalog,
        now: Timestamp,
    ) -> Result<bool> {
        let Some(shipping) = shipping else { return Ok(true) };
        seen.trouble.clone_from(&shipping.trouble);
        let Some(log) = &condition.log else { return Ok(true) };
        if let Some(missing) = new_gap(log, shipping) {
            seen.gap = Some((now, missing));
            return Ok(false);
        }
        if log.gap_ends.iter().any(|end| *end > log.end) {
            return Ok(false);
        }
        let until: Lsn = log.end.max(shipping.stored);
        let after = self.beat.map_or(0, |(seq, _)| seq);
        let newer = catalog.newer_stored_heartbeat(&self.resource, log.system_id, after, until)?;
        // Numbers begin anew where the table was emptied: then old ones are greater.
        let is_newer = |(_, at): &(u64, Timestamp)| self.beat.is_none_or(|(_, known)| known <= *at);
        self.beat = newer.filter(is_newer).or(self.beat);
        seen.heartbeat_at = seen.heartbeat_at.max(self.beat.map(|(_, at)| at));
        Ok(true)
    }
}

/// Bytes of the newest gap that was recorded since the look and lies beyond what can be recovered.
fn new_gap(log: &StoredLog, shipping: &ShipState) -> Option<u64> {
    let is_new = |end: Lsn| end > log.end && !log.gap_ends.contains(&end);
    let gap = shipping.gaps.iter().rev().find(|gap| is_new(gap.to))?;
    Some(gap.to.since(gap.from))
}

impl Glanced {
    fn of(facts: ResourceFacts, mut reds: Vec<Red>, jobs: &[Red], now: Timestamp) -> Glanced {
        reds.extend_from_slice(jobs);
        let red_reasons = Fact::Known(reds.len() as u64);
        let facts = ResourceFacts { measured_at: Some(now), red_reasons, ..facts };
        Glanced { facts, reds, untold: &[], exposure: None, look_again: false }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engines::postgres::source::Gap;
    use crate::model::{SystemId, Timeline};
    use crate::web::Promise;

    const ID: SystemId = SystemId(7);

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + minute * 60).unwrap()
    }

    /// At minute 0, with all of the log up to 1000 stored; the gap before it is closed.
    fn looked() -> Looked {
        let hour = Span::seconds(3_600);
        let promise = Promise { rpo: Span::seconds(600), rto: hour, verify_within: hour };
        let seen = Seen {
            snapshot_at: Some(at(-60)),
            usable: true,
            heartbeat_at: Some(at(-1)),
            gap: Some((at(-90), 5)),
            ..Seen::default()
        };
        let log = StoredLog { system_id: ID, end: Lsn(1_000), gap_ends: vec![Lsn(500)] };
        let copies = Red::new(kind::COPIES, "late");
        let stale = Red::new(kind::EXPOSURE, "as it was at the look");
        Looked {
            at: at(0),
            facts: ResourceFacts::unmeasured(Some(promise)),
            reds: vec![stale, copies],
            untold: &[kind::RETENTION],
            stored_bytes: Vec::new(),
            condition: Some(Condition { seen, rpo: promise.rpo, log: Some(log) }),
        }
    }

    fn shipped(stored: u64) -> ShipState {
        let timeline = Some(Timeline(1));
        ShipState { timeline, stored: Lsn(stored), ..ShipState::default() }
    }

    /// A beat a minute from minute 0 on; each commits before 1000 and a hundred a minute.
    fn catalog() -> Catalog {
        let catalog = Catalog::open(Path::new(":memory:")).unwrap();
        let of = "registro".parse().unwrap();
        for minute in 0..30 {
            let before = Lsn(1_000 + 100 * minute as u64);
            catalog.note_heartbeat(&of, ID, 10 + minute as u64, at(minute), before).unwrap();
        }
        catalog
    }

    fn kinds(glanced: &Glanced) -> Vec<&'static str> {
        glanced.reds.iter().map(|red| red.kind).collect()
    }

    #[test]
    fn what_is_stored_since_the_look_counts_and_ages_are_told_anew() {
        let catalog = catalog();
        let mut follower = Follower::new("registro".parse().unwrap(), looked());
        let minutes = |exposure: u64| Some(Span::seconds(exposure * 60));
        // Nobody ships: what was stored by the look, and no more.
        let alone = follower.glance(None, &[], &catalog, at(5));
        assert_eq!((alone.exposure, kinds(&alone)), (minutes(6), vec![kind::COPIES]));
        assert_eq!(alone.facts.shipping_in_trouble, Fact::Unknown);
        let steps = [(0, 5, 5), (1_250, 5, 3), (1_250, 6, 4), (2_000, 10, 0), (1_500, 11, 1)];
        for (stored, now, exposed) in steps {
            let glanced = follower.glance(Some(&shipped(stored)), &[], &catalog, at(now));
            assert_eq!(glanced.exposure, minutes(exposed), "{stored} at {now}");
            assert_eq!(glanced.facts.data_until, Fact::Known(at(now - exposed as i64)));
            assert_eq!(glanced.facts.measured_at, Some(at(now)));
            assert_eq!((glanced.look_again, glanced.untold), (false, &[kind::RETENTION][..]));
        }
        let trouble = ShipState { trouble: Some("full".to_owned()), ..shipped(2_000) };
        let jobs = [Red::new(kind::JOBS, "failed")];
        let late = follower.glance(Some(&trouble), &jobs, &catalog, at(25));
        let all = [kind::EXPOSURE, kind::SHIPPING, kind::COPIES, kind::JOBS];
        assert_eq!(kinds(&late), all);
        assert_eq!(late.facts.red_reasons, Fact::Known(4));
        assert_eq!(late.facts.shipping_in_trouble, Fact::Known(true));
    }

    #[test]
    fn nothing_beyond_a_gap_counts_until_a_look_has_seen_a_snapshot_after_it() {
        let catalog = catalog();
        let gap = |from, to| Gap { timeline: Timeline(1), from: Lsn(from), to: Lsn(to) };
        let state = ShipState { gaps: vec![gap(400, 500), gap(1_100, 1_300)], ..shipped(2_000) };
        let mut follower = Follower::new("registro".parse().unwrap(), looked());
        let glanced = follower.glance(Some(&state), &[], &catalog, at(5));
        assert_eq!((glanced.exposure, glanced.look_again), (Some(Span::seconds(360)), true));
        assert_eq!(kinds(&glanced), [kind::GAP, kind::COPIES]);
        assert_eq!(glanced.facts.gap_bytes, Fact::Known(200));

        // Another look sees the gap, and no snapshot after it.
        let mut known = looked();
        let condition = known.condition.as_mut().unwrap();
        condition.log.as_mut().unwrap().gap_ends.push(Lsn(1_300));
        condition.seen.gap = Some((at(2), 200));
        let mut follower = Follower::new("registro".parse().unwrap(), known.clone());
        let glanced = follower.glance(Some(&state), &[], &catalog, at(5));
        assert_eq!((glanced.exposure, glanced.look_again), (Some(Span::seconds(360)), true));
        assert_eq!(glanced.facts.gap_bytes, Fact::Known(200));

        // And the next one a snapshot.
        let condition = known.condition.as_mut().unwrap();
        condition.log.as_mut().unwrap().end = Lsn(1_400);
        condition.seen.snapshot_at = Some(at(4));
        let mut follower = Follower::new("registro".parse().unwrap(), known);
        let glanced = follower.glance(Some(&state), &[], &catalog, at(10));
        assert_eq!((glanced.exposure, glanced.look_again), (Some(Span::default()), false));
        assert_eq!(kinds(&glanced), [kind::COPIES]);
    }

    #[test]
    fn what_could_not_be_read_or_was_read_long_ago_is_unknown_and_red() {
        let catalog = catalog();
        let unread = Looked {
            condition: None,
            reds: vec![Red::new(kind::STATUS, "nobody answers")],
            untold: OF_REPOSITORIES,
            ..looked()
        };
        let mut follower = Follower::new("registro".parse().unwrap(), unread);
        let glanced = follower.glance(Some(&shipped(2_000)), &[], &catalog, at(5));
        assert_eq!((glanced.exposure, glanced.facts.data_until), (None, Fact::Unknown));
        assert_eq!(kinds(&glanced), [kind::STATUS]);

        let mut follower = Follower::new("registro".parse().unwrap(), looked());
        let stale = follower.glance(Some(&shipped(2_000)), &[], &catalog, at(181));
        assert_eq!((stale.exposure, stale.facts.data_until), (None, Fact::Unknown));
        assert_eq!((kinds(&stale), stale.look_again), (vec![kind::STATUS], true));
        assert_eq!(stale.untold, OF_REPOSITORIES);
    }

    #[test]
    fn nothing_is_measured_of_what_is_retired() {
        let mut retired = looked();
        retired.facts.promise = None;
        retired.condition.as_mut().unwrap().seen.retired = true;
        let mut follower = Follower::new("registro".parse().unwrap(), retired);
        let glanced = follower.glance(None, &[], &catalog(), at(5));
        assert_eq!((glanced.exposure, kinds(&glanced)), (None, vec![kind::COPIES]));
    }
}
