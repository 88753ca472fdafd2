//! A snapshot, taken and then locked where the repository locks anything.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Failure, Setting};
use crate::daemon::own_role;
use crate::engines::blocking::blocking;
use crate::engines::postgres::locking::{LockRun, Locking};
use crate::engines::postgres::snapshot::take;
use crate::error::Result;
use crate::jobs::Outcome;
use crate::model::ResourceName;
use crate::repository::manifest::SnapshotManifest;

/// A snapshot that was committed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotReport {
    pub manifest: SnapshotManifest,
    pub took: Duration,
    /// What was locked then, where anything is.
    pub locked: Option<LockRun>,
    /// Why not all of it is locked.
    pub lock_failed: Option<Failure>,
}

impl SnapshotReport {
    pub(super) fn outcome(&self) -> Outcome {
        let id = &self.manifest.id;
        match (self.manifest.pages.damaged_count, &self.lock_failed) {
            (0, None) => Outcome::Done,
            (0, Some(failure)) => Outcome::NotMet { told: failure.message.clone() },
            (pages, _) => Outcome::NotMet { told: format!("{pages} damaged pages in {id}") },
        }
    }
}

pub(super) async fn take(
    name: &ResourceName,
    full: bool,
    setting: &Setting<'_>,
) -> Result<SnapshotReport> {
    let Setting { parts, config, .. } = setting;
    let protected = parts.protected(config, name.as_str())?;
    let mut job = parts.snapshot_job_of(&protected, full);
    job.progress = setting.progress.clone();
    job.due_at = setting.due_at;
    let started = parts.clock.monotonic();
    let manifest = Box::pin(take::take(&job, &protected.postgres.method)).await?;
    let took = parts.clock.monotonic().saturating_sub(started);
    let role = own_role(protected.policy);
    let jobs = parts.locking_of(config, protected.resource, role, &protected.repository);
    let (locked, lock_failed) = lock(jobs, setting).await;
    Ok(SnapshotReport { manifest, took, locked, lock_failed })
}

/// The last step of whatever stores something: what was locked, or why not all of it is.
pub(super) async fn lock(
    locking: Result<Option<Locking>>,
    setting: &Setting<'_>,
) -> (Option<LockRun>, Option<Failure>) {
    let locked = match locking {
        Ok(None) => return (None, None),
        Ok(Some(mut locking)) => {
            locking.progress = setting.progress.clone();
            blocking(move || locking.apply()).await
        }
        Err(error) => Err(error),
    };
    match locked {
        Ok(run) => (run, None),
        Err(error) => (None, Some((&error).into())),
    }
}
