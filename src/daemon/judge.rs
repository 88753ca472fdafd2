//! Whether a resource is as promised, judged by its repositories and the catalog: what `status`
//! shows and what the daemon measures is one judgement.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Parts, places};
use crate::catalog::Catalog;
use crate::catalog::journal::StandingRow;
use crate::config::{Config, Resource};
use crate::engines::postgres::copy::{self, state::CopyState};
use crate::engines::postgres::expire::{self, Outlook};
use crate::engines::postgres::overview::{self, Overview};
use crate::engines::postgres::vaults::{self, Epochs};
use crate::error::Result;
use crate::evidence::plain::local;
use crate::model::ResourceName;
pub use crate::plan::condition::Red;
use crate::plan::condition::{Seen, kind, reds};
use crate::plan::retention::{Role, Ruling, Terms};
use crate::plan::schedule::{ATTEMPTS_MOST, Standing};
use crate::repository::manifest::SnapshotManifest;
use crate::repository::retirement::{self, Retirement};
use crate::repository::{Repository, layout, secrets};

/// So many failures in a row are red, though trying goes on: one that passes by itself is nobody's
/// business. The alert FeniceJobFails waits for as many.
pub const FAILURES_RED: u32 = 3;

/// Kinds that are judged by what the repositories hold.
pub const OF_REPOSITORIES: &[&str] = &[
    kind::SNAPSHOT,
    kind::DAMAGE,
    kind::EXPOSURE,
    kind::SHIPPING,
    kind::GAP,
    kind::COPIES,
    kind::RETENTION,
    kind::KEYS,
    kind::VERIFY,
];
/// Those of them that are judged once the condition is.
const AFTER_THE_CONDITION: &[&str] = &[kind::COPIES, kind::RETENTION, kind::KEYS, kind::VERIFY];
/// Those of them that are judged once the copies are known.
const AFTER_THE_COPIES: &[&str] = &[kind::RETENTION, kind::KEYS];

/// One resource as judged.
pub struct Judged<'c> {
    pub resource: &'c Resource,
    /// Its own repository.
    pub seen: Overview,
    /// What the reds of [`crate::plan::condition`] were judged by; `None` if it cannot be told.
    pub condition: Option<Seen>,
    /// `None` where nothing is copied, or where it cannot be told, which is red.
    pub copies: Option<CopyState>,
    pub retirement: Option<Retirement>,
    /// What retention says of each repository, by its name; those that cannot be told are red.
    pub outlooks: Vec<(&'c str, Outlook)>,
    /// When the password of the vault that is written to was made; `None` before there is one.
    pub vault_key_at: Option<Timestamp>,
    /// The repositories that could be opened, by name, each with its id.
    pub opened: Vec<(&'c str, String)>,
    pub reds: Vec<Red>,
    /// Kinds of which it cannot be told whether there is more than `reds` says.
    pub untold: &'static [&'static str],
}

/// The passwords of a resource's vaults in one repository.
struct Passwords {
    /// Those of whatever epoch that do not open: what lies there is lost.
    unopened: Vec<Red>,
    made_at: Option<Timestamp>,
}

/// Reads both repositories once. What cannot be read is red, not an end of the answer: the other
/// resources count too.
pub fn judge<'c>(
    resource: &'c Resource,
    config: &'c Config,
    parts: &Parts,
    catalog: Option<&Catalog>,
    now: Timestamp,
) -> Judged<'c> {
    let mut judged = Judged {
        resource,
        seen: Overview::default(),
        condition: None,
        copies: None,
        retirement: None,
        outlooks: Vec::new(),
        vault_key_at: None,
        opened: Vec::new(),
        reds: Vec::new(),
        untold: &[],
    };
    match judged.look(config, parts, catalog, now) {
        Err(error) => {
            judged.red(kind::STATUS, format!("its state cannot be told: {}", error.chain()));
            let known = judged.condition.is_some();
            judged.untold = if known { AFTER_THE_CONDITION } else { OF_REPOSITORIES };
        }
        Ok(own) => match judged.look_at_copies(config, parts, catalog, now) {
            Err(error) => {
                judged.red(kind::COPIES, format!("its copies cannot be told: {}", error.chain()));
                judged.untold = AFTER_THE_COPIES;
            }
            Ok(copies) => {
                if let Err(error) = judged.look_ahead(config, &own, copies.as_ref(), now) {
                    let error = error.chain();
                    let text = format!("what retention keeps cannot be told: {error}");
                    judged.red(kind::RETENTION, text);
                }
            }
        },
    }
    judged
}

impl<'c> Judged<'c> {
    fn look(
        &mut self,
        config: &Config,
        parts: &Parts,
        catalog: Option<&Catalog>,
        now: Timestamp,
    ) -> Result<Repository> {
        let resource = self.resource;
        let name = &resource.name;
        let own = parts.open_repository(config, &resource.repository)?;
        self.opened.push((resource.repository.as_str(), own.id.clone()));
        self.seen = overview::read_undated(&own, name, catalog)?;
        self.retirement = retirement::in_force(&own, name)?;
        let seen = Seen { retired: self.retirement.is_some(), ..self.seen.seen() };
        self.reds.extend(reds(&seen, config.policy_of(resource).rpo, now));
        self.condition = Some(seen);
        let passwords = passwords(&own, name, &self.seen)?;
        self.vault_key_at = passwords.made_at;
        self.reds.extend(passwords.unopened);
        for one in &self.seen.unread {
            let text = format!("{} cannot be read: {}", one.key, one.because);
            self.reds.push(Red::new(kind::VERIFY, text));
        }
        if let Some(catalog) = catalog {
            for (what, because) in catalog.findings(name)? {
                self.red(kind::VERIFY, format!("{what}: {because}"));
            }
        }
        Ok(own)
    }

    fn look_at_copies(
        &mut self,
        config: &'c Config,
        parts: &Parts,
        catalog: Option<&Catalog>,
        now: Timestamp,
    ) -> Result<Option<Repository>> {
        let Some((place, copies)) = parts.copies_of(config, self.resource)? else {
            return Ok(None);
        };
        self.opened.push((place, copies.id.clone()));
        let policy = config.policy_of(self.resource);
        let terms = Terms::of(policy, &config.daemon.timezone, Role::Main);
        let (name, replicate) = (&self.resource.name, policy.replicate);
        let state = copy::state::read(&copies, name, &self.seen, &terms, replicate, catalog, now)?;
        for id in &state.late {
            self.red(kind::COPIES, format!("snapshot {id} should have been copied by now"));
        }
        if let Some(late) = state.late_log {
            let (count, since) = (late.objects, local(late.since, &config.daemon.timezone));
            let what = format!("{count} objects of the log, the oldest of {since}");
            self.red(kind::COPIES, format!("{what}, should have been copied"));
        }
        self.reds.extend(passwords(&copies, name, &state.seen)?.unopened);
        self.copies = Some(state);
        Ok(Some(copies))
    }

    /// What retention keeps beyond its date, and what it should have removed.
    fn look_ahead(
        &mut self,
        config: &'c Config,
        own: &Repository,
        copies: Option<&Repository>,
        now: Timestamp,
    ) -> Result<()> {
        let resource = self.resource;
        let policy = config.policy_of(resource);
        let there = self.copies.as_ref().map(|state| &state.seen);
        let copied: &[SnapshotManifest] = match there {
            Some(seen) => &seen.snapshots,
            None => &[],
        };
        for (name, role) in places(config, resource) {
            let (repository, seen, copied) = match (role, copies, there) {
                // Of copies there are no copies.
                (Role::Copies, Some(copies), Some(there)) => (copies, there, &copied[..0]),
                _ => (own, &self.seen, copied),
            };
            let terms = Terms::of(policy, &config.daemon.timezone, role);
            let ahead = expire::outlook(repository, &resource.name, seen, copied, &terms, now)?;
            if ahead.retirement.is_some() != self.retirement.is_some() {
                let text = format!(
                    "`{name}` does not say the same of its retirement: retire or reinstate it again"
                );
                self.reds.push(Red::new(kind::RETENTION, text));
            }
            self.reds.extend(ahead.plan.neglected().map(|ruling| {
                let id = &ruling.id;
                let text = format!("snapshot {id} is still in `{name}`: does retention run?");
                Red::new(kind::RETENTION, text)
            }));
            self.outlooks.push((name, ahead));
        }
        Ok(())
    }

    fn red(&mut self, kind: &'static str, text: String) {
        self.reds.push(Red { kind, text });
    }

    /// Snapshots beyond their date, each with its repository.
    pub fn overdue(&self) -> impl Iterator<Item = (&'c str, &Ruling)> {
        self.outlooks.iter().flat_map(|(name, ahead)| {
            ahead.plan.overdue().chain(ahead.plan.neglected()).map(move |ruling| (*name, ruling))
        })
    }
}

/// Asks each password whether it opens. One listing tells which there are, and how old.
fn passwords(
    repository: &Repository,
    resource: &ResourceName,
    seen: &Overview,
) -> Result<Passwords> {
    let listed = repository.store.list(layout::SECRETS)?;
    let keys = listed.iter().map(|entry| entry.key.as_str());
    let named = seen.snapshots.iter().map(|manifest| manifest.vault.epoch);
    let epochs = Epochs::of(resource, keys, named);
    let asked = epochs.all().map(|epoch| vaults::password(repository, resource, epoch));
    let unopened = asked.filter_map(Result::err).map(|error| Red::new(kind::KEYS, error.chain()));
    let current = layout::secret(&secrets::vault_password(resource, epochs.current()));
    let made = listed.iter().find(|entry| entry.key == current);
    Ok(Passwords { unopened: unopened.collect(), made_at: made.map(|entry| entry.stored_at) })
}

/// The standing orders of a resource that fail, or were given up. `ordered` are those it has now:
/// what became of others counts no more.
pub fn job_reds(
    rows: &[StandingRow],
    resource: &ResourceName,
    ordered: &[Standing],
    zone: &TimeZone,
) -> Vec<Red> {
    let is_ordered = |work: &str| ordered.iter().any(|standing| standing.work.name() == work);
    let its = rows.iter().filter(|row| row.resource == *resource && is_ordered(&row.work));
    its.filter_map(|row| failing(row, zone)).collect()
}

fn failing(row: &StandingRow, zone: &TimeZone) -> Option<Red> {
    let failed = row.failed?;
    let given_up = failed.for_good || failed.attempts >= ATTEMPTS_MOST;
    if !given_up && failed.attempts < FAILURES_RED {
        return None;
    }
    let (work, due, last) = (&row.work, local(failed.due_at, zone), local(failed.at, zone));
    let times = match failed.attempts {
        1 => "once".to_owned(),
        times => format!("{times} times"),
    };
    let then = if given_up { " and was given up" } else { "" };
    let text = format!("the {work} that was due {due} failed {times}, at last {last}{then}");
    Some(Red::new(kind::JOBS, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::journal::FailedRow;
    use crate::model::Span;
    use crate::plan::schedule::Work;

    fn row(work: &str, failed: Option<(u32, bool)>) -> StandingRow {
        let at = |second| Timestamp::from_second(second).unwrap();
        let failed = failed.map(|(attempts, for_good)| FailedRow {
            due_at: at(1_000),
            attempts,
            at: at(2_000),
            for_good,
        });
        StandingRow {
            resource: "registro".parse().unwrap(),
            work: work.to_owned(),
            known_since: at(0),
            settled_due_at: None,
            failed,
        }
    }

    #[test]
    fn a_standing_order_is_red_once_it_failed_often_or_for_good() {
        let ordered = [Standing {
            work: Work::Snapshot,
            cron: "0 2 * * *".parse().unwrap(),
            zone: TimeZone::UTC,
            jitter_most: Span::default(),
            window: None,
        }];
        let told = |resource: &str, row: StandingRow| {
            let reds = job_reds(&[row], &resource.parse().unwrap(), &ordered, &TimeZone::UTC);
            assert!(reds.iter().all(|red| red.kind == kind::JOBS));
            reds.into_iter().next().map(|red| red.text)
        };
        type Case<'t> = (&'t str, Option<(u32, bool)>, Option<&'t str>);
        let cases: [Case<'_>; 6] = [
            ("snapshot", None, None),
            ("snapshot", Some((2, false)), None),
            ("snapshot", Some((3, false)), Some("failed 3 times, at last 1970-01-01 00:33:20")),
            ("snapshot", Some((1, true)), Some("failed once")),
            ("snapshot", Some((ATTEMPTS_MOST, false)), Some("and was given up")),
            // It was ordered once, and is no more.
            ("drill", Some((9, true)), None),
        ];
        for (work, failed, expected) in cases {
            let text = told("registro", row(work, failed));
            assert_eq!(text.is_some(), expected.is_some(), "{work} {failed:?}: {text:?}");
            let text = text.unwrap_or_default();
            assert!(text.contains(expected.unwrap_or_default()), "{text}");
            assert_eq!(told("other", row(work, failed)), None);
        }
    }
}
