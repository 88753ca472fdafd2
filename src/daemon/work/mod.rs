//! One piece of work on a resource from its beginning to its end, as commands do it and the daemon:
//! what is wished for, and what came of it, in shapes that can be told to another process.

pub mod copy;
pub mod drill;
pub mod failure;
pub mod retention;
pub mod snapshot;
pub mod verify;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Parts, resource_of};
use crate::config::Config;
use crate::engines::progress::Progress;
use crate::error::Result;
use crate::evidence::drill_report::{DrillReport, Trigger, Verdict};
use crate::jobs::Outcome;
use crate::model::ResourceName;
use crate::plan::schedule::Work;
use crate::repository::retirement;

pub use copy::CopyReport;
pub use failure::Failure;
pub use retention::RetentionReport;
pub use snapshot::SnapshotReport;
pub use verify::VerifyReport;

/// What is to be done on a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "lowercase")]
pub enum Wish {
    Snapshot {
        resource: ResourceName,
        /// Reads every file, whether it seems changed or not.
        full: bool,
    },
    Copy {
        resource: ResourceName,
    },
    /// Removes what has no place left, in every repository that holds the resource.
    Retention {
        resource: ResourceName,
        /// A person has looked at what is unusual about it.
        confirm: bool,
    },
    Verify {
        resource: ResourceName,
        all: bool,
        heal: bool,
    },
    Drill {
        resource: ResourceName,
    },
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Report {
    Snapshot(Box<SnapshotReport>),
    Copy(CopyReport),
    Retention(RetentionReport),
    Verify(VerifyReport),
    Drill(Box<DrillReport>),
    /// There was nothing to do.
    Nothing {
        because: String,
    },
}

/// In what surroundings it is done.
pub struct Setting<'a> {
    pub parts: &'a Parts,
    pub config: &'a Config,
    pub config_file: &'a Path,
    /// Shows how it comes along, and asks it to end.
    pub progress: Arc<Progress>,
    /// Of a standing order.
    pub due_at: Option<Timestamp>,
    pub trigger: Trigger,
    /// Who ordered it.
    pub operator: String,
    /// Notes a step before it is taken, so that whoever comes after a crash can undo it.
    pub note_step: &'a (dyn Fn(&str, &str) -> Result<()> + Send + Sync),
}

impl Wish {
    pub fn resource(&self) -> &ResourceName {
        match self {
            Wish::Snapshot { resource, .. }
            | Wish::Copy { resource }
            | Wish::Retention { resource, .. }
            | Wish::Verify { resource, .. }
            | Wish::Drill { resource } => resource,
        }
    }

    pub fn work(&self) -> Work {
        match self {
            Wish::Snapshot { .. } => Work::Snapshot,
            Wish::Copy { .. } => Work::Copy,
            Wish::Retention { .. } => Work::Retention,
            Wish::Verify { .. } => Work::Verify,
            Wish::Drill { .. } => Work::Drill,
        }
    }
}

impl Report {
    /// For the journal: whether it is done, and as promised.
    pub fn outcome(&self) -> Outcome {
        match self {
            Report::Snapshot(report) => report.outcome(),
            Report::Copy(report) => report.outcome(),
            Report::Retention(report) => report.outcome(),
            Report::Verify(report) => report.outcome(),
            Report::Drill(report) => match report.verdict {
                Verdict::Passed => Outcome::Done,
                Verdict::Failed => Outcome::NotMet { told: drill::told(report) },
            },
            Report::Nothing { .. } => Outcome::Done,
        }
    }
}

/// Does it.
///
/// # Errors
/// It could not be done. What was done in part is in the report.
pub async fn carry_out(wish: &Wish, setting: &Setting<'_>) -> Result<Report> {
    if let Some(because) = needless(wish, setting)? {
        return Ok(Report::Nothing { because });
    }
    let name = wish.resource();
    Ok(match wish {
        Wish::Snapshot { full, .. } => {
            Report::Snapshot(Box::new(Box::pin(snapshot::take(name, *full, setting)).await?))
        }
        Wish::Copy { .. } => Report::Copy(copy::copy(name, setting).await?),
        Wish::Retention { confirm, .. } => {
            Report::Retention(retention::apply(name, *confirm, setting).await?)
        }
        Wish::Verify { all, heal, .. } => {
            let order = verify::Asked { all: *all, heal: *heal };
            Report::Verify(verify::verify(name, order, setting).await?)
        }
        Wish::Drill { .. } => {
            Report::Drill(Box::new(Box::pin(drill::rehearse(name, setting)).await?))
        }
    })
}

/// Of a retired resource nothing new is stored, and nothing is promised: its standing orders but
/// those for what leaves have nothing to do. Whoever asks for it by hand is refused by the work.
fn needless(wish: &Wish, setting: &Setting<'_>) -> Result<Option<String>> {
    let leaves = matches!(wish, Wish::Copy { .. } | Wish::Retention { .. });
    if setting.trigger != Trigger::Schedule || leaves {
        return Ok(None);
    }
    let resource = resource_of(setting.config, wish.resource().as_str())?;
    let repository = setting.parts.open_repository(setting.config, &resource.repository)?;
    let retired = retirement::in_force(&repository, &resource.name)?;
    Ok(retired.map(|_| format!("{} is retired", resource.name)))
}
