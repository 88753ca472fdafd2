//! The command line: one file a verb; no decisions.
//!
//! Reading order: `args` (what every command takes), `exit` and `output` (how it ends and what it
//! says), `lethal` (how `wal fetch` ends), then the verbs.

pub mod args;
pub mod exit;
pub mod instant;
pub mod lethal;
pub mod output;
pub mod progress;
pub mod terminal;

mod carry;
mod catalog;
mod check_config;
mod copy;
mod daemon;
mod demo;
mod document;
pub(crate) mod drill;
mod hold;
mod init;
mod jobs;
mod keys;
mod list;
mod locking;
mod notify;
mod pause;
mod prepare;
mod resource;
mod restore;
mod retention;
mod ship;
mod snapshot;
mod status;
mod takeover;
mod verify;
mod wal;

use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use crate::adapters::capabilities;
use crate::config::{self, Config};
use crate::daemon::Parts;
use crate::error::{Attempt, Error, Kind, Result};
use args::Common;
use exit::{Done, code, code_of};
use output::Output;

/// Threads that were asked to end do so within this long.
const END_WITHIN: Duration = Duration::from_secs(5);
const DEFAULT_CONFIG: &str = "/etc/fenice/fenice.toml";

/// Backup, recovery and continuity for PostgreSQL, proven by restoring.
#[derive(Debug, Parser)]
#[command(name = "fenice", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Args),
    CheckConfig(check_config::Args),
    Prepare(prepare::Args),
    Ship(ship::Args),
    Snapshot(snapshot::Args),
    Copy(copy::Args),
    Daemon(daemon::Args),
    Jobs(jobs::Args),
    Pause(pause::Pause),
    Resume(pause::Resume),
    List(list::Args),
    Status(status::Args),
    Restore(args::Restore),
    Retention(retention::Args),
    Verify(verify::Args),
    Hold(hold::Args),
    Keys(keys::Args),
    Resource(resource::Args),
    Drill(drill::Args),
    Takeover(takeover::Args),
    Catalog(catalog::Args),
    Notify(notify::Args),
    Demo(demo::Args),
    Wal(wal::Args),
    #[command(hide = true)]
    Document(document::Args),
}

/// What a verb works with.
pub(crate) struct Context {
    pub config_file: PathBuf,
    pub output: Output,
}

/// Runs the command that `argv` spells, which begins with the program's name. A panic has told its
/// story and is a failure like any other, but for `wal fetch`, which it kills.
pub fn run(argv: &[OsString]) -> ExitCode {
    let ended = std::panic::catch_unwind(|| run_verb(argv));
    ended.unwrap_or_else(|_| ExitCode::from(code_of(Kind::Failed)))
}

fn run_verb(argv: &[OsString]) -> ExitCode {
    // Whoever installed one before us in this process did the same.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let cli = match Cli::try_parse_from(argv) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error, argv),
    };
    let output = Output::find(cli.common.json);
    start_log(cli.common.verbose, output);
    let context = Context { config_file: config_file(cli.common.config), output };
    let ended = match cli.verb {
        Verb::Init(args) => init::run(&args, &context),
        Verb::CheckConfig(args) => check_config::run(&args, &context),
        Verb::Prepare(args) => block_on(prepare::run(args, &context)),
        Verb::Ship(args) => block_on(ship::run(args, &context)),
        Verb::Snapshot(args) => block_on(snapshot::run(args, &context)),
        Verb::Copy(args) => block_on(copy::run(args, &context)),
        Verb::Daemon(args) => block_on_to_the_end(daemon::run(args, &context)),
        Verb::Jobs(args) => block_on(jobs::run(args, &context)),
        Verb::Pause(args) => block_on(pause::pause(args, &context)),
        Verb::Resume(args) => block_on(pause::resume(args, &context)),
        Verb::List(args) => list::run(&args, &context),
        Verb::Status(args) => status::run(&args, &context),
        Verb::Restore(args) => block_on(restore::run(args, &context)),
        Verb::Retention(args) => block_on(retention::run(args, &context)),
        Verb::Verify(args) => block_on(verify::run(args, &context)),
        Verb::Hold(args) => hold::run(args, &context),
        Verb::Keys(args) => keys::run(args, &context),
        Verb::Resource(args) => resource::run(args, &context),
        Verb::Drill(args) => block_on(drill::run(args, &context)),
        Verb::Takeover(args) => takeover::run(&args, &context),
        Verb::Catalog(args) => catalog::run(&args, &context),
        Verb::Notify(args) => notify::run(&args, &context),
        Verb::Demo(args) => block_on(demo::run(args, &context)),
        Verb::Document(args) => document::run(&args, &context),
        Verb::Wal(args) => match wal::run(&args, &context) {
            wal::Ended::As(ended) => ended,
            wal::Ended::With(code) => return code,
        },
    };
    if let Err(error) = &ended {
        output.error(error);
    }
    code(&ended)
}

/// Help, version, or an explanation of what is wrong with the arguments.
fn not_understood(error: &clap::Error, argv: &[OsString]) -> ExitCode {
    // The terminal is gone if this fails, and the exit code says the same.
    drop(error.print());
    let answered = error.exit_code() == 0;
    if lethal::names_fetch(argv) && !(answered && lethal::asks_for_help(argv)) {
        lethal::kill_self();
    }
    ExitCode::from(if answered { 0 } else { code_of(Kind::Usage) })
}

fn config_file(named: Option<PathBuf>) -> PathBuf {
    let from_environment = || std::env::var_os("FENICE_CONFIG").filter(|name| !name.is_empty());
    named
        .or_else(|| from_environment().map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG))
}

/// Messages of the engines go to standard error; `FENICE_LOG` overrules `-v`.
fn start_log(verbose: u8, output: Output) {
    let level = match verbose {
        0 => "fenice=info,warn",
        1 => "fenice=debug,info",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("FENICE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let ansi = output.is_live();
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(ansi);
    // Refused only where a test has one already.
    drop(log.with_env_filter(filter).with_target(false).try_init());
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let (ended, runtime) = run_on_threads(work)?;
    // Work that was given up, such as a snapshot after a gap, may die at any instant.
    runtime.shutdown_background();
    ended
}

/// The same for work that leaves threads behind which come to their end.
fn block_on_to_the_end<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let (ended, runtime) = run_on_threads(work)?;
    runtime.shutdown_timeout(END_WITHIN);
    ended
}

fn run_on_threads<T>(work: impl Future<Output = T>) -> Result<(T, Runtime)> {
    // Before there are threads, which would inherit them.
    capabilities::keep_from_children()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.attempt(|| "start the threads of this program".to_owned())?;
    Ok((runtime.block_on(work), runtime))
}

impl Context {
    /// The checked configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it, of kind `Config`.
    pub fn config(&self) -> Result<Config> {
        Ok(config::parse(&self.config_text()?, &self.config_file.display().to_string())?)
    }

    pub fn config_text(&self) -> Result<String> {
        read_config(&self.config_file)
    }

    pub fn parts(&self) -> Result<Parts> {
        Parts::of_this_machine()
    }
}

fn read_config(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|cause| {
        Error::new(Kind::Config, format!("cannot read the configuration {}", file.display()))
            .because(cause)
            .hint("Name the file with --config FILE or in $FENICE_CONFIG.")
    })
}

/// Done, whatever came of it.
pub(crate) fn well(printed: Result<()>) -> Result<Done> {
    printed.map(|()| Done::Well)
}
