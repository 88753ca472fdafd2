//! What lies in a vault and serves no recovery: snapshots that nobody names, and packs that wait
//! for their deletion.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Vault;
use super::id::Id;
use super::layout::{Layout, ids_of};
use crate::error::Result;
use crate::ports::Store;

/// A pack that waits for its deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkedPack {
    pub marked_at: Timestamp,
    /// Until when the store refuses to delete it; `None` if that was not tried, or nothing locks
    /// it.
    pub locked_until: Option<Timestamp>,
}

impl Vault {
    /// The ids of the snapshots that are there. A backup that ended between its snapshot and its
    /// manifest leaves one that nobody names; pruning removes it.
    pub fn snapshot_ids(&self) -> Result<BTreeSet<Id>> {
        snapshot_ids(self.store(), self.layout())
    }

    /// Each pack that is still stored and was marked for deletion. A mark that nobody dated counts
    /// from the earliest instant there is: nobody can say that it is young.
    pub fn packs_marked(&self) -> Result<Vec<MarkedPack>> {
        let files = self.index_files()?;
        // A crash between mark and index left a pack in use: the mark is void.
        let in_use: BTreeSet<Id> =
            files.values().flat_map(|file| &file.packs).map(|pack| pack.id).collect();
        let mut marks: BTreeMap<Id, MarkedPack> = BTreeMap::new();
        for pack in files.values().flat_map(|file| &file.packs_to_delete) {
            let marked_at = pack.time.unwrap_or(Timestamp::MIN);
            let mark = MarkedPack { marked_at, locked_until: pack.locked_until };
            let earliest = marks.entry(pack.id).or_insert(mark);
            earliest.marked_at = marked_at.min(earliest.marked_at);
            earliest.locked_until = earliest.locked_until.max(pack.locked_until);
        }
        marks.retain(|id, _| !in_use.contains(id));
        if marks.is_empty() {
            return Ok(Vec::new());
        }
        let listed = self.list_packs()?;
        marks.retain(|id, _| listed.contains_key(id));
        Ok(marks.into_values().collect())
    }
}

/// [`Vault::snapshot_ids`] of a vault that need not be opened for it.
pub fn snapshot_ids(store: &dyn Store, layout: &Layout) -> Result<BTreeSet<Id>> {
    let listing = store.list(&layout.snapshots())?;
    Ok(ids_of(&listing).map(|(id, _)| id).collect())
}
