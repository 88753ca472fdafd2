//! A recovery from beginning to end: plan, files, log, a server that has reached its target.
//!
//! The order: pin what is read; files, harmless before they can be started; log served on a socket;
//! server started; its log read until it is open or has failed. Nothing here decides: the plan has,
//! and an independent checker has read it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::engines::progress::Progress;
use crate::error::{Attempt, Error, Result};
use crate::model::{Lsn, ResourceName};
use crate::plan::check::check;
use crate::plan::facts::{RecoveryFacts, Request, Target};
use crate::plan::recovery::{RecoveryPlan, plan};
use crate::ports::Clock;
use crate::ports::postgres::{Connector, Postgres};
use crate::ports::server::{Launcher, Server, ServerSpec, StopMode};
use crate::repository::manifest::SnapshotManifest;
use crate::repository::pin::{self, OwnPin, PinFile};
use crate::repository::vault::restore::Restored;
use crate::repository::{Repository, layout};

use super::facts::{self, Stored};
use super::files::FilesRestore;
use super::originals::NewTablespaces;
use super::owner::give;
use super::place::Place;
use super::serve::{Stopped, WalServer};
use super::settings::{self, Limits, Start, Stop};
use super::sources::{Listing, Sources};

const TOOL_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Of the log's server, in the directory of sockets.
const SOCKET: &str = "wal.sock";
const LOG_TELLS: &str =
    "Its log, postgres.log in the .fenice directory beside the target, tells more.";
const POLL: Duration = Duration::from_millis(50);

/// What every recovery needs of the outside.
#[derive(Clone)]
pub struct Tools {
    pub sources: Sources,
    pub clock: Arc<dyn Clock>,
    pub connector: Arc<dyn Connector>,
    pub launcher: Arc<dyn Launcher>,
    /// Where `postgres` is, for a major version.
    pub bin_dir: PathBuf,
    pub workers: usize,
    pub new_tablespaces: NewTablespaces,
    pub progress: Arc<Progress>,
}

/// Files in their place, ready to be started.
pub struct FilesInPlace {
    pub stored: Stored,
    pub plan: RecoveryPlan,
    pub place: Place,
    pub manifest: SnapshotManifest,
    pub restored: Restored,
    /// Keep retention away from what is read, as long as they live.
    pub pins: Vec<OwnPin>,
}

/// How a server shall be started.
#[derive(Debug, Clone)]
pub struct StartRequest {
    pub port: u16,
    /// Whether it listens on 127.0.0.1 as well as on its private socket.
    pub tcp: bool,
    /// A role of the restored cluster that may log in.
    pub user: String,
    /// How long recovery may take.
    pub patience: Duration,
}

/// A server that has reached its target and is open.
pub struct Recovered {
    pub server: Box<dyn Server>,
    /// The restored server, on its private socket.
    pub host: Arc<dyn Postgres>,
    pub socket_dir: PathBuf,
    pub reached: Reached,
    pub segments_served: u64,
}

/// What recovery came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// The state of the snapshot, as wanted.
    Consistent,
    /// The end of the stored log, as wanted.
    EndOfLog,
    /// The first commit or abort after the target.
    Target(Timestamp),
    /// No commit or abort after the target is in the log; all of it was replayed.
    EndOfLogBefore(Timestamp),
}

/// Reads what is stored and plans; the checker has the last word.
pub fn plan_recovery(
    tools: &Tools,
    resource: &ResourceName,
    listing: &Listing,
    request: &Request,
) -> Result<(Stored, RecoveryPlan)> {
    let stored = facts::read(&tools.sources, resource, listing)?;
    for one in &stored.unread {
        tracing::warn!(because = %one.because, "recovering without {}", one.key);
    }
    let request = Request { timeline: stored.timeline_for(request), ..request.clone() };
    let planned = checked_plan(&stored.facts, &request, tools.clock.now())?;
    Ok((stored, planned))
}

/// A plan that the independent checker has read. Pure.
pub fn checked_plan(
    facts: &RecoveryFacts,
    request: &Request,
    now: Timestamp,
) -> Result<RecoveryPlan> {
    let planned = plan(facts, request, now).map_err(Error::from)?;
    let problems = check(&planned, facts);
    match problems.is_empty() {
        true => Ok(planned),
        false => Err(Error::refused("the recovery plan is unsafe").because(problems.join("; "))),
    }
}

/// Restores the files of a plan into `target`.
pub fn restore_files(
    tools: &Tools,
    stored: Stored,
    plan: RecoveryPlan,
    target: &Path,
    tablespaces: &BTreeMap<u32, PathBuf>,
) -> Result<FilesInPlace> {
    tools.progress.enter("restoring files");
    let manifest = stored.manifest(&plan.snapshot.id)?.clone();
    let pins = pin_what_is_read(tools, &manifest);
    let repository = stored.repository_of(&tools.sources, &manifest.id);
    still_there(repository, &manifest)?;
    let place = Place::choose(target, &manifest.tablespaces, tablespaces)?;
    let vault = facts::open_vault(repository, &manifest)?;
    let work = FilesRestore {
        vault: &vault,
        manifest: &manifest,
        place: &place,
        owner: tools.launcher.runs_as(),
        workers: tools.workers,
        progress: &tools.progress,
    };
    let restored = work.run()?;
    if (restored.files, restored.bytes) != (manifest.files, manifest.bytes) {
        return Err(Error::failed(format!(
            "{} files with {} bytes were restored, the manifest names {} with {}",
            restored.files, restored.bytes, manifest.files, manifest.bytes
        )));
    }
    Ok(FilesInPlace { stored, plan, place, manifest, restored, pins })
}

/// Pins in every repository that is read. A restore goes on without, because its credentials may
/// allow reading only. Retention may then take away what it reads, and it fails: that much is told.
pub(super) fn pin_what_is_read(tools: &Tools, manifest: &SnapshotManifest) -> Vec<OwnPin> {
    let id = format!("{}-{}", layout::instant(tools.clock.now()), std::process::id());
    let file = PinFile::reader(manifest.resource.clone(), manifest.id.clone());
    let pinned = tools.sources.each().map(|repository| pin::put(repository, &id, &file));
    let told = |error: &Error| {
        tracing::warn!(error = %error.chain(), "retention is not told of this restore");
    };
    pinned.filter_map(|pinned| pinned.inspect_err(told).ok()).collect()
}

/// What was planned may have been removed before it was pinned.
fn still_there(repository: &Repository, manifest: &SnapshotManifest) -> Result<()> {
    let key = layout::snapshot(&manifest.resource, &manifest.id);
    match repository.store.get(&key)? {
        Some(_) => Ok(()),
        None => Err(Error::failed(format!("snapshot {} was removed by retention", manifest.id))
            .hint("Plan again: another snapshot serves what is still promised.")),
    }
}

impl FilesInPlace {
    /// Begins to serve the log.
    pub fn serve(&self, tools: &Tools) -> Result<WalServer> {
        let owner = tools.launcher.runs_as();
        let hand =
            |path: &Path| give(path, owner).attempt(|| format!("give {} away", path.display()));
        let dir = self.place.socket_dir()?;
        hand(&dir)?;
        let socket = dir.join(SOCKET);
        let (archive, plan) = (self.stored.archive.clone(), self.plan.clone());
        let (spool, new) = (self.place.spool_dir(), tools.new_tablespaces);
        let server = WalServer::start(archive, plan, &socket, &spool, new, owner)?;
        hand(&socket)?;
        Ok(server)
    }

    /// What PostgreSQL calls for each file of log while it is served.
    pub fn restore_command(&self, tools: &Tools) -> Result<String> {
        let program = tools.launcher.own_program(&self.place.side)?;
        let word = |path: &Path| settings::shell_word(&path.display().to_string());
        let socket = word(&self.place.socket_dir()?.join(SOCKET));
        Ok(format!("{} wal fetch --socket {socket} '%f' '%p'", word(&program)))
    }

    /// What the server must be started with.
    pub fn spec(
        &self,
        tools: &Tools,
        start: &StartRequest,
        stop: Stop,
        restore_command: &str,
    ) -> Result<ServerSpec> {
        let limits = read_limits(tools, &self.place)?;
        let settings = Start {
            config_dir: &self.place.config_dir(),
            socket_dir: &self.place.socket_dir()?,
            port: start.port,
            tcp: start.tcp,
            limits,
            restore_command,
            timeline: self.plan.history.timeline,
            stop,
        }
        .settings();
        Ok(ServerSpec {
            bin_dir: tools.bin_dir.clone(),
            data_dir: self.place.target.clone(),
            settings,
            log_file: self.place.log_file(),
        })
    }

    /// Starts the server and waits until it is open at its target.
    ///
    /// # Errors
    /// It ended or did not open in time; the reason is taken from its log. It is stopped then.
    pub async fn recover(&self, tools: &Tools, start: &StartRequest) -> Result<Recovered> {
        tools.progress.enter("replaying the log");
        let wal_server = self.serve(tools)?;
        let command = self.restore_command(tools)?;
        let target = match &self.plan.target {
            Target::At(at) => Some(*at),
            Target::Latest | Target::Consistent { .. } => None,
        };
        let deadline = Instant::now() + start.patience;
        let stop = Stop::at(&self.plan.target);
        let opened = self.start_and_wait(tools, start, stop, &command, deadline, &wal_server).await;
        let (server, host, reached) = match (opened, target) {
            (Ok((server, host)), None) if stop == Stop::Consistent => {
                (server, host, Reached::Consistent)
            }
            (Ok((server, host)), None) => (server, host, Reached::EndOfLog),
            (Ok((server, host)), Some(at)) => (server, host, Reached::Target(at)),
            (Err(Unopened::TargetNotReached), Some(at)) if !self.plan.stops_before_gap => {
                // PostgreSQL alone ends FATAL here (RULES 5): nothing later is in the log.
                let all = Stop::EndOfLog;
                let (server, host) = self
                    .start_and_wait(tools, start, all, &command, deadline, &wal_server)
                    .await
                    .map_err(Error::from)?;
                (server, host, Reached::EndOfLogBefore(at))
            }
            (Err(unopened), _) => return Err(unopened.into()),
        };
        let socket_dir = self.place.socket_dir()?;
        let segments_served = wal_server.served().segments;
        Ok(Recovered { server, host, socket_dir, reached, segments_served })
    }

    async fn start_and_wait(
        &self,
        tools: &Tools,
        start: &StartRequest,
        stop: Stop,
        restore_command: &str,
        deadline: Instant,
        wal_server: &WalServer,
    ) -> Result<(Box<dyn Server>, Arc<dyn Postgres>), Unopened> {
        let spec = self.spec(tools, start, stop, restore_command)?;
        let log_before = fs::metadata(&spec.log_file).map_or(0, |facts| facts.len());
        let host = self.host(tools, start)?;
        let mut server = tools.launcher.start(&spec)?;
        loop {
            if let Some(ended) = server.ended()? {
                let log = read_from(&spec.log_file, log_before);
                return Err(Unopened::from_log(ended, &log, wal_server.served().stopped));
            }
            if is_open(host.as_ref()).await {
                return Ok((server, host));
            }
            let patience = start.patience.as_secs();
            let goes_on = match Instant::now() >= deadline {
                true => Err(Error::failed(format!("recovery did not end within {patience} s"))),
                false => tools.progress.checked(),
            };
            if let Err(error) = goes_on {
                server.stop(StopMode::Immediate, STOP_LIMIT)?;
                return Err(Unopened::Failed(error));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The restored server on its private socket.
    pub fn host(&self, tools: &Tools, start: &StartRequest) -> Result<Arc<dyn Postgres>> {
        let dir = self.place.socket_dir()?;
        let quoted = |text: &str| text.replace('\\', r"\\").replace('\'', r"\'");
        let conninfo = format!(
            "host='{}' port={} user='{}' dbname=postgres sslmode=disable connect_timeout=5",
            quoted(&dir.display().to_string()),
            start.port,
            quoted(&start.user)
        );
        let mut hosts = tools.connector.hosts(&conninfo)?;
        hosts.pop().ok_or_else(|| Error::failed("there is no way to the restored server"))
    }

    /// Where the plan's log ends.
    pub fn end(&self) -> Lsn {
        self.plan.end
    }
}

/// Why a server did not open.
enum Unopened {
    /// "recovery ended before configured recovery target was reached".
    TargetNotReached,
    Failed(Error),
}

impl Unopened {
    fn from_log(ended: String, log: &str, stopped: Option<Stopped>) -> Unopened {
        if log.contains("recovery ended before configured recovery target was reached") {
            return Unopened::TargetNotReached;
        }
        let error = Error::failed("the restored server did not open");
        if let Some(Stopped { kind, reason, hint }) = stopped {
            let error = error.because(format!("recovery was stopped: {reason}")).with_kind(kind);
            return Unopened::Failed(error.hint(hint.unwrap_or_else(|| LOG_TELLS.to_owned())));
        }
        let fatal = log.lines().rev().find(|l| l.contains("FATAL:") || l.contains("PANIC:"));
        let reason = fatal.map_or(ended, |line| line.trim().to_owned());
        Unopened::Failed(error.because(reason).hint(LOG_TELLS))
    }
}

impl From<Error> for Unopened {
    fn from(error: Error) -> Unopened {
        Unopened::Failed(error)
    }
}

impl From<Unopened> for Error {
    fn from(unopened: Unopened) -> Error {
        match unopened {
            Unopened::Failed(error) => error,
            Unopened::TargetNotReached => {
                Error::failed("the log that is stored ends before the target was reached")
            }
        }
    }
}

/// Whether the server answers; with `hot_standby` off it does so only after recovery.
async fn is_open(host: &dyn Postgres) -> bool {
    let answered = async {
        let mut session = host.session("fenice").await?;
        session.query("select pg_is_in_recovery()").await
    };
    matches!(answered.await, Ok(rows) if rows == [vec![Some("f".to_owned())]])
}

fn read_limits(tools: &Tools, place: &Place) -> Result<Limits> {
    let program = tools.bin_dir.join("pg_controldata");
    let arguments = [place.target.display().to_string()];
    let output = tools.launcher.run_tool(&program, &arguments, TOOL_LIMIT)?;
    Limits::parse(&output.stdout).ok_or_else(|| {
        Error::failed(format!("{} did not tell the limits", program.display()))
            .because(output.stderr)
            .hint("Is `bin_dir` of the same major version as the source?")
    })
}

fn read_from(path: &Path, offset: u64) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let new = bytes.get(offset as usize..).unwrap_or_default();
    String::from_utf8_lossy(new).into_owned()
}
