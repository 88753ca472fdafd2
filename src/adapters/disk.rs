//! How much room file systems have.

use std::path::Path;

use rustix::fs::statvfs;

use crate::error::{Attempt, Result};

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystem {
    /// Without what is kept for root.
    pub free_bytes: u64,
    pub size_bytes: u64,
}

/// The file system that `path` lies on. Blocks for as long as that file system does.
pub fn of(path: &Path) -> Result<FileSystem> {
    let found = statvfs(path).attempt(|| format!("tell the room at {}", path.display()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(FileSystem { free_bytes: bytes(found.f_bavail), size_bytes: bytes(found.f_blocks) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_more_room_than_the_file_system_has() {
        let folder = tempfile::tempdir().unwrap();
        let found = of(folder.path()).unwrap();
        assert!(found.size_bytes > 0 && found.free_bytes <= found.size_bytes, "{found:?}");
        let error = of(&folder.path().join("nowhere")).unwrap_err();
        assert!(error.chain().contains("nowhere"), "{error:?}");
    }
}
