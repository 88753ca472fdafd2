//! Snapshots: a root tree with what it was taken of. Writing this small file is the commit point:
//! before it nothing of a backup is visible, after it everything it needs is durable.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::Id;

/// One snapshot as stored. Fields of other programs are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    pub tree: Id,
    /// What was backed up; for people, and for other programs' choice of a parent.
    #[serde(default)]
    pub paths: Vec<String>,
    #[serde(default)]
    pub hostname: String,
    #[serde(default)]
    pub username: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_version: Option<String>,
}

/// What the caller says of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// When it was started.
    pub time: Timestamp,
    /// The snapshot whose unchanged files were taken over unread.
    pub parent: Option<Id>,
    pub hostname: String,
    pub paths: Vec<String>,
    pub tags: Vec<String>,
}

impl About {
    /// The snapshot of `tree`.
    pub fn snapshot_of(self, tree: Id) -> Snapshot {
        Snapshot {
            time: self.time,
            parent: self.parent,
            tree,
            paths: self.paths,
            hostname: self.hostname,
            username: "fenice".into(),
            tags: (!self.tags.is_empty()).then_some(self.tags),
            program_version: Some(concat!("fenice ", env!("CARGO_PKG_VERSION")).into()),
        }
    }
}
