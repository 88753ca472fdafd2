//! Taking a resource out of use, and back: recorded in each repository that holds anything of it.
//!
//! Order for a kill between two records: a resource counts as in use wherever its own repository
//! does not say otherwise, so that what is half recorded removes nothing too early. Either command
//! given again records what is missing.

use jiff::Timestamp;

use crate::error::{Error, Kind, Result};
use crate::model::ResourceName;
use crate::ports::store::Lock;
use crate::repository::retirement::{self, Reinstatement, Retirement};
use crate::repository::{Repository, layout};

use super::snapshot::log::lock_name;
use super::vaults;

/// The repositories that hold a resource.
pub struct Places<'r> {
    pub own: &'r Repository,
    pub copies: Option<&'r Repository>,
}

/// Who orders it, why and when.
#[derive(Debug, Clone)]
pub struct Order {
    pub who: String,
    pub why: String,
    pub at: Timestamp,
}

/// Records that `resource` is out of use, and returns what is recorded then.
///
/// # Errors
/// `Busy` while anybody ships its log, takes a snapshot, copies or removes: whatever is stored
/// after the order would outlive it. Of kind `Usage` if it is retired everywhere already.
pub fn retire(places: &Places<'_>, resource: &ResourceName, order: &Order) -> Result<Retirement> {
    let _log = places.own.lock(&lock_name(resource)).map_err(|error| match error.kind() {
        Kind::Busy => error.hint(format!(
            "Its log is being shipped. End that first: `systemctl stop fenice`, or `fenice ship \
             {resource}` where that runs. The daemon ships nothing that is retired: start it \
             again afterwards."
        )),
        _ => error,
    })?;
    let _vaults = locks(places, resource)?;
    let before = retirement::in_force(places.own, resource)?;
    let retired = before.clone().unwrap_or_else(|| Retirement {
        version: 1,
        id: layout::instant(order.at),
        who: order.who.clone(),
        why: order.why.clone(),
        retired_at: order.at,
    });
    if before.is_none() {
        retirement::add(places.own, resource, &retired)?;
    }
    let was_lacking = match places.copies {
        Some(copies) => retirement::bring(places.own, copies, resource)?,
        None => false,
    };
    match before {
        Some(before) if !was_lacking => {
            Err(Error::usage(format!("{resource} is retired already")).because(before.to_string()))
        }
        _ => Ok(retired),
    }
}

/// Records that `resource` is in use again.
///
/// # Errors
/// `Busy` while retention, a copy or a snapshot is at work. Of kind `Usage` if it is not retired
/// anywhere.
pub fn reinstate(
    places: &Places<'_>,
    resource: &ResourceName,
    order: &Order,
) -> Result<Reinstatement> {
    // Retention that goes by the retirement must not go on.
    let _vaults = locks(places, resource)?;
    if let Some(copies) = places.copies {
        retirement::bring(places.own, copies, resource)?;
    }
    let mut ended = None;
    // The own repository is the one that is asked: last, so that a rerun finds what is open.
    for place in places.copies.into_iter().chain([places.own]) {
        for open in retirement::all_in_force(place, resource)? {
            let end = Reinstatement {
                version: 1,
                retirement: open.id,
                who: order.who.clone(),
                why: order.why.clone(),
                reinstated_at: order.at,
            };
            retirement::end(place, resource, &end)?;
            ended = Some(end);
        }
    }
    ended.ok_or_else(|| {
        Error::usage(format!("{resource} is not retired"))
            .hint("`fenice resource list` shows which resources are.")
    })
}

/// Keeps snapshots, copies and retention out, everywhere.
fn locks(places: &Places<'_>, resource: &ResourceName) -> Result<Vec<Box<dyn Lock>>> {
    let each = [places.own].into_iter().chain(places.copies);
    each.map(|place| vaults::lock(place, resource)).collect()
}
