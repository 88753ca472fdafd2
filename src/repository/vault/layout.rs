//! Keys of a vault's objects below its prefix (restic design document, "Repository Layout").

use super::id::Id;
use crate::error::{Error, Result};
use crate::ports::store::Entry;

/// Where the vault lies in its store.
#[derive(Debug, Clone)]
pub struct Layout {
    prefix: String,
}

impl Layout {
    /// `prefix` is empty or ends with `/`.
    pub fn new(prefix: &str) -> Result<Layout> {
        if prefix.is_empty() || prefix.ends_with('/') {
            return Ok(Layout { prefix: prefix.to_owned() });
        }
        Err(Error::usage(format!("the prefix `{prefix}` of a vault does not end with `/`")))
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn config(&self) -> String {
        format!("{}config", self.prefix)
    }

    pub fn keys(&self) -> String {
        format!("{}keys/", self.prefix)
    }

    pub fn key(&self, id: &Id) -> String {
        format!("{}keys/{id}", self.prefix)
    }

    pub fn indexes(&self) -> String {
        format!("{}index/", self.prefix)
    }

    pub fn index(&self, id: &Id) -> String {
        format!("{}index/{id}", self.prefix)
    }

    pub fn snapshots(&self) -> String {
        format!("{}snapshots/", self.prefix)
    }

    pub fn snapshot(&self, id: &Id) -> String {
        format!("{}snapshots/{id}", self.prefix)
    }

    pub fn packs(&self) -> String {
        format!("{}data/", self.prefix)
    }

    pub fn pack(&self, id: &Id) -> String {
        let id = id.to_string();
        format!("{}data/{}/{id}", self.prefix, &id[..2])
    }
}

/// What an object below a vault's prefix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Config,
    Key(Id),
    Index(Id),
    Snapshot(Id),
    Pack(Id),
}

impl Part {
    /// What `name`, a key below the prefix, stands for; `None` for strangers.
    pub fn parse(name: &str) -> Option<Part> {
        if name == "config" {
            return Some(Part::Config);
        }
        let (folder, rest) = name.split_once('/')?;
        let id: Id = rest.rsplit('/').next()?.parse().ok()?;
        match folder {
            "keys" => Some(Part::Key(id)),
            "index" => Some(Part::Index(id)),
            "snapshots" => Some(Part::Snapshot(id)),
            "data" => Some(Part::Pack(id)),
            _ => None,
        }
    }
}

/// The ids of listed objects with their sizes. What is not named by an id is not of the format,
/// and ignored: unfinished uploads of other programs look like that.
pub fn ids_of(entries: &[Entry]) -> impl Iterator<Item = (Id, u64)> {
    entries.iter().filter_map(|entry| {
        let name = entry.key.rsplit('/').next()?;
        Some((name.parse().ok()?, entry.bytes))
    })
}
