//! `fenice restore`: brings a resource back into a new place; with `--start`, until it is open.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::args::Restore;
use super::exit::Done;
use super::progress::Shown;
use super::{Context, instant};
use crate::daemon::{Parts, Protected};
use crate::engines::blocking::blocking;
use crate::engines::postgres::restore::facts::Stored;
use crate::engines::postgres::restore::later;
use crate::engines::postgres::restore::originals::NewTablespaces;
use crate::engines::postgres::restore::recover::{
    FilesInPlace, Reached, Recovered, StartRequest, Tools, plan_recovery, restore_files,
};
use crate::engines::postgres::restore::settings::Stop;
use crate::error::Result;
use crate::evidence::plain::Cell;
use crate::model::{ByteSize, Span, Timeline};
use crate::plan::facts::{Request, Target};
use crate::plan::recovery::RecoveryPlan;
use crate::repository::listing::read_listed;
use crate::repository::pin::OwnPin;

/// The port of a restored server that does not listen on the network: its socket's name only.
pub(super) const PRIVATE_PORT: u16 = 5432;

pub(super) async fn run(args: Restore, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let protected = parts.recoverable(&config, &args.resource, args.from.as_deref())?;
    let mut tools = parts.tools_of(&protected)?;
    tools.new_tablespaces = new_tablespaces(args.original_tablespaces);
    let request = Request {
        target: match &args.snapshot {
            Some(snapshot) => Target::Consistent { snapshot: snapshot.clone() },
            None => instant::target(&args.to, &config.daemon.timezone)?,
        },
        timeline: args.timeline.map(Timeline),
        allow_damaged: args.allow_damaged,
    };
    let (stored, plan) = make_plan(&tools, &protected, request).await?;
    if args.plan {
        context.output.answer(|| plan_value(&plan), || plan.to_string())?;
        return Ok(Done::Well);
    }
    let started = parts.clock.monotonic();
    let shown = Shown::start(tools.progress.clone(), context.output);
    let mut files = {
        let (tools, target) = (tools.clone(), args.target.clone());
        let tablespaces: BTreeMap<_, _> = args.tablespaces.iter().cloned().collect();
        blocking(move || restore_files(&tools, stored, plan, &target, &tablespaces)).await?
    };
    later::keep(&files)?;
    if !args.start {
        drop(shown);
        // The log is still to be read, by another process.
        files.pins.drain(..).for_each(OwnPin::leave);
        let from = args.from.as_deref();
        return tell_how_to_go_on(&files, &tools, &protected, &parts, from, context);
    }
    let request = StartRequest {
        port: args.port.unwrap_or(PRIVATE_PORT),
        tcp: args.port.is_some(),
        user: parts.role_of(protected.resource)?,
        patience: protected.resource.drill.max_duration.0,
    };
    let recovered = files.recover(&tools, &request).await?;
    drop(shown);
    let took = Span(parts.clock.monotonic().saturating_sub(started));
    context.output.answer(
        || started_value(&files, &recovered, request.port, took),
        || context.output.terminal.facts(&started_facts(&files, &recovered, &request, took)),
    )?;
    recovered.server.leave();
    Ok(Done::Well)
}

pub(super) fn new_tablespaces(at_original: bool) -> NewTablespaces {
    match at_original {
        true => NewTablespaces::AtOriginal,
        false => NewTablespaces::Refused,
    }
}

async fn make_plan(
    tools: &Tools,
    protected: &Protected<'_>,
    request: Request,
) -> Result<(Stored, RecoveryPlan)> {
    let (tools, name) = (tools.clone(), protected.resource.name.clone());
    blocking(move || {
        let list = || tools.sources.list(&name);
        read_listed(list, |listing| plan_recovery(&tools, &name, listing, &request))
    })
    .await
}

fn plan_value(plan: &RecoveryPlan) -> Value {
    json!({
        "target": plan.target.to_string(),
        "snapshot": plan.snapshot.id,
        "timeline": plan.history.timeline.0,
        "start_lsn": plan.snapshot.start,
        "end_lsn": plan.end,
        "segments": plan.segments.len(),
        "bytes_to_restore": plan.snapshot.bytes,
        "bytes_to_fetch": plan.bytes_to_fetch,
        "stops_before_gap": plan.stops_before_gap,
        "reasons": plan.reasons,
    })
}

fn started_facts(
    files: &FilesInPlace,
    recovered: &Recovered,
    request: &StartRequest,
    took: Span,
) -> Vec<(&'static str, Cell)> {
    let socket = format!(
        "psql -h {} -p {} -U {} postgres",
        recovered.socket_dir.display(),
        request.port,
        request.user
    );
    let mut facts = vec![
        ("restored", Cell::plain(files.place.target.display().to_string())),
        ("from", Cell::plain(format!("snapshot {}", files.manifest.id))),
        (
            "files",
            Cell::plain(format!("{} in {}", ByteSize(files.restored.bytes), files.restored.files)),
        ),
        ("log", Cell::plain(format!("{} files, up to {}", recovered.segments_served, files.end()))),
        ("reached", Cell::plain(reached(recovered.reached))),
        ("took", Cell::plain(took.to_string())),
        ("server", Cell::plain(format!("process {}", recovered.server.pid()))),
        ("connect", Cell::plain(socket)),
    ];
    if request.tcp {
        facts.push(("listens on", Cell::plain(format!("127.0.0.1:{}", request.port))));
    }
    facts
}

fn reached(reached: Reached) -> String {
    match reached {
        Reached::Consistent => "the state of its snapshot".to_owned(),
        Reached::EndOfLog => "the end of the stored log".to_owned(),
        Reached::Target(at) => format!("{at}"),
        Reached::EndOfLogBefore(at) => {
            format!("the end of the stored log: no commit in it is later than {at}")
        }
    }
}

fn started_value(files: &FilesInPlace, recovered: &Recovered, port: u16, took: Span) -> Value {
    json!({
        "target": files.place.target,
        "snapshot": files.manifest.id,
        "files": files.restored.files,
        "bytes": files.restored.bytes,
        "end_lsn": files.end(),
        "reached": reached(recovered.reached),
        "took_seconds": took.as_seconds(),
        "pid": recovered.server.pid(),
        "socket_dir": recovered.socket_dir,
        "port": port,
    })
}

/// Without `--start`: the commands that serve the log and start the server (RULES 7).
fn tell_how_to_go_on(
    files: &FilesInPlace,
    tools: &Tools,
    protected: &Protected<'_>,
    parts: &Parts,
    from: Option<&str>,
    context: &Context,
) -> Result<Done> {
    let user = parts.role_of(protected.resource)?;
    let at_original = match tools.new_tablespaces {
        NewTablespaces::Refused => "",
        NewTablespaces::AtOriginal => " --original-tablespaces",
    };
    let from = from.map(|from| format!(" --from {from}")).unwrap_or_default();
    let serve = format!(
        "fenice --config {} wal serve {} --target {}{at_original}{from}",
        context.config_file.display(),
        protected.resource.name,
        files.place.target.display()
    );
    let start = start_command(files, tools, user)?;
    context.output.answer(
        || json!({ "target": files.place.target, "serve": serve, "start": start }),
        || {
            let mut text = String::new();
            let at = files.place.target.display();
            let _ = writeln!(text, "The files are in {at}. To replay the log and open it:");
            let _ = writeln!(text, "\n  1. serve the log, in a terminal of its own:\n     {serve}");
            let _ = writeln!(text, "\n  2. start the server as its user:\n     {start}");
            text
        },
    )?;
    Ok(Done::Well)
}

/// The command line of `postgres` for a restore that is served.
pub(super) fn start_command(files: &FilesInPlace, tools: &Tools, user: String) -> Result<String> {
    let request =
        StartRequest { port: PRIVATE_PORT, tcp: false, user, patience: std::time::Duration::ZERO };
    let stop = Stop::at(&files.plan.target);
    let command = files.restore_command(tools)?;
    let spec = files.spec(tools, &request, stop, &command)?;
    let word = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut line = format!(
        "{} -D {}",
        word(&spec.bin_dir.join("postgres").display().to_string()),
        word(&spec.data_dir.display().to_string())
    );
    for (name, value) in &spec.settings {
        let _ = write!(line, " -c {}", word(&format!("{name}={value}")));
    }
    Ok(line)
}
