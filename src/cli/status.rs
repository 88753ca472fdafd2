//! `fenice status`: whether each resource is protected as promised, and what is next; anything red
//! ends with 3.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Context;
use super::exit::Done;
use crate::catalog::Catalog;
use crate::catalog::journal::StandingRow;
use crate::config::{Config, Resource};
use crate::daemon::control::client::Client;
use crate::daemon::judge::{Judged, Red, job_reds, judge};
use crate::engines::postgres::expire::Outlook;
use crate::error::{Error, Result};
use crate::evidence::plain::{Cell, Tone, local};
use crate::jobs::{self, NextDue};
use crate::model::{ResourceName, Span};
use crate::plan::condition::{age, exposure};
use crate::plan::schedule::{Standing, standing_of};
use crate::repository::retirement::Retirement;

/// Tell whether every resource is protected as promised
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// How far back the worst exposure is looked for, in days, today included.
const EXPOSURE_DAYS: i64 = 7;
/// What is next, of each resource.
const NEXT_SHOWN: usize = 2;

/// One resource as it is shown.
struct Shown<'c> {
    judged: Judged<'c>,
    /// The soonest first.
    next: Vec<&'c NextDue>,
    worst: Worst,
}

/// The worst exposure of the last days, as a daemon here measured it.
#[derive(Default)]
struct Worst {
    most: Option<Span>,
    unknown_minutes: u64,
}

/// What the daemon of this host was ordered to do; empty where none has ever run.
#[derive(Default)]
struct Orders {
    rows: Vec<StandingRow>,
    next: Vec<NextDue>,
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
    let told = |error: &Error| context.output.warn(error.chain());
    let orders = Orders::read(&config, catalog.as_ref(), now);
    let orders = orders.inspect_err(told).unwrap_or_default();
    let answers = daemon_answers(&config, &orders, context);
    let show = |resource| {
        let mut judged = judge(resource, &config, &parts, catalog.as_ref(), now);
        judged.reds.extend(orders.reds_of(resource, &config));
        let next = orders.next_of(&resource.name);
        let worst = Worst::read(catalog.as_ref(), &resource.name, &config, now);
        Shown { judged, next, worst: worst.inspect_err(told).unwrap_or_default() }
    };
    let all: Vec<Shown<'_>> = config.resources.iter().map(show).collect();
    let is_red = all.iter().any(|one| !one.judged.reds.is_empty());
    context.output.answer(
        || {
            let resources: Vec<Value> = all.iter().map(|one| value(one, &config, now)).collect();
            json!({ "at": now, "red": is_red, "daemon": answers, "resources": resources })
        },
        || all.iter().map(|one| text(one, &config, context, now)).collect::<Vec<_>>().join("\n"),
    )?;
    match is_red {
        false => Ok(Done::Well),
        true => Ok(Done::NotMet),
    }
}

/// Whether a daemon answers on this host; `None` where none is expected, or it cannot be told.
fn daemon_answers(config: &Config, orders: &Orders, context: &Context) -> Option<bool> {
    if orders.rows.is_empty() {
        return None;
    }
    let found = super::block_on(Client::find(config));
    let told = |error: &Error| context.output.warn(error.chain());
    let answers = found.inspect_err(told).ok()?.is_some();
    if !answers {
        context.output.warn("no daemon answers here: nothing that is due begins by itself");
    }
    Some(answers)
}

impl Orders {
    fn read(config: &Config, catalog: Option<&Catalog>, now: Timestamp) -> Result<Orders> {
        let Some(catalog) = catalog else { return Ok(Orders::default()) };
        let rows = catalog.standings()?;
        if rows.is_empty() {
            return Ok(Orders::default());
        }
        let standings: Vec<(ResourceName, Standing)> = config
            .resources
            .iter()
            .flat_map(|one| ordered(one, config).into_iter().map(|order| (one.name.clone(), order)))
            .collect();
        let mut next = jobs::next_of(catalog, &standings, now)?;
        // What waits for no instant comes last.
        next.sort_by_key(|due| due.at.unwrap_or(Timestamp::MAX));
        Ok(Orders { rows, next })
    }

    fn reds_of(&self, of: &Resource, config: &Config) -> Vec<Red> {
        job_reds(&self.rows, &of.name, &ordered(of, config), &config.daemon.timezone)
    }

    fn next_of(&self, of: &ResourceName) -> Vec<&NextDue> {
        self.next.iter().filter(|due| due.resource == *of).take(NEXT_SHOWN).collect()
    }
}

fn ordered(resource: &Resource, config: &Config) -> Vec<Standing> {
    standing_of(config.policy_of(resource), &config.daemon.timezone)
}

impl Worst {
    fn read(
        catalog: Option<&Catalog>,
        of: &ResourceName,
        config: &Config,
        now: Timestamp,
    ) -> Result<Worst> {
        let Some(catalog) = catalog else { return Ok(Worst::default()) };
        let today: Date = now.to_zoned(config.daemon.timezone.clone()).date();
        let since = today.saturating_sub(jiff::Span::new().days(EXPOSURE_DAYS - 1));
        let days = catalog.worst_exposures(of, since)?;
        Ok(Worst {
            most: days.iter().filter_map(|day| day.most).max(),
            unknown_minutes: days.iter().map(|day| day.unknown_minutes).sum(),
        })
    }

    /// What is told of it after the present one.
    fn told(&self) -> String {
        let Some(most) = self.most else { return String::new() };
        let unknown = match self.unknown_minutes {
            0 => String::new(),
            minutes => format!(", unknown for {minutes} min of them"),
        };
        format!(", at most {most} in the last {EXPOSURE_DAYS} days{unknown}")
    }
}

fn next(one: &Shown<'_>, zone: &TimeZone, now: Timestamp) -> Option<(&'static str, Cell)> {
    let told = one.next.iter().map(|due| match due.at {
        Some(at) if at > now => {
            format!("{} {} (in {})", due.work, local(at, zone), age(now, at))
        }
        Some(_) => format!("{} now", due.work),
        None => format!("{}: {}", due.work, due.text),
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| ("next", Cell::plain(told.join("; "))))
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

fn text(shown: &Shown<'_>, config: &Config, context: &Context, now: Timestamp) -> String {
    let one = &shown.judged;
    let (seen, zone) = (&one.seen, &config.daemon.timezone);
    let ago = |at: Timestamp| format!("{} ({} ago)", local(at, zone), age(at, now));
    let or_none = |text: Option<String>, none: &str| match text {
        Some(text) => Cell::plain(text),
        None => Cell::toned(none, Tone::Warn),
    };
    let snapshot = seen.last_snapshot().map(|snapshot| ago(snapshot.stopped_at));
    let worst = shown.worst.told();
    let exposed = exposure(&seen.seen(), now).map(|span| format!("{span}{worst}"));
    let window = seen.reach.windows.first().map(|window| ago(window.from));
    let verdict = match one.reds.as_slice() {
        [] => Cell::toned("as promised", Tone::Good),
        reds => {
            let texts: Vec<&str> = reds.iter().map(|red| red.text.as_str()).collect();
            Cell::toned(format!("RED: {}", texts.join("; ")), Tone::Bad)
        }
    };
    let mut facts = match &one.retirement {
        Some(retired) => retired_facts(one, retired, verdict, zone),
        None => vec![
            ("protection", verdict),
            ("last snapshot", or_none(snapshot, "none")),
            ("last proof", or_none(seen.last_proof().map(ago), "never proven by a drill")),
            ("exposure", or_none(exposed, &format!("cannot tell{worst}"))),
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
    facts.extend(next(shown, zone, now));
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

fn value(shown: &Shown<'_>, config: &Config, now: Timestamp) -> Value {
    let one = &shown.judged;
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
    let next = shown
        .next
        .iter()
        .map(|due| json!({ "work": due.work.to_string(), "at": due.at, "text": due.text }));
    json!({
        "resource": one.resource.name,
        "red": one.reds.iter().map(|red| &red.text).collect::<Vec<_>>(),
        "last_snapshot": last.map(|snapshot| &snapshot.id),
        "last_snapshot_at": last.map(|snapshot| snapshot.stopped_at),
        "damaged_pages": last.map(|snapshot| snapshot.pages.damaged_count),
        "last_proof_at": seen.last_proof(),
        "rpo_exposure_seconds": exposure(&seen.seen(), now).map(|span| span.as_seconds()),
        "worst_exposure_seconds": shown.worst.most.map(|span| span.as_seconds()),
        "exposure_unknown_minutes": shown.worst.unknown_minutes,
        "rpo_target_seconds": config.policy_of(one.resource).rpo.as_seconds(),
        "newest_stored_heartbeat_at": seen.heartbeat_at,
        "stored_until": seen.reach.windows.last().map(|window| window.end),
        "recovery_window_start": seen.reach.windows.first().map(|window| window.from),
        "gaps": seen.gaps.len(),
        "trouble": seen.shipping.as_ref().and_then(|shipping| shipping.trouble.as_ref()),
        "copies": copies,
        "retired": retired_value(one),
        "overdue": overdue.collect::<Vec<_>>(),
        "next": next.collect::<Vec<_>>(),
    })
}
