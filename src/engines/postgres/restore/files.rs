//! Writes a snapshot's files to their new place, in parallel, durably.
//!
//! `pg_control` comes last, after everything else is on disk: a restore that was killed cannot be
//! started. Links to tablespaces point to their new place; `tablespace_map` stays outside.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::engines::progress::Progress;
use crate::error::{Attempt, Error, Result};
use crate::repository::manifest::SnapshotManifest;
use crate::repository::vault::restore::{RestoreSettings, Restored, Sink};
use crate::repository::vault::restore_plan::RestoreFile;
use crate::repository::vault::{Index, Node, NodeKind, Vault};

use super::place::Place;

const CONTROL: &str = "pgdata/global/pg_control";
/// Files from this size on are sent to disk as soon as they are whole, beside the writing.
const LARGE_BYTES: u64 = 8 << 20;
const SYNC_QUEUE: usize = 64;

/// A restore of files.
pub struct FilesRestore<'a> {
    pub vault: &'a Vault,
    pub manifest: &'a SnapshotManifest,
    pub place: &'a Place,
    /// Whom the files are given to, if not to the present user.
    pub owner: Option<(u32, u32)>,
    pub workers: usize,
    pub progress: &'a Progress,
}

impl FilesRestore<'_> {
    /// Restores everything; durable when it returns.
    pub fn run(&self) -> Result<Restored> {
        let id = self.manifest.vault.snapshot.parse();
        let id = id.attempt(|| "read the snapshot's id".to_owned())?;
        let index = self.vault.load_index()?;
        let root = self.vault.snapshot(&id)?.tree;
        let mut sink = FileSink {
            paths: Vec::new(),
            modes: Vec::new(),
            sizes: Vec::new(),
            owner: self.owner,
            progress: self.progress,
            large: None,
        };
        let mut files = Vec::new();
        let mut control = None;
        let mut directories = BTreeMap::new();
        for found in self.vault.walk(&index, &root) {
            let (path, node) = found?;
            let Some(to) = self.destination(&path) else { continue };
            match &node.kind {
                NodeKind::Dir { .. } => self.make_directory(&to, &node, &mut directories)?,
                NodeKind::Symlink { .. } => self.make_link(&path, &to)?,
                NodeKind::File { size, content } => {
                    let file =
                        RestoreFile { path: path.clone(), size: *size, content: content.clone() };
                    match path == Path::new(CONTROL) {
                        true => control = Some((file, to, node.permissions)),
                        false => {
                            files.push(file);
                            sink.add(to, node.permissions, *size);
                        }
                    }
                }
                NodeKind::Other(kind) => {
                    return Err(Error::failed(format!("{} is a {kind}", path.display())));
                }
            }
        }
        self.progress.expect(sink.sizes.iter().sum());
        let mut restored = self.write(&index, &files, &mut sink)?;
        let (file, to, mode) =
            control.ok_or_else(|| Error::failed("the snapshot holds no pg_control"))?;
        self.sync_filesystems()?;
        let mut last = FileSink { paths: Vec::new(), modes: Vec::new(), sizes: Vec::new(), ..sink };
        last.add(to, mode, file.size);
        let control = self.write(&index, &[file], &mut last)?;
        restored.files += control.files;
        restored.bytes += control.bytes;
        for (directory, mode) in directories {
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode))
                .attempt(|| format!("set the mode of {}", directory.display()))?;
        }
        self.sync_filesystems()?;
        Ok(restored)
    }

    /// Where a path of the vault goes; `None` for what a restore has no use for.
    fn destination(&self, path: &Path) -> Option<PathBuf> {
        let mut parts = path.components();
        let first = parts.next()?.as_os_str().to_str()?;
        let rest = parts.as_path();
        let below = |base: &Path| match rest.as_os_str().is_empty() {
            true => base.to_owned(),
            false => base.join(rest),
        };
        match first {
            "pgdata" => Some(below(&self.place.target)),
            "config" => Some(below(&self.place.source_config_dir())),
            "tablespace_map" => Some(self.place.side.join("tablespace_map")),
            "tablespaces" => {
                let mut parts = rest.components();
                let oid: u32 = parts.next()?.as_os_str().to_str()?.parse().ok()?;
                let base = self.place.tablespaces.get(&oid)?;
                let rest = parts.as_path();
                Some(if rest.as_os_str().is_empty() { base.clone() } else { base.join(rest) })
            }
            _ => None,
        }
    }

    fn make_directory(
        &self,
        to: &Path,
        node: &Node,
        modes: &mut BTreeMap<PathBuf, u32>,
    ) -> Result<()> {
        let what = || format!("make the directory {}", to.display());
        fs::create_dir_all(to).attempt(what)?;
        // Writable while it is filled; its own mode comes at the end. PostgreSQL refuses a data
        // directory that others may enter.
        fs::set_permissions(to, fs::Permissions::from_mode(0o700)).attempt(what)?;
        if let Some((uid, gid)) = self.owner {
            chown(to, Some(uid), Some(gid)).attempt(what)?;
        }
        modes.insert(to.to_owned(), node.permissions & 0o750 | 0o700);
        Ok(())
    }

    /// The only links are those to tablespaces (`scan`); each leads to its new place.
    fn make_link(&self, path: &Path, to: &Path) -> Result<()> {
        let oid = path.strip_prefix("pgdata/pg_tblspc").ok().and_then(|oid| oid.to_str());
        let oid = oid.and_then(|oid| oid.parse::<u32>().ok());
        let place = oid.and_then(|oid| self.place.tablespaces.get(&oid)).ok_or_else(|| {
            Error::failed(format!("the link {} leads to no known tablespace", path.display()))
        })?;
        symlink(place, to).attempt(|| format!("make the link {}", to.display()))
    }

    fn write(
        &self,
        index: &Index,
        files: &[RestoreFile],
        sink: &mut FileSink<'_>,
    ) -> Result<Restored> {
        let settings = RestoreSettings { workers: self.workers.clamp(1, 64), ..Default::default() };
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel::<PathBuf>(SYNC_QUEUE);
            sink.large = Some(send);
            let syncer = scope.spawn(move || {
                receive.into_iter().try_for_each(|path: PathBuf| {
                    File::open(&path)
                        .and_then(|file| file.sync_data())
                        .attempt(|| format!("flush {}", path.display()))
                })
            });
            let restored = self.vault.restore(index, files, sink, settings);
            sink.large = None;
            let synced =
                syncer.join().map_err(|_| Error::failed("the flushing thread panicked"))?;
            // The sink's own failure is often the consequence of the flusher's.
            synced.and(restored)
        })
    }

    /// Sends everything to disk: files, directories and names alike (`syncfs`, which reports
    /// write errors since Linux 5.8). Once a filesystem instead of once a file.
    fn sync_filesystems(&self) -> Result<()> {
        let places = self.place.tablespaces.values();
        for place in places.chain([&self.place.target, &self.place.side]) {
            let what = || format!("flush the filesystem of {}", place.display());
            let dir = File::open(place).attempt(what)?;
            rustix::fs::syncfs(&dir).attempt(what)?;
        }
        Ok(())
    }
}

/// Writes pieces as they come, opening the file for each: any number of files is under way.
struct FileSink<'a> {
    paths: Vec<PathBuf>,
    modes: Vec<u32>,
    sizes: Vec<u64>,
    owner: Option<(u32, u32)>,
    progress: &'a Progress,
    large: Option<SyncSender<PathBuf>>,
}

impl FileSink<'_> {
    fn add(&mut self, path: PathBuf, mode: u32, size: u64) {
        self.paths.push(path);
        self.modes.push(mode & 0o640 | 0o600);
        self.sizes.push(size);
    }

    fn open(&self, file: usize) -> std::io::Result<File> {
        let path = &self.paths[file];
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(self.modes[file])
            .open(path)?;
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::fchown(&opened, Some(uid), Some(gid))?;
        }
        Ok(opened)
    }
}

impl Sink for FileSink<'_> {
    fn write_at(&self, file: usize, offset: u64, content: &[u8]) -> Result<()> {
        let written = self.open(file).and_then(|open| open.write_all_at(content, offset));
        written.attempt(|| format!("write {}", self.paths[file].display()))?;
        self.progress.add(content.len() as u64);
        Ok(())
    }

    fn complete(&self, file: usize) -> Result<()> {
        let what = || format!("write {}", self.paths[file].display());
        if self.sizes[file] == 0 {
            self.open(file).attempt(what)?;
        }
        if let Some(large) = self.large.as_ref().filter(|_| self.sizes[file] >= LARGE_BYTES) {
            let path = self.paths[file].clone();
            large.send(path).map_err(|_| Error::failed("the flushing thread has ended"))?;
        }
        Ok(())
    }
}
