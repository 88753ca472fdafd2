//! `fenice hold`: orders to keep things whatever the policy says, with who, why and until when.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::exit::Done;
use super::list::local;
use super::{Context, instant};
use crate::daemon;
use crate::error::{Error, Result};
use crate::evidence::plain::{Cell, Column, Row, Table, Tone};
use crate::model::ResourceName;
use crate::ports::store::Put;
use crate::repository::hold::{self, HoldManifest, HoldRecord, Release};
use crate::repository::{Repository, layout};

/// Keep things beyond their date: give, list and end such orders
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Keep a snapshot, or everything of a resource
    Add(Add),
    /// End an order
    Remove(Remove),
    /// Every order ever given
    List {
        /// The resource, as the configuration names it
        resource: String,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The resource, as the configuration names it
    resource: String,
    /// Only this snapshot [default: all snapshots and all log]
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
    /// Who answers for it
    #[arg(long)]
    who: String,
    /// What for
    #[arg(long)]
    why: String,
    /// When it ends by itself
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Remove {
    /// The resource, as the configuration names it
    resource: String,
    /// The order, as `hold list` names it
    id: String,
    /// Who answers for it
    #[arg(long)]
    who: String,
    /// What for
    #[arg(long)]
    why: String,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let (now, zone) = (parts.clock.now(), &config.daemon.timezone);
    let name = match &args.verb {
        Verb::Add(Add { resource, .. })
        | Verb::Remove(Remove { resource, .. })
        | Verb::List { resource } => resource,
    };
    let resource = daemon::resource_of(&config, name)?;
    // An order binds copies too, and must outlive the loss of either place.
    let mut places = vec![parts.open_repository(&config, &resource.repository)?];
    places.extend(parts.copies_of(&config, resource)?.map(|(_, copies)| copies));
    match args.verb {
        Verb::List { .. } => list(&hold::all(&places[0], &resource.name)?, zone, now, context),
        Verb::Add(args) => add(args, &places, zone, now, context),
        Verb::Remove(args) => {
            let Remove { resource: _, id, who, why } = args;
            let release = Release { version: 1, hold: id, who, why, released_at: now };
            for copies in &places[1..] {
                hold::bring(&places[0], copies, &resource.name)?;
            }
            // A run that ended between the two is finished by the next one.
            let mut released = Vec::new();
            for place in places.iter().rev() {
                released.push(hold::release(place, &resource.name, &release)?);
            }
            if !released.contains(&Put::Created) {
                let what = format!("the hold {} was released before", release.hold);
                return Err(Error::usage(what));
            }
            let told = || format!("hold {} has ended\n", release.hold);
            super::well(context.output.answer(|| json!(release), told))
        }
    }
}

fn add(
    args: Add,
    places: &[Repository],
    zone: &TimeZone,
    now: Timestamp,
    context: &Context,
) -> Result<Done> {
    let until = args.until.as_deref().map(|text| instant::instant(text, zone)).transpose()?;
    if until.is_some_and(|until| until <= now) {
        return Err(Error::usage("a hold cannot end before it begins"));
    }
    let resource: ResourceName = args.resource.parse()?;
    if let Some(id) = &args.snapshot
        && !is_known(places, &resource, id)?
    {
        return Err(Error::usage(format!("{resource} has no snapshot {id}"))
            .hint(format!("`fenice list {resource}` shows them.")));
    }
    let given = HoldManifest {
        version: 1,
        id: layout::instant(now),
        snapshot: args.snapshot,
        who: args.who,
        why: args.why,
        given_at: now,
        until,
    };
    places.iter().try_for_each(|place| hold::add(place, &resource, &given))?;
    // Retention may have been at work: from now on it sees the order.
    if let Some(id) = &given.snapshot
        && !is_known(places, &resource, id)?
    {
        return Err(Error::failed(format!("snapshot {id} was removed just before the hold")));
    }
    let record = HoldRecord { hold: given, release: None };
    let told = || format!("hold {} is in force\n", record.hold.id);
    super::well(context.output.answer(|| value(&record, now), told))
}

fn is_known(places: &[Repository], resource: &ResourceName, id: &str) -> Result<bool> {
    let key = layout::snapshot(resource, id);
    for place in places {
        if place.store.list(&layout::snapshots(resource))?.iter().any(|entry| entry.key == key) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn list(all: &[HoldRecord], zone: &TimeZone, now: Timestamp, context: &Context) -> Result<Done> {
    super::well(context.output.answer(
        || Value::Array(all.iter().map(|record| value(record, now)).collect()),
        || match all.is_empty() {
            true => "no holds\n".to_owned(),
            false => context.output.terminal.table(&table(all, zone, now)),
        },
    ))
}

fn table(all: &[HoldRecord], zone: &TimeZone, now: Timestamp) -> Table {
    let row = |record: &HoldRecord| {
        let held = &record.hold;
        let what = held.snapshot.as_deref().unwrap_or("everything");
        let until = held.until.map_or("its release".to_owned(), |until| local(until, zone));
        let ended = record.release.as_ref().map(|release| {
            let at = local(release.released_at, zone);
            format!("; released {at} by {}: {}", release.who, release.why)
        });
        let (who, why) = (&held.who, &held.why);
        Row {
            cells: vec![
                Cell::plain(&held.id),
                Cell::plain(what),
                Cell::plain(until),
                match record.is_in_force(now) {
                    true => Cell::toned("in force", Tone::Warn),
                    false => Cell::plain("ended"),
                },
            ],
            detail: Some(format!("by {who}: {why}{}", ended.unwrap_or_default())),
        }
    };
    Table {
        columns: vec![
            Column::word("HOLD"),
            Column::word("KEEPS"),
            Column::word("UNTIL"),
            Column::word("STATE"),
        ],
        rows: all.iter().map(row).collect(),
    }
}

fn value(record: &HoldRecord, now: Timestamp) -> Value {
    json!({
        "hold": record.hold,
        "release": record.release,
        "in_force": record.is_in_force(now),
    })
}
