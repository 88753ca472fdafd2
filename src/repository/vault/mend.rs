//! Damage: what of a pack is lost, what a snapshot lacks, and putting packs and index files right
//! with what is left of them and with what another vault holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::id::{Id, IdSet};
use super::index::{IndexFile, IndexPack};
use super::pack::PackedBlob;
use super::read::BlobOpener;
use super::{BlobType, Index, NodeKind, Tree, Vault, VaultWriter, WriteSettings};
use crate::error::Result;
use crate::ports::Entropy;

/// Directories nested deeper than this are taken for damage.
const MAX_DEPTH: usize = 2_000;

/// How damage is put right. The caller holds the lock that keeps other writers out.
pub struct Mending<'a> {
    pub entropy: Arc<dyn Entropy>,
    pub write: WriteSettings,
    /// Asked before anything is removed: whether the lock is still held.
    pub allowed: &'a dyn Fn() -> Result<()>,
}

/// What became of the blobs of damaged packs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mended {
    /// Intact in the damaged pack, and now in a new one.
    pub rescued: u64,
    /// Brought from another vault.
    pub brought: u64,
    /// In none of them: how many, by pack.
    pub lost: BTreeMap<Id, u64>,
}

/// What is known of a vault that may be damaged.
pub struct Survey {
    /// Of everything that can be read.
    pub index: Index,
    /// Every pack that a readable index file names.
    pub packs: BTreeMap<Id, IndexPack>,
    /// Index files that are not what was stored, each with the reason.
    pub bad_index_files: Vec<(Id, String)>,
}

/// Which blobs are lost in packs that are there, and which directories were found whole.
#[derive(Default)]
pub struct Losses {
    /// Blobs that do not open where the index has them.
    pub blobs: BTreeSet<Id>,
    whole: IdSet,
}

impl Vault {
    /// Reads index files and listings, leaving out what cannot be read.
    ///
    /// # Errors
    /// A listing cannot be had.
    pub fn survey(&self) -> Result<Survey> {
        let mut findings = Vec::new();
        let files = self.readable_index_files(&mut findings)?;
        let mut packs = BTreeMap::new();
        for pack in files.iter().flat_map(|file| &file.packs) {
            packs.entry(pack.id).or_insert_with(|| pack.clone());
        }
        let index = Index::build(files, &self.list_packs()?);
        let bad = findings.into_iter().filter_map(|found| Some((found.index?, found.detail)));
        Ok(Survey { index, packs, bad_index_files: bad.collect() })
    }

    /// Reads a pack whole. `None` if it is as it was stored, else what is wrong with it, and which
    /// of its blobs are lost.
    ///
    /// # Errors
    /// The store failed: nothing is known of the content.
    pub fn examine_pack(&self, pack: &IndexPack) -> Result<Option<(String, BTreeSet<Id>)>> {
        let found = self.findings_of(pack)?;
        let Some(first) = found.first() else { return Ok(None) };
        let detail = format!("{:?}: {}", first.problem, first.detail);
        Ok(Some((detail, found.iter().filter_map(|finding| finding.blob).collect())))
    }

    /// The first thing that a snapshot leads to and that cannot be had; `None` if there is none.
    pub fn flaw(&self, index: &Index, losses: &mut Losses, snapshot: &Id) -> Option<String> {
        match self.snapshot(snapshot) {
            Ok(snapshot) => self.tree_flaw(index, losses, &snapshot.tree, 0),
            Err(error) => Some(error.chain()),
        }
    }

    fn tree_flaw(
        &self,
        index: &Index,
        losses: &mut Losses,
        tree: &Id,
        depth: usize,
    ) -> Option<String> {
        if losses.whole.contains(tree) {
            return None;
        }
        if depth > MAX_DEPTH {
            return Some(format!("directory {tree} is nested too deep"));
        }
        let text = self.read_blob(index, BlobType::Tree, tree);
        let nodes = match text.and_then(|text| Tree::decode(&text)) {
            Ok(read) => read.into_nodes(),
            Err(error) => return Some(error.chain()),
        };
        for (name, node) in nodes {
            let flaw = match node.kind {
                NodeKind::Dir { subtree: Some(below) } => {
                    self.tree_flaw(index, losses, &below, depth + 1)
                }
                NodeKind::File { content, .. } => {
                    let lost = content
                        .iter()
                        .find(|id| losses.blobs.contains(*id) || !index.holds(BlobType::Data, id));
                    lost.map(|id| format!("blob {id} of `{}` is lost", name.display()))
                }
                _ => None,
            };
            if flaw.is_some() {
                return flaw;
            }
        }
        losses.whole.insert(*tree);
        None
    }

    /// Takes index files out that are not what was stored. What only they named is entered into
    /// new ones first, from the packs' own headers.
    pub fn mend_index(&self, bad: &BTreeSet<Id>, by: &Mending<'_>) -> Result<()> {
        let index = self.survey()?.index;
        self.adopt(&index, by.entropy.as_ref())?;
        for id in bad {
            (by.allowed)()?;
            self.store().remove(&self.layout().index(id))?;
        }
        Ok(())
    }

    /// Writes what is intact of `bad` packs, and what `others` have of the rest, into new packs;
    /// then takes the bad ones out of the index and away. A kill in between leaves them damaged,
    /// and the next run begins anew. Of the others, what cannot be read serves nothing.
    ///
    /// # Errors
    /// The store's own. What is in no vault is no error but counted.
    pub fn mend_packs(
        &self,
        bad: &BTreeSet<Id>,
        others: &[Vault],
        by: &Mending<'_>,
    ) -> Result<Mended> {
        let files = self.index_files()?;
        let listed = self.list_packs()?;
        let staying = files.values().map(|file| without(file, bad)).collect();
        let staying = Arc::new(Index::build(staying, &listed));
        let mut theirs = Vec::with_capacity(others.len());
        for other in others {
            theirs.push((other, other.survey()?.index));
        }
        let mut packs: BTreeMap<Id, &IndexPack> = BTreeMap::new();
        for pack in files.values().flat_map(|file| &file.packs) {
            if bad.contains(&pack.id) {
                packs.insert(pack.id, pack);
            }
        }
        let writer =
            VaultWriter::start(self, Arc::clone(&staying), Arc::clone(&by.entropy), by.write)?;
        let mut data = writer.storer_of(BlobType::Data)?;
        let mut trees = writer.storer_of(BlobType::Tree)?;
        let mut mended = Mended::default();
        for pack in packs.values() {
            let body = self.store().get(&self.layout().pack(&pack.id))?;
            for blob in pack.blobs.iter().filter(|b| !staying.holds(b.blob_type, &b.id)) {
                let (content, count) = match self.intact(blob, body.as_deref()) {
                    Some(content) => (content, &mut mended.rescued),
                    None => match theirs.iter().find_map(|theirs| held(theirs, blob)) {
                        Some(content) => (content, &mut mended.brought),
                        None => {
                            *mended.lost.entry(pack.id).or_default() += 1;
                            continue;
                        }
                    },
                };
                *count += 1;
                match blob.blob_type {
                    BlobType::Data => data.store_chunk(&content)?,
                    BlobType::Tree => trees.store_chunk(&content)?,
                };
            }
        }
        data.finish()?;
        trees.finish()?;
        writer.flush()?;
        self.take_away(bad, by)?;
        Ok(mended)
    }

    /// The content of a blob, if the pack's body still has it.
    fn intact(&self, blob: &PackedBlob, body: Option<&[u8]>) -> Option<Vec<u8>> {
        let from = blob.offset as usize;
        let mut sealed = body?.get(from..from + blob.length as usize)?.to_vec();
        let mut opener = BlobOpener::new().ok()?;
        opener.open(self.cipher(), blob, &mut sealed).ok().map(<[u8]>::to_vec)
    }

    fn take_away(&self, bad: &BTreeSet<Id>, by: &Mending<'_>) -> Result<()> {
        let names = |file: &IndexFile| file.packs.iter().any(|pack| bad.contains(&pack.id));
        for (id, file) in self.index_files()?.into_iter().filter(|(_, file)| names(file)) {
            self.replace_index(&id, &without(&file, bad), by.entropy.as_ref(), by.allowed)?;
        }
        for id in bad {
            (by.allowed)()?;
            self.store().remove(&self.layout().pack(id))?;
        }
        Ok(())
    }
}

/// The content of a blob in another vault, if it can be read there.
fn held((other, index): &(&Vault, Index), blob: &PackedBlob) -> Option<Vec<u8>> {
    index.holds(blob.blob_type, &blob.id).then_some(())?;
    other.read_blob(index, blob.blob_type, &blob.id).ok()
}

fn without(file: &IndexFile, bad: &BTreeSet<Id>) -> IndexFile {
    let mut file = file.clone();
    file.packs.retain(|pack| !bad.contains(&pack.id));
    file
}
