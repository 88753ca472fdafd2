//! A thorough look at a resource: judged as `status` does, from one reading of its repositories,
//! and what metrics tell of it.

use jiff::Timestamp;

use super::super::judge::{Judged, Red, judge};
use super::super::{Parts, places};
use crate::catalog::Catalog;
use crate::config::{Config, Policy, Resource};
use crate::engines::postgres::copy::state::CopyState;
use crate::engines::postgres::overview::Rehearsed;
use crate::error::Result;
use crate::model::{Lsn, Span, SystemId};
use crate::plan::condition::{Seen, kind, missing_bytes};
use crate::web::{CopyFacts, DrillFacts, Fact, Promise, ResourceFacts};

/// What only a look tells, such as late copies, counts in hours.
pub const EVERY: Span = Span::seconds(3_600);
/// After one that could not tell everything.
pub const AGAIN_AFTER: Span = Span::seconds(300);

/// What a look came to. Small, whatever the repositories hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Looked {
    pub at: Timestamp,
    /// What the repositories and the catalog tell; what the source tells is unknown.
    pub facts: ResourceFacts,
    pub reds: Vec<Red>,
    /// Kinds of which it cannot be told whether there is more than `reds` says.
    pub untold: &'static [&'static str],
    /// By the name of each repository that was read, how much it holds of the resource.
    pub stored_bytes: Vec<(String, u64)>,
    /// `None` if the resource's own repository could not be read.
    pub(super) condition: Option<Condition>,
}

/// What it takes to judge again without reading anything again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    pub seen: Seen,
    pub rpo: Span,
    /// `None` if nothing can be recovered.
    pub log: Option<StoredLog>,
}

/// The log that leads on from the newest snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredLog {
    pub system_id: SystemId,
    /// All of it can be recovered up to here.
    pub end: Lsn,
    /// Where each recorded gap ends.
    pub gap_ends: Vec<Lsn>,
}

impl Looked {
    /// When the next one is due at the latest.
    pub fn due_at(&self) -> Timestamp {
        let wait = if self.untold.is_empty() { EVERY } else { AGAIN_AFTER };
        self.at.checked_add(wait.0).unwrap_or(Timestamp::MAX)
    }
}

/// What is promised for a resource in use.
pub fn promise_of(policy: &Policy) -> Promise {
    Promise { rpo: policy.rpo, rto: policy.rto, verify_within: policy.verify_within }
}

/// Looks at everything that is stored of `resource`. What cannot be read is red and unknown. Blocks
/// for as long as the repositories do.
pub fn look(
    parts: &Parts,
    config: &Config,
    resource: &Resource,
    catalog: &Catalog,
    now: Timestamp,
) -> Looked {
    let judged = judge(resource, config, parts, Some(catalog), now);
    let policy = config.policy_of(resource);
    let promise = judged.retirement.is_none().then(|| promise_of(policy));
    let mut facts = ResourceFacts {
        measured_at: Some(now),
        red_reasons: Fact::Known(judged.reds.len() as u64),
        copies: policy.copy_to.is_some().then(CopyFacts::default),
        ..ResourceFacts::unmeasured(promise)
    };
    let mut stored_bytes = Vec::new();
    if let Some(seen) = &judged.condition {
        stored_bytes.push((resource.repository.clone(), judged.seen.stored_bytes));
        tell_what_is_stored(&mut facts, &judged, seen);
        facts.copies = judged.copies.as_ref().map(copies).or(facts.copies);
        if judged.outlooks.len() == places(config, resource).len() {
            facts.overdue = Fact::Known(judged.overdue().count() as u64);
        }
        if judged.copies.is_some() || policy.copy_to.is_none() {
            tell_what_was_verified(&mut facts, &judged, catalog);
        }
    }
    if let (Some(copies), Some(place)) = (&judged.copies, &policy.copy_to) {
        stored_bytes.push((place.clone(), copies.seen.stored_bytes));
    }
    Looked {
        at: now,
        facts,
        stored_bytes,
        condition: condition(&judged, policy.rpo),
        untold: judged.untold,
        reds: judged.reds,
    }
}

fn tell_what_is_stored(facts: &mut ResourceFacts, judged: &Judged<'_>, condition: &Seen) {
    let (seen, copied) = (&judged.seen, judged.copies.as_ref().map(|copies| &copies.seen));
    let last = seen.last_snapshot();
    facts.data_until = Fact::from(condition.heartbeat_at);
    facts.last_snapshot_at = Fact::from(last.map(|snapshot| snapshot.stopped_at));
    facts.damaged_pages = Fact::from(last.map(|snapshot| snapshot.pages.damaged_count));
    facts.window_start = Fact::from(seen.reach.windows.first().map(|window| window.from));
    facts.gap_bytes = Fact::Known(missing_bytes(condition));
    let trouble = seen.shipping.as_ref().map(|shipping| shipping.trouble.is_some());
    facts.shipping_in_trouble = Fact::from(trouble);
    // The report of a drill lies where the drill read from.
    let proof = seen.last_proof().max(copied.and_then(|copied| copied.last_proof()));
    facts.last_proof_at = Fact::from(proof);
    let drills = seen.drill.into_iter().chain(copied.and_then(|copied| copied.drill));
    facts.drill = Fact::from(drills.max_by_key(|drill| drill.ended_at).map(drilled));
    facts.vault_key_at = match judged.vault_key_at {
        None if judged.untold.contains(&kind::KEYS) => Fact::Unknown,
        made_at => Fact::from(made_at),
    };
}

fn drilled(drill: Rehearsed) -> DrillFacts {
    let Rehearsed { ended_at, passed, rto, rpo } = drill;
    DrillFacts { ended_at, passed, rto, rpo }
}

fn copies(state: &CopyState) -> CopyFacts {
    let late = state.late.len() as u64 + state.late_log.map_or(0, |late| late.objects);
    let data_until = match state.holds_until() {
        Some(until) => Fact::Known(until),
        None if state.seen.reach.windows.is_empty() => Fact::Absent,
        None => Fact::Unknown,
    };
    let last = state.seen.last_snapshot();
    CopyFacts {
        last_at: Fact::from(last.map(|snapshot| snapshot.stopped_at)),
        late: Fact::Known(late),
        data_until,
    }
}

/// Of the repositories that hold a snapshot, that counts which was verified the longest ago.
fn tell_what_was_verified(facts: &mut ResourceFacts, judged: &Judged<'_>, catalog: &Catalog) {
    let name = &judged.resource.name;
    let seen = [Some(&judged.seen), judged.copies.as_ref().map(|copies| &copies.seen)];
    let opened = judged.opened.iter().zip(seen.into_iter().flatten());
    let ids: Vec<&String> =
        opened.filter(|(_, seen)| !seen.snapshots.is_empty()).map(|((_, id), _)| id).collect();
    let ended = ids.iter().map(|id| catalog.last_sound_at(id, name));
    facts.last_verify_at = Fact::found(longest_ago(ended));
    let since = ids.iter().map(|id| Ok(catalog.verified(id, name)?.into_values().min()));
    facts.verified_since = Fact::found(longest_ago(since));
    let findings = catalog.findings(name).map(|found| Some(found.len() as u64));
    facts.stored_damage = Fact::found(findings);
}

/// `None` if there is none at all, or one of them is none.
fn longest_ago(all: impl Iterator<Item = Result<Option<Timestamp>>>) -> Result<Option<Timestamp>> {
    let all: Vec<Option<Timestamp>> = all.collect::<Result<_>>()?;
    // Nothing is less than any instant.
    Ok(all.into_iter().min().flatten())
}

fn condition(judged: &Judged<'_>, rpo: Span) -> Option<Condition> {
    let seen = judged.condition.clone()?;
    let (of, window) = (&judged.seen, judged.seen.reach.windows.last());
    let log = of.system_id.zip(window).map(|(system_id, window)| {
        let gaps = of.gaps.iter().filter(|gap| gap.system_id == system_id);
        StoredLog { system_id, end: window.end, gap_ends: gaps.map(|gap| gap.to).collect() }
    });
    Some(Condition { seen, rpo, log })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn of_several_repositories_the_one_longest_ago_counts_and_never_is_the_longest() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let longest = |all: &[Option<Timestamp>]| longest_ago(all.iter().map(|one| Ok(*one)));
        assert_eq!(longest(&[]).unwrap(), None);
        assert_eq!(longest(&[at(5)]).unwrap(), at(5));
        assert_eq!(longest(&[at(5), at(3)]).unwrap(), at(3));
        assert_eq!(longest(&[at(5), None]).unwrap(), None);
        let failed = [Ok(at(5)), Err(Error::failed("it is locked"))];
        assert!(longest_ago(failed.into_iter()).is_err());
    }

    #[test]
    fn a_look_that_could_not_tell_everything_is_soon_repeated() {
        let at = Timestamp::from_second(1_000).unwrap();
        let looked = |untold| Looked {
            at,
            facts: ResourceFacts::unmeasured(None),
            reds: Vec::new(),
            untold,
            stored_bytes: Vec::new(),
            condition: None,
        };
        assert_eq!(looked(&[]).due_at().as_second(), 1_000 + 3_600);
        assert_eq!(looked(&[kind::RETENTION]).due_at().as_second(), 1_000 + 300);
    }
}
