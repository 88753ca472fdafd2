//! `fenice snapshot`: takes one now.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::carry::{carry_out, unexpected};
use super::exit::Done;
use super::{Context, locking};
use crate::daemon;
use crate::daemon::work::{Report, SnapshotReport, Wish};
use crate::engines::postgres::locking::LockRun;
use crate::error::{Attempt, Result};
use crate::evidence::plain::{Cell, Tone};
use crate::model::{ByteSize, Span};
use crate::repository::manifest::SnapshotManifest;

/// Take a snapshot now
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The resource, as the configuration names it
    resource: String,
    /// Read every file, whether it seems changed or not
    #[arg(long)]
    full: bool,
}

/// Pages named on the terminal; the manifest lists more.
const PAGES_SHOWN: usize = 20;

pub(super) async fn run(args: Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let resource = daemon::resource_of(&config, &args.resource)?.name.clone();
    let wish = Wish::Snapshot { resource, full: args.full };
    let report = carry_out(wish, &config, &context.parts()?, context).await?;
    let Report::Snapshot(report) = report else { return Err(unexpected()) };
    let SnapshotReport { manifest: snapshot, took, locked, lock_failed } = *report;
    if locking::answers_first(lock_failed.as_ref(), context) {
        context.output.answer(
            || value(&snapshot, took, locked),
            || {
                let facts = facts(&snapshot, took, locked, &config.daemon.timezone);
                context.output.terminal.facts(&facts)
            },
        )?;
    }
    let what = || format!("lock snapshot {}, which is taken and committed", snapshot.id);
    locking::must_be_locked(lock_failed).attempt(what)?;
    match snapshot.pages.damaged_count {
        0 => Ok(Done::Well),
        _ => Ok(Done::NotMet),
    }
}

fn rate(bytes: u64, took: Duration) -> ByteSize {
    ByteSize((bytes as f64 / took.as_secs_f64().max(0.001)) as u64)
}

fn facts(
    snapshot: &SnapshotManifest,
    took: Duration,
    locked: Option<LockRun>,
    zone: &TimeZone,
) -> Vec<(&'static str, Cell)> {
    let size = |bytes| ByteSize(bytes).to_string();
    let read = match snapshot.unread_bytes {
        0 => String::new(),
        unread => format!(", {} taken over unread", size(unread)),
    };
    let new = size(snapshot.new_bytes);
    let mut facts = vec![
        ("snapshot", Cell::plain(&snapshot.id)),
        ("size", Cell::plain(format!("{} in {} files", size(snapshot.bytes), snapshot.files))),
        ("new", Cell::plain(format!("{new}{read}"))),
        ("took", Cell::plain(format!("{}, {}/s", Span(took), rate(snapshot.bytes, took)))),
        ("log", Cell::plain(format!("{} to {}", snapshot.start_lsn, snapshot.stop_lsn))),
        ("pages", pages(snapshot)),
    ];
    facts.extend(locked.map(|run| ("locked", Cell::plain(locking::told(&run, zone)))));
    facts
}

fn pages(snapshot: &SnapshotManifest) -> Cell {
    let pages = &snapshot.pages;
    if pages.damaged_count > 0 {
        let shown = pages.damaged.iter().take(PAGES_SHOWN);
        let named: Vec<String> = shown.map(|at| format!("{}:{}", at.file, at.page)).collect();
        let more = pages.damaged_count.saturating_sub(named.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!("{} DAMAGED: {}{more}", pages.damaged_count, named.join(", "));
        return Cell::toned(text, Tone::Bad);
    }
    match pages.checkable {
        true => Cell::plain(format!("{} checked, none damaged", pages.checked)),
        false => Cell::toned("not checkable: the cluster has no checksums", Tone::Warn),
    }
}

fn value(snapshot: &SnapshotManifest, took: Duration, locked: Option<LockRun>) -> Value {
    json!({
        "resource": snapshot.resource,
        "id": snapshot.id,
        "method": snapshot.method,
        "timeline": snapshot.timeline,
        "start_lsn": snapshot.start_lsn,
        "stop_lsn": snapshot.stop_lsn,
        "started_at": snapshot.started_at,
        "stopped_at": snapshot.stopped_at,
        "files": snapshot.files,
        "bytes": snapshot.bytes,
        "new_bytes": snapshot.new_bytes,
        "unread_bytes": snapshot.unread_bytes,
        "full_read": snapshot.full_read,
        "vault_epoch": snapshot.vault.epoch,
        "pages": snapshot.pages,
        "locked": locked,
        "took_seconds": took.as_secs_f64(),
        "bytes_per_second": rate(snapshot.bytes, took).0,
    })
}
