//! `fenice drill`: rehearses a recovery, and shows what earlier rehearsals found.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::carry::terms_of;
use super::exit::Done;
use super::progress::Shown;
use super::{Context, instant};
use crate::config::Config;
use crate::daemon::Parts;
use crate::daemon::work::drill::{drill_of, page_of, rehearse_to};
use crate::error::{Attempt, Error, Result};
use crate::evidence::drill_report::{DrillReport, Verdict};
use crate::evidence::plain::{Cell, Column, Row, Table, Tone};
use crate::evidence::words::ENGLISH;
use crate::evidence::{html, json as json_face, text};
use crate::repository::{layout, manifest};

/// Rehearse a recovery, or show earlier rehearsals
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Run(RunArgs),
    List(ListArgs),
    Show(ShowArgs),
}

/// Recover from the repository alone into a throw-away place, check, measure, tear down
#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The resource, as the configuration names it
    resource: String,
    /// The instant to recover to, as `restore` takes it
    #[arg(long, value_name = "TIME", default_value = "latest")]
    to: String,
    /// Where the throw-away place is made [default: in the state directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Recover from this repository alone, such as that of the copies, as if the other were lost
    #[arg(long, value_name = "REPOSITORY")]
    from: Option<String>,
}

/// The drills of every resource
#[derive(Debug, clap::Args)]
struct ListArgs {}

/// One report
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The drill's id, as `drill list` prints it
    id: String,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Write it there instead of to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const LOSS_OF_MAIN: &str = "loss of host and of the main repository";

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Json,
    Html,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    match args.verb {
        Verb::Run(args) => rehearse(args, &config, &parts, context).await,
        Verb::List(_) => blocking_list(&config, &parts, context),
        Verb::Show(args) => show(&args, &config, &parts, context),
    }
}

async fn rehearse(
    args: RunArgs,
    config: &Config,
    parts: &Parts,
    context: &Context,
) -> Result<Done> {
    let protected = parts.recoverable(config, &args.resource, args.from.as_deref())?;
    let to = instant::target(&args.to, &config.daemon.timezone)?;
    let terms = terms_of(context, args.dir.as_deref());
    let mut drill = drill_of(parts, config, &protected, &terms)?;
    if args.from.as_deref().is_some_and(|from| from != protected.resource.repository) {
        drill.scenario = LOSS_OF_MAIN;
    }
    let shown = Shown::start(drill.tools.progress.clone(), context.output);
    let rehearsed = Box::pin(rehearse_to(&drill, Some(to), &protected, config)).await;
    drop(shown);
    let report = rehearsed?;
    let page = page_of(&config.daemon.state_dir, &report);
    let colour = context.output.terminal.colour;
    context.output.answer(
        || serde_json::to_value(&report).unwrap_or_else(|_| json!({})),
        || {
            let page = page.display();
            format!("{}\nThis report as a page: {page}\n", text::render(&report, &ENGLISH, colour))
        },
    )?;
    Ok(match report.verdict {
        Verdict::Passed => Done::Well,
        Verdict::Failed => Done::NotMet,
    })
}

/// Every report of every resource, oldest first. A report lies where its drill read from.
fn reports(config: &Config, parts: &Parts, context: &Context) -> Result<Vec<DrillReport>> {
    let mut reports: Vec<DrillReport> = Vec::new();
    for resource in &config.resources {
        let repository = parts.open_repository(config, &resource.repository)?;
        let prefix = layout::drills(&resource.name);
        reports.extend(manifest::read_all(&repository, &prefix)?);
        let copies = parts.copies_of(config, resource);
        let of_copies = copies.and_then(|copies| {
            let read = copies.map(|(_, copies)| manifest::read_all(&copies, &prefix));
            read.unwrap_or_else(|| Ok(Vec::new()))
        });
        match of_copies {
            Ok(of_copies) => reports.extend(of_copies),
            Err(error) => context.output.warn(error.chain()),
        }
    }
    reports.sort_by(|a, b| a.identity.drill_id.cmp(&b.identity.drill_id));
    Ok(reports)
}

fn blocking_list(config: &Config, parts: &Parts, context: &Context) -> Result<Done> {
    let reports = reports(config, parts, context)?;
    context.output.answer(
        || serde_json::to_value(&reports).unwrap_or_else(|_| json!([])),
        || {
            let rows = reports.iter().map(|report| {
                let verdict = match report.verdict {
                    Verdict::Passed => Cell::toned("passed", Tone::Good),
                    Verdict::Failed => Cell::toned("FAILED", Tone::Bad),
                };
                let figure = |measured: Option<crate::model::Span>| {
                    Cell::plain(measured.map_or("not achieved".to_owned(), |span| span.to_string()))
                };
                Row {
                    detail: None,
                    cells: vec![
                        Cell::plain(&report.identity.drill_id),
                        Cell::plain(report.identity.resource.as_str()),
                        verdict,
                        figure(report.objectives.rto.achieved()),
                        figure(report.objectives.rpo.achieved()),
                    ],
                }
            });
            let columns = ["DRILL", "RESOURCE", "VERDICT", "RTO", "RPO"].map(Column::word);
            let table = Table { columns: columns.into(), rows: rows.collect() };
            context.output.terminal.table(&table)
        },
    )?;
    Ok(Done::Well)
}

fn show(args: &ShowArgs, config: &Config, parts: &Parts, context: &Context) -> Result<Done> {
    let all = reports(config, parts, context)?;
    let report =
        all.iter().find(|report| report.identity.drill_id == args.id).ok_or_else(|| {
            Error::usage(format!("there is no drill {}", args.id))
                .hint("`fenice drill list` shows them.")
        })?;
    let colour = match args.output {
        Some(_) => crate::evidence::plain::Colour::None,
        None => context.output.terminal.colour,
    };
    let face = match args.format {
        Format::Text => text::render(report, &ENGLISH, colour),
        Format::Json => json_face::render(report),
        Format::Html => html::render(report, &ENGLISH),
    };
    match &args.output {
        Some(path) => fs::write(path, face).attempt(|| format!("write {}", path.display()))?,
        None => context.output.answer(
            || serde_json::to_value(report).unwrap_or_else(|_| json!({})),
            || face.clone(),
        )?,
    }
    Ok(Done::Well)
}
