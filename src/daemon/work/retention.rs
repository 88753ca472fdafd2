//! Retention, carried out in every repository that holds a resource; what stays is locked then.

use serde::{Deserialize, Serialize};

use super::{Failure, Setting};
use crate::daemon::{Purpose, places, resource_of};
use crate::engines::blocking::blocking;
use crate::engines::postgres::expire::Applied;
use crate::engines::postgres::locking::LockRun;
use crate::error::{Attempt, Error, Result, Retry};
use crate::jobs::Outcome;
use crate::model::ResourceName;
use crate::plan::retention::RetentionPlan;

/// Every repository of one resource, in the order of `daemon::places`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RetentionReport {
    pub resource: ResourceName,
    pub ruled: Vec<Ruled>,
    /// Repositories in which it failed; one does not hold up the others.
    pub failed: Vec<Failure>,
}

/// One repository: the plan, and what was removed by it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ruled {
    pub repository: String,
    pub plan: RetentionPlan,
    pub applied: Option<Applied>,
    /// What was locked then, where anything is.
    pub locked: Option<LockRun>,
}

impl Ruled {
    /// Whether nothing is there beyond its date. Someone was promised a date; and what no plan
    /// names any more may still lie in the vault.
    pub fn is_kept(&self) -> bool {
        let pruned = self.applied.as_ref().is_none_or(|applied| {
            applied.locked.objects == 0 && applied.vault.is_some_and(|v| v.snapshots_locked == 0)
        });
        pruned && self.plan.overdue().next().is_none() && self.plan.overdue_packs == 0
    }
}

impl RetentionReport {
    pub(super) fn outcome(&self) -> Outcome {
        if let Some(failure) = self.failed.first() {
            let retry = match self.failed.iter().any(|failure| failure.later) {
                true => Retry::Later,
                false => Retry::Never,
            };
            return Outcome::Failed { told: failure.message.clone(), retry };
        }
        match self.ruled.iter().find(|ruled| !ruled.is_kept()) {
            None => Outcome::Done,
            Some(ruled) => {
                let name = &ruled.repository;
                Outcome::NotMet { told: format!("something is in `{name}` beyond its date") }
            }
        }
    }
}

pub(super) async fn apply(
    name: &ResourceName,
    confirm: bool,
    setting: &Setting<'_>,
) -> Result<RetentionReport> {
    let Setting { parts, config, .. } = setting;
    let resource = resource_of(config, name.as_str())?;
    let mut report =
        RetentionReport { resource: name.clone(), ruled: Vec::new(), failed: Vec::new() };
    for (repository, role) in places(config, resource) {
        setting.progress.checked()?;
        let what = || format!("rule on {name} in `{repository}`");
        let expiry = parts.expiry_of(config, resource, role, Purpose::Write).attempt(what);
        let applied = match expiry {
            Ok(expiry) => {
                let place = expiry.repository.clone();
                let applied = blocking(move || expiry.apply(confirm)).await.attempt(what);
                applied.map(|applied| (place, applied))
            }
            Err(error) => Err(error),
        };
        let (place, (plan, applied)) = match applied {
            Ok(applied) => applied,
            Err(error) => {
                report.failed.push((&error).into());
                continue;
            }
        };
        let locking = parts.locking_of(config, resource, role, &place);
        let (locked, lock_failed) = super::snapshot::lock(locking, setting).await;
        report.failed.extend(lock_failed.map(|failure| {
            let what = format!("cannot lock what stays of {name}");
            (&Error::failed(what).because(Error::from(failure))).into()
        }));
        let repository = repository.to_owned();
        report.ruled.push(Ruled { repository, plan, applied: Some(applied), locked });
    }
    Ok(report)
}
