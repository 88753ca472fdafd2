//! Checking a vault: index files, packs, snapshots, every tree and chunk they lead to, and if
//! asked every stored byte. Each fault is its own finding, by name; the check goes on after it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use super::id::{Id, IdSet};
use super::index::{Index, IndexFile, IndexPack};
use super::layout::ids_of;
use super::pack::BlobType;
use super::tree::{Disorder, decode_nodes, disorder};
use super::{Node, NodeKind, Vault};
use crate::error::Result;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    UnreadableIndex,
    UnreadableSnapshot,
    UnreadableTree,
    /// The store failed while it was read: nothing is known of the content.
    UnreadablePack,
    MissingPack,
    /// A pack is longer or shorter than its blobs.
    WrongPackSize,
    /// A pack does not hash to its name.
    WrongPackId,
    /// A pack's header is damaged, or lists other blobs than the index.
    WrongHeader,
    /// An index lists blobs of a pack that overlap or leave gaps.
    WrongOffsets,
    MissingBlob,
    WrongMac,
    WrongLength,
    WrongId,
    UnsortedTree,
    DuplicateName,
    /// A file is not as long as its chunks together.
    WrongFileSize,
    /// A pack in no index: left by a crash or of a writer at work. Harmless.
    OrphanPack,
}

/// One fault, with everything that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub problem: Problem,
    pub index: Option<Id>,
    pub pack: Option<Id>,
    pub blob: Option<Id>,
    pub tree: Option<Id>,
    /// The oldest snapshot that leads there.
    pub snapshot: Option<Id>,
    pub path: Option<PathBuf>,
    /// What was found, for people.
    pub detail: String,
}

impl Finding {
    pub(super) fn new(problem: Problem, detail: impl Into<String>) -> Finding {
        Finding {
            problem,
            index: None,
            pack: None,
            blob: None,
            tree: None,
            snapshot: None,
            path: None,
            detail: detail.into(),
        }
    }

    /// Whether anything is damaged or lost.
    pub fn is_damage(&self) -> bool {
        self.problem != Problem::OrphanPack
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.problem, self.detail)?;
        let named = [
            ("index", self.index),
            ("pack", self.pack),
            ("blob", self.blob),
            ("tree", self.tree),
            ("snapshot", self.snapshot),
        ];
        for (what, id) in named {
            if let Some(id) = id {
                write!(f, "; {what} {id}")?;
            }
        }
        match &self.path {
            Some(path) => write!(f, "; path {}", path.display()),
            None => Ok(()),
        }
    }
}

/// What of the vault has been read so far.
struct Check<'a> {
    vault: &'a Vault,
    index: Index,
    /// Trees seen: each is looked at once.
    seen: IdSet,
    findings: Vec<Finding>,
}

impl Vault {
    /// Every fault of the vault; with `read_data` every stored byte is read and verified.
    ///
    /// # Errors
    /// A listing cannot be had: then nothing is known.
    pub fn check(&self, read_data: bool) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let files = self.readable_index_files(&mut findings)?;
        let listed = self.list_packs()?;
        let mut packs = BTreeMap::new();
        for pack in files.iter().flat_map(|file| &file.packs) {
            packs.entry(pack.id).or_insert_with(|| pack.clone());
        }
        let index = Index::build(files, &listed);
        check_listing(&index, &packs, &mut findings);
        if read_data {
            findings.extend(self.check_packs(&packs, &listed)?);
        }
        let mut check = Check { vault: self, index, seen: IdSet::default(), findings };
        check.snapshots()?;
        Ok(check.findings)
    }

    pub(super) fn readable_index_files(
        &self,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<IndexFile>> {
        let mut files = Vec::new();
        for (id, _) in ids_of(&self.store().list(&self.layout().indexes())?) {
            match self.index_file(&id) {
                Ok(file) => files.push(file),
                Err(error) => {
                    let finding = Finding::new(Problem::UnreadableIndex, error.chain());
                    findings.push(Finding { index: Some(id), ..finding });
                }
            }
        }
        Ok(files)
    }
}

/// Packs against the listing, and blobs against each other.
fn check_listing(index: &Index, packs: &BTreeMap<Id, IndexPack>, findings: &mut Vec<Finding>) {
    for pack in index.lost_packs() {
        let finding = match pack.stored_bytes {
            None => Finding::new(Problem::MissingPack, "an index names a pack that is not there"),
            Some(bytes) => {
                let detail = format!("it has {bytes} bytes, the index says {}", pack.bytes);
                Finding::new(Problem::WrongPackSize, detail)
            }
        };
        findings.push(Finding { pack: Some(pack.id), ..finding });
    }
    for (id, bytes) in index.orphans() {
        let finding = Finding::new(Problem::OrphanPack, format!("{bytes} bytes are in no index"));
        findings.push(Finding { pack: Some(*id), ..finding });
    }
    for pack in packs.values() {
        let mut blobs: Vec<_> = pack.blobs.iter().collect();
        blobs.sort_by_key(|blob| blob.offset);
        let mut reached = 0;
        for blob in blobs {
            if u64::from(blob.offset) != reached {
                let detail = format!("it begins at {}, not at {reached}", blob.offset);
                let finding = Finding::new(Problem::WrongOffsets, detail);
                findings.push(Finding { pack: Some(pack.id), blob: Some(blob.id), ..finding });
                break;
            }
            reached += u64::from(blob.length);
        }
    }
}

/// A directory to be looked at, and how it was reached.
struct Pending {
    tree: Id,
    snapshot: Id,
    path: PathBuf,
}

impl Check<'_> {
    fn snapshots(&mut self) -> Result<()> {
        let mut roots = Vec::new();
        let listing = self.vault.store().list(&self.vault.layout().snapshots())?;
        for (id, _) in ids_of(&listing) {
            match self.vault.snapshot(&id) {
                Ok(snapshot) => roots.push((snapshot.time, id, snapshot.tree)),
                Err(error) => {
                    let finding = Finding::new(Problem::UnreadableSnapshot, error.chain());
                    self.findings.push(Finding { snapshot: Some(id), ..finding });
                }
            }
        }
        roots.sort_unstable();
        for (_, snapshot, tree) in roots {
            let mut pending = vec![Pending { tree, snapshot, path: PathBuf::new() }];
            while let Some(next) = pending.pop() {
                if self.seen.insert(next.tree) {
                    self.tree(&next, &mut pending);
                }
            }
        }
        Ok(())
    }

    fn tree(&mut self, at: &Pending, pending: &mut Vec<Pending>) {
        let Some(nodes) = self.nodes_of(at) else { return };
        let mut last: Option<&OsStr> = None;
        for (name, node) in &nodes {
            let path = at.path.join(name);
            if let Some(found) = disorder(last, name) {
                let (problem, detail) = match found {
                    Disorder::Duplicate => (Problem::DuplicateName, "the name stands twice"),
                    Disorder::Unsorted => (Problem::UnsortedTree, "the name is out of order"),
                };
                self.report(problem, detail.into(), at, &path, None);
            }
            last = Some(name);
            match &node.kind {
                NodeKind::Dir { subtree: Some(tree) } => {
                    pending.push(Pending { tree: *tree, snapshot: at.snapshot, path });
                }
                NodeKind::File { size, content } => self.file(at, &path, *size, content),
                _ => {}
            }
        }
    }

    fn nodes_of(&mut self, at: &Pending) -> Option<Vec<(std::ffi::OsString, Node)>> {
        if self.index.locate(BlobType::Tree, &at.tree).is_none() {
            let detail = "a directory is in no index".into();
            self.report(Problem::MissingBlob, detail, at, &at.path, Some(at.tree));
            return None;
        }
        let text = self.vault.read_blob(&self.index, BlobType::Tree, &at.tree);
        match text.and_then(|text| decode_nodes(&text)) {
            Ok(nodes) => Some(nodes),
            Err(error) => {
                let (detail, blob) = (error.chain(), Some(at.tree));
                self.report(Problem::UnreadableTree, detail, at, &at.path, blob);
                None
            }
        }
    }

    fn file(&mut self, at: &Pending, path: &Path, size: u64, content: &[Id]) {
        let mut bytes = Some(0u64);
        for id in content {
            match self.index.locate(BlobType::Data, id) {
                Some(location) => {
                    bytes = bytes.map(|bytes| bytes + location.blob.content_bytes());
                }
                None => {
                    bytes = None;
                    let detail = "a chunk is in no index".into();
                    self.report(Problem::MissingBlob, detail, at, path, Some(*id));
                }
            }
        }
        if bytes.is_some_and(|bytes| bytes != size) {
            let chunks = bytes.unwrap_or_default();
            let detail = format!("the file has {size} bytes, its chunks have {chunks}");
            self.report(Problem::WrongFileSize, detail, at, path, None);
        }
    }

    fn report(
        &mut self,
        problem: Problem,
        detail: String,
        at: &Pending,
        path: &Path,
        blob: Option<Id>,
    ) {
        // Where the blob's pack is known to be lost, the finding names it as well.
        let location = blob.and_then(|id| self.index.locate(BlobType::Tree, &id));
        self.findings.push(Finding {
            pack: location.map(|location| self.index.pack(&location).id),
            blob,
            tree: Some(at.tree),
            snapshot: Some(at.snapshot),
            path: Some(path.to_owned()),
            ..Finding::new(problem, detail)
        });
    }
}
