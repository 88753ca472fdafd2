//! What a tree says of one file, directory or symbolic link. The name is not part of a node: it
//! stands in its path, so the two cannot disagree.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::name;
use crate::error::{Attempt, Error, Result};

/// Bits of Go's `FileMode` beside the nine permission bits.
const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_STICKY: u32 = 1 << 20;

/// What kind of file a node is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    File {
        /// Bytes; always the sum of the lengths of `content`.
        size: u64,
        /// Ids of its chunks in order.
        content: Vec<Id>,
    },
    Dir {
        /// Filled in by the writer; `None` only before that.
        subtree: Option<Id>,
    },
    Symlink {
        target: OsString,
    },
    /// A device, pipe or socket in a vault that another program wrote. Never written here.
    Other(String),
}

/// One file, directory or symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: NodeKind,
    /// The twelve permission bits of `chmod` (set-user-id, set-group-id and sticky included).
    pub permissions: u32,
    pub uid: u32,
    pub gid: u32,
    pub user: Option<String>,
    pub group: Option<String>,
    pub mtime: Timestamp,
    pub ctime: Option<Timestamp>,
    pub atime: Option<Timestamp>,
    pub inode: u64,
    pub device_id: u64,
}

impl Node {
    /// A node without owner, inode and times but `mtime`.
    pub fn new(kind: NodeKind, permissions: u32, mtime: Timestamp) -> Node {
        Node {
            kind,
            permissions,
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            mtime,
            ctime: None,
            atime: None,
            inode: 0,
            device_id: 0,
        }
    }

    pub fn file(size: u64, content: Vec<Id>, permissions: u32, mtime: Timestamp) -> Node {
        Node::new(NodeKind::File { size, content }, permissions, mtime)
    }

    pub fn dir(permissions: u32, mtime: Timestamp) -> Node {
        Node::new(NodeKind::Dir { subtree: None }, permissions, mtime)
    }

    pub fn symlink(target: impl Into<OsString>, mtime: Timestamp) -> Node {
        Node::new(NodeKind::Symlink { target: target.into() }, 0o777, mtime)
    }

    pub fn is_dir(&self) -> bool {
        matches!(self.kind, NodeKind::Dir { .. })
    }

    /// Go's `FileMode`, which the format stores.
    fn go_mode(&self) -> u32 {
        let kind = match self.kind {
            NodeKind::Dir { .. } => GO_DIR,
            NodeKind::Symlink { .. } => GO_SYMLINK,
            _ => 0,
        };
        let special = [(0o4000, GO_SETUID), (0o2000, GO_SETGID), (0o1000, GO_STICKY)];
        let special = special.iter().filter(|(unix, _)| self.permissions & unix != 0);
        special.fold(kind | self.permissions & 0o777, |mode, (_, go)| mode | go)
    }
}

fn permissions_of(go_mode: u32) -> u32 {
    let special = [(0o4000, GO_SETUID), (0o2000, GO_SETGID), (0o1000, GO_STICKY)];
    let special = special.iter().filter(|(_, go)| go_mode & go != 0);
    special.fold(go_mode & 0o777, |mode, (unix, _)| mode | unix)
}

/// A node as JSON. Fields of other programs (extended attributes, hard links) are not read.
#[derive(Serialize, Deserialize)]
pub(super) struct NodeJson {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    mode: u32,
    mtime: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    atime: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctime: Option<Timestamp>,
    uid: Option<u32>,
    gid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    inode: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    device_id: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    linktarget: Option<String>,
    /// Base64 of a target that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    linktarget_raw: Option<String>,
    content: Option<Vec<Id>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtree: Option<Id>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl NodeJson {
    pub(super) fn new(name: &std::ffi::OsStr, node: Node) -> NodeJson {
        let mut json = NodeJson {
            name: name::quote(name),
            kind: String::new(),
            mode: node.go_mode(),
            mtime: Some(node.mtime),
            atime: node.atime,
            ctime: node.ctime,
            uid: Some(node.uid),
            gid: Some(node.gid),
            user: node.user,
            group: node.group,
            inode: node.inode,
            device_id: node.device_id,
            size: 0,
            linktarget: None,
            linktarget_raw: None,
            content: None,
            subtree: None,
        };
        json.kind = match node.kind {
            NodeKind::File { size, content } => {
                json.size = size;
                json.content = Some(content);
                "file".into()
            }
            NodeKind::Dir { subtree } => {
                json.subtree = subtree;
                "dir".into()
            }
            NodeKind::Symlink { target } => {
                json.linktarget = Some(target.to_string_lossy().into_owned());
                if target.to_str().is_none() {
                    json.linktarget_raw = Some(BASE64.encode(target.as_bytes()));
                }
                "symlink".into()
            }
            NodeKind::Other(kind) => kind,
        };
        json
    }

    /// # Errors
    /// The node lacks what its kind must have, or its name cannot be a file's.
    pub(super) fn into_node(self) -> Result<(OsString, Node)> {
        let name = name::unquote(&self.name)?;
        if !name::is_valid(&name) {
            return Err(Error::failed(format!("`{}` cannot be a file's name", self.name)));
        }
        let lacks = |what| Error::failed(format!("`{}` has no {what}", self.name));
        let kind = match self.kind.as_str() {
            "file" => {
                let content = self.content.ok_or_else(|| lacks("content"))?;
                NodeKind::File { size: self.size, content }
            }
            "dir" => {
                let subtree = self.subtree.ok_or_else(|| lacks("subtree"))?;
                NodeKind::Dir { subtree: Some(subtree) }
            }
            "symlink" => {
                let plain = self.linktarget.ok_or_else(|| lacks("target"))?;
                NodeKind::Symlink { target: link_target(plain, self.linktarget_raw)? }
            }
            "dev" | "chardev" | "fifo" | "socket" | "irregular" => NodeKind::Other(self.kind),
            other => return Err(Error::failed(format!("`{}` is a `{other}`", self.name))),
        };
        let node = Node {
            kind,
            permissions: permissions_of(self.mode),
            uid: self.uid.unwrap_or(0),
            gid: self.gid.unwrap_or(0),
            user: self.user,
            group: self.group,
            mtime: self.mtime.unwrap_or(Timestamp::UNIX_EPOCH),
            ctime: self.ctime,
            atime: self.atime,
            inode: self.inode,
            device_id: self.device_id,
        };
        Ok((name, node))
    }
}

fn link_target(plain: String, raw: Option<String>) -> Result<OsString> {
    match raw {
        None => Ok(plain.into()),
        Some(raw) => {
            let bytes = BASE64.decode(raw).attempt(|| format!("read the target {plain}"))?;
            Ok(OsString::from_vec(bytes))
        }
    }
}
