//! A store in a folder, such as a mounted disk. Order of a write: a temporary file beside its
//! destination, data, fsync, hard link to the final name (fails if taken), unlink the temporary,
//! fsync of the directory. A kill at any point leaves the object whole or absent; the temporary
//! files it may leave begin with `.tmp-`, are never listed, and are swept by a later listing.
//! A replacement is written the same way and then exchanged with the object by name.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use crate::error::{Attempt, Error, Kind, Result};
use crate::ports::store::{Change, Entry, Lock, Put, Replaced, Store, check_key, check_prefix};

/// Marks files that are not objects: unfinished writes and lock files.
const TEMPORARY: &str = ".tmp-";
const LOCKS: &str = ".locks";
/// The lock of those who replace an object. No key begins with a dot, so no other lock is named so.
const REPLACING: &str = ".replacing";
const REPLACE_PAUSE: Duration = Duration::from_millis(20);
/// Replacing takes as long as writing one object.
const REPLACE_TRIES: u32 = 3_000;
/// No write takes this long; older temporary files belong to nobody.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// A folder that holds objects as files.
pub struct FolderStore {
    root: PathBuf,
    /// Tells whether the folder is still the one that was opened: where a disk was unmounted its
    /// empty mount point remains, and holds nothing of the repository.
    inode: u64,
    temporaries: AtomicU64,
}

impl FolderStore {
    /// Opens the store; the folder must exist.
    ///
    /// # Errors
    /// The folder is absent or not a directory.
    pub fn open(root: &Path) -> Result<FolderStore> {
        let kind = fs::metadata(root).map_err(|cause| {
            unreachable_store(
                cause,
                format!("cannot open the repository folder {}", root.display()),
            )
            .hint("Is the disk mounted? `fenice init` makes the repository the first time.")
        })?;
        if !kind.is_dir() {
            return Err(Error::failed(format!("{} is not a folder", root.display())));
        }
        let inode = kind.ino();
        Ok(FolderStore { root: root.to_owned(), inode, temporaries: AtomicU64::new(0) })
    }

    /// Makes the folder, readable by nobody else, and opens it.
    pub fn create(root: &Path) -> Result<FolderStore> {
        make_directories(root).attempt(|| format!("make the folder {}", root.display()))?;
        FolderStore::open(root)
    }

    /// Checks that the folder is there and is the one that was opened.
    fn must_be_there(&self) -> std::io::Result<()> {
        let facts = fs::metadata(&self.root)?;
        match facts.is_dir() && facts.ino() == self.inode {
            true => Ok(()),
            false => Err(std::io::Error::new(
                ErrorKind::NotFound,
                "another folder is in the place of the repository",
            )),
        }
    }

    fn path_of(&self, key: &str) -> Result<PathBuf> {
        check_key(key).map(|()| self.root.join(key))
    }

    fn temporary_beside(&self, path: &Path) -> PathBuf {
        let serial = self.temporaries.fetch_add(1, Ordering::Relaxed);
        let start = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_nsec;
        let name = format!("{TEMPORARY}{}-{start}-{serial}", std::process::id());
        path.with_file_name(name)
    }

    fn create_object(&self, path: &Path, body: &[u8]) -> std::io::Result<Put> {
        // Never makes the root anew: what is written into its place is lost with the next mount.
        self.must_be_there()?;
        if path.try_exists()? {
            return Ok(Put::Exists);
        }
        // Every object lies in a directory below the root, so there is a parent.
        let parent = path.parent().unwrap_or(&self.root);
        make_directories(parent)?;
        let temporary = self.temporary_beside(path);
        let written = write_durably(&temporary, body, None).and_then(|()| {
            match fs::hard_link(&temporary, path) {
                Ok(()) => Ok(Put::Created),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Put::Exists),
                Err(error) => Err(error),
            }
        });
        // The link stands for itself; a failure to unlink only leaves what is swept later.
        let _ = fs::remove_file(&temporary);
        let put = written?;
        File::open(parent)?.sync_all()?;
        Ok(put)
    }

    /// Opens the file of a lock, making it the first time.
    fn open_lock(&self, path: &Path) -> std::io::Result<File> {
        self.must_be_there()?;
        make_directories(&self.root.join(LOCKS))?;
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
    }

    /// Keeps everybody else who replaces out until the value is dropped.
    fn alone(&self) -> std::io::Result<FolderLock> {
        let file = self.open_lock(&self.root.join(LOCKS).join(REPLACING))?;
        for _ in 0..REPLACE_TRIES {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(FolderLock { file }),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(REPLACE_PAUSE),
                Err(cause) => return Err(cause.into()),
            }
        }
        Err(ErrorKind::TimedOut.into())
    }

    /// Puts `body` in the place of the object, as old as that was.
    fn exchange(&self, path: &Path, body: &[u8]) -> std::io::Result<Replaced> {
        let stored_at = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return self.must_be_there().map(|()| Replaced::Absent);
            }
            facts => facts?.modified()?,
        };
        let temporary = self.temporary_beside(path);
        let replaced = write_durably(&temporary, body, Some(stored_at))
            .and_then(|()| exchange_names(&temporary, path));
        // By now it is what was replaced, or what found nothing to replace.
        let _ = fs::remove_file(&temporary);
        let replaced = replaced?;
        let parent = path.parent().unwrap_or(&self.root);
        File::open(parent)?.sync_all()?;
        Ok(replaced)
    }

    fn list_directory(&self, dir: &Path, into: &mut Vec<Entry>) -> std::io::Result<()> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            // Nothing was ever written below this prefix.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type()?;
            if name.as_encoded_bytes().starts_with(b".") {
                if kind.is_file() && name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                    sweep(&entry.path());
                }
                continue;
            }
            if kind.is_dir() {
                self.list_directory(&entry.path(), into)?;
                continue;
            }
            // Removed between the listing and this look: then it is absent, and that is certain.
            let facts = match entry.metadata() {
                Ok(facts) => facts,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let path = entry.path();
            let relative = path.strip_prefix(&self.root).map_err(std::io::Error::other)?;
            let key =
                relative.to_str().ok_or_else(|| std::io::Error::other("name is not UTF-8"))?;
            let stored_at =
                Timestamp::try_from(facts.modified()?).map_err(std::io::Error::other)?;
            into.push(Entry { key: key.to_owned(), bytes: facts.len(), stored_at });
        }
        Ok(())
    }
}

impl Store for FolderStore {
    fn describe(&self) -> String {
        format!("folder {}", self.root.display())
    }

    fn put_new(&self, key: &str, body: &[u8]) -> Result<Put> {
        let path = self.path_of(key)?;
        self.create_object(&path, body).map_err(|cause| {
            unreachable_store(
                cause,
                format!("cannot write the object {key} to {}", self.describe()),
            )
        })
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path_of(key)?;
        match fs::read(&path) {
            Ok(body) => Ok(Some(body)),
            // Absent only if the store itself is there: an unmounted disk proves nothing.
            Err(error) if error.kind() == ErrorKind::NotFound && self.must_be_there().is_ok() => {
                Ok(None)
            }
            Err(cause) => {
                let what = format!("cannot read the object {key} from {}", self.describe());
                Err(unreachable_store(cause, what))
            }
        }
    }

    fn read_range(&self, key: &str, offset: u64, into: &mut [u8]) -> Result<()> {
        let path = self.path_of(key)?;
        let read = File::open(&path).and_then(|file| file.read_exact_at(into, offset));
        read.map_err(|cause| {
            let bytes = into.len();
            let what = format!("read {bytes} bytes at {offset} of {key} in {}", self.describe());
            unreachable_store(cause, format!("cannot {what}"))
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        check_prefix(prefix)?;
        let dir = self.root.join(prefix);
        let mut entries = Vec::new();
        // Also afterwards: a disk that goes away meanwhile would look like an empty one.
        let listed = self.must_be_there().and_then(|()| self.list_directory(&dir, &mut entries));
        let listed = listed.and_then(|()| self.must_be_there());
        listed.map_err(|cause| {
            unreachable_store(cause, format!("cannot list {prefix} in {}", self.describe()))
        })?;
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    fn replace(&self, key: &str, change: Change<'_>) -> Result<Replaced> {
        let path = self.path_of(key)?;
        let _alone = self.alone().map_err(|cause| {
            unreachable_store(cause, format!("cannot replace the object {key}: others do"))
        })?;
        let Some(was) = self.get(key)? else { return Ok(Replaced::Absent) };
        let body = change(&was)?;
        self.exchange(&path, &body).map_err(|cause| {
            let what = format!("cannot replace the object {key} in {}", self.describe());
            unreachable_store(cause, what)
        })
    }

    fn remove(&self, key: &str) -> Result<()> {
        let path = self.path_of(key)?;
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.must_be_there().is_ok() => {
                Ok(())
            }
            other => other,
        };
        let parent = path.parent().unwrap_or(&self.root);
        let durable = removed.and_then(|()| match File::open(parent) {
            Ok(dir) => dir.sync_all(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        });
        durable.attempt(|| format!("remove the object {key} from {}", self.describe()))
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Lock>> {
        check_key(name)?;
        let path = self.root.join(LOCKS).join(name.replace('/', "."));
        let mut file = self.open_lock(&path).map_err(|cause| {
            unreachable_store(cause, format!("cannot open the lock {}", path.display()))
        })?;
        if let Err(cause) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if cause != rustix::io::Errno::WOULDBLOCK {
                return Err(Error::failed(format!("cannot lock {}", path.display())).because(cause));
            }
            let mut holder = String::new();
            // Who holds it is a courtesy of the message; the lock itself has answered.
            let _ = file.read_to_string(&mut holder);
            return Err(Error::new(Kind::Busy, format!("{name} is locked by {}", holder.trim()))
                .hint("Wait for that process to end; the lock frees itself when it dies."));
        }
        let note = format!("process {}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)).map(drop))
            .and_then(|()| file.write_all(note.as_bytes()))
            .attempt(|| format!("write the lock {}", path.display()))?;
        Ok(Box::new(FolderLock { file }))
    }
}

/// An advisory `flock`. The kernel drops it with the last descriptor, and a child that is being
/// started has one until it becomes another program: hence the lock is let go in so many words.
struct FolderLock {
    file: File,
}

impl Lock for FolderLock {}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing the file lets go as well, only later.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Full disks and lost mounts pass; the same call may succeed later.
fn unreachable_store(cause: std::io::Error, attempted: String) -> Error {
    let hint = match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "The disk is full: free space or grow it."
        }
        ErrorKind::PermissionDenied => "Give the user that runs Fenice access to this folder.",
        ErrorKind::NotFound => "Is the disk mounted?",
        _ => return Error::failed(attempted).later().because(cause),
    };
    Error::failed(attempted).later().because(cause).hint(hint)
}

/// Writes a new file, as old as `modified` says, else new.
fn write_durably(path: &Path, body: &[u8], modified: Option<SystemTime>) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(body)?;
    if let Some(modified) = modified {
        file.set_modified(modified)?;
    }
    file.sync_all()
}

/// Each of the two files gets the other one's name, in one step. Unlike a rename this makes nothing
/// where the object was removed meanwhile.
fn exchange_names(temporary: &Path, path: &Path) -> std::io::Result<Replaced> {
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(Replaced::Done),
        Err(Errno::NOENT) if matches!(path.try_exists(), Ok(false)) => Ok(Replaced::Absent),
        // Not every file system can, NFS for one. Then a removal between the two steps would be
        // undone: who replaces holds the locks of those who remove.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match path.try_exists()? {
            true => fs::rename(temporary, path).map(|()| Replaced::Done),
            false => Ok(Replaced::Absent),
        },
        Err(error) => Err(error.into()),
    }
}

/// Makes `dir` and its missing parents (mode 0700), each durable in its parent.
fn make_directories(dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_directories(parent)?;
    }
    let made =
        std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(dir);
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes an abandoned temporary file; a failure leaves it for the next listing.
fn sweep(path: &Path) {
    // By when it was last touched: its content may be as old as the object that it will replace.
    let touched = fs::metadata(path).ok().and_then(|facts| u64::try_from(facts.ctime()).ok());
    let touched = touched.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    let age = touched.and_then(|at| SystemTime::now().duration_since(at).ok());
    if age.is_some_and(|age| age > ABANDONED_AFTER) {
        let _ = fs::remove_file(path);
    }
}
