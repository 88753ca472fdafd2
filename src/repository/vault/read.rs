//! Reading single blobs, trees and small files. Whatever is handed out has been authenticated and
//! hashes to the id it was asked for by; anything else is an error naming blob and pack.

use std::path::PathBuf;

use zstd::bulk::Decompressor;

use super::crypto::{Cipher, OVERHEAD_BYTES};
use super::id::Id;
use super::index::Location;
use super::pack::{BlobType, MAX_BLOB_BYTES, PackedBlob};
use super::{Index, Node, NodeKind, Tree, Vault};
use crate::error::{Attempt, Error, Result};

/// Directories nested deeper than this are not followed.
const MAX_DEPTH: usize = 2_000;

/// What can be wrong with a blob that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobFault {
    #[error("its authentication code (MAC) does not match")]
    WrongMac,
    #[error("its length is not the {expected} bytes that the index says")]
    WrongLength { expected: u64 },
    #[error("its content has the id {actual}")]
    WrongId { actual: Id },
}

/// Opens blobs one after another, with its memory and context kept. One a thread.
pub struct BlobOpener {
    decompressor: Decompressor<'static>,
    content: Vec<u8>,
}

impl BlobOpener {
    pub fn new() -> Result<BlobOpener> {
        let decompressor = Decompressor::new().attempt(|| "set up decompression".into())?;
        Ok(BlobOpener { decompressor, content: Vec::new() })
    }

    /// The content of `blob`, whose stored bytes are `sealed`: decrypted in place, decompressed,
    /// and hashed.
    pub fn open<'a>(
        &'a mut self,
        cipher: &Cipher,
        blob: &PackedBlob,
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], BlobFault> {
        let text = cipher.open_in_place(sealed).map_err(|_| BlobFault::WrongMac)?;
        let content = match blob.uncompressed_length {
            None => &*text,
            Some(length) => {
                let expected = u64::from(length);
                let bytes = length as usize;
                if bytes > MAX_BLOB_BYTES {
                    return Err(BlobFault::WrongLength { expected });
                }
                if self.content.len() < bytes {
                    self.content.resize(bytes, 0);
                }
                let into = &mut self.content[..bytes];
                match self.decompressor.decompress_to_buffer(text, into) {
                    Ok(written) if written == bytes => &self.content[..bytes],
                    _ => return Err(BlobFault::WrongLength { expected }),
                }
            }
        };
        match Id::of(content) {
            actual if actual == blob.id => Ok(content),
            actual => Err(BlobFault::WrongId { actual }),
        }
    }
}

impl Vault {
    /// The content of one blob.
    pub fn read_blob(&self, index: &Index, blob_type: BlobType, id: &Id) -> Result<Vec<u8>> {
        let location = index.locate(blob_type, id).ok_or_else(|| not_in_index(id))?;
        let pack = index.pack(&location).id;
        let mut sealed = self.read_sealed_blob(index, &location)?;
        let mut opener = BlobOpener::new()?;
        let content = opener.open(self.cipher(), &location.blob, &mut sealed);
        let content = content.attempt(|| format!("read blob {id} in pack {pack}"))?;
        Ok(content.to_vec())
    }

    fn read_sealed_blob(&self, index: &Index, location: &Location) -> Result<Vec<u8>> {
        let (pack, blob) = (index.pack(location), &location.blob);
        // A damaged index must not make us ask for gigabytes.
        if (blob.length as usize) > MAX_BLOB_BYTES + OVERHEAD_BYTES {
            let what = format!("blob {} in pack {} claims {} bytes", blob.id, pack.id, blob.length);
            return Err(Error::failed(what));
        }
        let mut sealed = vec![0; blob.length as usize];
        let key = self.layout().pack(&pack.id);
        self.store()
            .read_range(&key, u64::from(blob.offset), &mut sealed)
            .attempt(|| format!("read blob {} in pack {}", blob.id, pack.id))?;
        Ok(sealed)
    }

    /// One directory.
    pub fn read_tree(&self, index: &Index, id: &Id) -> Result<Tree> {
        let text = self.read_blob(index, BlobType::Tree, id)?;
        Tree::decode(&text).attempt(|| format!("read tree {id}"))
    }

    /// The whole content of a regular file; for small ones.
    ///
    /// # Errors
    /// `node` is no regular file; its chunks are missing, damaged, or not `size` bytes together.
    pub fn read_file(&self, index: &Index, node: &Node) -> Result<Vec<u8>> {
        let NodeKind::File { size, content } = &node.kind else {
            return Err(Error::failed("only regular files have content"));
        };
        let mut whole = Vec::new();
        for id in content {
            whole.extend(self.read_blob(index, BlobType::Data, id)?);
        }
        if whole.len() as u64 == *size {
            return Ok(whole);
        }
        Err(Error::failed(format!("a file of {size} bytes has chunks of {} bytes", whole.len())))
    }

    /// Every entry below the tree `root` with its path, each directory before its content, in
    /// order of paths.
    pub fn walk<'a>(&'a self, index: &'a Index, root: &Id) -> Walk<'a> {
        Walk { vault: self, index, next_dir: Some((PathBuf::new(), *root)), open: Vec::new() }
    }

    /// The entry at `path` below the tree `root`; `None` if there is none.
    pub fn find(&self, index: &Index, root: &Id, path: &std::path::Path) -> Result<Option<Node>> {
        let mut tree = *root;
        let mut parts = path.iter().peekable();
        while let Some(name) = parts.next() {
            let nodes = self.read_tree(index, &tree)?.into_nodes();
            let Some((_, node)) = nodes.into_iter().find(|(candidate, _)| candidate == name) else {
                return Ok(None);
            };
            match (parts.peek(), &node.kind) {
                (None, _) => return Ok(Some(node)),
                (Some(_), NodeKind::Dir { subtree: Some(subtree) }) => tree = *subtree,
                (Some(_), _) => return Ok(None),
            }
        }
        Ok(None)
    }
}

pub(super) fn not_in_index(id: &Id) -> Error {
    Error::failed(format!("blob {id} is in no index"))
        .hint("`fenice verify` tells which recovery points this concerns.")
}

/// Iterates a snapshot's entries; ends after the first error.
pub struct Walk<'a> {
    vault: &'a Vault,
    index: &'a Index,
    /// The directory to be read before the next entry is told.
    next_dir: Option<(PathBuf, Id)>,
    open: Vec<(PathBuf, std::vec::IntoIter<(std::ffi::OsString, Node)>)>,
}

impl Walk<'_> {
    fn step(&mut self) -> Result<Option<(PathBuf, Node)>> {
        if let Some((path, id)) = self.next_dir.take() {
            if self.open.len() >= MAX_DEPTH {
                let what = format!("{} lies deeper than {MAX_DEPTH} directories", path.display());
                return Err(Error::failed(what));
            }
            let tree = self.vault.read_tree(self.index, &id);
            let tree = tree.attempt(|| format!("read the directory `{}`", path.display()))?;
            self.open.push((path, tree.into_nodes().into_iter()));
        }
        while let Some((path, nodes)) = self.open.last_mut() {
            let Some((name, node)) = nodes.next() else {
                self.open.pop();
                continue;
            };
            let path = path.join(name);
            if let NodeKind::Dir { subtree: Some(subtree) } = &node.kind {
                self.next_dir = Some((path.clone(), *subtree));
            }
            return Ok(Some((path, node)));
        }
        Ok(None)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<(PathBuf, Node)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.open.clear();
            self.next_dir = None;
        }
        step.transpose()
    }
}
