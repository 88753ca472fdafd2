//! `fenice keys rotate`: a new key for a resource's vault.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::super::Context;
use super::super::exit::Done;
use super::super::list::local;
use crate::config::{Config, Resource};
use crate::daemon::{self, Purpose};
use crate::engines::keys::{OldEpoch, Rotated, rotate};
use crate::error::{Attempt, Error, Result};
use crate::model::{ByteSize, ResourceName};
use crate::plan::retention::Role;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The resource, as the configuration names it
    resource: String,
    /// Where: its repository, or that of its copies [default: its own]
    #[arg(long = "in", value_name = "REPOSITORY")]
    repository: Option<String>,
}

/// A vault of a resource, by the repository that it lies in.
struct Place<'c> {
    resource: &'c ResourceName,
    repository: &'c str,
    role: Role,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let resource = daemon::resource_of(&config, &args.resource)?;
    let place = place(&config, resource, args.repository.as_deref())?;
    let repository = parts.open_for(&config, place.repository, Purpose::Write)?;
    let rotated = rotate(&repository, place.resource, parts.entropy.as_ref())
        .attempt(|| format!("rotate the key of {} in `{}`", place.resource, place.repository))?;
    let zone = &config.daemon.timezone;
    let printed =
        context.output.answer(|| value(&place, &rotated), || text(&place, &rotated, zone));
    super::super::well(printed)
}

fn place<'c>(config: &'c Config, resource: &'c Resource, named: Option<&str>) -> Result<Place<'c>> {
    let places = daemon::places(config, resource);
    let is_meant = |repository: &str| named.is_none_or(|named| named == repository);
    let chosen = places.iter().find(|(repository, _)| is_meant(repository));
    let known: Vec<&str> = places.iter().map(|(repository, _)| *repository).collect();
    let (repository, role) = chosen.copied().ok_or_else(|| {
        let named = named.unwrap_or_default();
        Error::usage(format!("`{named}` holds nothing of `{}`", resource.name))
            .hint(format!("It is stored in: {}.", known.join(", ")))
    })?;
    Ok(Place { resource: &resource.name, repository, role })
}

fn text(place: &Place<'_>, rotated: &Rotated, zone: &TimeZone) -> String {
    let Place { resource, repository, role } = place;
    let next = match role {
        Role::Copies => "copy",
        Role::Only | Role::Main => "snapshot",
    };
    let mut text = format!(
        "the key of {resource} in `{repository}` is another one from now on: epoch {}\n",
        rotated.epoch
    );
    text.push_str(&match rotated.next_bytes {
        Some(bytes) => format!(
            "the next {next} is stored whole, in a vault of its own: about {}, uncompressed\n",
            ByteSize(bytes)
        ),
        None => format!("the next {next} makes its vault\n"),
    });
    for OldEpoch { epoch, snapshots, newest_at } in &rotated.old {
        let newest = local(*newest_at, zone);
        text.push_str(&format!(
            "epoch {epoch} is read as before and leaves with the last of its {snapshots} \
             snapshots, the newest of {newest}; who has its password can read those until then\n"
        ));
    }
    text
}

fn value(place: &Place<'_>, rotated: &Rotated) -> Value {
    json!({
        "resource": place.resource,
        "repository": place.repository,
        "epoch": rotated.epoch,
        "old": rotated.old,
        "next_bytes": rotated.next_bytes,
    })
}
