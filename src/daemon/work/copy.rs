//! Copies of what is due, brought into the repository that `copy_to` names, and locked there.

use serde::{Deserialize, Serialize};

use super::snapshot::lock;
use super::{Failure, Setting};
use crate::daemon::{Purpose, resource_of};
use crate::engines::blocking::blocking;
use crate::engines::postgres::copy::CopyRun;
use crate::engines::postgres::locking::LockRun;
use crate::error::{Result, Retry};
use crate::jobs::Outcome;
use crate::model::ResourceName;
use crate::plan::retention::Role;

/// What was copied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CopyReport {
    /// The repository of the copies.
    pub to: String,
    pub run: CopyRun,
    /// What was locked then, where anything is.
    pub locked: Option<LockRun>,
    /// Why not all of it is locked.
    pub lock_failed: Option<Failure>,
}

impl CopyReport {
    pub(super) fn outcome(&self) -> Outcome {
        match (self.run.failed.first(), &self.lock_failed) {
            (Some((what, because)), _) => {
                let others = match self.run.failed.len() {
                    1 => String::new(),
                    count => format!(" (and {} others)", count - 1),
                };
                let told = format!("{what} was not copied{others}: {because}");
                Outcome::Failed { told, retry: Retry::Later }
            }
            (None, Some(failure)) => Outcome::NotMet { told: failure.message.clone() },
            (None, None) => Outcome::Done,
        }
    }
}

pub(super) async fn copy(name: &ResourceName, setting: &Setting<'_>) -> Result<CopyReport> {
    let Setting { parts, config, .. } = setting;
    let resource = resource_of(config, name.as_str())?;
    let mut job = parts.copy_job_of(config, resource, Purpose::Write)?;
    job.progress = setting.progress.clone();
    let copies = job.to.clone();
    let run = blocking(move || job.run()).await?;
    let jobs = parts.locking_of(config, resource, Role::Copies, &copies);
    let (locked, lock_failed) = lock(jobs, setting).await;
    let to = config.policy_of(resource).copy_to.clone().unwrap_or_default();
    Ok(CopyReport { to, run, locked, lock_failed })
}
