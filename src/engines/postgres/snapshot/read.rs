//! Reads files in parallel into the vault, checking pages on the way.
//!
//! A file that vanished was dropped by the server and its log says so; a file that grew is cut and
//! one that shrank is padded with zeros, as `BASE_BACKUP` does: replay mends both. Any other
//! failure to read fails the snapshot.

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Advice, fadvise};

use crate::engines::progress::Progress;
use crate::error::{Attempt, Error, Result};
use crate::model::Lsn;
use crate::repository::manifest::{ClusterFacts, PageReport};
use crate::repository::vault::storer::ChunkStorer;
use crate::repository::vault::{Id, Node, NodeKind, VaultWriter};

use super::damage::Checked;
use super::host::READABLE;
use super::page_check::{PagedFile, read_fully};
use super::scan::{Item, ItemKind, SourceFile, Stat, to_stat, vanished_is_none};

/// What one thread reads of a large file at a time, so that all threads share it.
const RUN_BYTES: u64 = 32 << 20;

/// How files are read.
#[derive(Debug, Clone)]
pub struct ReadSettings {
    pub workers: usize,
    /// A multiple of 8 KiB.
    pub chunk_bytes: usize,
    /// Pages are checked if the cluster has checksums; `start` exempts newer ones.
    pub start: Lsn,
}

/// What was read.
#[derive(Debug, Default)]
pub struct ReadOutcome {
    pub nodes: Vec<(PathBuf, Node)>,
    pub files: u64,
    pub bytes: u64,
    pub unread_bytes: u64,
    pub vanished: u64,
    pub pages: PageReport,
}

/// Nodes of the parent's unchanged files, by path.
pub type Unchanged = HashMap<String, Node>;

/// Reads `items` with several threads; `unchanged` ones are taken over.
pub fn read_all(
    items: Vec<Item>,
    unchanged: &Unchanged,
    writer: &VaultWriter,
    cluster: &ClusterFacts,
    settings: &ReadSettings,
    progress: &Progress,
) -> Result<ReadOutcome> {
    let mut outcome = ReadOutcome::default();
    outcome.pages.checkable = cluster.data_checksums;
    let mut files = Vec::new();
    for item in items {
        match (&item.kind, unchanged.get(&item.path)) {
            (ItemKind::File(_), Some(node)) => outcome.take_over(&item, node, progress),
            (ItemKind::File(source), None) => files.push(FileUnderWay::new(source, &item)),
            (ItemKind::Dir, _) => outcome.nodes.push(entry(&item, NodeKind::Dir { subtree: None })),
            (ItemKind::Symlink { target }, _) => {
                let kind = NodeKind::Symlink { target: target.into() };
                outcome.nodes.push(entry(&item, kind));
            }
        }
    }
    let work = Work { files: &files, writer, cluster, settings, progress };
    let damaged = work.run()?;
    for file in files {
        outcome.add(file)?;
    }
    outcome.pages.note(damaged);
    Ok(outcome)
}

/// A file being read by one or several threads.
struct FileUnderWay {
    path: String,
    source: SourceFile,
    listed: Stat,
    opened: Mutex<Opened>,
}

#[derive(Default)]
struct Opened {
    /// Open while runs of it are left.
    file: Option<Arc<File>>,
    vanished: bool,
    stat: Option<Stat>,
    chunks: Vec<Option<Id>>,
    runs_left: u64,
}

impl FileUnderWay {
    fn new(source: &SourceFile, item: &Item) -> FileUnderWay {
        let runs_left = item.stat.size.div_ceil(RUN_BYTES).max(1);
        FileUnderWay {
            path: item.path.clone(),
            source: source.clone(),
            listed: item.stat.clone(),
            opened: Mutex::new(Opened { runs_left, ..Opened::default() }),
        }
    }

    fn runs(&self) -> u64 {
        self.listed.size.div_ceil(RUN_BYTES).max(1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open file with the size to read; `None` if it vanished before it could be opened.
    fn open(&self, chunk_bytes: u64) -> Result<Option<(Arc<File>, u64)>> {
        let what = || format!("read {}", self.source.from.display());
        let mut opened = self.lock();
        if opened.vanished {
            return Ok(None);
        }
        if let (Some(file), Some(stat)) = (&opened.file, &opened.stat) {
            return Ok(Some((file.clone(), stat.size)));
        }
        let Some(file) = vanished_is_none(File::open(&self.source.from)).map_err(|cause| {
            Error::failed(format!("cannot {}", what())).because(cause).hint(READABLE)
        })?
        else {
            opened.vanished = true;
            return Ok(None);
        };
        let mut stat = file.metadata().and_then(|facts| to_stat(&facts)).attempt(what)?;
        if self.runs() > 1 {
            // Several threads read it: its size is what the listing said.
            stat.size = self.listed.size;
        }
        let file = Arc::new(file);
        opened.chunks = vec![None; stat.size.div_ceil(chunk_bytes) as usize];
        let size = stat.size;
        opened.stat = Some(stat);
        opened.file = Some(file.clone());
        Ok(Some((file, size)))
    }

    fn finish_run(&self, chunks: Vec<(usize, Id)>) {
        let mut opened = self.lock();
        for (index, id) in chunks {
            opened.chunks[index] = Some(id);
        }
        opened.runs_left -= 1;
        if opened.runs_left == 0 {
            opened.file = None;
        }
    }
}

struct Work<'a> {
    files: &'a [FileUnderWay],
    writer: &'a VaultWriter,
    cluster: &'a ClusterFacts,
    settings: &'a ReadSettings,
    progress: &'a Progress,
}

impl Work<'_> {
    /// Reads every run of every file; returns the damaged pages and how many were checked.
    fn run(&self) -> Result<Checked> {
        let runs: Vec<(usize, u64)> = (0..self.files.len())
            .flat_map(|file| (0..self.files[file].runs()).map(move |run| (file, run)))
            .collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let worker = || {
                let done = self.work(&runs, &next);
                if let Err(error) = &done {
                    self.writer.fail(error);
                }
                done
            };
            let threads: Vec<_> =
                (0..self.settings.workers.max(1)).map(|_| scope.spawn(worker)).collect();
            let mut all = Checked::default();
            let mut failure = None;
            for thread in threads {
                match thread.join() {
                    Ok(Ok(checked)) => all.merge(checked),
                    Ok(Err(error)) => failure = failure.or(Some(error)),
                    Err(_) => failure = Some(Error::failed("a thread that read files panicked")),
                }
            }
            failure.map_or(Ok(all), Err)
        })
    }

    fn work(&self, runs: &[(usize, u64)], next: &AtomicUsize) -> Result<Checked> {
        let mut reader = Reader {
            work: self,
            storer: self.writer.storer()?,
            buffer: vec![0; self.settings.chunk_bytes],
            checked: Checked::default(),
        };
        while let Some((file, run)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            self.writer.check()?;
            reader.read_run(&self.files[*file], *run)?;
        }
        reader.storer.finish()?;
        Ok(reader.checked)
    }
}

/// One thread's tools.
struct Reader<'a> {
    work: &'a Work<'a>,
    storer: ChunkStorer,
    buffer: Vec<u8>,
    checked: Checked,
}

impl Reader<'_> {
    fn read_run(&mut self, file: &FileUnderWay, run: u64) -> Result<()> {
        let chunk_bytes = self.work.settings.chunk_bytes as u64;
        let Some((open, size)) = file.open(chunk_bytes)? else { return Ok(()) };
        let what = || format!("read {}", file.source.from.display());
        let end = if run + 1 == file.runs() { size } else { (run + 1) * RUN_BYTES };
        let mut chunks = Vec::new();
        let mut at = run * RUN_BYTES;
        while at < end {
            let length = chunk_bytes.min(end - at) as usize;
            read_ahead(&open, at + length as u64, chunk_bytes.min(end - at - length as u64));
            let buffer = &mut self.buffer[..length];
            let read = read_fully(&open, buffer, at).attempt(what)?;
            buffer[read..].fill(0);
            if self.work.cluster.data_checksums
                && let Some(first) = file.source.first_block
            {
                let page_bytes = self.work.cluster.block_size as usize;
                let paged = PagedFile {
                    file: &open,
                    path: &file.path,
                    first_block: first,
                    page_bytes,
                    start: self.work.settings.start,
                };
                let first_page = at / page_bytes as u64;
                paged.check(buffer, first_page, &mut self.checked).attempt(what)?;
            }
            let (id, _) = self.storer.store_chunk(&self.buffer[..length])?;
            chunks.push(((at / chunk_bytes) as usize, id));
            self.work.progress.add(length as u64);
            self.work.progress.checked()?;
            at += length as u64;
        }
        file.finish_run(chunks);
        Ok(())
    }
}

/// Lets the disk fetch what comes next while these bytes are worked on. Only advice: without it
/// reading is slower, not wrong.
fn read_ahead(file: &File, at: u64, bytes: u64) {
    if let Some(bytes) = NonZeroU64::new(bytes) {
        let _ = fadvise(file, at, Some(bytes), Advice::WillNeed);
    }
}

impl ReadOutcome {
    fn take_over(&mut self, item: &Item, node: &Node, progress: &Progress) {
        progress.add(item.stat.size);
        self.files += 1;
        self.bytes += item.stat.size;
        self.unread_bytes += item.stat.size;
        self.nodes.push(entry(item, node.kind.clone()));
    }

    fn add(&mut self, file: FileUnderWay) -> Result<()> {
        let opened = file.opened.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(stat) = opened.stat else {
            self.vanished += 1;
            return match opened.vanished {
                true => Ok(()),
                false => Err(Error::failed(format!("{} was never read", file.path))),
            };
        };
        let content: Option<Vec<Id>> = opened.chunks.into_iter().collect();
        let content = content
            .ok_or_else(|| Error::failed(format!("{} was not read to its end", file.path)))?;
        self.files += 1;
        self.bytes += stat.size;
        let kind = NodeKind::File { size: stat.size, content };
        let item = Item { path: file.path, kind: ItemKind::Dir, stat };
        self.nodes.push(entry(&item, kind));
        Ok(())
    }

    /// Merges what was read later, such as `pg_control`.
    pub fn merge(&mut self, other: ReadOutcome) {
        self.nodes.extend(other.nodes);
        self.files += other.files;
        self.bytes += other.bytes;
        self.unread_bytes += other.unread_bytes;
        self.vanished += other.vanished;
    }
}

/// A node with what `stat` said.
pub fn entry(item: &Item, kind: NodeKind) -> (PathBuf, Node) {
    let stat = &item.stat;
    let mut node = Node::new(kind, stat.permissions, stat.mtime);
    node.uid = stat.uid;
    node.gid = stat.gid;
    node.ctime = Some(stat.ctime);
    node.inode = stat.inode;
    node.device_id = stat.device;
    (PathBuf::from(&item.path), node)
}
