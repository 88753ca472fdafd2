//! `fenice status`: whether each resource is protected as promised; anything red ends with 3.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Context;
use super::exit::Done;
use super::list::local;
use crate::catalog::Catalog;
use crate::config::{Config, Resource};
use crate::daemon::Parts;
use crate::engines::postgres::overview::{self, Overview};
use crate::error::Result;
use crate::evidence::plain::{Cell, Tone};
use crate::plan::condition::{age, exposure, reds};

/// Tell whether every resource is protected as promised
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// One resource as judged.
struct Judged<'c> {
    resource: &'c Resource,
    seen: Overview,
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
    match seen {
        Ok(seen) => {
            let reds = reds(&seen.seen(), config.policy_of(resource).rpo, now);
            Judged { resource, seen, reds }
        }
        Err(error) => {
            let reds = vec![format!("its state cannot be told: {}", error.chain())];
            Judged { resource, seen: Overview::default(), reds }
        }
    }
}

/// Copies are a later part of this program: what is configured is not yet done.
fn copies(one: &Judged<'_>, config: &Config) -> String {
    match &config.policy_of(one.resource).copy_to {
        None => "no second copy".to_owned(),
        Some(name) => format!("no second copy: copying to `{name}` is not supported yet"),
    }
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
        ("copies", Cell::toned(copies(one, config), Tone::Warn)),
    ];
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
        "copies": copies(one, config),
    })
}
