//! The catalog of one resource, filled from the repository alone: on a host that has none, and
//! where it is lost or in doubt.
//!
//! What the repository cannot tell comes back by itself, and no recovery needs it. Where the
//! commits of heartbeats lie: with the next beat that is shipped; until then the exposure cannot
//! be told. When each object was last verified: as the rolling scrub reads it once more. Until when
//! it is locked: as locking asks for it once more.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::catalog::heartbeats::Shipping;
use crate::error::{Error, Result};
use crate::model::{Lsn, ResourceName, SystemId, Timeline};
use crate::plan::windows::{Reach, windows};
use crate::repository::manifest;
use crate::repository::wal::WalArchive;
use crate::repository::{Repository, layout};

use super::restore::facts::{self, Stored};
use super::restore::sources::{Sources, Unread};

/// What the repository holds of a resource. Empty if nothing was ever stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Of the registered cluster.
    pub system_id: Option<SystemId>,
    pub snapshots: usize,
    /// Whole segments and parts of the registered cluster's log.
    pub log_objects: usize,
    /// The log of this timeline is stored up to here.
    pub stored_until: Option<(Timeline, Lsn)>,
    /// The earliest and the latest instant that can be recovered to, gaps between them or not.
    pub window: Option<(Timestamp, Timestamp)>,
    /// How many are recorded.
    pub gaps: usize,
    /// What is there and cannot be read.
    pub unread: Vec<Unread>,
}

/// Reads what is stored and notes it; `now` is read before, so that what a shipper of this host
/// notes meanwhile stays. Forgets that objects were found sound which are gone.
///
/// # Errors
/// The repository cannot be read, or the catalog not written. A damaged object is no error, but
/// told in [`Rebuilt::unread`].
pub fn rebuild(
    repository: &Repository,
    catalog: &Catalog,
    resource: &ResourceName,
    now: Timestamp,
) -> Result<Rebuilt> {
    forget_gone(repository, catalog, resource)?;
    if manifest::clusters(repository, resource)?.is_empty() {
        return Ok(Rebuilt::default());
    }
    let mut stored = facts::read_now_undated(&Sources::only(repository), resource)?;
    let noted = noted_until(&mut stored);
    stored.facts.log_stored_until = noted;
    let reach = windows(&stored.facts).map_err(Error::from)?;
    let inventory = &stored.facts.wal;
    let stored_until = end_of_log(&stored, &reach);
    if let Some((timeline, end)) = stored_until {
        // What the newest object notes holds if everything before it is there.
        let is_whole = WalArchive::end_on(inventory, timeline) == Some(end);
        let found = Shipping {
            timeline,
            stored_until: end,
            complete_at: noted.filter(|_| is_whole),
            noted_at: now,
            trouble: None,
        };
        catalog.note_found(resource, inventory.system_id, &found)?;
    }
    let (first, last) = (reach.windows.first(), reach.windows.last());
    Ok(Rebuilt {
        system_id: Some(inventory.system_id),
        snapshots: stored.manifests.len(),
        log_objects: inventory.objects.len(),
        stored_until,
        window: first.zip(last).map(|(first, last)| (first.from, last.to)),
        gaps: stored.gaps.len(),
        unread: stored.unread,
    })
}

/// Forgets that objects were found sound which are not in this repository any more.
pub fn forget_gone(
    repository: &Repository,
    catalog: &Catalog,
    resource: &ResourceName,
) -> Result<()> {
    let known = catalog.sound_objects(&repository.id, resource)?;
    if known.is_empty() {
        return Ok(());
    }
    let mut there = repository.store.list(&layout::resource(resource))?;
    there.extend(repository.store.list(layout::SECRETS)?);
    let there: BTreeSet<&str> = there.iter().map(|entry| entry.key.as_str()).collect();
    let gone: Vec<String> = known.into_keys().filter(|key| !there.contains(key.as_str())).collect();
    catalog.forget_sound(&repository.id, resource, &gone)
}

/// Without looking for commits, which would read whole segments; the note is as good wherever a
/// shipper wrote it.
fn noted_until(stored: &mut Stored) -> Option<Timestamp> {
    match facts::noted_until(&stored.archive, &stored.facts.wal) {
        Ok(noted) => noted,
        Err(error) => {
            let newest = stored.facts.wal.objects.last();
            let key = newest.map(|object| object.key.clone()).unwrap_or_default();
            stored.unread.push(Unread { key, because: error.chain() });
            None
        }
    }
}

/// Where the stored log ends: that of the newest window, else that of its newest timeline.
fn end_of_log(stored: &Stored, reach: &Reach) -> Option<(Timeline, Lsn)> {
    let inventory = &stored.facts.wal;
    let newest = inventory.objects.last()?.timeline;
    let window = reach.windows.last().filter(|window| window.timeline == newest);
    let end = window.map(|window| window.end).or_else(|| WalArchive::end_on(inventory, newest));
    end.map(|end| (newest, end))
}
