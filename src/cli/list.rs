//! `fenice list`: recovery points and windows, gaps, proof state.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Context;
use super::exit::Done;
use crate::daemon;
use crate::engines::postgres::overview::{self, Overview};
use crate::error::Result;
pub(super) use crate::evidence::plain::local;
use crate::evidence::plain::{Cell, Column, Row, Table, Tone};
use crate::model::{ByteSize, ResourceName};
use crate::plan::scrub::Proof;
use crate::repository::manifest::SnapshotManifest;

/// List snapshots, recovery windows, gaps and proofs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this resource [default: all]
    resource: Option<String>,
}

/// One resource as it is stored.
struct Listed<'c> {
    name: &'c ResourceName,
    seen: Overview,
    /// By snapshot: since when all of it was read back, as far as this host knows.
    verified: BTreeMap<String, Timestamp>,
}

impl Listed<'_> {
    fn proof(&self, snapshot: &SnapshotManifest) -> Proof {
        let proven_at = self.seen.proofs.get(&snapshot.id).copied();
        let verified_since = self.verified.get(&snapshot.id).copied();
        Proof::of(snapshot.pages.damaged_count, proven_at, verified_since)
    }
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let chosen: Vec<_> = match &args.resource {
        Some(name) => vec![daemon::resource_of(&config, name)?],
        None => config.resources.iter().collect(),
    };
    let catalog = parts.known_catalog(&config);
    if let Err(error) = &catalog {
        context.output.warn(error.chain());
    }
    let catalog = catalog.ok().flatten();
    let mut all = Vec::new();
    for resource in chosen {
        let (repository, name) =
            (parts.open_repository(&config, &resource.repository)?, &resource.name);
        let seen = overview::read(&repository, name, None)?;
        let verified = match &catalog {
            Some(catalog) => catalog.verified(&repository.id, name)?,
            None => BTreeMap::new(),
        };
        all.push(Listed { name, seen, verified });
    }
    let zone = &config.daemon.timezone;
    super::well(context.output.answer(
        || Value::Array(all.iter().map(value).collect()),
        || all.iter().map(|one| text(one, zone, context)).collect::<Vec<_>>().join("\n"),
    ))
}

fn text(one: &Listed<'_>, zone: &TimeZone, context: &Context) -> String {
    let (terminal, seen) = (context.output.terminal, &one.seen);
    let mut text = terminal.heading(one.name.as_str());
    if seen.snapshots.is_empty() {
        text.push_str("no snapshots\n");
    } else {
        text.push_str(&terminal.table(&snapshots(one, zone)));
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

fn snapshots(one: &Listed<'_>, zone: &TimeZone) -> Table {
    let row = |snapshot: &SnapshotManifest| Row {
        cells: vec![
            Cell::plain(&snapshot.id),
            Cell::plain(local(snapshot.stopped_at, zone)),
            Cell::plain(ByteSize(snapshot.bytes).to_string()),
            Cell::plain(ByteSize(snapshot.new_bytes).to_string()),
            state(one, snapshot),
        ],
        detail: detail(one, snapshot, zone),
    };
    Table {
        columns: vec![
            Column::word("SNAPSHOT"),
            Column::word("ENDED"),
            Column::number("SIZE"),
            Column::number("NEW"),
            Column::word("STATE"),
        ],
        rows: one.seen.snapshots.iter().map(row).collect(),
    }
}

fn state(one: &Listed<'_>, snapshot: &SnapshotManifest) -> Cell {
    let proof = one.proof(snapshot);
    match (one.seen.unusable(&snapshot.id), proof) {
        (Some(_), _) => Cell::toned("UNUSABLE", Tone::Bad),
        (None, Proof::Proven(_)) => Cell::toned(proof.name(), Tone::Good),
        (None, Proof::Verified(_) | Proof::Taken) => Cell::plain(proof.name()),
    }
}

/// What is too long for a column: ids are copied from here, and must not be broken.
fn detail(one: &Listed<'_>, snapshot: &SnapshotManifest, zone: &TimeZone) -> Option<String> {
    match (one.seen.unusable(&snapshot.id), one.proof(snapshot)) {
        (Some(reason), _) => Some(reason.to_string()),
        (None, Proof::Proven(at)) => Some(format!("proven {}", local(at, zone))),
        (None, Proof::Verified(since)) => Some(format!("verified since {}", local(since, zone))),
        (None, Proof::Taken) => None,
    }
}

fn value(one: &Listed<'_>) -> Value {
    let seen = &one.seen;
    let snapshot = |snapshot: &SnapshotManifest| {
        let proof = one.proof(snapshot);
        let verified_since = one.verified.get(&snapshot.id).filter(|_| proof != Proof::Taken);
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
            "proof": proof.name(),
            "verified_since": verified_since,
            "proven_at": seen.proofs.get(&snapshot.id),
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
        "resource": one.name,
        "system_id": seen.system_id,
        "snapshots": seen.snapshots.iter().map(snapshot).collect::<Vec<_>>(),
        "windows": seen.reach.windows.iter().map(window).collect::<Vec<_>>(),
        "gaps": seen.gaps,
    })
}
