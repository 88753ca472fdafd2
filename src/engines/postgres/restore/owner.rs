//! Whom a restore's files belong to: the user that its server runs as, where this process is
//! another (`None`: where it is not).

use std::fs::File;
use std::os::unix::fs::{chown, fchown};
use std::path::Path;

/// Gives away what lies at `path`.
pub fn give(path: &Path, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    owner.map_or(Ok(()), |(uid, gid)| chown(path, Some(uid), Some(gid)))
}

/// Gives away an open file.
pub fn give_file(file: &File, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    owner.map_or(Ok(()), |(uid, gid)| fchown(file, Some(uid), Some(gid)))
}
