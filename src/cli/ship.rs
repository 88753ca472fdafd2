//! `fenice ship`: protects one resource in the foreground, without the daemon.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Context;
use super::carry::unexpected;
use super::exit::Done;
use crate::adapters::systemd;
use crate::config::Config;
use crate::daemon::control::client::Client;
use crate::daemon::control::wire::{Reply, Request};
use crate::daemon::resource_of;
use crate::engines::postgres::snapshot::log::lock_name;
use crate::error::{Attempt, Error, Kind, Result};
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
    if let Some(client) = Client::find(&config).await? {
        return ask(client, &args, &config, context).await;
    }
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
    match args.once {
        true => drop(Box::pin(protection.run_once(stopped)).await?),
        false => {
            systemd::notify("READY=1")?;
            context.output.note(format_args!("shipping the log of {}", args.resource));
            Box::pin(protection.run(stopped)).await?;
        }
    };
    interrupts.abort();
    let state = protection.shipper.state.borrow().clone();
    report(&state.value(name), context)
}

/// Lets the daemon ship what there is now. All the rest it does anyway.
async fn ask(client: Client, args: &Args, config: &Config, context: &Context) -> Result<Done> {
    let resource = resource_of(config, &args.resource)?.name.clone();
    if !args.once {
        return Err(Error::new(Kind::Busy, format!("the daemon ships the log of {resource}"))
            .hint("`fenice ship --once` lets it ship at once what there is now."));
    }
    match client.ask(&Request::Ship { resource }, &mut |_| {}).await? {
        Reply::Done(value) => report(&value, context),
        _ => Err(unexpected()),
    }
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

fn report(shipped: &Value, context: &Context) -> Result<Done> {
    let told = |key: &str| match &shipped[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let lsn = |key: &str| told(key).parse::<Lsn>().ok();
    let text = || match shipped["timeline"].is_null() {
        false => {
            let behind = lsn("server_end").zip(lsn("stored_until"));
            let lag = match behind.map_or(0, |(end, stored)| end.since(stored)) {
                0 => String::new(),
                behind => format!(", {} behind", ByteSize(behind)),
            };
            let (resource, stored, timeline) =
                (told("resource"), told("stored_until"), told("timeline"));
            format!("the log of {resource} is stored up to {stored} of timeline {timeline}{lag}\n")
        }
        true => format!("nothing of the log of {} came\n", told("resource")),
    };
    super::well(context.output.answer(|| shipped.clone(), text))
}
