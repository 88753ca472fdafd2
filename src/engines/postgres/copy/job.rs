//! One run: everything that is due, oldest first; one that fails does not hold up the others.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Replicate;
use crate::engines::progress::Progress;
use crate::error::{Attempt, Result};
use crate::model::{ResourceName, WalObject};
use crate::plan::facts::{Request, Target};
use crate::plan::retention::{CopyDue, Terms, copies_due};
use crate::ports::store::Lock;
use crate::ports::{Clock, Entropy};
use crate::repository::manifest::{self, CopiedFrom, CopiedLog, SnapshotManifest, VaultRef};
use crate::repository::pin::{self, PinFile};
use crate::repository::vault::WriteSettings;
use crate::repository::vault::copy::{Copying, SnapshotCopied};
use crate::repository::vault::restore::RestoreSettings;
use crate::repository::wal::WalArchive;
use crate::repository::{Repository, commit, layout};

use super::super::expire::facts::of_manifests;
use super::super::restore::facts::{self, Stored};
use super::super::restore::recover::checked_plan;
use super::super::restore::sources::Sources;
use super::super::vaults::{self, Current, Writing};
use super::log::{self, LogCopied};

/// What copying one resource works with.
pub struct CopyJob {
    pub from: Repository,
    pub to: Repository,
    pub resource: ResourceName,
    pub terms: Terms,
    pub replicate: Replicate,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub progress: Arc<Progress>,
    pub workers: usize,
    pub write: WriteSettings,
}

/// What would be copied now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPlan {
    pub now: Timestamp,
    /// Oldest first.
    pub snapshots: Vec<CopyDue>,
    /// Whether all of the log is copied as well.
    pub log: bool,
}

/// One snapshot that was copied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotCopy {
    pub id: String,
    pub because: String,
    /// Bytes that the other vault did not hold before.
    pub new_bytes: u64,
    pub log_objects: u64,
}

/// What a run did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CopyRun {
    pub snapshots: Vec<SnapshotCopy>,
    /// Snapshots, and objects of the log, that could not be copied, each with the reason.
    pub failed: Vec<(String, String)>,
    /// Objects of the log that were brought besides those of the snapshots.
    pub log_objects: u64,
}

impl CopyJob {
    /// What is due, from both repositories as they are now.
    pub fn plan(&self) -> Result<CopyPlan> {
        let now = self.clock.now();
        let main = manifest::snapshots(&self.from, &self.resource)?;
        let copies = manifest::snapshots(&self.to, &self.resource)?;
        let facts = of_manifests(&main, &copies);
        let snapshots = copies_due(&facts, &self.terms, self.replicate, now);
        Ok(CopyPlan { now, snapshots, log: self.replicate == Replicate::All })
    }

    /// Copies everything that is due. Snapshots that fail are told in the result.
    ///
    /// # Errors
    /// The repositories cannot be compared at all; `Busy` while another copies or removes there.
    pub fn run(&self) -> Result<CopyRun> {
        let (now, entropy) = (self.clock.now(), self.entropy.as_ref());
        let lock = vaults::write(&self.to, &self.resource, now, entropy)?;
        let plan = self.plan()?;
        let mut run = CopyRun::default();
        if plan.snapshots.is_empty() && !plan.log {
            return Ok(run);
        }
        log::introduce(self)?;
        let sources = Sources::only(&self.from);
        // Undated: damage at the log's end must not hold up copies that do not need it.
        let stored = facts::read_now_undated(&sources, &self.resource)?;
        log::same_life(self, &stored)?;
        if !plan.snapshots.is_empty() {
            let to = vaults::open_or_make(&self.to, &self.resource, plan.now, entropy)?;
            for due in &plan.snapshots {
                match self.copy(due, &stored, &to, &lock) {
                    Ok(copied) => run.snapshots.push(copied),
                    Err(error) => run.failed.push((due.id.clone(), error.chain())),
                }
            }
        }
        if plan.log {
            self.progress.enter("copying the log");
            let window_start = self.terms.window_start(plan.now);
            log::copy_all(self, &stored, window_start, &lock, &mut run)?;
        }
        Ok(run)
    }

    /// Copies one snapshot with the log it needs. `stored` is what the original's repository holds,
    /// `to` the vault copied to, which is the current one there, `lock` that vault's.
    ///
    /// # Errors
    /// Anything of it cannot be read there or written here: then no manifest of it exists here.
    pub fn copy(
        &self,
        due: &CopyDue,
        stored: &Stored,
        to: &Current,
        lock: &Writing,
    ) -> Result<SnapshotCopy> {
        let original = stored.manifest(&due.id)?;
        let _pin = self.pin(original)?;
        let request = Request {
            target: Target::Consistent { snapshot: due.id.clone() },
            timeline: Some(original.timeline),
            allow_damaged: true,
        };
        let plan = checked_plan(&stored.facts, &request, self.clock.now())
            .attempt(|| format!("plan what snapshot {} needs", due.id))?;
        // Files first, which take long: log without its snapshot is a gap to what is there already.
        self.progress.enter("copying a snapshot");
        let copied = self.copy_files(original, to, lock)?;
        self.progress.enter("copying the log of a snapshot");
        let brought = log::copy_planned(self, stored, &plan, lock)?;
        self.commit(original, &brought, (to.epoch, &copied), lock)?;
        Ok(SnapshotCopy {
            id: due.id.clone(),
            because: due.because.clone(),
            new_bytes: copied.bytes_new,
            log_objects: brought.created,
        })
    }

    fn pin(&self, original: &SnapshotManifest) -> Result<pin::OwnPin> {
        let id = format!("copy-{}-{}", layout::instant(self.clock.now()), std::process::id());
        let (resource, snapshot) = (self.resource.clone(), original.id.clone());
        pin::put(&self.from, &id, &PinFile::reader(resource, snapshot))
    }

    fn copy_files(
        &self,
        original: &SnapshotManifest,
        to: &Current,
        lock: &Writing,
    ) -> Result<SnapshotCopied> {
        let what = || format!("copy the files of snapshot {}", original.id);
        let from = facts::open_vault(&self.from, original).attempt(what)?;
        let id = original.vault.snapshot.parse().attempt(what)?;
        let progress = &self.progress;
        let copying = Copying {
            entropy: self.entropy.clone(),
            write: self.write,
            read: RestoreSettings { workers: self.workers, ..RestoreSettings::default() },
            expect: &|bytes| progress.expect(bytes),
            moved: &|bytes| progress.moved(bytes),
            allowed: &|| lock.check(),
        };
        to.vault.copy_from(&from, &id, &copying).attempt(what)
    }

    /// Writes the manifest, once a recovery could be planned from the copies alone.
    fn commit(
        &self,
        original: &SnapshotManifest,
        brought: &LogCopied,
        (epoch, copied): (u32, &SnapshotCopied),
        lock: &Writing,
    ) -> Result<()> {
        let copied_at = self.clock.now();
        let of_object =
            |object: &WalObject| CopiedLog { key: object.key.clone(), stored_at: object.stored_at };
        let log = brought.objects.iter().map(of_object).collect();
        let copy = SnapshotManifest {
            vault: VaultRef { epoch, snapshot: copied.snapshot.to_string() },
            new_bytes: copied.bytes_new,
            copied: Some(CopiedFrom { repository_id: self.from.id.clone(), copied_at, log }),
            ..original.clone()
        };
        self.provable(&copy)?;
        commit::snapshot(&self.to, &copy, &|| lock.may_commit()).map(drop)
    }

    /// Whether the copies alone bring the snapshot back, judged by what is listed there.
    fn provable(&self, copy: &SnapshotManifest) -> Result<()> {
        let sources = Sources::only(&self.to);
        let listing = sources.list(&self.resource)?;
        let mut there = facts::read_undated(&sources, &self.resource, &listing)?.facts;
        there.snapshots = vec![facts::snapshot_fact(copy)];
        let request = Request {
            target: Target::Consistent { snapshot: copy.id.clone() },
            timeline: Some(copy.timeline),
            allow_damaged: true,
        };
        let planned = checked_plan(&there, &request, self.clock.now());
        planned.map(drop).attempt(|| format!("prove the copy of snapshot {}", copy.id))
    }

    /// The same cluster's log in both repositories.
    pub(super) fn archive_there(&self, of: &WalArchive) -> WalArchive {
        WalArchive { repository: self.to.clone(), copies: None, ..of.clone() }
    }
}
