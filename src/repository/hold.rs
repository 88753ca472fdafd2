//! Holds: orders to keep things whatever the policy says. An order and its end are records of their
//! own, so that who kept what, and until when, can still be told later.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::ResourceName;
use crate::ports::store::Put;
use crate::repository::{Repository, layout, manifest};

/// An order to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldManifest {
    pub version: u32,
    /// The instant it was given, as in its key.
    pub id: String,
    /// The one snapshot it is about; `None` for everything of the resource.
    pub snapshot: Option<String>,
    pub who: String,
    pub why: String,
    pub given_at: Timestamp,
    /// Without one it lasts until it is released.
    pub until: Option<Timestamp>,
}

/// The end of an order, before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub version: u32,
    pub hold: String,
    pub who: String,
    pub why: String,
    pub released_at: Timestamp,
}

/// An order and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRecord {
    pub hold: HoldManifest,
    pub release: Option<Release>,
}

impl HoldRecord {
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.release.is_none() && self.hold.until.is_none_or(|until| until > now)
    }
}

/// Records an order.
pub fn add(repository: &Repository, resource: &ResourceName, hold: &HoldManifest) -> Result<()> {
    match manifest::create(repository, &layout::hold(resource, &hold.id), hold)? {
        Put::Created => Ok(()),
        Put::Exists => Err(Error::failed(format!("there is a hold {} already", hold.id))
            .hint("Two were given in the same instant: try again.")),
    }
}

/// Records the end of the order `release.hold`.
///
/// # Errors
/// There is no such order. `Exists` if it was released before.
pub fn release(repository: &Repository, resource: &ResourceName, release: &Release) -> Result<Put> {
    let id = &release.hold;
    if repository.store.get(&layout::hold(resource, id))?.is_none() {
        return Err(Error::usage(format!("{resource} has no hold {id}"))
            .hint(format!("`fenice hold list {resource}` shows them.")));
    }
    manifest::create(repository, &layout::hold_release(resource, id), release)
}

/// Brings the orders of one repository into another, with their ends.
pub fn bring(from: &Repository, to: &Repository, resource: &ResourceName) -> Result<()> {
    for HoldRecord { hold, release } in all(from, resource)? {
        manifest::create(to, &layout::hold(resource, &hold.id), &hold)?;
        if let Some(release) = release {
            manifest::create(to, &layout::hold_release(resource, &hold.id), &release)?;
        }
    }
    Ok(())
}

/// The ids of every order ever given, by a listing alone.
pub fn ids(repository: &Repository, resource: &ResourceName) -> Result<BTreeSet<String>> {
    let listed = repository.store.list(&layout::holds(resource))?;
    let orders = listed.iter().filter(|entry| entry.key.ends_with(".json.age"));
    orders.map(|entry| layout::manifest_id(&entry.key).map(str::to_owned)).collect()
}

/// Every order ever given, oldest first.
pub fn all(repository: &Repository, resource: &ResourceName) -> Result<Vec<HoldRecord>> {
    let holds: Vec<HoldManifest> = manifest::read_all(repository, &layout::holds(resource))?;
    let releases: Vec<Release> = manifest::read_all(repository, &layout::hold_releases(resource))?;
    let record = |hold: HoldManifest| {
        let release = releases.iter().find(|release| release.hold == hold.id).cloned();
        HoldRecord { hold, release }
    };
    Ok(holds.into_iter().map(record).collect())
}
