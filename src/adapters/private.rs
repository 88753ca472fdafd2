//! Files and directories that nobody but their owner reads: identities, recovery kits, state.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Attempt, Error, Result};

/// Writes a new file of mode 0600, durable when this returns.
///
/// # Errors
/// Refused if there is a file of that name: it may be the only copy of a key.
pub fn create_file(path: &Path, text: &str) -> Result<()> {
    let what = || format!("create {}", path.display());
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match opened {
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {
            return Err(Error::refused(format!("{} exists already", path.display()))
                .hint("Nothing was changed. Name another file, or move that one away."));
        }
        other => other.attempt(what)?,
    };
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).attempt(what)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent).and_then(|parent| parent.sync_all()).attempt(what),
        None => Ok(()),
    }
}

/// The line that a file holds, which is `text` if there is no file yet: of several processes that
/// ask at once, all get the same.
pub fn obtain_line(path: &Path, text: &str) -> Result<String> {
    let what = || format!("read or make {}", path.display());
    if !exists(path)? {
        let name = format!("{text}.new");
        let whole = path.with_file_name(name);
        create_file(&whole, &format!("{text}\n"))?;
        let linked = match fs::hard_link(&whole, path) {
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        };
        // It has served, whoever was first.
        let removed = fs::remove_file(&whole);
        linked.and(removed).attempt(what)?;
    }
    fs::read_to_string(path).map(|line| line.trim().to_owned()).attempt(what)
}

/// Makes a directory of mode 0700, and its parents; one that is there stays as it is.
pub fn make_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|cause| {
        Error::failed(format!("cannot make the directory {}", path.display()))
            .because(cause)
            .hint("Make it by hand, and give it to the user that runs Fenice.")
    })
}

/// Whether there is anything of that name.
///
/// # Errors
/// It cannot be told, such as in a directory that may not be searched.
pub fn exists(path: &Path) -> Result<bool> {
    fs::exists(path).attempt(|| format!("look for {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_line_is_what_the_first_one_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("line");
        assert_eq!(obtain_line(&path, "first").unwrap(), "first");
        assert_eq!(obtain_line(&path, "second").unwrap(), "first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_private_file_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        make_directory(&inner).unwrap();
        make_directory(&inner).unwrap();
        let path = inner.join("key");
        create_file(&path, "one").unwrap();
        assert!(exists(&path).unwrap());
        assert_eq!(create_file(&path, "two").unwrap_err().kind(), crate::error::Kind::Refused);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&inner)), (0o600, 0o700));
    }
}
