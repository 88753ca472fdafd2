//! What the repository of copies holds of a resource, what it lacks, and what would be left if the
//! main repository were lost (RULES 20).

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::config::Replicate;
use crate::error::Result;
use crate::model::{ResourceName, Span};
use crate::plan::condition::age;
use crate::plan::retention::{CopyDue, Terms, copies_due};
use crate::repository::Repository;
use crate::repository::manifest::SnapshotManifest;

use super::super::expire::facts::of_manifests;
use super::super::overview::{self, Overview};

/// A copy is made within a day of its snapshot, or it is late.
pub const LATE: Span = Span::seconds(86_400);

/// The copies of a resource.
#[derive(Debug, Clone, Default)]
pub struct CopyState {
    pub seen: Overview,
    /// Snapshots that are due and not there, oldest first.
    pub due: Vec<CopyDue>,
    /// Of these, the ids of those that are late.
    pub late: Vec<String>,
}

/// Reads it. `main` is what the resource's own repository holds.
pub fn read(
    copies: &Repository,
    resource: &ResourceName,
    main: &Overview,
    terms: &Terms,
    replicate: Replicate,
    catalog: Option<&Catalog>,
    now: Timestamp,
) -> Result<CopyState> {
    let seen = overview::read(copies, resource, catalog)?;
    let facts = of_manifests(&main.snapshots, &seen.snapshots);
    let due = copies_due(&facts, terms, replicate, now);
    let is_late = |due: &&CopyDue| {
        let of = main.snapshots.iter().find(|snapshot| snapshot.id == due.id);
        of.is_some_and(|snapshot| age(snapshot.stopped_at, now) > LATE)
    };
    let late = due.iter().filter(is_late).map(|due| due.id.clone()).collect();
    Ok(CopyState { seen, due, late })
}

impl CopyState {
    /// The newest data that the copies alone bring back for certain: the newest heartbeat among
    /// it, or, where this host knows of none, the newest snapshot. When log was copied, or stored,
    /// tells nothing of what it holds.
    pub fn holds_until(&self) -> Option<Timestamp> {
        let window = self.seen.reach.windows.last()?;
        let within = |snapshot: &&SnapshotManifest| window.snapshots.contains(&snapshot.id);
        let newest = self.seen.snapshots.iter().filter(within).map(|s| s.stopped_at).max()?;
        Some(self.seen.heartbeat_at.map_or(newest, |beat| beat.max(newest)))
    }

    /// What a loss of the main repository together with the source would cost now.
    pub fn rpo_without_main(&self, now: Timestamp) -> Option<Span> {
        self.holds_until().map(|until| age(until, now))
    }
}
