//! `fenice takeover`: a host that has nothing but the configuration and the identity takes charge
//! of what another one protected.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::catalog::{self, FOUND_COLUMNS, found_cells, found_detail};
use super::exit::Done;
use super::ship::stop_when_told;
use super::{Context, block_on};
use crate::config::{Config, Resource};
use crate::daemon::takeover::{Shipped, Takeover};
use crate::engines::postgres::rebuild::Rebuilt;
use crate::error::Result;
use crate::evidence::plain::{Cell, Column, Row, Table, Tone, clean};
use crate::model::Span;

/// As root; see `systemd/`.
const START_DAEMON: &str = "systemctl enable --now fenice.service";

/// Take charge of everything configured, on a host that has nothing but the repository
///
/// For when the host that ran Fenice is lost. Takes the lease of every repository, waiting where
/// its last holder died without a word; rebuilds the catalog; ships every log up to its present
/// end; and says what to start then. Refuses while the other host is at work.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where another installation writes to a repository, wait until it ends or dies
    #[arg(long)]
    stand_by: bool,
}

/// One resource with what became of it.
struct Taken<'t> {
    resource: &'t Resource,
    rebuilt: &'t Result<Rebuilt>,
    shipped: &'t Result<Shipped>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?.standing_by(args.stand_by);
    let mut takeover = parts.take_over(&config)?;
    block_on(async {
        let (stop, stopped) = watch::channel(false);
        let interrupts = tokio::spawn(stop_when_told(stop, None)?);
        let runtime = Handle::current();
        tokio::task::block_in_place(|| takeover.ship(&stopped, &runtime));
        interrupts.abort();
        Ok(())
    })?;
    takeover.hand_on();
    let taken: Vec<Taken<'_>> = config
        .resources
        .iter()
        .zip(takeover.rebuilt.iter().zip(&takeover.shipped))
        .map(|(resource, (rebuilt, shipped))| Taken { resource, rebuilt, shipped })
        .collect();
    context
        .output
        .answer(|| value(&takeover, &taken), || text(&takeover, &taken, &config, context))?;
    Ok(if takeover.is_whole() { Done::Well } else { Done::NotMet })
}

impl Taken<'_> {
    fn is_retired(&self) -> bool {
        matches!(self.shipped, Ok(Shipped::Retired(_)))
    }

    /// Whether recovery to what comes now needs another snapshot first.
    fn needs_snapshot(&self) -> bool {
        let gaps = match self.shipped {
            Ok(Shipped::Until(state)) => !state.gaps.is_empty(),
            _ => false,
        };
        let none = self.rebuilt.as_ref().is_ok_and(|found| found.snapshots == 0);
        !self.is_retired() && (gaps || none)
    }
}

/// The commands that put this host in the place of the one before: the daemon does the rest.
fn commands(taken: &[Taken<'_>]) -> Vec<String> {
    let bare = taken.iter().filter(|one| one.needs_snapshot());
    let snapshots = bare.map(|one| format!("fenice snapshot {}", one.resource.name));
    std::iter::once(START_DAEMON.to_owned()).chain(snapshots).collect()
}

fn took(takeover: &Takeover<'_>) -> Duration {
    takeover.phases.iter().map(|(_, took)| *took).sum()
}

fn text(
    takeover: &Takeover<'_>,
    taken: &[Taken<'_>],
    config: &Config,
    context: &Context,
) -> String {
    let terminal = context.output.terminal;
    let mut columns = vec![Column::word("RESOURCE")];
    columns.extend(FOUND_COLUMNS);
    columns.push(Column::word("LOG"));
    let rows = taken.iter().map(|one| row(one, config)).collect();
    let mut text = terminal.table(&Table { columns, rows });
    for (name, error) in takeover.repositories.failed() {
        text.push_str(&format!("`{name}` is NOT IN CHARGE: {}\n", clean(&error.chain())));
    }
    text.push('\n');
    let mut facts: Vec<(&str, Cell)> = takeover
        .phases
        .iter()
        .map(|(phase, took)| (*phase, Cell::plain(Span(*took).to_string())))
        .collect();
    let all = Span(took(takeover)).to_string();
    facts.push(match takeover.is_whole() {
        true => ("in charge", Cell::toned(format!("after {all}"), Tone::Good)),
        false => ("IN PART", Cell::toned(format!("after {all}; see above"), Tone::Bad)),
    });
    text.push_str(&terminal.facts(&facts));
    text.push_str("\nstart now, on this host:\n");
    for command in commands(taken) {
        let who = if command == START_DAEMON { "sudo " } else { "" };
        text.push_str(&format!("  {who}{command}\n"));
    }
    text.push_str(
        "and disable the daemon of the host before, or it takes its turn when this one rests\n",
    );
    text
}

fn row(one: &Taken<'_>, config: &Config) -> Row {
    let mut cells = vec![Cell::plain(one.resource.name.as_str())];
    cells.extend(found_cells(one.rebuilt));
    cells.push(match one.shipped {
        Ok(Shipped::Until(state)) => Cell::toned(format!("up to {}", state.stored), Tone::Good),
        Ok(Shipped::Retired(_)) => Cell::plain("retired"),
        Err(_) => Cell::toned("NOT SHIPPED", Tone::Bad),
    });
    let found = found_detail(one.rebuilt, config);
    let told: Vec<String> = found.into_iter().chain(failure(one.shipped)).collect();
    Row { cells, detail: (!told.is_empty()).then(|| told.join("; ")) }
}

fn failure(shipped: &Result<Shipped>) -> Option<String> {
    let error = shipped.as_ref().err()?;
    let hint = error.hint_text().map(|hint| format!(" (hint: {hint})"));
    Some(clean(&format!("{}{}", error.chain(), hint.unwrap_or_default())))
}

fn value(takeover: &Takeover<'_>, taken: &[Taken<'_>]) -> Value {
    let phase =
        |(phase, took): &(&str, Duration)| json!({ "phase": phase, "seconds": took.as_secs_f64() });
    let open = takeover.repositories.all().map(|(name, repository)| {
        let generation = repository.lease().map(|lease| lease.generation());
        json!({ "repository": name, "generation": generation, "failed_because": null })
    });
    let failed = takeover.repositories.failed().map(|(name, error)| {
        json!({ "repository": name, "generation": null, "failed_because": error.chain() })
    });
    json!({
        "whole": takeover.is_whole(),
        "took_seconds": took(takeover).as_secs_f64(),
        "phases": takeover.phases.iter().map(phase).collect::<Vec<_>>(),
        "repositories": open.chain(failed).collect::<Vec<_>>(),
        "resources": taken.iter().map(resource_value).collect::<Vec<_>>(),
        "start": commands(taken),
    })
}

fn resource_value(one: &Taken<'_>) -> Value {
    let shipped = match one.shipped {
        Ok(Shipped::Until(state)) => json!({
            "timeline": state.timeline,
            "stored_until": state.stored,
            "server_end": state.server_end,
            "complete_at": state.complete_at,
            "gaps": state.gaps.len(),
        }),
        _ => Value::Null,
    };
    let failed = one.shipped.as_ref().err();
    json!({
        "resource": one.resource.name,
        "catalog": catalog::value(one.rebuilt),
        "shipped": shipped,
        "retired": one.is_retired(),
        "failed_because": failed.map(|error| error.chain()),
        "hint": failed.and_then(|error| error.hint_text()),
    })
}
