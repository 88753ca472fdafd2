//! What a snapshot needs, and the steps both methods share.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::engines::blocking::blocking;
use crate::engines::progress::Progress;
use crate::error::{Attempt, Error, Result};
use crate::model::{Lsn, Timeline};
use crate::ports::store::Lock;
use crate::ports::{Clock, Entropy};
use crate::repository::manifest::{Method, SnapshotManifest, VaultRef};
use crate::repository::vault::commit::{Committed, Promise};
use crate::repository::vault::{About, Index, Vault, VaultWriter, WriteSettings};
use crate::repository::{Repository, commit, retirement};

use super::super::cluster;
use super::super::source::{Reached, Source};
use super::super::vaults::{self, Current, Writing};
use super::log::LogKeeper;
use super::read::ReadOutcome;

/// One snapshot to be taken.
#[derive(Clone)]
pub struct SnapshotJob {
    pub repository: Repository,
    pub source: Source,
    /// Sees to it that the log the snapshot needs is stored.
    pub log: LogKeeper,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub progress: Arc<Progress>,
    pub workers: usize,
    pub chunk_bytes: usize,
    pub write: WriteSettings,
    /// Every file is read at least this often, whatever its times say.
    pub full_read_every: Duration,
    /// Read every file this time.
    pub full_read: bool,
    /// When this run was scheduled; `None` if nobody scheduled it.
    pub due_at: Option<Timestamp>,
}

/// An open vault with the lock that keeps other writers out.
pub struct OpenVault {
    pub vault: Vault,
    pub epoch: u32,
    pub index: Arc<Index>,
    lock: Writing,
}

/// The two labels of `pg_backup_stop` or of a base backup's archive.
#[derive(Debug, Clone)]
pub struct Labels {
    pub backup_label: Vec<u8>,
    pub tablespace_map: Vec<u8>,
}

impl SnapshotJob {
    /// A session on the server to be read, which is the registered cluster.
    pub async fn reach(&self) -> Result<Reached> {
        let reached = self.source.session().await?;
        let (repository, clock) = (self.repository.clone(), self.clock.clone());
        let resource = self.source.resource.clone();
        let facts = reached.facts.clone();
        blocking(move || {
            cluster::register(
                &repository,
                &resource,
                &facts.cluster,
                facts.timeline,
                clock.as_ref(),
                false,
            )
        })
        .await?;
        Ok(reached)
    }

    /// Opens the vault for writing, making it the first time; adopts what a killed run left.
    ///
    /// # Errors
    /// `Busy` while another writes to it; refused if the resource is retired.
    pub fn open_vault(&self) -> Result<OpenVault> {
        let (repository, resource) = (&self.repository, &self.source.resource);
        let now = self.clock.now();
        let lock = vaults::write(repository, resource, now, self.entropy.as_ref())?;
        retirement::must_be_in_use(repository, resource)?;
        // Nobody changes them while the lock is held: what is read now can be committed later.
        repository.recipients_now()?;
        let Current { epoch, vault } =
            vaults::open_or_make(repository, resource, now, self.entropy.as_ref())?;
        let mut index = vault.load_index()?;
        let adopted = vault.adopt(&index, self.entropy.as_ref())?;
        if adopted.packs > 0 {
            tracing::info!(packs = adopted.packs, "taking up what an unfinished run stored");
            index = vault.load_index()?;
        }
        Ok(OpenVault { vault, epoch, index: Arc::new(index), lock })
    }

    /// Commits what was read: the restic snapshot, then, once the log is stored, our manifest.
    pub async fn publish(
        &self,
        open: OpenVault,
        writer: VaultWriter,
        outcome: ReadOutcome,
        mut manifest: SnapshotManifest,
    ) -> Result<SnapshotManifest> {
        self.progress.enter("checking and committing");
        let promise = Promise { files: outcome.files, bytes: outcome.bytes };
        manifest.files = outcome.files;
        manifest.bytes = outcome.bytes;
        manifest.unread_bytes = outcome.unread_bytes;
        manifest.pages = outcome.pages;
        let about = About {
            time: manifest.started_at,
            parent: None,
            hostname: self.source.resource.to_string(),
            paths: vec!["/pgdata".to_owned()],
            tags: vec![manifest.id.clone(), format!("timeline-{}", manifest.timeline)],
        };
        let (nodes, epoch) = (outcome.nodes, open.epoch);
        let (committed, lock): (Committed, _) = blocking(move || {
            open.lock.check()?;
            Ok((writer.finish(nodes, promise, about)?, open.lock))
        })
        .await?;
        manifest.vault = VaultRef { epoch, snapshot: committed.snapshot.to_string() };
        manifest.new_bytes = committed.counts.bytes_new;
        self.progress.enter("waiting for the log");
        let (timeline, start, stop) = (manifest.timeline, manifest.start_lsn, manifest.stop_lsn);
        self.log.ensure_stored(timeline, start, stop).await?;
        let repository = self.repository.clone();
        // Until the manifest is there, retention takes the vault's snapshot for a remainder.
        // Whoever took over meanwhile may have removed what it uses.
        blocking(move || commit::snapshot(&repository, &manifest, &|| lock.may_commit())).await
    }
}

impl Method {
    /// For the label PostgreSQL keeps.
    pub fn label(self, id: &str) -> String {
        format!("fenice {self} {id}")
    }
}

/// Reads `START WAL LOCATION` and `START TIMELINE` of a backup label (PostgreSQL,
/// `build_backup_content`).
pub fn read_backup_label(label: &[u8]) -> Result<(Lsn, Timeline)> {
    let text = String::from_utf8_lossy(label);
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()).map(str::to_owned)
    };
    let bad = || Error::failed(format!("the backup label is not as expected: {text:?}"));
    let start = value("START WAL LOCATION: ").ok_or_else(bad)?;
    let start = start.parse().attempt(|| "read the backup label".to_owned())?;
    let timeline = value("START TIMELINE: ").and_then(|word| word.parse().ok()).ok_or_else(bad)?;
    Ok((start, Timeline(timeline)))
}

/// A file that exists only in the backup.
pub fn synthetic(path: &str, permissions: u32, at: Timestamp) -> super::scan::Item {
    let stat = super::scan::Stat {
        size: 0,
        mtime: at,
        ctime: at,
        inode: 0,
        device: 0,
        permissions,
        uid: 0,
        gid: 0,
    };
    super::scan::Item { path: path.to_owned(), kind: super::scan::ItemKind::Dir, stat }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_label_tells_position_and_timeline() {
        let label = b"START WAL LOCATION: 0/2000028 (file 000000030000000000000002)\n\
            CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
            START TIME: 2026-11-22 15:00:00 UTC\nLABEL: x\nSTART TIMELINE: 3\n";
        assert_eq!(read_backup_label(label).unwrap(), (Lsn(0x200_0028), Timeline(3)));
        assert!(read_backup_label(b"nothing").is_err());
    }
}
