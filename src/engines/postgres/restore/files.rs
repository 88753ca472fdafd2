//! Writes a snapshot's files to their new place, in parallel, durably.
//!
//! `pg_control` comes last, after everything else is on disk and disarmed: a restore that was
//! killed cannot be started. Links to tablespaces point to their new place; `tablespace_map` stays
//! outside.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Advice, fadvise};

use crate::engines::progress::Progress;
use crate::error::{Attempt, Error, Result};
use crate::repository::manifest::SnapshotManifest;
use crate::repository::vault::restore::{RestoreSettings, Restored, Sink};
use crate::repository::vault::restore_plan::RestoreFile;
use crate::repository::vault::{Index, Node, NodeKind, Vault};

use super::harmless;
use super::owner::{give, give_file};
use super::place::Place;

const CONTROL: &str = "pgdata/global/pg_control";
/// Pieces from this size on begin their way to the disk at once.
const LARGE_BYTES: usize = 256 << 10;
/// Threads for each of `workers`: most of the time all but one wait for the repository or the disk.
const THREADS_A_WORKER: usize = 3;
/// Files of several pieces that are held open.
const OPEN_FILES: usize = 64;

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
        // What an unreadable index file names is an error by name, if it is asked for.
        let index = self.vault.survey()?.index;
        let root = self.vault.snapshot(&id)?.tree;
        harmless::make_side(self.place, self.owner)?;
        let mut sink = FileSink::new(self.owner, self.progress);
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
                            sink.add(to, node.permissions, &file);
                            files.push(file);
                        }
                    }
                }
                NodeKind::Other(kind) => {
                    return Err(Error::failed(format!("{} is a {kind}", path.display())));
                }
            }
        }
        self.progress.expect(files.iter().map(|file| file.size).sum());
        let mut restored = self.write(&index, &files, &sink)?;
        let (file, to, mode) =
            control.ok_or_else(|| Error::failed("the snapshot holds no pg_control"))?;
        harmless::disarm(self.place, self.owner)?;
        self.sync_filesystems()?;
        let mut last = FileSink::new(self.owner, self.progress);
        last.add(to, mode, &file);
        let control = self.write(&index, &[file], &last)?;
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
            "pgdata" if rest == Path::new(harmless::AUTO_CONF) => {
                Some(harmless::auto_conf_kept_at(self.place))
            }
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
        give(to, self.owner).attempt(what)?;
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

    fn write(&self, index: &Index, files: &[RestoreFile], sink: &FileSink) -> Result<Restored> {
        let workers = self.workers.saturating_mul(THREADS_A_WORKER).clamp(1, 64);
        let settings = RestoreSettings { workers, ..Default::default() };
        self.vault.restore(index, files, sink, settings)
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

/// Writes pieces as they come: any number of files is under way, a bounded number of them open.
struct FileSink<'a> {
    files: Vec<Target>,
    owner: Option<(u32, u32)>,
    progress: &'a Progress,
    open: Mutex<HashMap<usize, Arc<File>>>,
}

struct Target {
    path: PathBuf,
    mode: u32,
    pieces: usize,
}

impl FileSink<'_> {
    fn new(owner: Option<(u32, u32)>, progress: &Progress) -> FileSink<'_> {
        FileSink { files: Vec::new(), owner, progress, open: Mutex::default() }
    }

    fn add(&mut self, path: PathBuf, mode: u32, file: &RestoreFile) {
        let pieces = file.content.len();
        self.files.push(Target { path, mode: mode & 0o640 | 0o600, pieces });
    }

    /// The file, made by whoever comes first.
    fn open(&self, number: usize) -> std::io::Result<Arc<File>> {
        let target = &self.files[number];
        if let Some(open) = self.opened().get(&number) {
            return Ok(open.clone());
        }
        let mut options = OpenOptions::new();
        options.write(true).mode(target.mode);
        let file = match options.clone().create_new(true).open(&target.path) {
            Ok(made) => {
                give_file(&made, self.owner)?;
                made
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => options.open(&target.path)?,
            Err(error) => return Err(error),
        };
        let file = Arc::new(file);
        if target.pieces > 1 {
            let mut opened = self.opened();
            let full = opened.len() >= OPEN_FILES;
            let other = opened.keys().next().copied().filter(|_| full);
            other.and_then(|other| opened.remove(&other));
            opened.insert(number, file.clone());
        }
        Ok(file)
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<usize, Arc<File>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for FileSink<'_> {
    fn write_at(&self, file: usize, offset: u64, content: &[u8]) -> Result<()> {
        let write = || {
            let open = self.open(file)?;
            open.write_all_at(content, offset)?;
            if content.len() >= LARGE_BYTES {
                start_writeback(&open, offset, content.len());
            }
            Ok(())
        };
        let written: std::io::Result<()> = write();
        written.attempt(|| format!("write {}", self.files[file].path.display()))?;
        self.progress.moved(content.len() as u64)
    }

    fn complete(&self, file: usize) -> Result<()> {
        if self.files[file].pieces == 0 {
            self.open(file).attempt(|| format!("make {}", self.files[file].path.display()))?;
        }
        self.opened().remove(&file);
        Ok(())
    }
}

/// Lets the disk work while we do: for dirty pages Linux takes this advice as the order to begin
/// writing, and keeps them meanwhile. Without it gigabytes would wait for the end. Only advice:
/// what makes the restore durable is `sync_filesystems`, which also tells of write errors.
fn start_writeback(file: &File, offset: u64, bytes: usize) {
    let _ = fadvise(file, offset, NonZeroU64::new(bytes as u64), Advice::DontNeed);
}
