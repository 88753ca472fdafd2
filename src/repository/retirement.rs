//! Retirements: orders that take a resource out of use, so that what is kept of it leaves in time
//! (RULES 19). An order and its end are records of their own, as those of holds are: they stay
//! when everything else of the resource is gone, and tell why.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::ResourceName;
use crate::ports::store::Put;
use crate::repository::{Repository, layout, manifest};

/// An order that took a resource out of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    pub version: u32,
    /// The instant it was given, as in its key.
    pub id: String,
    pub who: String,
    pub why: String,
    pub retired_at: Timestamp,
}

/// The end of such an order: the resource is in use again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reinstatement {
    pub version: u32,
    pub retirement: String,
    pub who: String,
    pub why: String,
    pub reinstated_at: Timestamp,
}

/// An order and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetirementRecord {
    pub retirement: Retirement,
    pub reinstatement: Option<Reinstatement>,
}

impl fmt::Display for Retirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "since {}, by {}: {}", self.retired_at, self.who, self.why)
    }
}

/// Records an order.
///
/// # Errors
/// Another one was given in the same instant.
pub fn add(repository: &Repository, resource: &ResourceName, given: &Retirement) -> Result<()> {
    match manifest::create(repository, &layout::retirement(resource, &given.id), given)? {
        Put::Created => Ok(()),
        Put::Exists => {
            Err(Error::failed(format!("{resource} was retired in the same instant, {}", given.id))
                .hint("`fenice resource list` shows by whom."))
        }
    }
}

/// Records the end of the order `end.retirement`; one that is recorded already stays as it is.
pub fn end(repository: &Repository, resource: &ResourceName, end: &Reinstatement) -> Result<()> {
    let key = layout::reinstatement(resource, &end.retirement);
    match manifest::create(repository, &key, end)? {
        Put::Created | Put::Exists => Ok(()),
    }
}

/// Brings the orders of one repository into another, with their ends. Tells whether any was new
/// there.
pub fn bring(from: &Repository, to: &Repository, resource: &ResourceName) -> Result<bool> {
    let mut puts = Vec::new();
    for RetirementRecord { retirement, reinstatement } in all(from, resource)? {
        let id = &retirement.id;
        puts.push(manifest::create(to, &layout::retirement(resource, id), &retirement)?);
        if let Some(end) = reinstatement {
            puts.push(manifest::create(to, &layout::reinstatement(resource, id), &end)?);
        }
    }
    Ok(puts.contains(&Put::Created))
}

/// Every order ever given, oldest first.
pub fn all(repository: &Repository, resource: &ResourceName) -> Result<Vec<RetirementRecord>> {
    let given: Vec<Retirement> = manifest::read_all(repository, &layout::retirements(resource))?;
    if given.is_empty() {
        return Ok(Vec::new());
    }
    let ends: Vec<Reinstatement> =
        manifest::read_all(repository, &layout::reinstatements(resource))?;
    let record = |retirement: Retirement| {
        let reinstatement = ends.iter().find(|end| end.retirement == retirement.id).cloned();
        RetirementRecord { retirement, reinstatement }
    };
    Ok(given.into_iter().map(record).collect())
}

/// The orders in force, oldest first: more than one only where a repository was lost.
pub fn all_in_force(repository: &Repository, resource: &ResourceName) -> Result<Vec<Retirement>> {
    let all = all(repository, resource)?.into_iter();
    let open = all.filter(|record| record.reinstatement.is_none());
    Ok(open.map(|record| record.retirement).collect())
}

/// The order in force; `None` for a resource in use.
pub fn in_force(repository: &Repository, resource: &ResourceName) -> Result<Option<Retirement>> {
    Ok(all_in_force(repository, resource)?.into_iter().next())
}

/// Checks that the resource is in use: whatever is stored of a retired one has no end.
///
/// # Errors
/// Refused if it is retired.
pub fn must_be_in_use(repository: &Repository, resource: &ResourceName) -> Result<()> {
    match in_force(repository, resource)? {
        None => Ok(()),
        Some(retired) => Err(Error::refused(format!("nothing more is stored of {resource}"))
            .because(format!("it is retired {retired}"))
            .hint(format!(
                "If it is in use again: `fenice resource reinstate {resource} --who … --why …`. \
                 Else end what still asks for it, such as `archive_command`."
            ))),
    }
}
