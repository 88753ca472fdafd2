//! A snapshot by method `files`: on the database host, straight from the data directory.
//!
//! Order (RULES 9): one session held; `pg_backup_start`; every file, `pg_control` last;
//! `pg_backup_stop` without waiting for the archiver; labels; trees; checks; restic snapshot; our
//! manifest once the log is stored. Whatever fails closes the session, which ends the backup.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::engines::blocking::blocking;
use crate::error::{Attempt, Error, Result};
use crate::model::{Lsn, Timeline};
use crate::ports::postgres::Session;
use crate::repository::layout;
use crate::repository::manifest::{
    self, Method, PageReport, SnapshotManifest, TableEstimate, VaultRef,
};
use crate::repository::vault::{NodeKind, Vault, VaultWriter};

use super::super::source::{Reached, ServerFacts, field, flushed_lsn, server_time};
use super::config_files::{self, ConfigFile};
use super::job::{Labels, OpenVault, SnapshotJob, read_backup_label, synthetic};
use super::read::{ReadOutcome, ReadSettings, Unchanged, entry, read_all};
use super::scan::{self, Item, ItemKind, Scan, Stat};
use super::{estimates, host, parent};

/// `pg_control` is read last: with it in place a half-written restore could be started.
const CONTROL: &str = "pgdata/global/pg_control";

/// Takes a snapshot of the data directory at `data_dir`.
pub async fn take(job: &SnapshotJob, data_dir: &Path) -> Result<SnapshotManifest> {
    job.progress.enter("starting the backup");
    let Reached { host, mut session, facts } = job.reach().await?;
    let server_start = postmaster_start(session.as_mut()).await?;
    host::check_data_dir(data_dir, facts.cluster.system_id, server_start)?;
    let tables = estimates::read(host.as_ref(), session.as_mut()).await?;
    let open = {
        let job = job.clone();
        blocking(move || job.open_vault()).await?
    };
    let end = flushed_lsn(session.as_mut()).await?;
    job.log.catch_up(end).await?;
    let started_at = server_time(session.as_mut()).await?;
    let mark = host::mark(job.clock.as_ref(), data_dir);
    let id = layout::instant(started_at);
    let start: Lsn = start_backup(session.as_mut(), &Method::Files.label(&id)).await?;
    let begun = Begun { started_at, start, mark, id, tables };
    job.progress.enter("reading files");
    take_held(job, data_dir, session, facts, open, begun).await
}

/// What is known when the backup has begun.
struct Begun {
    started_at: Timestamp,
    start: Lsn,
    mark: manifest::HostMark,
    id: String,
    tables: Vec<TableEstimate>,
}

async fn take_held(
    job: &SnapshotJob,
    data_dir: &Path,
    mut session: Box<dyn Session>,
    facts: ServerFacts,
    open: OpenVault,
    begun: Begun,
) -> Result<SnapshotManifest> {
    let timeline = present_timeline(session.as_mut(), &facts).await?;
    let reading = FilesReading {
        job: job.clone(),
        data_dir: data_dir.to_owned(),
        facts: facts.clone(),
        start: begun.start,
        mark: begun.mark.clone(),
        timeline,
        started_at: begun.started_at,
    };
    let (open, writer, done) = blocking(move || {
        let writer = reading.start_writer(&open)?;
        let done = reading.read_data(&open, &writer)?;
        Ok((open, writer, done))
    })
    .await?;
    job.progress.enter("ending the backup");
    let (stop_lsn, labels) = stop_backup(session.as_mut(), facts.in_recovery).await?;
    let stopped_at = server_time(session.as_mut()).await?;
    let (start_lsn, start_timeline) = read_backup_label(&labels.backup_label)?;
    // A standby may have followed its primary to a new timeline, the only one past the stop.
    let timeline = match facts.in_recovery {
        true => start_timeline.max(present_timeline(session.as_mut(), &facts).await?),
        false => start_timeline,
    };
    let (job_, facts_) = (job.clone(), facts.clone());
    let (writer, outcome, config_names, scanned) = blocking(move || {
        let mut outcome = done.outcome;
        let config = config_files::from_disk(&facts_.config_files, &done.data_dir)?;
        let names = store_extras(&job_, &writer, &labels, &config, stopped_at, &mut outcome)?;
        Ok((writer, outcome, names, done.scan))
    })
    .await?;
    let manifest = SnapshotManifest {
        version: 1,
        id: begun.id,
        resource: job.source.resource.clone(),
        method: Method::Files,
        cluster: facts.cluster,
        timeline,
        start_lsn,
        stop_lsn,
        due_at: job.due_at,
        started_at: begun.started_at,
        stopped_at,
        from_standby: facts.in_recovery,
        vault: VaultRef { epoch: 0, snapshot: String::new() },
        host: begun.mark,
        tablespaces: scanned.tablespaces,
        files: 0,
        bytes: 0,
        new_bytes: 0,
        unread_bytes: 0,
        full_read: outcome.unread_bytes == 0,
        pages: PageReport::default(),
        config_files: config_names,
        tables: begun.tables,
        generation: 0,
        copied: None,
    };
    job.publish(open, writer, outcome, manifest).await
}

/// The blocking middle of the work.
struct FilesReading {
    job: SnapshotJob,
    data_dir: PathBuf,
    facts: ServerFacts,
    start: Lsn,
    mark: manifest::HostMark,
    timeline: Timeline,
    started_at: Timestamp,
}

struct DataRead {
    outcome: ReadOutcome,
    scan: Scan,
    data_dir: PathBuf,
}

impl FilesReading {
    fn start_writer(&self, open: &OpenVault) -> Result<VaultWriter> {
        let (index, entropy) = (open.index.clone(), self.job.entropy.clone());
        VaultWriter::start(&open.vault, index, entropy, self.job.write)
    }

    fn read_data(&self, open: &OpenVault, writer: &VaultWriter) -> Result<DataRead> {
        let cluster = &self.facts.cluster;
        let mut scan = scan::scan(&self.data_dir, cluster.blocks_per_segment)?;
        self.job.progress.expect(scan.bytes().0);
        let unchanged = self.unchanged(open, writer, &scan)?;
        let items = std::mem::take(&mut scan.items);
        let (control, others): (Vec<Item>, Vec<Item>) =
            items.into_iter().partition(|item| item.path == CONTROL);
        if control.is_empty() {
            return Err(Error::failed(format!("{} has no pg_control", self.data_dir.display())));
        }
        let settings = ReadSettings {
            workers: self.job.workers,
            chunk_bytes: self.job.chunk_bytes,
            start: self.start,
        };
        let progress: &Arc<_> = &self.job.progress;
        let mut outcome = read_all(others, &unchanged, writer, cluster, &settings, progress)?;
        let last = read_all(control, &Unchanged::new(), writer, cluster, &settings, progress)?;
        if last.vanished > 0 {
            return Err(Error::failed("pg_control vanished while it was read"));
        }
        outcome.merge(last);
        Ok(DataRead { outcome, scan, data_dir: self.data_dir.clone() })
    }

    /// Nodes of the last snapshot's files that are unchanged and whose chunks the vault holds.
    fn unchanged(&self, open: &OpenVault, writer: &VaultWriter, scan: &Scan) -> Result<Unchanged> {
        let manifests = manifest::snapshots(&self.job.repository, &self.job.source.resource)?;
        let Some(last) = manifests.last() else { return Ok(Unchanged::new()) };
        let due = self.job.full_read || self.full_read_due(&manifests);
        if let Err(reason) = parent::is_lender(last, open.epoch, &self.mark, self.timeline, due) {
            tracing::info!(reason, "every file is read");
            return Ok(Unchanged::new());
        }
        // Whatever of the parent cannot be read is read from the source instead: slower, not wrong.
        let Ok(nodes) = stored_files(&open.vault, open, last) else {
            tracing::warn!(parent = %last.id, "the last snapshot cannot be read: run `verify`");
            return Ok(Unchanged::new());
        };
        let same = |item: &Item| {
            let node = nodes.get(&item.path)?;
            let NodeKind::File { size, content } = &node.kind else { return None };
            let then = Stat {
                size: *size,
                mtime: node.mtime,
                ctime: node.ctime?,
                inode: node.inode,
                device: node.device_id,
                ..item.stat.clone()
            };
            let unchanged = parent::is_unchanged(&item.stat, &then, last.started_at)
                && writer.holds_all(content);
            unchanged.then(|| (item.path.clone(), node.clone()))
        };
        let files = scan.items.iter().filter(|item| matches!(item.kind, ItemKind::File(_)));
        // Damage must be seen again, so a file with damaged pages is read again.
        let damaged = |path: &str| last.pages.damaged.iter().any(|page| path.ends_with(&page.file));
        Ok(files.filter(|item| !damaged(&item.path)).filter_map(same).collect())
    }

    fn full_read_due(&self, manifests: &[SnapshotManifest]) -> bool {
        let every =
            SignedDuration::try_from(self.job.full_read_every).unwrap_or(SignedDuration::MAX);
        let full = manifests.iter().rev().find(|manifest| manifest.full_read);
        full.is_none_or(|full| self.started_at.duration_since(full.started_at) >= every)
    }
}

/// The regular files of a snapshot, by path.
fn stored_files(vault: &Vault, open: &OpenVault, of: &SnapshotManifest) -> Result<Unchanged> {
    let id = of.vault.snapshot.parse().attempt(|| "read a snapshot id".to_owned())?;
    let root = vault.snapshot(&id)?.tree;
    let mut files = Unchanged::new();
    for found in vault.walk(&open.index, &root) {
        let (path, node) = found?;
        if let Some(path) = path.to_str().filter(|_| matches!(node.kind, NodeKind::File { .. })) {
            files.insert(path.to_owned(), node);
        }
    }
    Ok(files)
}

/// Stores labels and configuration; returns the names of the files of configuration.
pub fn store_extras(
    job: &SnapshotJob,
    writer: &VaultWriter,
    labels: &Labels,
    config: &[ConfigFile],
    at: Timestamp,
    outcome: &mut ReadOutcome,
) -> Result<Vec<String>> {
    let mut storer = writer.storer()?;
    let mut store = |path: &str, content: &[u8], outcome: &mut ReadOutcome| -> Result<()> {
        let ids: Result<Vec<_>> =
            content.chunks(job.chunk_bytes).map(|c| storer.store_chunk(c).map(|s| s.0)).collect();
        let kind = NodeKind::File { size: content.len() as u64, content: ids? };
        outcome.nodes.push(entry(&synthetic(path, 0o600, at), kind));
        outcome.files += 1;
        outcome.bytes += content.len() as u64;
        Ok(())
    };
    store("pgdata/backup_label", &labels.backup_label, outcome)?;
    if !labels.tablespace_map.is_empty() {
        // Outside the data directory: PostgreSQL would follow it to production's own paths. The
        // links in pg_tblspc are relative and say the same.
        store("tablespace_map", &labels.tablespace_map, outcome)?;
    }
    let mut names = Vec::new();
    for file in config {
        let path = format!("{}/{}", scan::CONFIG, file.name);
        store(&path, &file.content, outcome)?;
        names.push(file.name.clone());
    }
    storer.finish()?;
    let dirs = config_files::directories(&names);
    for dir in dirs {
        let kind = NodeKind::Dir { subtree: None };
        outcome.nodes.push(entry(&synthetic(&dir, 0o700, at), kind));
    }
    Ok(names)
}

async fn postmaster_start(session: &mut dyn Session) -> Result<Timestamp> {
    let sql = "select extract(epoch from pg_postmaster_start_time())::bigint";
    let rows = session.query(sql).await?;
    let second: i64 = field(rows.first().unwrap_or(&Vec::new()), 0)?;
    Timestamp::from_second(second).attempt(|| "read the server's start".to_owned())
}

async fn start_backup(session: &mut dyn Session, label: &str) -> Result<Lsn> {
    let sql = format!("select pg_backup_start('{label}', true)");
    let rows = session.query(&sql).await.map_err(unprepared)?;
    field(rows.first().unwrap_or(&Vec::new()), 0)
}

/// The timeline that log is being written or replayed on. `pg_control_checkpoint` lags behind a
/// promotion, and on a standby until the next restartpoint; a primary's own file names and a
/// standby's point of consistency do not.
async fn present_timeline(session: &mut dyn Session, facts: &ServerFacts) -> Result<Timeline> {
    let sql = match facts.in_recovery {
        true => {
            "select greatest(min_recovery_end_timeline, timeline_id) \
             from pg_control_recovery(), pg_control_checkpoint()"
        }
        false => {
            "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
        }
    };
    let rows = session.query(sql).await?;
    Ok(Timeline(field(rows.first().unwrap_or(&Vec::new()), 0)?))
}

async fn stop_backup(session: &mut dyn Session, standby: bool) -> Result<(Lsn, Labels)> {
    // With waiting it hangs on a failing archiver (RULES 9); we ship the log ourselves.
    let sql = "select lsn, encode(convert_to(labelfile, 'UTF8'), 'hex'), \
               encode(convert_to(coalesce(spcmapfile, ''), 'UTF8'), 'hex') \
               from pg_backup_stop(false)";
    let rows = session.query(sql).await.map_err(|cause| match standby {
        true => Error::failed("the standby did not end the backup")
            .because(cause)
            .hint("If it was promoted meanwhile, take the snapshot again."),
        false => cause,
    })?;
    let row = rows.first().ok_or_else(|| Error::failed("the server answered nothing"))?;
    let text = |index: usize| -> Result<Vec<u8>> {
        hex::decode(field::<String>(row, index).unwrap_or_default())
            .attempt(|| "read the labels of the backup".to_owned())
    };
    Ok((field(row, 0)?, Labels { backup_label: text(1)?, tablespace_map: text(2)? }))
}

fn unprepared(error: Error) -> Error {
    match error.chain().contains("permission denied") {
        true => error.hint("`fenice prepare RESOURCE` grants what the role needs."),
        false => error,
    }
}
