//! `fenice status`: whether each resource is protected as promised; anything red ends with 3.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Context;
use super::exit::Done;
use super::list::local;
use crate::catalog::Catalog;
use crate::config::{Config, Resource};
use crate::daemon::Parts;
use crate::engines::postgres::copy::{self, state::CopyState};
use crate::engines::postgres::overview::{self, Overview};
use crate::error::Result;
use crate::evidence::plain::{Cell, Tone};
use crate::plan::condition::{age, exposure, reds};
use crate::plan::retention::{Role, Terms};

/// Tell whether every resource is protected as promised
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// One resource as judged.
struct Judged<'c> {
    resource: &'c Resource,
    seen: Overview,
    /// `None` where nothing is copied, or where it cannot be told, which is red.
    copies: Option<CopyState>,
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
    config: &Config,
    parts: &Parts,
    catalog: Option<&Catalog>,
    now: Timestamp,
) -> Judged<'c> {
    let seen = parts
        .open_repository(config, &resource.repository)
        .and_then(|repository| overview::read(&repository, &resource.name, catalog));
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => {
            let reds = vec![format!("its state cannot be told: {}", error.chain())];
            return Judged { resource, seen: Overview::default(), copies: None, reds };
        }
    };
    let policy = config.policy_of(resource);
    let mut reds = reds(&seen.seen(), policy.rpo, now);
    let unread = seen.unread.iter();
    reds.extend(unread.map(|one| format!("{} cannot be read: {}", one.key, one.because)));
    let copies = parts.copies_of(config, resource).and_then(|copies| {
        let Some((_, copies)) = copies else { return Ok(None) };
        let terms = Terms::of(policy, &config.daemon.timezone, Role::Main, true);
        let (name, replicate) = (&resource.name, policy.replicate);
        copy::state::read(&copies, name, &seen, &terms, replicate, catalog, now).map(Some)
    });
    let copies = match copies {
        Ok(copies) => copies,
        Err(error) => {
            reds.push(format!("its copies cannot be told: {}", error.chain()));
            None
        }
    };
    let late = copies.iter().flat_map(|copies| &copies.late);
    reds.extend(late.map(|id| format!("snapshot {id} should have been copied by now")));
    Judged { resource, seen, copies, reds }
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
        None => Cell::toned("everything is lost", Tone::Warn),
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
    let mut facts = vec![
        ("protection", verdict),
        ("last snapshot", or_none(snapshot, "none")),
        ("last proof", or_none(seen.last_proof().map(ago), "never proven by a drill")),
        ("exposure", or_none(exposed, "cannot tell")),
        ("recoverable since", or_none(window, "nothing is recoverable")),
    ];
    facts.extend(copies(one, config, now));
    if !seen.gaps.is_empty() {
        let text = format!("{} recorded; `fenice list` shows them", seen.gaps.len());
        facts.push(("gaps", Cell::plain(text)));
    }
    let terminal = context.output.terminal;
    terminal.heading(one.resource.name.as_str()) + &terminal.facts(&facts)
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
            "holds_until": state.holds_until(),
            "rpo_without_main_seconds": state.rpo_without_main(now).map(|span| span.as_seconds()),
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
    })
}
