//! Verification in every repository that holds a resource; healing, if that is wanted.

use serde::{Deserialize, Serialize};

use super::{Failure, Setting};
use crate::daemon::{Purpose, places, resource_of};
use crate::engines::blocking::blocking;
use crate::engines::postgres::scrub::{Order, ScrubRun};
use crate::error::{Attempt, Result, Retry};
use crate::jobs::Outcome;
use crate::model::ResourceName;
use crate::plan::retention::Role;

/// Every repository of one resource, in the order of `daemon::places`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VerifyReport {
    pub resource: ResourceName,
    pub verified: Vec<Verified>,
    /// Repositories that could not be verified; one does not hold up the others.
    pub failed: Vec<Failure>,
}

/// One repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verified {
    pub repository: String,
    pub run: ScrubRun,
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub all: bool,
    pub heal: bool,
}

impl VerifyReport {
    pub(super) fn outcome(&self) -> Outcome {
        if let Some(failure) = self.failed.first() {
            let retry = if failure.later { Retry::Later } else { Retry::Never };
            return Outcome::Failed { told: failure.message.clone(), retry };
        }
        match self.verified.iter().find(|one| !one.run.is_well()) {
            None => Outcome::Done,
            Some(one) => Outcome::NotMet { told: told(one) },
        }
    }
}

/// What is wrong, in a clause.
fn told(one: &Verified) -> String {
    let (run, name) = (&one.run, &one.repository);
    let unhealed = run.damage.iter().filter(|damage| !damage.healed).count();
    match (run.affected.first(), unhealed, run.unread.len()) {
        (Some(lost), _, _) => {
            format!("snapshot {} in `{name}` cannot be recovered from", lost.snapshot)
        }
        (None, 0, 0) => format!("instants cannot be recovered to from `{name}`"),
        (None, 0, unread) => format!("{unread} objects of `{name}` could not be read"),
        (None, damaged, _) => format!("{damaged} objects of `{name}` are damaged"),
    }
}

pub(super) async fn verify(
    name: &ResourceName,
    asked: Asked,
    setting: &Setting<'_>,
) -> Result<VerifyReport> {
    let resource = resource_of(setting.config, name.as_str())?;
    let mut report =
        VerifyReport { resource: name.clone(), verified: Vec::new(), failed: Vec::new() };
    for (repository, role) in places(setting.config, resource) {
        setting.progress.checked()?;
        let what = || format!("verify {name} in `{repository}`");
        match verify_one(name, role, asked, setting).await.attempt(what) {
            Ok(run) => report.verified.push(Verified { repository: repository.to_owned(), run }),
            Err(error) => report.failed.push((&error).into()),
        }
    }
    Ok(report)
}

async fn verify_one(
    name: &ResourceName,
    role: Role,
    asked: Asked,
    setting: &Setting<'_>,
) -> Result<ScrubRun> {
    let Setting { parts, config, .. } = setting;
    let resource = resource_of(config, name.as_str())?;
    let purpose = if asked.heal { Purpose::Write } else { Purpose::Look };
    let mut scrub = parts.scrub_of(config, resource, role, purpose)?;
    scrub.progress = setting.progress.clone();
    let catalog = parts.catalog(config)?;
    let within = config.policy_of(resource).verify_within;
    let order = Order { all: asked.all, heal: asked.heal, within };
    blocking(move || scrub.run(&catalog, &order)).await
}
