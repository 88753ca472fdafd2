//! `fenice catalog`: what this host knows, filled anew from the repository.

use serde_json::{Value, json};

use super::Context;
use super::exit::Done;
use super::list::local;
use crate::config::{Config, Resource};
use crate::engines::postgres::rebuild::Rebuilt;
use crate::error::Result;
use crate::evidence::plain::{Cell, Column, Row, Table, Tone, clean};

/// What this host knows of everything that is stored: fill it anew
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Rebuild the catalog of every resource from the repository alone
    Rebuild,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Done> {
    match args.verb {
        Verb::Rebuild => rebuild(context),
    }
}

fn rebuild(context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let catalog = parts.catalog(&config)?;
    let rebuilt = parts.rebuild_all(&config, &parts.open_all(&config), &catalog);
    let all: Vec<_> = config.resources.iter().zip(&rebuilt).collect();
    context.output.answer(
        || Value::Array(all.iter().map(|(resource, one)| told(resource, one)).collect()),
        || context.output.terminal.table(&table(&all, &config)),
    )?;
    let sound = |one: &Result<Rebuilt>| one.as_ref().is_ok_and(|one| one.unread.is_empty());
    Ok(match rebuilt.iter().all(Result::is_ok) {
        false => Done::InPart,
        true if rebuilt.iter().all(sound) => Done::Well,
        true => Done::NotMet,
    })
}

fn told(resource: &Resource, rebuilt: &Result<Rebuilt>) -> Value {
    let mut value = value(rebuilt);
    value["resource"] = json!(resource.name);
    value
}

/// What was found of one resource, or why not.
pub(super) fn value(rebuilt: &Result<Rebuilt>) -> Value {
    let found = rebuilt.as_ref().ok();
    let failed = rebuilt.as_ref().err();
    let stored = found.and_then(|found| found.stored_until);
    let window = found.and_then(|found| found.window);
    let unread = found.map(|found| &found.unread[..]).unwrap_or_default().iter();
    let unread = unread.map(|one| json!({ "key": one.key, "because": one.because }));
    json!({
        "system_id": found.and_then(|found| found.system_id),
        "snapshots": found.map(|found| found.snapshots),
        "log_objects": found.map(|found| found.log_objects),
        "timeline": stored.map(|(timeline, _)| timeline),
        "stored_until": stored.map(|(_, end)| end),
        "window_from": window.map(|(from, _)| from),
        "window_to": window.map(|(_, to)| to),
        "gaps": found.map(|found| found.gaps),
        "unread": unread.collect::<Vec<_>>(),
        "failed_because": failed.map(|error| error.chain()),
        "hint": failed.and_then(|error| error.hint_text()),
    })
}

fn table(all: &[(&Resource, &Result<Rebuilt>)], config: &Config) -> Table {
    let row = |(resource, rebuilt): &(&Resource, &Result<Rebuilt>)| {
        let mut cells = vec![Cell::plain(resource.name.as_str())];
        cells.extend(found_cells(rebuilt));
        cells.push(match rebuilt {
            Err(_) => Cell::toned("FAILED", Tone::Bad),
            Ok(found) if !found.unread.is_empty() => Cell::toned("UNREAD", Tone::Bad),
            Ok(found) if found.system_id.is_none() => Cell::toned("nothing stored", Tone::Warn),
            Ok(_) => Cell::plain("rebuilt"),
        });
        Row { cells, detail: found_detail(rebuilt, config) }
    };
    let mut columns = vec![Column::word("RESOURCE")];
    columns.extend(FOUND_COLUMNS);
    columns.push(Column::word("STATE"));
    Table { columns, rows: all.iter().map(row).collect() }
}

/// Heads of [`found_cells`].
pub(super) const FOUND_COLUMNS: [Column; 3] =
    [Column::number("SNAPSHOTS"), Column::number("LOG OBJECTS"), Column::number("GAPS")];

/// How much was found of one resource.
pub(super) fn found_cells(rebuilt: &Result<Rebuilt>) -> [Cell; 3] {
    let Ok(found) = rebuilt else { return [Cell::plain("?"), Cell::plain("?"), Cell::plain("?")] };
    let number = |count: usize| Cell::plain(count.to_string());
    [number(found.snapshots), number(found.log_objects), number(found.gaps)]
}

/// What can be recovered of it, what cannot be read, or why nothing is known.
pub(super) fn found_detail(rebuilt: &Result<Rebuilt>, config: &Config) -> Option<String> {
    let found = match rebuilt {
        Ok(found) => found,
        Err(error) => return Some(clean(&error.chain())),
    };
    let zone = &config.daemon.timezone;
    let window = found
        .window
        .map(|(from, to)| format!("recoverable from {} to {}", local(from, zone), local(to, zone)));
    let unread = found.unread.iter().map(|one| clean(&format!("{}: {}", one.key, one.because)));
    let told: Vec<String> = window.into_iter().chain(unread).collect();
    (!told.is_empty()).then(|| told.join("; "))
}
