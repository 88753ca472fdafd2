//! Trees: one directory each, as JSON, its entries in strictly ascending order of their names'
//! bytes. Readers that look paths up rely on the order; what breaks it is refused on both sides.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use super::name;
use super::node::{Node, NodeJson};
use crate::error::{Attempt, Error, Result};

/// One directory's entries, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: Vec<(OsString, Node)>,
}

#[derive(Serialize, Deserialize)]
struct TreeJson {
    nodes: Vec<NodeJson>,
}

/// How two neighbours in a tree break its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disorder {
    Duplicate,
    Unsorted,
}

impl Tree {
    /// Adds an entry, which must come after all others.
    pub fn push(&mut self, name: OsString, node: Node) -> Result<()> {
        if !name::is_valid(&name) {
            let shown = name.display();
            return Err(Error::refused(format!("`{shown}` cannot be a file's name")));
        }
        let last = self.nodes.last().map(|(last, _)| last.as_os_str());
        if let Some(disorder) = disorder(last, &name) {
            return Err(refusal(disorder, &name));
        }
        self.nodes.push((name, node));
        Ok(())
    }

    pub fn nodes(&self) -> &[(OsString, Node)] {
        &self.nodes
    }

    pub fn into_nodes(self) -> Vec<(OsString, Node)> {
        self.nodes
    }

    /// As stored. The newline at the end is part of the format's canonical form.
    pub fn encode(self) -> Result<Vec<u8>> {
        let nodes = self.nodes.into_iter().map(|(name, node)| NodeJson::new(&name, node));
        let json = TreeJson { nodes: nodes.collect() };
        let mut text = serde_json::to_vec(&json).attempt(|| "write a tree".into())?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads a stored tree.
    ///
    /// # Errors
    /// Not a tree, an invalid entry, entries out of order or twice.
    pub fn decode(text: &[u8]) -> Result<Tree> {
        let mut tree = Tree::default();
        for (name, node) in decode_nodes(text)? {
            tree.push(name, node)?;
        }
        Ok(tree)
    }
}

/// The entries as they stand, order not looked at: the checker names each fault itself.
pub(super) fn decode_nodes(text: &[u8]) -> Result<Vec<(OsString, Node)>> {
    let json: TreeJson = serde_json::from_slice(text).attempt(|| "read a tree".into())?;
    json.nodes.into_iter().map(NodeJson::into_node).collect()
}

/// What is wrong with `name` after `last`, if anything.
pub(super) fn disorder(last: Option<&OsStr>, name: &OsStr) -> Option<Disorder> {
    match last?.as_bytes().cmp(name.as_bytes()) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(Disorder::Duplicate),
        std::cmp::Ordering::Greater => Some(Disorder::Unsorted),
    }
}

fn refusal(disorder: Disorder, name: &OsStr) -> Error {
    let what = match disorder {
        Disorder::Duplicate => "stands in its tree twice",
        Disorder::Unsorted => "stands out of order in its tree",
    };
    Error::failed(format!("`{}` {what}", name.display()))
}
