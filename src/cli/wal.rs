//! `fenice wal`: what PostgreSQL itself calls, as `archive_command` and `restore_command`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::exit::Done;
use super::{Context, lethal};
use crate::config::{Config, Resource};
use crate::daemon;
use crate::engines::blocking::blocking;
use crate::engines::postgres::restore::direct;
use crate::engines::postgres::restore::fetch::{Fetch, from_socket};
use crate::engines::postgres::restore::later;
use crate::engines::postgres::restore::sources::Sources;
use crate::engines::postgres::{cluster, push};
use crate::error::{Error, Result};
use crate::model::Timeline;
use crate::ports::store::Put;
use crate::repository::retirement;

/// Take over or hand back files of the log, for PostgreSQL itself
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Push(PushArgs),
    Fetch(FetchArgs),
    Serve(ServeArgs),
}

/// Serve the log to a restored server that you start yourself, until interrupted
#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// The resource, as the configuration names it
    resource: String,
    /// Where `restore` put it
    #[arg(long, value_name = "DIR")]
    target: PathBuf,
    /// As for `restore`
    #[arg(long)]
    original_tablespaces: bool,
    /// As for `restore`
    #[arg(long, value_name = "REPOSITORY")]
    from: Option<String>,
}

/// Store a file of pg_wal: archive_command = 'fenice wal push %p'
#[derive(Debug, clap::Args)]
struct PushArgs {
    /// The file (%p)
    path: PathBuf,
    /// Whose it is [default: the only resource of the configuration]
    #[arg(long)]
    resource: Option<String>,
}

/// Fetch a file of the log: restore_command = 'fenice wal fetch %f %p'
///
/// Ends with 0 when the file is in place, with 1 when it provably does not exist; with anything
/// else it kills itself, because PostgreSQL would take it for the end of the log.
#[derive(Debug, clap::Args)]
struct FetchArgs {
    /// The file's name (%f)
    name: String,
    /// Where to put it (%p)
    path: PathBuf,
    /// The socket of the restore that serves [default: $FENICE_WAL_SOCKET, or none: straight from
    /// the repository]
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
    /// Whose it is [default: the only resource of the configuration]
    #[arg(long, conflicts_with = "socket")]
    resource: Option<String>,
    /// The timeline that recovery follows [default: the newest that is stored]
    #[arg(long, value_name = "N", conflicts_with = "socket")]
    timeline: Option<u32>,
}

/// How `fenice wal` ends.
pub(super) enum Ended {
    As(Result<Done>),
    With(ExitCode),
}

pub(super) fn run(args: &Args, context: &Context) -> Ended {
    match &args.verb {
        Verb::Push(args) => Ended::As(run_push(args, context)),
        Verb::Serve(args) => Ended::As(super::block_on(run_serve(args, context))),
        Verb::Fetch(args) => Ended::With(match run_fetch(args, context) {
            Ok(Fetch::Done) => ExitCode::SUCCESS,
            Ok(Fetch::Absent) => ExitCode::from(1),
            Err(error) => {
                context.output.error(&error);
                lethal::kill_self()
            }
        }),
    }
}

fn run_push(args: &PushArgs, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let resource = named_or_only(&config, args.resource.as_deref())?;
    let repository = parts.open_repository(&config, &resource.repository)?;
    retirement::must_be_in_use(&repository, &resource.name)?;
    let registered = cluster::registered(&repository, &resource.name)?;
    let level = daemon::compression_level(config.policy_of(resource));
    let archive = cluster::archive(&repository, &resource.name, &registered.cluster, level);
    let put = push::push(&archive, &registered, &args.path)?;
    let created = put == Put::Created;
    // Nothing for people: PostgreSQL would log it with every segment.
    let answer = || json!({ "path": args.path, "created": created });
    super::well(context.output.answer(answer, String::new))
}

fn run_fetch(args: &FetchArgs, context: &Context) -> Result<Fetch> {
    let from_environment = || {
        let socket = std::env::var_os("FENICE_WAL_SOCKET").filter(|socket| !socket.is_empty());
        socket.filter(|_| args.resource.is_none() && args.timeline.is_none()).map(PathBuf::from)
    };
    if let Some(socket) = args.socket.clone().or_else(from_environment) {
        return from_socket(&socket, &args.name, &args.path);
    }
    let config = context.config()?;
    let parts = context.parts()?;
    let resource = named_or_only(&config, args.resource.as_deref())?;
    let repository = parts.open_repository(&config, &resource.repository)?;
    let sources = Sources::only(&repository);
    let timeline = args.timeline.map(Timeline);
    let (name, path) = (&args.name, &args.path);
    direct::fetch(&sources, &resource.name, timeline, name, path, parts.clock.as_ref())
}

async fn run_serve(args: &ServeArgs, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let protected = parts.recoverable(&config, &args.resource, args.from.as_deref())?;
    let mut tools = parts.tools_of(&protected)?;
    tools.new_tablespaces = super::restore::new_tablespaces(args.original_tablespaces);
    let files = {
        let (tools, name) = (tools.clone(), protected.resource.name.clone());
        let target = args.target.clone();
        blocking(move || later::take_up(&tools, &name, &target)).await?
    };
    // Before anything is served: a signal that comes early must end this in order, too.
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let interrupts = tokio::spawn(super::ship::stop_when_told(stop, None)?);
    let _server = files.serve(&tools)?;
    let user = parts.role_of(protected.resource)?;
    let start = super::restore::start_command(&files, &tools, user)?;
    context
        .output
        .note(format_args!("serving the log up to {}; start it with:\n{start}", files.end()));
    // The other end goes away with the task that waits for signals: that is a reason to end too.
    drop(stopped.wait_for(|stop| *stop).await);
    interrupts.abort();
    Ok(Done::Well)
}

fn named_or_only<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c Resource> {
    match (name, config.resources.as_slice()) {
        (Some(name), _) => daemon::resource_of(config, name),
        (None, [only]) => Ok(only),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|r| r.name.as_str()).collect();
            Err(Error::usage("which resource is meant is not said")
                .hint(format!("Name it with --resource, one of: {}.", names.join(", "))))
        }
    }
}
