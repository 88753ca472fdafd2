//! `fenice status`: whether each resource is protected as promised; anything red ends with 3.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Context;
use super::exit::Done;
use super::list::local;
use crate::catalog::Catalog;
use crate::config::{Config, Resource};
use crate::daemon::{self, Parts};
use crate::engines::postgres::copy::{self, state::CopyState};
use crate::engines::postgres::expire::{self, Outlook};
use crate::engines::postgres::overview::{self, Overview};
use crate::engines::postgres::vaults;
use crate::error::Result;
use crate::evidence::plain::{Cell, Tone};
use crate::model::ResourceName;
use crate::plan::condition::{Seen, age, exposure, reds};
use crate::plan::retention::{Role, Ruling, Terms};
use crate::repository::Repository;
use crate::repository::manifest::SnapshotManifest;
use crate::repository::retirement::{self, Retirement};

/// Tell whether every resource is protected as promised
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// One resource as judged.
struct Judged<'c> {
    resource: &'c Resource,
    seen: Overview,
    /// `None` where nothing is copied, or where it cannot be told, which is red.
    copies: Option<CopyState>,
    retirement: Option<Retirement>,
    /// What retention says of each repository, by its name; those that cannot be told are red.
    outlooks: Vec<(&'c str, Outlook)>,
    reds: Vec<String>,
}

pub(super) fn run(_: &Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let catalog = parts.known_catalog(&config);
    if let Err(error) = &catalog {
        context.output.warn(error.chain());
    }
    let now = parts.clock.now();
    let catalog = catalog.ok().flatten();
    let judge = |resource| judge(resource, &config, &parts, catalog.as_ref(), now);
    let all: Vec<Judged<'_>> = config.resources.iter().map(judge).collect();
    context.output.answer(
        || {
            let resources: Vec<Value> = all.iter().map(|one| value(one, &config, now)).collect();
            let red = all.iter().any(|one| !one.reds.is_empty());
            json!({ "at": now, "red": red, "resources": resources })
        },
        || all.iter().map(|one| text(one, &config, context, now)).collect::<Vec<_>>().join("\n"),
    )?;
    match all.iter().all(|one| one.reds.is_empty()) {
        true => Ok(Done::Well),
        false => Ok(Done::NotMet),
    }
}

/// What cannot be read is red, not an end of the answer: the other resources count too.
fn judge<'c>(
    resource: &'c Resource,
    config: &'c Config,
    parts: &Parts,
    catalog: Option<&Catalog>,
    now: Timestamp,
) -> Judged<'c> {
    let mut judged = Judged {
        resource,
        seen: Overview::default(),
        copies: None,
        retirement: None,
        outlooks: Vec::new(),
        reds: Vec::new(),
    };
    match judged.look(config, parts, catalog, now) {
        Err(error) => judged.reds.push(format!("its state cannot be told: {}", error.chain())),
        Ok(own) => match judged.look_at_copies(config, parts, catalog, now) {
            Err(error) => judged.reds.push(format!("its copies cannot be told: {}", error.chain())),
            Ok(copies) => {
                if let Err(error) = judged.look_ahead(config, &own, copies.as_ref(), now) {
                    let error = error.chain();
                    judged.reds.push(format!("what retention keeps cannot be told: {error}"));
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
        let own = parts.open_repository(config, &self.resource.repository)?;
        self.seen = overview::read(&own, &self.resource.name, catalog)?;
        self.retirement = retirement::in_force(&own, &self.resource.name)?;
        let seen = Seen { retired: self.retirement.is_some(), ..self.seen.seen() };
        self.reds.extend(reds(&seen, config.policy_of(self.resource).rpo, now));
        self.reds.extend(unopened(&own, &self.resource.name, &self.seen)?);
        let unread = self.seen.unread.iter();
        let told = unread.map(|one| format!("{} cannot be read: {}", one.key, one.because));
        self.reds.extend(told);
        if let Some(catalog) = catalog {
            let found = catalog.findings(&self.resource.name)?.into_iter();
            self.reds.extend(found.map(|(what, because)| format!("{what}: {because}")));
        }
        Ok(own)
    }

    fn look_at_copies(
        &mut self,
        config: &Config,
        parts: &Parts,
        catalog: Option<&Catalog>,
        now: Timestamp,
    ) -> Result<Option<Repository>> {
        let Some((_, copies)) = parts.copies_of(config, self.resource)? else { return Ok(None) };
        let policy = config.policy_of(self.resource);
        let terms = Terms::of(policy, &config.daemon.timezone, Role::Main);
        let (name, replicate) = (&self.resource.name, policy.replicate);
        let state = copy::state::read(&copies, name, &self.seen, &terms, replicate, catalog, now)?;
        let late = |id: &String| format!("snapshot {id} should have been copied by now");
        self.reds.extend(state.late.iter().map(late));
        self.reds.extend(state.late_log.map(|late| {
            let (count, since) = (late.objects, local(late.since, &config.daemon.timezone));
            format!("{count} objects of the log, the oldest of {since}, should have been copied")
        }));
        self.reds.extend(unopened(&copies, name, &state.seen)?);
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
        let policy = config.policy_of(self.resource);
        let there = self.copies.as_ref().map(|state| &state.seen);
        let copied: &[SnapshotManifest] = match there {
            Some(seen) => &seen.snapshots,
            None => &[],
        };
        for (name, role) in daemon::places(config, self.resource) {
            let (repository, seen, copied) = match (role, copies, there) {
                // Of copies there are no copies.
                (Role::Copies, Some(copies), Some(there)) => (copies, there, &copied[..0]),
                _ => (own, &self.seen, copied),
            };
            let terms = Terms::of(policy, &config.daemon.timezone, role);
            let ahead =
                expire::outlook(repository, &self.resource.name, seen, copied, &terms, now)?;
            if ahead.retirement.is_some() != self.retirement.is_some() {
                self.reds.push(format!(
                    "`{name}` does not say the same of its retirement: retire or reinstate it again"
                ));
            }
            self.reds.extend(ahead.plan.neglected().map(|ruling| {
                format!("snapshot {} is still in `{name}`: does retention run?", ruling.id)
            }));
            self.outlooks.push((name, ahead));
        }
        Ok(())
    }

    /// Snapshots beyond their date, each with its repository.
    fn overdue(&self) -> impl Iterator<Item = (&'c str, &Ruling)> {
        self.outlooks.iter().flat_map(|(name, ahead)| {
            ahead.plan.overdue().chain(ahead.plan.neglected()).map(move |ruling| (*name, ruling))
        })
    }
}

/// Passwords of vaults, of whatever epoch, that do not open: what lies there is lost.
fn unopened(
    repository: &Repository,
    resource: &ResourceName,
    seen: &Overview,
) -> Result<Vec<String>> {
    let epochs = vaults::epochs(repository, resource, &seen.snapshots)?;
    let passwords = epochs.all().map(|epoch| vaults::password(repository, resource, epoch));
    Ok(passwords.filter_map(|password| password.err().map(|error| error.chain())).collect())
}

/// How many copies there are, and what would be left if the main repository were lost.
fn copies(one: &Judged<'_>, config: &Config, now: Timestamp) -> Vec<(&'static str, Cell)> {
    let Some(name) = &config.policy_of(one.resource).copy_to else {
        return vec![("copies", Cell::toned("no second copy", Tone::Warn))];
    };
    let Some(state) = &one.copies else {
        return vec![("copies", Cell::toned(format!("`{name}`: cannot tell"), Tone::Bad))];
    };
    let (count, due) = (state.seen.snapshots.len(), state.due.len());
    let newest = state.seen.last_snapshot().map(|last| {
        let at = local(last.stopped_at, &config.daemon.timezone);
        format!(", the newest of {at} ({} ago)", age(last.stopped_at, now))
    });
    let waiting = if due > 0 { format!("; {due} due") } else { String::new() };
    let held = format!("{count} in `{name}`{}{waiting}", newest.unwrap_or_default());
    let lost = match state.rpo_without_main(now) {
        Some(loss) => Cell::plain(format!("the last {loss} are lost")),
        None if state.seen.reach.windows.is_empty() => {
            Cell::toned("everything is lost", Tone::Warn)
        }
        None => Cell::toned("cannot tell how much is lost", Tone::Warn),
    };
    let tone = if state.seen.snapshots.is_empty() { Tone::Warn } else { Tone::Plain };
    vec![("copies", Cell::toned(held, tone)), ("without main", lost)]
}

fn text(one: &Judged<'_>, config: &Config, context: &Context, now: Timestamp) -> String {
    let (seen, zone) = (&one.seen, &config.daemon.timezone);
    let ago = |at: Timestamp| format!("{} ({} ago)", local(at, zone), age(at, now));
    let or_none = |text: Option<String>, none: &str| match text {
        Some(text) => Cell::plain(text),
        None => Cell::toned(none, Tone::Warn),
    };
    let snapshot = seen.last_snapshot().map(|snapshot| ago(snapshot.stopped_at));
    let exposed = exposure(&seen.seen(), now).map(|span| format!("{span}"));
    let window = seen.reach.windows.first().map(|window| ago(window.from));
    let verdict = match one.reds.as_slice() {
        [] => Cell::toned("as promised", Tone::Good),
        reds => Cell::toned(format!("RED: {}", reds.join("; ")), Tone::Bad),
    };
    let mut facts = match &one.retirement {
        Some(retired) => retired_facts(one, retired, verdict, zone),
        None => vec![
            ("protection", verdict),
            ("last snapshot", or_none(snapshot, "none")),
            ("last proof", or_none(seen.last_proof().map(ago), "never proven by a drill")),
            ("exposure", or_none(exposed, "cannot tell")),
            ("recoverable since", or_none(window, "nothing is recoverable")),
        ],
    };
    facts.extend(copies(one, config, now));
    if !seen.gaps.is_empty() {
        let text = format!("{} recorded; `fenice list` shows them", seen.gaps.len());
        facts.push(("gaps", Cell::plain(text)));
    }
    facts.extend(one.overdue().map(|(name, ruling)| {
        let (id, since) = (&ruling.id, local(ruling.leaves_at, zone));
        let text = format!("{id} in `{name}` since {since}: {}", ruling.verdict);
        ("overdue", Cell::toned(text, Tone::Warn))
    }));
    let terminal = context.output.terminal;
    terminal.heading(one.resource.name.as_str()) + &terminal.facts(&facts)
}

/// What is told of a retired resource in the place of its protection.
fn retired_facts(
    one: &Judged<'_>,
    retired: &Retirement,
    verdict: Cell,
    zone: &TimeZone,
) -> Vec<(&'static str, Cell)> {
    let at = local(retired.retired_at, zone);
    let order = format!("{at} by {}: {}", retired.who, retired.why);
    let mut facts = vec![("retired", Cell::plain(order))];
    if !one.reds.is_empty() {
        facts.push(("retention", verdict));
    }
    facts.extend(one.outlooks.iter().map(|(name, ahead)| {
        let left = &ahead.remaining;
        let text = match (left.snapshots + left.log_objects, left.leaves_by) {
            _ if left.is_nothing() => "nothing is left but the evidence".to_owned(),
            (0, _) => {
                let others = left.leftovers;
                format!("no snapshots, no log; {others} other objects, which go within days")
            }
            (_, by) => {
                let by = by.map_or("a hold keeps them".to_owned(), |by| {
                    format!("the last leaves by {}", by.to_zoned(zone.clone()).date())
                });
                let (snapshots, objects) = (left.snapshots, left.log_objects);
                format!("{snapshots} snapshots, {objects} objects of the log; {by}")
            }
        };
        ("left", Cell::plain(format!("`{name}`: {text}")))
    }));
    facts
}

fn retired_value(one: &Judged<'_>) -> Option<Value> {
    let left = |(name, ahead): &(&str, Outlook)| {
        json!({
            "repository": name,
            "snapshots": ahead.remaining.snapshots,
            "log_objects": ahead.remaining.log_objects,
            "other_objects": ahead.remaining.leftovers,
            "leaves_by": ahead.remaining.leaves_by,
            "held": ahead.remaining.held,
        })
    };
    one.retirement.as_ref().map(|retired| {
        json!({
            "id": retired.id,
            "retired_at": retired.retired_at,
            "who": retired.who,
            "why": retired.why,
            "left": one.outlooks.iter().map(left).collect::<Vec<_>>(),
        })
    })
}

fn value(one: &Judged<'_>, config: &Config, now: Timestamp) -> Value {
    let seen = &one.seen;
    let last = seen.last_snapshot();
    let copies = one.copies.as_ref().map(|state| {
        json!({
            "repository": config.policy_of(one.resource).copy_to,
            "snapshots": state.seen.snapshots.len(),
            "newest": state.seen.last_snapshot().map(|snapshot| &snapshot.id),
            "due": state.due.iter().map(|due| &due.id).collect::<Vec<_>>(),
            "late": state.late,
            "late_log": state.late_log.map(|late| {
                json!({ "objects": late.objects, "since": late.since })
            }),
            "holds_until": state.holds_until(),
            "rpo_without_main_seconds": state.rpo_without_main(now).map(|span| span.as_seconds()),
        })
    });
    let overdue = one.overdue().map(|(name, ruling)| {
        json!({
            "repository": name,
            "id": ruling.id,
            "since": ruling.leaves_at,
            "because": ruling.verdict.to_string(),
        })
    });
    json!({
        "resource": one.resource.name,
        "red": one.reds,
        "last_snapshot": last.map(|snapshot| &snapshot.id),
        "last_snapshot_at": last.map(|snapshot| snapshot.stopped_at),
        "damaged_pages": last.map(|snapshot| snapshot.pages.damaged_count),
        "last_proof_at": seen.last_proof(),
        "rpo_exposure_seconds": exposure(&seen.seen(), now).map(|span| span.as_seconds()),
        "rpo_target_seconds": config.policy_of(one.resource).rpo.as_seconds(),
        "newest_stored_heartbeat_at": seen.heartbeat_at,
        "stored_until": seen.reach.windows.last().map(|window| window.end),
        "recovery_window_start": seen.reach.windows.first().map(|window| window.from),
        "gaps": seen.gaps.len(),
        "trouble": seen.shipping.as_ref().and_then(|shipping| shipping.trouble.as_ref()),
        "copies": copies,
        "retired": retired_value(one),
        "overdue": overdue.collect::<Vec<_>>(),
    })
}
