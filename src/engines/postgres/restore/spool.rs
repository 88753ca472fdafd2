//! Segments fetched ahead lie as files beside the target: handing one over is a rename, where a
//! socket would copy it twice.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Attempt, Result};

use super::owner::{give, give_file};

/// A directory of files, gone when dropped.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    /// Whom files are given to, if not to the present user.
    owner: Option<(u32, u32)>,
    next: AtomicU64,
}

/// One file, gone when dropped unless it was handed over.
#[derive(Debug)]
pub struct Spooled {
    path: Option<PathBuf>,
}

impl Spool {
    /// Makes the directory, empty.
    pub fn make(dir: &Path, owner: Option<(u32, u32)>) -> Result<Spool> {
        let what = || format!("make the directory {}", dir.display());
        // Of a restore that was killed.
        if dir.exists() {
            fs::remove_dir_all(dir).attempt(what)?;
        }
        DirBuilder::new().mode(0o700).create(dir).attempt(what)?;
        give(dir, owner).attempt(what)?;
        Ok(Spool { dir: dir.to_owned(), owner, next: AtomicU64::new(0) })
    }

    /// Writes a file of its own name, so that nobody can come upon one that is half written. Not
    /// flushed: it is there to be read at once, and the repository has it.
    pub fn put(&self, bytes: &[u8]) -> Result<Spooled> {
        let path = self.dir.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
            give_file(&file, self.owner)
        };
        write().attempt(|| format!("write {}", path.display()))?;
        Ok(Spooled { path: Some(path) })
    }
}

impl Spooled {
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// From now on the file is the taker's, who renames it.
    pub fn hand_over(mut self) -> PathBuf {
        // Present until here: nothing else takes it, and `self` is gone after.
        self.path.take().unwrap_or_default()
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        // What is left goes with the directory.
        if let Some(path) = self.path.take() {
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What is left is removed at the next start, or with the directory beside the target.
        let _ = fs::remove_dir_all(&self.dir);
    }
}
