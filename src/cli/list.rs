//! `fenice list`: recovery points and windows, gaps, proof state.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Context;
use super::exit::Done;
use crate::daemon;
use crate::engines::postgres::overview::{self, Overview};
use crate::error::Result;
use crate::evidence::plain::{Cell, Column, Row, Table, Tone};
use crate::model::{ByteSize, ResourceName};
use crate::repository::manifest::SnapshotManifest;

/// List snapshots, recovery windows, gaps and proofs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this resource [default: all]
    resource: Option<String>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let chosen: Vec<_> = match &args.resource {
        Some(name) => vec![daemon::resource_of(&config, name)?],
        None => config.resources.iter().collect(),
    };
    let mut all = Vec::new();
    for resource in chosen {
        let repository = parts.open_repository(&config, &resource.repository)?;
        all.push((&resource.name, overview::read(&repository, &resource.name, None)?));
    }
    let zone = &config.daemon.timezone;
    super::well(context.output.answer(
        || Value::Array(all.iter().map(|(name, seen)| value(name, seen)).collect()),
        || {
            let texts: Vec<String> =
                all.iter().map(|(name, seen)| text(name, seen, zone, context)).collect();
            texts.join("\n")
        },
    ))
}

/// An instant for people: in the configured zone, to the second, with its offset.
pub(super) fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}

fn text(name: &ResourceName, seen: &Overview, zone: &TimeZone, context: &Context) -> String {
    let terminal = context.output.terminal;
    let mut text = terminal.heading(name.as_str());
    if seen.snapshots.is_empty() {
        text.push_str("no snapshots\n");
    } else {
        text.push_str(&terminal.table(&snapshots(seen, zone)));
    }
    for window in &seen.reach.windows {
        let (from, to) = (local(window.from, zone), local(window.to, zone));
        let timeline = window.timeline;
        text.push_str(&format!("every instant from {from} to {to} on timeline {timeline}\n"));
        if let Some(gap) = &window.gap_after {
            text.push_str(&format!("  then the log breaks off at {}: {}\n", gap.from, gap.reason));
        }
    }
    for gap in &seen.gaps {
        let (bytes, at) = (ByteSize(gap.to.since(gap.from)), local(gap.recorded_at, zone));
        let (from, to) = (gap.from, gap.to);
        text.push_str(&format!("gap of {bytes} from {from} to {to}, recorded {at}\n"));
    }
    text
}

fn snapshots(seen: &Overview, zone: &TimeZone) -> Table {
    let row = |snapshot: &SnapshotManifest| Row {
        cells: vec![
            Cell::plain(&snapshot.id),
            Cell::plain(local(snapshot.stopped_at, zone)),
            Cell::plain(ByteSize(snapshot.bytes).to_string()),
            Cell::plain(ByteSize(snapshot.new_bytes).to_string()),
            state(seen, snapshot),
        ],
        detail: detail(seen, snapshot, zone),
    };
    Table {
        columns: vec![
            Column::word("SNAPSHOT"),
            Column::word("ENDED"),
            Column::number("SIZE"),
            Column::number("NEW"),
            Column::word("STATE"),
        ],
        rows: seen.snapshots.iter().map(row).collect(),
    }
}

fn state(seen: &Overview, snapshot: &SnapshotManifest) -> Cell {
    match (seen.unusable(&snapshot.id), seen.proofs.contains_key(&snapshot.id)) {
        (Some(_), _) => Cell::toned("UNUSABLE", Tone::Bad),
        (None, true) => Cell::toned("proven", Tone::Good),
        (None, false) => Cell::plain("taken"),
    }
}

/// What is too long for a column: ids are copied from here, and must not be broken.
fn detail(seen: &Overview, snapshot: &SnapshotManifest, zone: &TimeZone) -> Option<String> {
    match (seen.unusable(&snapshot.id), seen.proofs.get(&snapshot.id)) {
        (Some(reason), _) => Some(reason.to_string()),
        (None, at) => at.map(|at| format!("proven {}", local(*at, zone))),
    }
}

fn value(name: &ResourceName, seen: &Overview) -> Value {
    let snapshot = |snapshot: &SnapshotManifest| {
        let proven_at = seen.proofs.get(&snapshot.id);
        json!({
            "id": snapshot.id,
            "started_at": snapshot.started_at,
            "stopped_at": snapshot.stopped_at,
            "method": snapshot.method,
            "timeline": snapshot.timeline,
            "system_id": snapshot.cluster.system_id,
            "start_lsn": snapshot.start_lsn,
            "stop_lsn": snapshot.stop_lsn,
            "files": snapshot.files,
            "bytes": snapshot.bytes,
            "new_bytes": snapshot.new_bytes,
            "vault_epoch": snapshot.vault.epoch,
            "damaged_pages": snapshot.pages.damaged_count,
            "pages_checkable": snapshot.pages.checkable,
            "unusable_because": seen.unusable(&snapshot.id),
            "proof": if proven_at.is_some() { "proven" } else { "taken" },
            "proven_at": proven_at,
        })
    };
    let window = |window: &crate::plan::windows::Window| {
        json!({
            "timeline": window.timeline,
            "from": window.from,
            "to": window.to,
            "start_lsn": window.start,
            "end_lsn": window.end,
            "snapshots": window.snapshots,
            "breaks_off_because": window.gap_after.as_ref().map(|gap| &gap.reason),
        })
    };
    json!({
        "resource": name,
        "system_id": seen.system_id,
        "snapshots": seen.snapshots.iter().map(snapshot).collect::<Vec<_>>(),
        "windows": seen.reach.windows.iter().map(window).collect::<Vec<_>>(),
        "gaps": seen.gaps,
    })
}
