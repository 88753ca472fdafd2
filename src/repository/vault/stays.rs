//! Until when each pack is to be locked, by the snapshots that lead to what is in it (RULES 18).
//!
//! A pack is asked for as long as the last of its snapshots stays. But what else is in it must be
//! able to go in time: its lock never outlives the horizon of any blob, or each reuse would carry
//! along, for weeks, what nobody uses any more. And a pack that holds a blob nobody leads to is
//! left out altogether: pruning writes it anew, and the new one is locked.
//!
//! Index files are in nobody's list: pruning replaces them, and everything in them can be read
//! again from the headers of the packs.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::id::{Id, IdSet};
use super::prune::leaving;
use super::reach::Reached;
use super::{BlobType, Index, Vault};
use crate::error::{Attempt, Result};

/// How long one snapshot stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    pub snapshot: Id,
    /// So long it asks for its packs.
    pub until: Timestamp,
    /// What only it leads to must be able to go by then; not before `until`.
    pub horizon: Timestamp,
}

/// What the snapshots of one pack ask for.
struct Asked {
    /// The latest of them.
    until: Timestamp,
    /// The earliest horizon of a blob in it.
    horizon: Timestamp,
}

impl Vault {
    /// The end of each pack's lock, for the packs that hold nothing but what `stays` lead to;
    /// `stays` are all snapshots there are.
    ///
    /// # Errors
    /// A snapshot, a tree of it or the index cannot be read.
    pub fn packs_until(&self, stays: &[Stay]) -> Result<BTreeMap<Id, Timestamp>> {
        let files = self.index_files()?;
        let index = Index::build(files.values().cloned().collect(), &self.list_packs()?);
        // The longest first: what it leads to needs no second look. Its horizon is the one that
        // counts for a blob, which errs, if at all, to an earlier end.
        let mut longest_first: Vec<&Stay> = stays.iter().collect();
        longest_first.sort_by_key(|stay| Reverse((stay.until, stay.horizon)));
        let (mut living, mut packs) = (Reached::default(), BTreeMap::new());
        for stay in longest_first {
            self.ask(stay, &index, &mut living, &mut packs)
                .attempt(|| format!("follow snapshot {}", stay.snapshot))?;
        }
        let leaving = leaving(&files, &index, &living);
        let whole = packs.into_iter().filter(|(id, _)| !leaving.contains_key(id));
        Ok(whole.map(|(id, asked)| (id, asked.until.min(asked.horizon))).collect())
    }

    fn ask(
        &self,
        stay: &Stay,
        index: &Index,
        living: &mut Reached,
        packs: &mut BTreeMap<Id, Asked>,
    ) -> Result<()> {
        let root = self.snapshot(&stay.snapshot)?.tree;
        let mut trees = Vec::new();
        let known = std::mem::take(&mut living.trees);
        let mut fresh = Reached { trees: known, data: IdSet::default() };
        self.reach(index, root, &mut fresh, &mut |tree, _| {
            trees.push(*tree);
            Ok(())
        })?;
        living.trees = fresh.trees;
        let data = fresh.data.iter().filter(|id| !living.data.contains(id));
        let of_data = data.map(|id| (BlobType::Data, id));
        for (blob_type, id) in trees.iter().map(|id| (BlobType::Tree, id)).chain(of_data) {
            // What is missing is found by verification; the rest is to be locked all the same.
            let Some(at) = index.locate(blob_type, id) else { continue };
            let (until, horizon) = (stay.until, stay.horizon);
            let asked = packs.entry(index.pack(&at).id).or_insert(Asked { until, horizon });
            asked.until = until.max(asked.until);
            asked.horizon = horizon.min(asked.horizon);
        }
        living.data.extend(fresh.data);
        Ok(())
    }
}
