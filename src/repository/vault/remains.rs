//! What lies in a vault and serves no recovery: snapshots that nobody names, and packs that wait
//! for their deletion.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Vault;
use super::id::Id;
use super::layout::ids_of;
use crate::error::Result;

impl Vault {
    /// The ids of the snapshots that are there. A backup that ended between its snapshot and its
    /// manifest leaves one that nobody names; pruning removes it.
    pub fn snapshot_ids(&self) -> Result<BTreeSet<Id>> {
        let listing = self.store().list(&self.layout().snapshots())?;
        Ok(ids_of(&listing).map(|(id, _)| id).collect())
    }

    /// When each pack that is still stored was marked for deletion. A mark that nobody dated
    /// counts from the earliest instant there is: nobody can say that it is young.
    pub fn packs_marked_at(&self) -> Result<Vec<Timestamp>> {
        let files = self.index_files()?;
        // A crash between mark and index left a pack in use: the mark is void.
        let in_use: BTreeSet<Id> =
            files.values().flat_map(|file| &file.packs).map(|pack| pack.id).collect();
        let mut marks: BTreeMap<Id, Timestamp> = BTreeMap::new();
        for pack in files.values().flat_map(|file| &file.packs_to_delete) {
            let marked_at = pack.time.unwrap_or(Timestamp::MIN);
            let earliest = marks.entry(pack.id).or_insert(marked_at);
            *earliest = marked_at.min(*earliest);
        }
        marks.retain(|id, _| !in_use.contains(id));
        if marks.is_empty() {
            return Ok(Vec::new());
        }
        let listed = self.list_packs()?;
        Ok(marks.into_iter().filter(|(id, _)| listed.contains_key(id)).map(|(_, at)| at).collect())
    }
}
