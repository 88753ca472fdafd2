//! `fenice pause` and `fenice resume`: nothing that is ordered begins on a resource for a while.

use jiff::Timestamp;
use serde_json::json;

use super::carry::unexpected;
use super::exit::Done;
use super::list::local;
use super::{Context, instant, well};
use crate::catalog::journal::PauseRow;
use crate::daemon::control::client::Client;
use crate::daemon::control::wire::{Reply, Request};
use crate::daemon::resource_of;
use crate::error::{Error, Result};
use crate::plan::facts::Target;

/// Begin nothing on a resource that the schedule orders; shipping goes on
#[derive(Debug, clap::Args)]
pub(super) struct Pause {
    /// The resource, as the configuration names it
    resource: String,
    /// What for
    #[arg(long)]
    why: String,
    /// Until then, as `restore --to` takes it [default: until `fenice resume`]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// Take a pause back
#[derive(Debug, clap::Args)]
pub(super) struct Resume {
    /// The resource, as the configuration names it
    resource: String,
}

pub(super) async fn pause(args: Pause, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let (resource, zone) =
        (resource_of(&config, &args.resource)?.name.clone(), &config.daemon.timezone);
    let until: Option<Timestamp> = match args.until.as_deref() {
        None => None,
        Some(text) => match instant::target(text, zone)? {
            Target::At(at) if at > parts.clock.now() => Some(at),
            _ => return Err(Error::usage(format!("{text} is not in the future"))),
        },
    };
    let why = args.why;
    match Client::find(&config).await? {
        Some(client) => {
            let request = Request::Pause { resource: resource.clone(), why: why.clone(), until };
            let Reply::Done(_) = client.ask(&request, &mut |_| {}).await? else {
                return Err(unexpected());
            };
        }
        None => {
            let pause = PauseRow { resource: resource.clone(), why: why.clone(), until };
            parts.catalog(&config)?.pause(&pause)?;
        }
    }
    let end =
        until.map_or("until `fenice resume`".to_owned(), |at| format!("until {}", local(at, zone)));
    well(context.output.answer(
        || json!({ "resource": resource, "paused": true, "why": why, "until": until }),
        || format!("{resource} is paused {end}: what runs goes on, and so does shipping\n"),
    ))
}

pub(super) async fn resume(args: Resume, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let resource = resource_of(&config, &args.resource)?.name.clone();
    let was_paused = match Client::find(&config).await? {
        Some(client) => {
            let request = Request::Resume { resource: resource.clone() };
            match client.ask(&request, &mut |_| {}).await? {
                Reply::Done(value) => value["was_paused"] == true,
                _ => return Err(unexpected()),
            }
        }
        None => context.parts()?.catalog(&config)?.resume(&resource)?,
    };
    let told = if was_paused { "is no longer paused" } else { "was not paused" };
    well(context.output.answer(
        || json!({ "resource": resource, "paused": false, "was_paused": was_paused }),
        || format!("{resource} {told}\n"),
    ))
}
