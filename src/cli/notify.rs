//! `fenice notify`: whether those who are to be told can be.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Context;
use super::exit::Done;
use crate::adapters::system;
use crate::daemon::notify::{self, Opened};
use crate::error::{Error, Result};
use crate::evidence::plain::{Cell, Column, Row, Table, Tone, clean};
use crate::notify::Way;
use crate::notify::notice::{About, Notice};
use crate::ports::Clock;

/// Notifications by mail and by webhooks
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Send a test message every configured way, and say of each whether it was accepted
    ///
    /// The heartbeat URL is not called: a call says that all is well.
    Test,
}

/// What became of the message on one way.
struct Tried {
    way: Way,
    /// Whom it was handed to, and by what it is known there.
    sent: Option<(String, String)>,
    ended: Result<()>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Done> {
    match args.verb {
        Verb::Test => test(context),
    }
}

fn test(context: &Context) -> Result<Done> {
    let config = context.config()?;
    let clock = context.parts()?.clock;
    let ways = notify::channels(&config.notify);
    if ways.is_empty() {
        return Err(Error::usage("the configuration names nobody who could be told")
            .hint("Add [notify.mail] or [[notify.webhook]]: see docs/CONFIGURATION.md."));
    }
    let notice = Notice { at: clock.now(), host: system::host_name(), about: About::Test };
    let zone = &config.daemon.timezone;
    let tried: Vec<Tried> =
        ways.into_iter().map(|way| try_one(way, &notice, zone, clock.as_ref())).collect();
    context.output.answer(
        || Value::Array(tried.iter().map(value).collect()),
        || context.output.terminal.table(&table(&tried)),
    )?;
    Ok(if tried.iter().all(|one| one.ended.is_ok()) { Done::Well } else { Done::InPart })
}

fn try_one(opened: Opened, notice: &Notice, zone: &TimeZone, clock: &dyn Clock) -> Tried {
    let mut sent = None;
    let ended = opened.channel.and_then(|channel| {
        let letter = channel.write(notice, zone);
        let letter = letter.ok_or_else(|| Error::failed("nothing is written for it"))?;
        sent = Some((channel.describe(), channel.id_of(&letter)));
        channel.send(&letter, clock.now())
    });
    Tried { way: opened.way, sent, ended }
}

fn table(tried: &[Tried]) -> Table {
    let row = |one: &Tried| {
        let by = one.sent.as_ref().map_or(String::new(), |(place, _)| place.clone());
        let (state, detail) = match &one.ended {
            Ok(()) => (Cell::toned("accepted", Tone::Good), None),
            Err(error) => {
                let hint = error.hint_text().map(|hint| format!(" (hint: {hint})"));
                let detail = format!("{}{}", error.chain(), hint.unwrap_or_default());
                (Cell::toned("NOT ACCEPTED", Tone::Bad), Some(clean(&detail)))
            }
        };
        Row { cells: vec![Cell::plain(one.way.to_string()), Cell::plain(by), state], detail }
    };
    Table {
        columns: vec![Column::text("WAY"), Column::text("BY"), Column::word("STATE")],
        rows: tried.iter().map(row).collect(),
    }
}

fn value(one: &Tried) -> Value {
    let (way, to) = match &one.way {
        Way::Mail { to } => ("mail", to.as_str()),
        Way::Webhook { name } => ("webhook", name.as_str()),
    };
    let error = one.ended.as_ref().err();
    json!({
        "way": way,
        "to": to,
        "by": one.sent.as_ref().map(|(place, _)| place),
        "id": one.sent.as_ref().map(|(_, id)| id),
        "accepted": error.is_none(),
        "failed_because": error.map(Error::chain),
        "hint": error.and_then(Error::hint_text),
    })
}
