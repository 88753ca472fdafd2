//! `fenice resource`: taking a resource out of use, and back, with who and why.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Context;
use super::exit::Done;
use super::list::local;
use crate::config::{Config, Resource};
use crate::daemon::{self, Parts, Purpose};
use crate::engines::postgres::retire::{self, Order, Places};
use crate::error::Result;
use crate::evidence::plain::{Cell, Column, Row, Table, Tone};
use crate::repository::Repository;
use crate::repository::retirement::{self, RetirementRecord};

/// Take resources out of use, and back; list them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Store nothing more of a resource, and let all of it leave in time
    Retire(Ordered),
    /// Take a retired resource back into use
    Reinstate(Ordered),
    /// Every resource, in use or retired
    List,
}

#[derive(Debug, clap::Args)]
struct Ordered {
    /// The resource, as the configuration names it
    resource: String,
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
    match args.verb {
        Verb::Retire(ordered) => retire(ordered, &config, &parts, context),
        Verb::Reinstate(ordered) => reinstate(ordered, &config, &parts, context),
        Verb::List => list(&config, &parts, context),
    }
}

/// The repositories that hold a resource: its own, and that of its copies.
fn open(
    config: &Config,
    parts: &Parts,
    resource: &Resource,
) -> Result<(Repository, Option<Repository>)> {
    let copies = config.policy_of(resource).copy_to.as_deref();
    let open = |name: &str| parts.open_for(config, name, Purpose::Write);
    Ok((open(&resource.repository)?, copies.map(open).transpose()?))
}

fn order(ordered: Ordered, parts: &Parts) -> Order {
    Order { who: ordered.who, why: ordered.why, at: parts.clock.now() }
}

fn retire(ordered: Ordered, config: &Config, parts: &Parts, context: &Context) -> Result<Done> {
    let resource = daemon::resource_of(config, &ordered.resource)?;
    let (own, copies) = open(config, parts, resource)?;
    let places = Places { own: &own, copies: copies.as_ref() };
    let retired = retire::retire(&places, &resource.name, &order(ordered, parts))?;
    let (name, slot) = (&resource.name, &daemon::postgres_of(resource).slot);
    let told = || {
        format!(
            "{name} is retired {retired}\n\
             Leave it in the configuration until `fenice status` tells that nothing is left: until \
             then it is copied and removed as promised.\n\
             On its servers, so that they keep no log for it:\n  \
             select pg_drop_replication_slot('{slot}');\n"
        )
    };
    let value = || json!({ "resource": name, "retirement": retired, "slot": slot });
    super::well(context.output.answer(value, told))
}

fn reinstate(ordered: Ordered, config: &Config, parts: &Parts, context: &Context) -> Result<Done> {
    let resource = daemon::resource_of(config, &ordered.resource)?;
    let (own, copies) = open(config, parts, resource)?;
    let places = Places { own: &own, copies: copies.as_ref() };
    let name = &resource.name;
    let ended = retire::reinstate(&places, name, &order(ordered, parts))?;
    let told = || {
        format!(
            "{name} is in use again\nIts slot may be gone, and log is missing since: run `fenice \
             prepare {name}`, then `fenice snapshot {name}`.\n"
        )
    };
    let value = || json!({ "resource": name, "reinstatement": ended });
    super::well(context.output.answer(value, told))
}

fn list(config: &Config, parts: &Parts, context: &Context) -> Result<Done> {
    let mut all = Vec::new();
    for resource in &config.resources {
        let repository = parts.open_repository(config, &resource.repository)?;
        all.push((resource, retirement::all(&repository, &resource.name)?));
    }
    let zone = &config.daemon.timezone;
    super::well(context.output.answer(
        || Value::Array(all.iter().map(|(resource, records)| value(resource, records)).collect()),
        || context.output.terminal.table(&table(&all, zone)),
    ))
}

fn in_force(records: &[RetirementRecord]) -> Option<&RetirementRecord> {
    records.iter().find(|record| record.reinstatement.is_none())
}

fn value(resource: &Resource, records: &[RetirementRecord]) -> Value {
    json!({
        "resource": resource.name,
        "repository": resource.repository,
        "retired": in_force(records).map(|record| &record.retirement),
        "records": records,
    })
}

fn table(all: &[(&Resource, Vec<RetirementRecord>)], zone: &TimeZone) -> Table {
    let row = |(resource, records): &(&Resource, Vec<RetirementRecord>)| {
        let story: Vec<String> = records.iter().map(|record| told(record, zone)).collect();
        Row {
            cells: vec![
                Cell::plain(resource.name.as_str()),
                Cell::plain(&resource.repository),
                match in_force(records) {
                    Some(_) => Cell::toned("retired", Tone::Warn),
                    None => Cell::plain("in use"),
                },
            ],
            detail: (!story.is_empty()).then(|| story.join("; ")),
        }
    };
    Table {
        columns: vec![Column::word("RESOURCE"), Column::word("REPOSITORY"), Column::word("STATE")],
        rows: all.iter().map(row).collect(),
    }
}

fn told(record: &RetirementRecord, zone: &TimeZone) -> String {
    let retired = &record.retirement;
    let at = local(retired.retired_at, zone);
    let ended = record.reinstatement.as_ref().map(|end| {
        let at = local(end.reinstated_at, zone);
        format!(", taken back {at} by {}: {}", end.who, end.why)
    });
    let (who, why) = (&retired.who, &retired.why);
    format!("retired {at} by {who}: {why}{}", ended.unwrap_or_default())
}
