//! Which cluster a resource is: registered at the first meeting, compared at every other.
//!
//! Log and files of another cluster must never mix under one name; a resource that was replaced
//! (`pg_upgrade`, a new `initdb`) is registered again only when the operator says so.

use crate::error::{Error, Result};
use crate::model::{ResourceName, SystemId, Timeline};
use crate::ports::Clock;
use crate::ports::store::Put;
use crate::repository::manifest::{self, ClusterFacts, ClusterManifest};
use crate::repository::wal::WalArchive;
use crate::repository::{Repository, layout};

/// Compares the cluster with the registered one; registers it if the resource has none yet, or
/// if `replace` says that this one takes over the name.
///
/// # Errors
/// Refused if another cluster is registered.
pub fn register(
    repository: &Repository,
    resource: &ResourceName,
    facts: &ClusterFacts,
    timeline: Timeline,
    clock: &dyn Clock,
    replace: bool,
) -> Result<ClusterManifest> {
    let registered = manifest::clusters(repository, resource)?;
    match registered.last() {
        Some(known) if known.cluster.system_id == facts.system_id => return Ok(known.clone()),
        Some(known) if !replace => return Err(stranger(resource, known, facts.system_id)),
        Some(_) | None => {}
    }
    let ours = ClusterManifest {
        version: 1,
        registered_at: clock.now(),
        cluster: facts.clone(),
        timeline,
    };
    let key = layout::cluster(resource, facts.system_id);
    match manifest::create(repository, &key, &ours)? {
        Put::Created => Ok(ours),
        Put::Exists => manifest::read(repository, &key),
    }
}

/// The cluster registered for the resource.
///
/// # Errors
/// None is: nothing was ever protected under this name.
pub fn registered(repository: &Repository, resource: &ResourceName) -> Result<ClusterManifest> {
    manifest::clusters(repository, resource)?.pop().ok_or_else(|| {
        Error::failed(format!("nothing is stored yet of {resource}"))
            .hint(format!("Run `fenice ship {resource}` and `fenice snapshot {resource}` first."))
    })
}

/// The log archive of the registered cluster.
pub fn archive(
    repository: &Repository,
    resource: &ResourceName,
    cluster: &ClusterFacts,
    compression_level: i32,
) -> WalArchive {
    WalArchive {
        repository: repository.clone(),
        resource: resource.clone(),
        system_id: cluster.system_id,
        segment_size: cluster.wal_segment_size,
        compression_level,
        copies: None,
    }
}

fn stranger(resource: &ResourceName, known: &ClusterManifest, met: SystemId) -> Error {
    Error::refused(format!("the server is not the cluster registered as {resource}"))
        .because(format!(
            "its system identifier is {met}, registered is {}",
            known.cluster.system_id
        ))
        .hint(format!(
            "If it takes over the name for good (pg_upgrade, a new initdb), run \
             `fenice prepare {resource} --new-cluster`."
        ))
}
