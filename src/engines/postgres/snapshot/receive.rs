//! Takes a base backup apart as it comes: members of its archives become nodes, their contents
//! chunks, which several threads check, compress and store.
//!
//! One thread cuts, `workers` threads store; a bounded queue between them holds the server back
//! when the repository is slower. Nothing is returned unless `Finished` came last.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use crate::engines::progress::Progress;
use crate::error::{Error, Result};
use crate::model::{Lsn, Timeline};
use crate::ports::postgres::{BackupEvent, BackupTablespace};
use crate::repository::manifest::ClusterFacts;
use crate::repository::vault::{Id, Node, NodeKind, VaultWriter};

use super::again::Again;
use super::damage::Checked;
use super::exclusion;
use super::job::Labels;
use super::keep::{Chunk, Worker};
use super::read::{ReadOutcome, ReadSettings, entry};
use super::scan::{self, Item, ItemKind, PGDATA, Stat, TABLESPACES};
use super::tar::{Event, Member, MemberKind, TarReader};

/// The labels are short: a line for each tablespace at most.
const LABEL_BYTES: u64 = 16 << 20;
const CONTROL: &str = "pgdata/global/pg_control";

/// A base backup that came whole.
pub struct Received {
    pub outcome: ReadOutcome,
    pub labels: Labels,
    pub stop: Lsn,
    pub timeline: Timeline,
}

/// How to receive.
pub struct Receiving {
    pub settings: ReadSettings,
    pub cluster: ClusterFacts,
    pub tablespaces: Vec<BackupTablespace>,
    pub again: Again,
    pub progress: Arc<Progress>,
}

impl Receiving {
    /// Receives what follows `Started`, blocking.
    ///
    /// # Errors
    /// The queue of events closed before `Finished`; an archive that is not whole; the repository.
    pub fn run(
        &self,
        mut events: mpsc::Receiver<BackupEvent>,
        writer: &VaultWriter,
    ) -> Result<Received> {
        let (queue, chunks) = sync_channel(self.settings.workers.max(1));
        let chunks = Arc::new(Mutex::new(chunks));
        std::thread::scope(|scope| {
            let worker = |chunks: Arc<Mutex<Receiver<Chunk>>>| {
                let stored = Worker::new(self, writer).and_then(|worker| worker.run(&chunks));
                stored.inspect_err(|error| writer.fail(error))
            };
            let start = |_| {
                let chunks = Arc::clone(&chunks);
                scope.spawn(move || worker(chunks))
            };
            let threads: Vec<_> = (0..self.settings.workers.max(1)).map(start).collect();
            // Only the workers hold it: once all of them have ended, nobody waits for them.
            drop(chunks);
            let mut cutter = Cutter::new(self, writer, queue);
            let cut = cutter.run(&mut events);
            let sorted = cutter.end();
            let mut failure = None;
            let (mut ids, mut checked) = (Vec::new(), Checked::default());
            for thread in threads {
                match thread.join() {
                    Ok(Ok(stored)) => {
                        ids.extend(stored.ids);
                        checked.merge(stored.checked);
                    }
                    Ok(Err(error)) => failure = failure.or(Some(error)),
                    Err(_) => failure = Some(Error::failed("a thread that stored files panicked")),
                }
            }
            if let Some(error) = failure {
                return Err(error);
            }
            let (stop, timeline) = cut?;
            let (mut outcome, labels) = sorted.assemble(ids)?;
            outcome.pages.checkable = self.cluster.data_checksums;
            outcome.pages.note(checked);
            Ok(Received { outcome, labels, stop, timeline })
        })
    }

    /// Where an archive's members stand in the vault.
    fn prefix(&self, tablespace: Option<u32>) -> String {
        let Some(oid) = tablespace else { return PGDATA.to_owned() };
        let inside = |t: &&BackupTablespace| t.oid == oid && is_in_place(t);
        match self.tablespaces.iter().find(inside) {
            Some(_) => format!("{PGDATA}/pg_tblspc/{oid}"),
            None => format!("{TABLESPACES}/{oid}"),
        }
    }
}

/// Whether a tablespace lies within the data directory (`allow_in_place_tablespaces`): its place
/// is then told relative to it.
pub fn is_in_place(tablespace: &BackupTablespace) -> bool {
    !tablespace.location.starts_with('/')
}

/// A file whose header came.
struct SortedFile {
    path: String,
    stat: Stat,
    chunks: usize,
}

/// What has come so far, by kind.
#[derive(Default)]
struct Sorted {
    nodes: Vec<(PathBuf, Node)>,
    files: Vec<SortedFile>,
    labels: BTreeMap<&'static str, Vec<u8>>,
}

impl Sorted {
    /// Puts files and the ids of their chunks together.
    fn assemble(self, ids: Vec<(usize, usize, Id)>) -> Result<(ReadOutcome, Labels)> {
        let mut contents: Vec<Vec<Option<Id>>> =
            self.files.iter().map(|file| vec![None; file.chunks]).collect();
        for (file, index, id) in ids {
            contents[file][index] = Some(id);
        }
        let mut outcome = ReadOutcome { nodes: self.nodes, ..ReadOutcome::default() };
        let mut has_control = false;
        for (file, content) in self.files.into_iter().zip(contents) {
            let content: Option<Vec<Id>> = content.into_iter().collect();
            let content = content
                .ok_or_else(|| Error::failed(format!("{} was not stored whole", file.path)))?;
            has_control |= file.path == CONTROL && file.stat.size > 0;
            outcome.files += 1;
            outcome.bytes += file.stat.size;
            let kind = NodeKind::File { size: file.stat.size, content };
            let item = Item { path: file.path, kind: ItemKind::Dir, stat: file.stat };
            outcome.nodes.push(entry(&item, kind));
        }
        let mut labels = self.labels;
        let backup_label = labels.remove("backup_label").filter(|label| !label.is_empty());
        let Some(backup_label) = backup_label.filter(|_| has_control) else {
            return Err(Error::failed("the base backup has no backup_label or no pg_control"));
        };
        let tablespace_map = labels.remove("tablespace_map").unwrap_or_default();
        Ok((outcome, Labels { backup_label, tablespace_map }))
    }
}

/// What happens to the content of the member that is coming.
enum Content {
    /// Cut into chunks of the file with this number.
    Stored {
        file: usize,
        path: Arc<str>,
        first_block: Option<u32>,
        offset: u64,
        buffer: Vec<u8>,
    },
    Label(&'static str),
    LeftOut,
}

/// Reads the archives and cuts files into chunks.
struct Cutter<'a> {
    receiving: &'a Receiving,
    writer: &'a VaultWriter,
    queue: SyncSender<Chunk>,
    sorted: Sorted,
    content: Content,
}

impl<'a> Cutter<'a> {
    fn new(
        receiving: &'a Receiving,
        writer: &'a VaultWriter,
        queue: SyncSender<Chunk>,
    ) -> Cutter<'a> {
        let (sorted, content) = (Sorted::default(), Content::LeftOut);
        Cutter { receiving, writer, queue, sorted, content }
    }

    /// Gives up the queue, which ends the workers, and what was sorted.
    fn end(self) -> Sorted {
        self.sorted
    }

    fn run(&mut self, events: &mut mpsc::Receiver<BackupEvent>) -> Result<(Lsn, Timeline)> {
        let mut archive: Option<(Option<u32>, TarReader)> = None;
        loop {
            let event = events.blocking_recv();
            self.writer.check()?;
            match event {
                None => return Err(Error::failed("the base backup broke off").later()),
                Some(BackupEvent::Started { .. }) => {
                    return Err(Error::failed("the base backup started twice"));
                }
                Some(BackupEvent::Archive { tablespace }) => {
                    if let Some((_, tar)) = archive.replace((tablespace, TarReader::default())) {
                        tar.finish()?;
                    }
                }
                Some(BackupEvent::Data(bytes)) => match &mut archive {
                    Some((tablespace, tar)) => self.take(*tablespace, tar, &bytes)?,
                    None => return Err(Error::failed("data came before any archive")),
                },
                Some(BackupEvent::Finished { stop, timeline }) => {
                    let (_, tar) = archive.ok_or_else(|| Error::failed("no archive came"))?;
                    tar.finish()?;
                    return Ok((stop, timeline));
                }
            }
        }
    }

    fn take(&mut self, of: Option<u32>, tar: &mut TarReader, mut bytes: &[u8]) -> Result<()> {
        while let Some(event) = tar.next(&mut bytes)? {
            match event {
                Event::Member(member) => self.content = self.begin(of, member)?,
                Event::Content(content) => self.fill(content)?,
                Event::MemberEnd => {
                    self.cut(0)?;
                    self.content = Content::LeftOut;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, of: Option<u32>, member: Member) -> Result<Content> {
        if of.is_none() {
            let labels = ["backup_label", "tablespace_map"];
            if let Some(label) = labels.into_iter().find(|label| *label == member.path) {
                if member.size > LABEL_BYTES {
                    return Err(Error::failed(format!("{label} is too long")));
                }
                self.sorted.labels.insert(label, Vec::new());
                return Ok(Content::Label(label));
            }
        }
        let is_dir = member.kind == MemberKind::Dir;
        let path = format!("{}/{}", self.receiving.prefix(of), member.path);
        if !exclusion::is_wanted(&member.path, is_dir, of.is_some()) {
            return Ok(Content::LeftOut);
        }
        let stat = stat_of(&member);
        match member.kind {
            MemberKind::Dir => {
                let item = Item { path, kind: ItemKind::Dir, stat };
                self.sorted.nodes.push(entry(&item, NodeKind::Dir { subtree: None }));
                Ok(Content::LeftOut)
            }
            // Of tablespaces only, says PostgreSQL, and not if a map of them is asked for.
            MemberKind::Symlink { .. } => {
                Err(Error::failed(format!("{path} is a link, which a base backup has not")))
            }
            MemberKind::File => {
                let first_block =
                    scan::first_block(&path, self.receiving.cluster.blocks_per_segment);
                let (file, shared) = (self.sorted.files.len(), Arc::from(path.as_str()));
                self.sorted.files.push(SortedFile { path, stat, chunks: 0 });
                let buffer = Vec::new();
                Ok(Content::Stored { file, path: shared, first_block, offset: 0, buffer })
            }
        }
    }

    fn fill(&mut self, mut content: &[u8]) -> Result<()> {
        let chunk_bytes = self.receiving.settings.chunk_bytes;
        while !content.is_empty() {
            let buffer = match &mut self.content {
                Content::LeftOut => return Ok(()),
                Content::Label(label) => {
                    self.sorted.labels.entry(label).or_default().extend_from_slice(content);
                    return Ok(());
                }
                Content::Stored { buffer, .. } => buffer,
            };
            let (now, rest) = content.split_at(content.len().min(chunk_bytes - buffer.len()));
            buffer.extend_from_slice(now);
            content = rest;
            self.cut(chunk_bytes)?;
        }
        Ok(())
    }

    /// Sends what is in the buffer to be stored if it holds at least `at_least` bytes, and any.
    fn cut(&mut self, at_least: usize) -> Result<()> {
        let Content::Stored { file, path, first_block, offset, buffer } = &mut self.content else {
            return Ok(());
        };
        if buffer.is_empty() || buffer.len() < at_least {
            return Ok(());
        }
        let (bytes, file) = (std::mem::take(buffer), *file);
        let sorted = &mut self.sorted.files[file];
        let chunk = Chunk {
            file,
            index: sorted.chunks,
            path: Arc::clone(path),
            first_block: *first_block,
            offset: *offset,
            bytes,
        };
        *offset += chunk.bytes.len() as u64;
        sorted.chunks += 1;
        self.receiving.progress.add(chunk.bytes.len() as u64);
        self.receiving.progress.checked()?;
        // The workers end early only by a failure, which is told when they are joined.
        let sent = self.queue.send(chunk);
        sent.map_err(|_| Error::failed("the threads that store files have ended"))
    }
}

fn stat_of(member: &Member) -> Stat {
    Stat {
        size: member.size,
        mtime: member.mtime,
        ctime: member.mtime,
        inode: 0,
        device: 0,
        permissions: member.permissions,
        uid: member.uid,
        gid: member.gid,
    }
}
