//! `fenice drill`: rehearses a recovery, and shows what earlier rehearsals found.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::exit::Done;
use super::progress::Shown;
use super::{Context, instant};
use crate::adapters::programs;
use crate::config::Config;
use crate::daemon::{Parts, Protected};
use crate::drill::{Drill, run::keep};
use crate::engines::blocking::blocking;
use crate::error::{Attempt, Error, Result};
use crate::evidence::drill_report::{DrillReport, Trigger, Verdict};
use crate::evidence::plain::{Cell, Column, Row, Table, Tone};
use crate::evidence::words::ENGLISH;
use crate::evidence::{html, json as json_face, text};
use crate::plan::facts::Target;
use crate::repository::{layout, manifest, wal_codec};

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

const LOSS_OF_HOST: &str = "loss of host";
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
    let to = match instant::target(&args.to, &config.daemon.timezone)? {
        Target::At(at) => Some(at),
        Target::Latest | Target::Consistent { .. } => None,
    };
    let mut drill = drill_of(parts, config, &protected, context, args.dir.as_deref())?;
    if args.from.as_deref().is_some_and(|from| from != protected.resource.repository) {
        drill.scenario = LOSS_OF_MAIN;
    }
    let shown = Shown::start(drill.tools.progress.clone(), context.output);
    let report = drill.run(to).await?.report;
    drop(shown);
    let repository = protected.repository.clone();
    let kept = report.clone();
    blocking(move || keep(&repository, &kept)).await?;
    let paths = write_faces(&config.daemon.state_dir, &report)?;
    let colour = context.output.terminal.colour;
    context.output.answer(
        || serde_json::to_value(&report).unwrap_or_else(|_| json!({})),
        || {
            let page = paths.display();
            format!("{}\nThis report as a page: {page}\n", text::render(&report, &ENGLISH, colour))
        },
    )?;
    Ok(match report.verdict {
        Verdict::Passed => Done::Well,
        Verdict::Failed => Done::NotMet,
    })
}

/// A drill of a resource, in a new directory of its own.
pub(crate) fn drill_of<'a>(
    parts: &Parts,
    config: &Config,
    protected: &'a Protected<'a>,
    context: &Context,
    dir: Option<&Path>,
) -> Result<Drill<'a>> {
    let tools = parts.tools_of(protected)?;
    let name = format!("fenice-drill-{}", layout::instant(parts.clock.now()));
    // Where this process is root the server runs as somebody else, who must be able to get there.
    let open = tools.launcher.runs_as().is_some();
    let parent = match (dir, open) {
        (Some(dir), _) => dir.to_owned(),
        (None, true) => PathBuf::from("/var/tmp"),
        (None, false) => config.daemon.state_dir.join("drills"),
    };
    let base = parent.join(name);
    let mode = if open { 0o755 } else { 0o700 };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(&base)
        .attempt(|| format!("make the directory {}", base.display()))?;
    let text = fs::read(&context.config_file).unwrap_or_default();
    Ok(Drill {
        tools,
        resource: protected.resource,
        policy: protected.policy,
        user: parts.role_of(protected.resource)?,
        base,
        operator: operator(),
        host: programs::host_name(),
        configuration_hash: wal_codec::sha256_hex(&text),
        trigger: Trigger::Manual,
        scenario: LOSS_OF_HOST,
        disrupted: None,
        questions: Vec::new(),
    })
}

/// Who ordered it, as the system knows them.
fn operator() -> String {
    let name = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    name.unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// Writes the report beside the state, for people; the repository holds the one that counts.
pub(crate) fn write_faces(state_dir: &Path, report: &DrillReport) -> Result<PathBuf> {
    let dir = state_dir.join("reports");
    let stem = format!("{}-{}", report.identity.resource, report.identity.drill_id);
    let what = || format!("write the report into {}", dir.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).attempt(what)?;
    let page = dir.join(format!("{stem}.html"));
    fs::write(&page, html::render(report, &ENGLISH)).attempt(what)?;
    fs::write(dir.join(format!("{stem}.json")), json_face::render(report)).attempt(what)?;
    let plain = text::render(report, &ENGLISH, crate::evidence::plain::Colour::None);
    fs::write(dir.join(format!("{stem}.txt")), plain).attempt(what)?;
    Ok(page)
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
