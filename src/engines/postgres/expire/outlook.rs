//! What retention would say of a resource now, for whoever only looks: without a lock, and without
//! opening the vault.

use jiff::Timestamp;

use crate::error::Result;
use crate::model::ResourceName;
use crate::plan::retention::{Remaining, RetentionPlan, Terms, remaining};
use crate::repository::Repository;
use crate::repository::manifest::SnapshotManifest;
use crate::repository::retirement::Retirement;

use super::super::overview::Overview;
use super::facts;
use super::locked::plan_with_locks;

/// One repository of one resource, as retention sees it.
#[derive(Debug, Clone)]
pub struct Outlook {
    pub retirement: Option<Retirement>,
    /// It counts nothing that the vault alone tells: packs that are overdue, snapshots unnamed.
    pub plan: RetentionPlan,
    /// What the repository still holds, where the resource is retired.
    pub remaining: Remaining,
}

/// Plans as retention does. `seen` is what was read of `repository` before, `copies` what the
/// repository of copies has; what is read besides is one listing of the log, holds and pins, and
/// the locks of snapshots whose time is over.
pub fn outlook(
    repository: &Repository,
    resource: &ResourceName,
    seen: &Overview,
    copies: &[SnapshotManifest],
    terms: &Terms,
    now: Timestamp,
) -> Result<Outlook> {
    let manifests = seen.snapshots.clone();
    let proofs = &seen.proofs;
    let mut known = facts::without_vault(repository, resource, manifests, proofs, copies, now)?;
    let terms = terms.given(&known.facts);
    let plan = plan_with_locks(repository, resource, &mut known.facts, &terms, now)?;
    Ok(Outlook {
        plan,
        remaining: remaining(&known.facts, &terms, now),
        retirement: known.retirement,
    })
}
