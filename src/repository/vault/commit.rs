//! The end of a run: trees, the last packs, the index, then checks, and only then the snapshot.
//! Whatever fails before the last write leaves no snapshot, only packs that the next run reuses.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::id::{Id, IdSet};
use super::pack::BlobType;
use super::snapshot::About;
use super::storer::{ChunkStorer, Counts};
use super::write::{VaultWriter, lock};
use super::{Index, Node, NodeKind, Tree, name};
use crate::error::{Error, Result};

/// What the caller set out to store; a snapshot that differs is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// Regular files.
    pub files: u64,
    /// Bytes of all regular files.
    pub bytes: u64,
}

/// A snapshot that was written, and what it took.
#[derive(Debug, Clone)]
pub struct Committed {
    pub snapshot: Id,
    pub tree: Id,
    pub files: u64,
    pub directories: u64,
    pub symlinks: u64,
    /// Bytes of all regular files.
    pub bytes: u64,
    pub counts: Counts,
}

/// How many problems an error lists.
const MAX_LISTED: usize = 8;

impl VaultWriter {
    /// Writes the snapshot of `entries`: paths relative to its root, in any order, each directory
    /// among them. Every storer must have been finished.
    ///
    /// # Errors
    /// The first failure of the run; paths that do not form a tree; anything that differs from
    /// `promise`; a blob that a fresh index does not know or whose pack is not there. No snapshot
    /// exists then, unless the very write of it failed unclearly.
    pub fn finish(
        self,
        entries: Vec<(PathBuf, Node)>,
        promise: Promise,
        about: About,
    ) -> Result<Committed> {
        self.check()?;
        let sums = check_promise(&entries, promise)?;
        let contents: Vec<(PathBuf, u64, Vec<Id>)> = entries
            .iter()
            .filter_map(|(path, node)| match &node.kind {
                NodeKind::File { size, content } => Some((path.clone(), *size, content.clone())),
                _ => None,
            })
            .collect();
        let mut storer = self.storer_of(BlobType::Tree)?;
        let built = build_trees(entries, &mut storer)?;
        storer.finish()?;
        let shared = self.flush()?;
        check_stored(&shared.vault.load_index()?, &built.trees, &contents)?;
        let snapshot = about.snapshot_of(built.root);
        let entropy = shared.entropy.as_ref();
        let id = shared.vault.write_sealed(&snapshot, entropy, |layout, id| layout.snapshot(id))?;
        let counts = *lock(&shared.counts);
        Ok(Committed {
            snapshot: id,
            tree: built.root,
            files: sums.files,
            directories: sums.directories,
            symlinks: sums.symlinks,
            bytes: sums.bytes,
            counts,
        })
    }
}

#[derive(Default)]
struct Sums {
    files: u64,
    directories: u64,
    symlinks: u64,
    bytes: u64,
}

fn check_promise(entries: &[(PathBuf, Node)], promise: Promise) -> Result<Sums> {
    let mut sums = Sums::default();
    for (path, node) in entries {
        match &node.kind {
            NodeKind::File { size, .. } => {
                sums.files += 1;
                sums.bytes += size;
            }
            NodeKind::Dir { .. } => sums.directories += 1,
            NodeKind::Symlink { .. } => sums.symlinks += 1,
            NodeKind::Other(kind) => {
                let what = format!("{} is a {kind}, which is not stored", path.display());
                return Err(Error::refused(what));
            }
        }
    }
    if (Promise { files: sums.files, bytes: sums.bytes }) == promise {
        return Ok(sums);
    }
    Err(Error::failed(format!(
        "{} files with {} bytes were to be stored, but {} files with {} bytes were: no snapshot",
        promise.files, promise.bytes, sums.files, sums.bytes
    )))
}

/// Root and every tree below it.
struct Built {
    root: Id,
    trees: IdSet,
}

/// A directory whose entries are being collected.
struct OpenDir {
    /// Its own entry, to be put into its parent; the root has none.
    entry: Option<(OsString, Node)>,
    tree: Tree,
}

/// Stores the trees of `entries`, leaves first.
fn build_trees(mut entries: Vec<(PathBuf, Node)>, storer: &mut ChunkStorer) -> Result<Built> {
    for (path, _) in &entries {
        check_path(path)?;
    }
    // By components: every directory directly before its content, siblings by name.
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut trees = IdSet::default();
    let mut open = vec![OpenDir { entry: None, tree: Tree::default() }];
    let mut dir_path = PathBuf::new();
    for (path, node) in entries {
        let parent = path.parent().unwrap_or(Path::new(""));
        while dir_path != parent {
            if open.len() == 1 || !dir_path.pop() {
                let what = format!("{} has no directory entry above it", path.display());
                return Err(Error::refused(what));
            }
            close_top(&mut open, storer, &mut trees)?;
        }
        let name = path.file_name().unwrap_or_default().to_owned();
        if node.is_dir() {
            dir_path.push(&name);
            open.push(OpenDir { entry: Some((name, node)), tree: Tree::default() });
        } else if let Some(dir) = open.last_mut() {
            dir.tree.push(name, node)?;
        }
    }
    while open.len() > 1 {
        close_top(&mut open, storer, &mut trees)?;
    }
    let root = open.pop().map(|dir| dir.tree).unwrap_or_default();
    let root = store_tree(root, storer, &mut trees)?;
    Ok(Built { root, trees })
}

/// Stores the innermost open directory and enters it into its parent.
fn close_top(open: &mut Vec<OpenDir>, storer: &mut ChunkStorer, trees: &mut IdSet) -> Result<()> {
    let Some(dir) = open.pop() else { return Ok(()) };
    let id = store_tree(dir.tree, storer, trees)?;
    if let (Some((name, mut node)), Some(parent)) = (dir.entry, open.last_mut()) {
        node.kind = NodeKind::Dir { subtree: Some(id) };
        parent.tree.push(name, node)?;
    }
    Ok(())
}

fn store_tree(tree: Tree, storer: &mut ChunkStorer, trees: &mut IdSet) -> Result<Id> {
    let (id, _) = storer.store_chunk(&tree.encode()?)?;
    trees.insert(id);
    Ok(id)
}

/// A relative path of valid names, written plainly: `Path` itself would overlook `a//b` or `a/.`.
fn check_path(path: &Path) -> Result<()> {
    let mut parts = path.as_os_str().as_bytes().split(|byte| *byte == b'/');
    match parts.all(|part| name::is_valid(std::ffi::OsStr::from_bytes(part))) {
        true => Ok(()),
        false => {
            let what = format!("`{}` cannot be a path in a snapshot", path.display());
            Err(Error::refused(what))
        }
    }
}

/// Every tree and chunk must be in an index that was read from the store after all was written,
/// in a pack that is listed with its right size; and every file be as long as its chunks.
fn check_stored(index: &Index, trees: &IdSet, contents: &[(PathBuf, u64, Vec<Id>)]) -> Result<()> {
    let mut problems = Vec::new();
    let mut lost: BTreeMap<Id, String> = BTreeMap::new();
    for id in trees {
        note_lost(index, BlobType::Tree, id, "a directory", &mut lost);
    }
    for (path, size, content) in contents {
        let mut bytes = 0;
        for id in content {
            if let Some(at) = index.locate(BlobType::Data, id) {
                bytes += at.blob.content_bytes();
            }
            note_lost(index, BlobType::Data, id, &path.display().to_string(), &mut lost);
        }
        if bytes != *size {
            let path = path.display();
            problems.push(format!("{path} has {size} bytes, but its chunks have {bytes}"));
        }
    }
    problems.extend(lost.into_values());
    if problems.is_empty() {
        return Ok(());
    }
    let count = problems.len();
    problems.truncate(MAX_LISTED);
    Err(Error::failed(format!(
        "{count} things are not as they must be for a snapshot, so none is made: {}",
        problems.join("; ")
    )))
}

fn note_lost(
    index: &Index,
    blob_type: BlobType,
    id: &Id,
    of: &str,
    lost: &mut BTreeMap<Id, String>,
) {
    if index.holds(blob_type, id) {
        return;
    }
    lost.entry(*id).or_insert_with(|| match index.locate(blob_type, id) {
        None => format!("blob {id} of {of} is in no index"),
        Some(at) => {
            let pack = index.pack(&at);
            format!("pack {} with blob {id} of {of} is missing or not of its size", pack.id)
        }
    });
}
