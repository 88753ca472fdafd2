//! A snapshot by method `stream`: `BASE_BACKUP` over the replication protocol, from any host that
//! the role may connect to.
//!
//! The tree is that of method `files`. The server leaves out what it says may be left out, and we
//! what `exclusion` adds. Every file is read each time; what the vault has is not stored again.
//! A stream that is cut, an error of the server, an archive that is not whole: no snapshot.

use std::path::Path;

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::engines::blocking::blocking;
use crate::error::{Attempt, Error, Result};
use crate::model::{Lsn, Timeline};
use crate::ports::postgres::{
    BackupEvent, BackupRequest, BackupTablespace, Postgres, Session, Walsender,
};
use crate::repository::layout;
use crate::repository::manifest::{
    HostMark, Method, PageReport, SnapshotManifest, TableEstimate, TablespaceRef, VaultRef,
};
use crate::repository::vault::{NodeKind, VaultWriter};

use super::super::source::{Reached, ServerFacts, field, flushed_lsn, server_time};
use super::again::Again;
use super::config_files::{self, ConfigFile};
use super::estimates;
use super::files::store_extras;
use super::job::{OpenVault, SnapshotJob, read_backup_label, synthetic};
use super::read::{ReadOutcome, ReadSettings, entry};
use super::receive::{Received, Receiving, is_in_place};
use super::scan::{PGDATA, TABLESPACES};

/// Pieces of the stream that may wait to be cut; the server sends at most 32 KiB at a time.
const QUEUE_PIECES: usize = 64;

/// Takes a snapshot through the first host that answers.
pub async fn take(job: &SnapshotJob) -> Result<SnapshotManifest> {
    job.progress.enter("starting the backup");
    let mut reached = job.reach().await?;
    let tables = estimates::read(reached.host.as_ref(), reached.session.as_mut()).await?;
    let open = {
        let job = job.clone();
        blocking(move || job.open_vault()).await?
    };
    let end = flushed_lsn(reached.session.as_mut()).await?;
    job.log.catch_up(end).await?;
    let started_at = server_time(reached.session.as_mut()).await?;
    let id = layout::instant(started_at);
    let expected = tablespaces(reached.session.as_mut()).await?;
    let begun = start_backup(job, reached.host.as_ref(), &reached.facts, &id).await?;
    let still_there = tablespaces(reached.session.as_mut()).await?;
    check_tablespaces(&begun.tablespaces, &expected, &still_there)?;
    let Reached { host, session, facts } = reached;
    // Nothing is asked of it for hours; what comes then has a session of its own.
    drop(session);
    let writer =
        VaultWriter::start(&open.vault, open.index.clone(), job.entropy.clone(), job.write)?;
    job.progress.enter("receiving files");
    let again = Again::new(Handle::current(), host.clone(), job.source.name());
    let tablespaces = begun.tablespaces.clone();
    let (writer, received) = receive(job, &facts, begun, again, writer).await?;
    let mut session = host.session(&job.source.name()).await?;
    let stopped_at = server_time(session.as_mut()).await?;
    let config = read_config(session.as_mut(), &facts, &received.outcome).await?;
    drop(session);
    let taken = Taken { id, started_at, stopped_at, tablespaces, tables, config };
    commit(job, facts, open, writer, received, taken).await
}

/// What is known when the backup has begun.
struct Begun {
    server: Box<dyn Walsender>,
    start: Lsn,
    tablespaces: Vec<BackupTablespace>,
}

/// What is known of the snapshot beside its files.
struct Taken {
    id: String,
    started_at: Timestamp,
    stopped_at: Timestamp,
    tablespaces: Vec<BackupTablespace>,
    tables: Vec<TableEstimate>,
    config: Vec<ConfigFile>,
}

async fn start_backup(
    job: &SnapshotJob,
    host: &dyn Postgres,
    facts: &ServerFacts,
    id: &str,
) -> Result<Begun> {
    let mut server = host.walsender(&job.source.name()).await?;
    let (found, wanted) = (server.identify().await?.system_id, facts.cluster.system_id);
    if found != wanted {
        return Err(Error::refused(format!("{} is another cluster", host.describe()))
            .because(format!("its system identifier is {found}, not {wanted}")));
    }
    let request = BackupRequest { label: Method::Stream.label(id), fast_checkpoint: true };
    server.start_backup(&request).await?;
    match server.next_of_backup().await? {
        Some(BackupEvent::Started { start, tablespaces, .. }) => {
            Ok(Begun { server, start, tablespaces })
        }
        other => Err(Error::failed(format!("the base backup began with {other:?}"))),
    }
}

/// Every tablespace but the two that lie in the data directory itself.
async fn tablespaces(session: &mut dyn Session) -> Result<Vec<u32>> {
    let sql = "select oid from pg_tablespace where spcname not in ('pg_default', 'pg_global')";
    session.query(sql).await?.iter().map(|row| field(row, 0)).collect()
}

/// PostgreSQL 15 leaves tablespaces within the data directory (a developer's option) out of a base
/// backup, without a word.
fn check_tablespaces(announced: &[BackupTablespace], before: &[u32], after: &[u32]) -> Result<()> {
    let lacks = |oid: &&u32| after.contains(oid) && !announced.iter().any(|t| t.oid == **oid);
    match before.iter().find(lacks) {
        None => Ok(()),
        Some(oid) => Err(Error::failed(format!("the base backup lacks the tablespace {oid}"))
            .hint("Take the snapshot by method `files`, or move the tablespace elsewhere.")),
    }
}

/// Receives everything; the writer comes back for what is stored beside it.
async fn receive(
    job: &SnapshotJob,
    facts: &ServerFacts,
    begun: Begun,
    again: Again,
    writer: VaultWriter,
) -> Result<(VaultWriter, Received)> {
    let receiving = Receiving {
        settings: ReadSettings {
            workers: job.workers,
            chunk_bytes: job.chunk_bytes,
            start: begun.start,
        },
        cluster: facts.cluster.clone(),
        tablespaces: begun.tablespaces,
        again,
        progress: job.progress.clone(),
    };
    let (queue, events) = mpsc::channel(QUEUE_PIECES);
    let work = tokio::spawn(blocking(move || {
        let received = receiving.run(events, &writer)?;
        Ok((writer, received))
    }));
    let forwarded = forward(begun.server, queue).await;
    let received = work.await.attempt(|| "receive a base backup".to_owned())?;
    // A failure of the server comes first: what follows from it says less.
    forwarded.and(received).map_err(|cause| {
        let promoted = cause.chain().contains("promoted");
        match promoted {
            true => cause.hint("The standby was promoted meanwhile: take the snapshot again."),
            false => cause,
        }
    })
}

/// Passes on what comes; the queue is closed when this ends, whole only after `Finished`.
async fn forward(mut server: Box<dyn Walsender>, queue: mpsc::Sender<BackupEvent>) -> Result<()> {
    while let Some(event) = server.next_of_backup().await? {
        if queue.send(event).await.is_err() {
            // The receiving side failed, and tells why.
            return Ok(());
        }
    }
    Ok(())
}

/// Configuration outside the data directory, and files in it that the base backup has not, such as
/// links; empty, with a warning, if the role may not read it.
async fn read_config(
    session: &mut dyn Session,
    facts: &ServerFacts,
    outcome: &ReadOutcome,
) -> Result<Vec<ConfigFile>> {
    let is_stored = |path: &Path| {
        let inside = path.strip_prefix(&facts.data_directory);
        inside.is_ok_and(|inside| {
            let path = Path::new(PGDATA).join(inside);
            outcome.nodes.iter().any(|(stored, _)| *stored == path)
        })
    };
    let found = config_files::from_server(session, &facts.config_files, is_stored).await?;
    Ok(found.unwrap_or_else(|| {
        tracing::warn!(
            "files of configuration are not in the snapshot, because the role may not read them; \
             `fenice prepare` shows what to grant"
        );
        Vec::new()
    }))
}

async fn commit(
    job: &SnapshotJob,
    facts: ServerFacts,
    open: OpenVault,
    writer: VaultWriter,
    received: Received,
    taken: Taken,
) -> Result<SnapshotManifest> {
    let Received { mut outcome, labels, stop, timeline: stop_timeline } = received;
    let (start_lsn, start_timeline) = read_backup_label(&labels.backup_label)?;
    let timeline = timeline_of(start_timeline, stop_timeline)?;
    let tablespaces = add_tablespaces(&taken.tablespaces, taken.started_at, &mut outcome);
    let (job_, config, at) = (job.clone(), taken.config, taken.stopped_at);
    let (writer, outcome, config_names) = blocking(move || {
        let names = store_extras(&job_, &writer, &labels, &config, at, &mut outcome)?;
        Ok((writer, outcome, names))
    })
    .await?;
    let manifest = SnapshotManifest {
        version: 1,
        id: taken.id,
        resource: job.source.resource.clone(),
        method: Method::Stream,
        cluster: facts.cluster,
        timeline,
        start_lsn,
        stop_lsn: stop,
        due_at: job.due_at,
        started_at: taken.started_at,
        stopped_at: taken.stopped_at,
        from_standby: facts.in_recovery,
        vault: VaultRef { epoch: 0, snapshot: String::new() },
        // No times of files to compare with: an empty mark lends nothing (RULES 10).
        host: HostMark {
            machine: String::new(),
            boot: String::new(),
            clock_offset_ms: 0,
            data_dir: facts.data_directory,
        },
        tablespaces,
        files: 0,
        bytes: 0,
        new_bytes: 0,
        unread_bytes: 0,
        full_read: true,
        pages: PageReport::default(),
        config_files: config_names,
        tables: taken.tables,
        generation: 0,
        copied: None,
    };
    job.publish(open, writer, outcome, manifest).await
}

/// The timeline that start and stop lie on the way to. A standby may have followed its primary to
/// a new one in between; then only that one leads past the stop.
fn timeline_of(start: Timeline, stop: Timeline) -> Result<Timeline> {
    match start <= stop {
        true => Ok(stop),
        false => Err(Error::failed(format!(
            "the base backup started on timeline {start} and stopped on timeline {stop}"
        ))),
    }
}

/// What the archives do not hold: the directories they stand for, and the links to tablespaces,
/// relative, so that files restored by any tool never point at production.
fn add_tablespaces(
    tablespaces: &[BackupTablespace],
    at: Timestamp,
    outcome: &mut ReadOutcome,
) -> Vec<TablespaceRef> {
    // Made by us, for the owner of the data directory.
    let global = Path::new(PGDATA).join("global");
    let owner = outcome.nodes.iter().find(|(path, _)| *path == global);
    let (uid, gid) = owner.map_or((0, 0), |(_, node)| (node.uid, node.gid));
    let mut add = |path: String, permissions: u32, kind: NodeKind| {
        let mut item = synthetic(&path, permissions, at);
        (item.stat.uid, item.stat.gid) = (uid, gid);
        outcome.nodes.push(entry(&item, kind));
    };
    let dir = || NodeKind::Dir { subtree: None };
    add(PGDATA.to_owned(), 0o700, dir());
    if tablespaces.iter().any(|tablespace| !is_in_place(tablespace)) {
        add(TABLESPACES.to_owned(), 0o700, dir());
    }
    let mut found = Vec::new();
    for tablespace in tablespaces {
        let (oid, location) = (tablespace.oid, tablespace.location.clone());
        let link = format!("{PGDATA}/pg_tblspc/{oid}");
        if is_in_place(tablespace) {
            add(link, 0o700, dir());
            continue;
        }
        add(format!("{TABLESPACES}/{oid}"), 0o700, dir());
        let target = format!("../../{TABLESPACES}/{oid}").into();
        add(link, 0o777, NodeKind::Symlink { target });
        found.push(TablespaceRef { oid, location });
    }
    found.sort_by_key(|tablespace| tablespace.oid);
    found
}
