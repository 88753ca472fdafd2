//! `fenice ship`: protects one resource in the foreground, without the daemon.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Context;
use super::exit::Done;
use crate::adapters::systemd;
use crate::engines::postgres::protect::Protection;
use crate::engines::postgres::snapshot::log::lock_name;
use crate::error::{Attempt, Result};
use crate::model::{ByteSize, Lsn, Span};
use crate::repository::retirement;

/// Ship the log and write heartbeats, until interrupted
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The resource, as the configuration names it
    resource: String,
    /// Ship what there is now, then end
    #[arg(long)]
    once: bool,
    /// Where another installation writes to the repository, wait until it ends or dies
    #[arg(long)]
    stand_by: bool,
    /// End after this long, such as 30s, 5m, 4h
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "once")]
    limit: Option<Span>,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?.standing_by(args.stand_by);
    let protected = parts.protected(&config, &args.resource)?;
    let name = &protected.resource.name;
    let _lock = protected.repository.lock(&lock_name(name))?;
    // Asked again under the lock, without which nobody retires it.
    retirement::must_be_in_use(&protected.repository, name)?;
    let cluster = parts.register(&protected).await?;
    let catalog = Arc::new(parts.catalog(&config)?);
    let protection = parts.protection_of(&protected, &cluster, catalog)?;
    let (stop, stopped) = watch::channel(false);
    let interrupts = tokio::spawn(stop_when_told(stop, args.limit.map(|limit| limit.0))?);
    let stored = match args.once {
        true => Box::pin(protection.run_once(stopped)).await?,
        false => {
            systemd::notify("READY=1")?;
            context.output.note(format_args!("shipping the log of {}", args.resource));
            Box::pin(protection.run(stopped)).await?;
            protection.shipper.state.borrow().stored
        }
    };
    interrupts.abort();
    report(&protection, stored, context)
}

/// Sets `stop` on SIGTERM, SIGINT, or after `limit`.
pub(super) fn stop_when_told(
    stop: watch::Sender<bool>,
    limit: Option<Duration>,
) -> Result<impl Future<Output = ()>> {
    let what = || "listen for signals".to_owned();
    let mut terminate = signal(SignalKind::terminate()).attempt(what)?;
    let mut interrupt = signal(SignalKind::interrupt()).attempt(what)?;
    Ok(async move {
        let over = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = over => {}
        }
        tracing::info!("storing what was received, then ending");
        stop.send_replace(true);
        // Held until the end: a closed channel would read as a wish to stop.
        stop.closed().await;
    })
}

fn report(protection: &Protection, stored: Lsn, context: &Context) -> Result<Done> {
    let state = protection.shipper.state.borrow().clone();
    let resource = &protection.shipper.archive.resource;
    let value = || {
        json!({
            "resource": resource,
            "timeline": state.timeline,
            "stored_until": stored,
            "complete_at": state.complete_at,
            "server_end": state.server_end,
            "gaps": state.gaps.len(),
            "trouble": state.trouble,
        })
    };
    let text = || match state.timeline {
        Some(timeline) => {
            let lag = match state.server_end.since(stored) {
                0 => String::new(),
                behind => format!(", {} behind", ByteSize(behind)),
            };
            format!("the log of {resource} is stored up to {stored} of timeline {timeline}{lag}\n")
        }
        None => format!("nothing of the log of {resource} came\n"),
    };
    super::well(context.output.answer(value, text))
}
