//! `fenice verify`: reads what is stored and says whether it is still what was stored; with
//! `--heal`, puts right what the other repository can.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Context;
use super::carry::{carry_out, unexpected};
use super::exit::Done;
use super::list::local;
use crate::daemon;
use crate::daemon::work::verify::Verified;
use crate::daemon::work::{Report, Wish};
use crate::engines::postgres::scrub::Damage;
use crate::error::{Error, Result};
use crate::evidence::plain::clean;
use crate::model::ByteSize;

/// Read what is stored, find damage, and say what it concerns
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The resource, as the configuration names it
    resource: String,
    /// Read everything [default: what is new, and a share of the rest: `verify_within`]
    #[arg(long)]
    all: bool,
    /// Put right what can be, from the other repository
    #[arg(long)]
    heal: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let resource = daemon::resource_of(&config, &args.resource)?.name.clone();
    let wish = Wish::Verify { resource, all: args.all, heal: args.heal };
    let report = carry_out(wish, &config, &context.parts()?, context).await?;
    let Report::Verify(report) = report else { return Err(unexpected()) };
    let (all, zone) = (&report.verified, &config.daemon.timezone);
    if !all.is_empty() {
        let value = |one: &Verified| value(&args.resource, one);
        let text = |one: &Verified| text(&args.resource, one, zone, context);
        context.output.answer(
            || Value::Array(all.iter().map(value).collect()),
            || all.iter().map(text).collect::<Vec<_>>().join("\n"),
        )?;
    }
    let mut failures: Vec<Error> = report.failed.into_iter().map(Error::from).collect();
    if let Some(last) = failures.pop() {
        failures.iter().for_each(|error| context.output.error(error));
        return Err(last);
    }
    Ok(if all.iter().all(|one| one.run.is_well()) { Done::Well } else { Done::NotMet })
}

fn text(resource: &str, one: &Verified, zone: &TimeZone, context: &Context) -> String {
    let run = &one.run;
    let mut text = context.output.terminal.heading(&format!("{resource} in `{}`", one.repository));
    let (read, bytes) = (ByteSize(run.read_bytes), ByteSize(run.bytes));
    let (objects, of) = (run.read_objects, run.objects);
    text.push_str(&format!("read {objects} of {of} objects, {read} of {bytes}\n"));
    text.push_str(&match run.all_sound_since {
        Some(since) => format!("everything was found sound since {}\n", local(since, zone)),
        None => "not everything has been found sound\n".to_owned(),
    });
    for (key, reason) in &run.unread {
        text.push_str(&format!("CANNOT TELL {}: {}\n", clean(key), clean(reason)));
    }
    for damage in &run.damage {
        text.push_str(&told(damage));
    }
    for id in &run.recovered {
        text.push_str(&format!("healed snapshot {id}, which could not be recovered from\n"));
    }
    for affected in &run.affected {
        let because = clean(&affected.because);
        text.push_str(&format!("NOT RECOVERABLE snapshot {}: {because}\n", affected.snapshot));
    }
    for (from, to) in &run.lost_instants {
        let (from, to) = (local(*from, zone), local(*to, zone));
        text.push_str(&format!("NOT RECOVERABLE instants from {from} to {to}\n"));
    }
    match (run.is_well(), run.sound.len()) {
        (true, 0) => text.push_str("there is no snapshot\n"),
        (true, count) => text.push_str(&format!("{count} snapshots can be recovered from\n")),
        (false, 0) => text.push_str("NO snapshot can be recovered from\n"),
        (false, _) => {
            text.push_str(&format!("recoverable as before: {}\n", run.sound.join(", ")));
        }
    }
    text
}

fn told(damage: &Damage) -> String {
    let (key, problem) = (clean(&damage.key), clean(&damage.problem));
    match (damage.healed, &damage.unhealed_because) {
        (true, _) => format!("healed {key}: {problem}\n"),
        (false, None) => format!("DAMAGED {key}: {problem}\n"),
        (false, Some(why)) => format!("DAMAGED {key}: {problem}; not healed: {}\n", clean(why)),
    }
}

fn value(resource: &str, one: &Verified) -> Value {
    let run = &one.run;
    let pair = |(key, reason): &(String, String)| json!({ "key": key, "because": reason });
    let span = |(from, to): &(jiff::Timestamp, jiff::Timestamp)| json!({ "from": from, "to": to });
    json!({
        "resource": resource,
        "repository": one.repository,
        "well": run.is_well(),
        "at": run.at,
        "objects": run.objects,
        "bytes": run.bytes,
        "read_objects": run.read_objects,
        "read_bytes": run.read_bytes,
        "all_sound_since": run.all_sound_since,
        "unread": run.unread.iter().map(pair).collect::<Vec<_>>(),
        "damage": run.damage,
        "affected": run.affected,
        "sound": run.sound,
        "recovered": run.recovered,
        "lost_instants": run.lost_instants.iter().map(span).collect::<Vec<_>>(),
    })
}
