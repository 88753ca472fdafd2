//! Everything that trees lead to: what pruning must keep and what copying must bring.

use super::id::{Id, IdSet};
use super::{BlobType, Index, NodeKind, Tree, Vault};
use crate::error::{Attempt, Result};

/// The blobs below some roots, the roots among them.
#[derive(Default)]
pub struct Reached {
    pub trees: IdSet,
    pub data: IdSet,
}

impl Reached {
    pub fn of_type(&self, blob_type: BlobType) -> &IdSet {
        match blob_type {
            BlobType::Data => &self.data,
            BlobType::Tree => &self.trees,
        }
    }

    /// One of the blobs that `index` does not hold in a pack that is there.
    pub fn missing_from(&self, index: &Index) -> Option<Id> {
        let missing = |blob_type| {
            let ids = self.of_type(blob_type).iter();
            ids.copied().find(|id| !index.holds(blob_type, id))
        };
        missing(BlobType::Tree).or_else(|| missing(BlobType::Data))
    }
}

impl Vault {
    /// Adds to `reached` whatever `root` leads to; trees that it holds already are not followed
    /// again. `each` is given every tree that is read, as it is stored.
    ///
    /// # Errors
    /// A tree cannot be read, or what `each` says.
    pub fn reach(
        &self,
        index: &Index,
        root: Id,
        reached: &mut Reached,
        each: &mut dyn FnMut(&Id, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut pending = vec![root];
        while let Some(tree) = pending.pop() {
            if !reached.trees.insert(tree) {
                continue;
            }
            let text = self.read_blob(index, BlobType::Tree, &tree)?;
            let read = Tree::decode(&text).attempt(|| format!("read tree {tree}"))?;
            for (_, node) in read.into_nodes() {
                match node.kind {
                    NodeKind::Dir { subtree: Some(subtree) } => pending.push(subtree),
                    NodeKind::File { content, .. } => reached.data.extend(content),
                    _ => {}
                }
            }
            each(&tree, &text)?;
        }
        Ok(())
    }
}
