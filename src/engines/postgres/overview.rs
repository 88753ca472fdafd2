//! What is stored of a resource and what it is good for, read from the repository; how fresh it is,
//! from the catalog besides.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::catalog::Catalog;
use crate::catalog::heartbeats::Shipping;
use crate::error::{Error, Result};
use crate::model::{Lsn, ResourceName, Span, SystemId, WalInventory};
use crate::plan::condition::Seen;
use crate::plan::windows::{Reach, windows};
use crate::repository::manifest::{self, GapManifest, SnapshotManifest};
use crate::repository::{Repository, layout};

use super::restore::facts::{self, Stored};
use super::restore::sources::{Sources, Unread};

/// Everything known of one resource. Empty if nothing was ever stored.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    pub system_id: Option<SystemId>,
    /// Oldest first.
    pub snapshots: Vec<SnapshotManifest>,
    /// Oldest first.
    pub gaps: Vec<GapManifest>,
    /// Manifests that are there and cannot be read.
    pub unread: Vec<Unread>,
    pub reach: Reach,
    /// The log of the registered cluster.
    pub log: Option<WalInventory>,
    /// By snapshot: when a drill that passed last ended.
    pub proofs: BTreeMap<String, Timestamp>,
    /// The last drill whose report lies here.
    pub drill: Option<Rehearsed>,
    /// Of everything the repository holds of the resource.
    pub stored_bytes: u64,
    /// What the last shipper on this host noted.
    pub shipping: Option<Shipping>,
    /// The newest heartbeat that a recovery would bring back, as far as this host knows.
    pub heartbeat_at: Option<Timestamp>,
}

/// What a drill came to, as its report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rehearsed {
    pub ended_at: Timestamp,
    pub passed: bool,
    /// `None`: not achieved, so that there is no number.
    pub rto: Option<Span>,
    /// Likewise.
    pub rpo: Option<Span>,
}

/// Reads it. `catalog` is absent where this host ships nothing.
pub fn read(
    repository: &Repository,
    resource: &ResourceName,
    catalog: Option<&Catalog>,
) -> Result<Overview> {
    read_by(facts::read_now, repository, resource, catalog)
}

/// The same without reading the end of the log for the instant that it reaches: the last window
/// then ends when its newest object was stored. For whoever looks often.
pub fn read_undated(
    repository: &Repository,
    resource: &ResourceName,
    catalog: Option<&Catalog>,
) -> Result<Overview> {
    read_by(facts::read_now_undated, repository, resource, catalog)
}

fn read_by(
    read: fn(&Sources, &ResourceName) -> Result<Stored>,
    repository: &Repository,
    resource: &ResourceName,
    catalog: Option<&Catalog>,
) -> Result<Overview> {
    let clusters = manifest::clusters(repository, resource)?;
    let Some(system_id) = clusters.last().map(|cluster| cluster.cluster.system_id) else {
        return Ok(Overview::default());
    };
    let stored = read(&Sources::only(repository), resource)?;
    let reach = windows(&stored.facts).map_err(Error::from)?;
    let end: Option<Lsn> = reach.windows.last().map(|window| window.end);
    let (mut shipping, mut heartbeat_at) = (None, None);
    if let Some(catalog) = catalog {
        shipping = catalog.shipping(resource, system_id)?;
        if let Some(end) = end {
            heartbeat_at = catalog.newest_stored_heartbeat(resource, system_id, end)?;
        }
    }
    let drills = drills(repository, resource)?;
    Ok(Overview {
        system_id: Some(system_id),
        snapshots: stored.manifests,
        gaps: stored.gaps,
        unread: stored.unread,
        reach,
        log: Some(stored.facts.wal),
        proofs: proofs_of(&drills),
        drill: drills.iter().filter_map(rehearsed).max_by_key(|drill| drill.ended_at),
        stored_bytes: stored.bytes,
        shipping,
        heartbeat_at,
    })
}

/// Reads the drills of a resource for those that passed.
pub(super) fn proofs(
    repository: &Repository,
    resource: &ResourceName,
) -> Result<BTreeMap<String, Timestamp>> {
    drills(repository, resource).map(|drills| proofs_of(&drills))
}

fn drills(repository: &Repository, resource: &ResourceName) -> Result<Vec<Value>> {
    manifest::read_all(repository, &layout::drills(resource))
}

fn proofs_of(drills: &[Value]) -> BTreeMap<String, Timestamp> {
    let mut proofs = BTreeMap::new();
    for drill in drills.iter().filter(|drill| passed(drill)) {
        let snapshot = drill["recovery_point"]["snapshot"].as_str();
        if let (Some(snapshot), Some(ended)) = (snapshot, ended_at(drill)) {
            let newest = proofs.entry(snapshot.to_owned()).or_insert(ended);
            *newest = ended.max(*newest);
        }
    }
    proofs
}

fn rehearsed(drill: &Value) -> Option<Rehearsed> {
    let achieved = |objective: &str| {
        let seconds = drill["objectives"][objective]["measured_seconds"].as_f64()?;
        Duration::try_from_secs_f64(seconds).ok().map(Span)
    };
    Some(Rehearsed {
        ended_at: ended_at(drill)?,
        passed: passed(drill),
        rto: achieved("rto"),
        rpo: achieved("rpo"),
    })
}

fn passed(drill: &Value) -> bool {
    drill["verdict"] == "passed"
}

fn ended_at(drill: &Value) -> Option<Timestamp> {
    drill["times"]["t_end"].as_str()?.parse().ok()
}

impl Overview {
    /// The newest snapshot of the registered cluster.
    pub fn last_snapshot(&self) -> Option<&SnapshotManifest> {
        let ours = self.snapshots.iter().filter(|s| Some(s.cluster.system_id) == self.system_id);
        ours.max_by_key(|snapshot| snapshot.stopped_at)
    }

    /// The newest proof of any recovery point.
    pub fn last_proof(&self) -> Option<Timestamp> {
        self.proofs.values().max().copied()
    }

    /// Why a snapshot serves no recovery, if so.
    pub fn unusable(&self, id: &str) -> Option<&str> {
        self.reach.unusable.iter().find(|(of, _)| of == id).map(|(_, reason)| reason.as_str())
    }

    /// For judging.
    pub fn seen(&self) -> Seen {
        let last = self.last_snapshot();
        let gap = self.gaps.iter().max_by_key(|gap| gap.recorded_at);
        Seen {
            snapshot_at: last.map(|snapshot| snapshot.stopped_at),
            damaged_pages: last.map_or(0, |snapshot| snapshot.pages.damaged_count),
            usable: last.is_some_and(|snapshot| self.unusable(&snapshot.id).is_none()),
            heartbeat_at: self.heartbeat_at,
            trouble: self.shipping.as_ref().and_then(|shipping| shipping.trouble.clone()),
            gap: gap.map(|gap| (gap.recorded_at, gap.to.since(gap.from))),
            retired: false,
        }
    }
}
