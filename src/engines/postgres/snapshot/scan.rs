//! Lists the files of a cluster that belong to a base backup, with what `stat` says of each.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::error::{Attempt, Error, Result};
use crate::model::ByteSize;
use crate::repository::manifest::TablespaceRef;

use super::exclusion::{self, RelationFile};

/// Where things stand in the vault's tree.
pub const PGDATA: &str = "pgdata";
pub const TABLESPACES: &str = "tablespaces";
pub const CONFIG: &str = "config";

/// No cluster is deeper; a loop of links would be.
const DEPTH_LIMIT: usize = 12;

/// What `stat` says, taken before the file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    pub size: u64,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub inode: u64,
    pub device: u64,
    pub permissions: u32,
    pub uid: u32,
    pub gid: u32,
}

/// One thing to store.
#[derive(Debug, Clone)]
pub struct Item {
    /// Path in the vault: `pgdata/base/1/1259`.
    pub path: String,
    pub kind: ItemKind,
    pub stat: Stat,
}

#[derive(Debug, Clone)]
pub enum ItemKind {
    Dir,
    Symlink { target: String },
    File(SourceFile),
}

/// A file to read.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Where it is now.
    pub from: PathBuf,
    /// For files of pages: number of the first page within its relation.
    pub first_block: Option<u32>,
}

/// Everything to store, and what was decided on the way.
#[derive(Debug, Default)]
pub struct Scan {
    pub items: Vec<Item>,
    pub tablespaces: Vec<TablespaceRef>,
}

impl Scan {
    /// Bytes of all files.
    pub fn bytes(&self) -> ByteSize {
        let files = self.items.iter().filter(|item| matches!(item.kind, ItemKind::File(_)));
        ByteSize(files.map(|item| item.stat.size).sum())
    }
}

/// Scans a data directory and its tablespaces.
///
/// # Errors
/// Anything that cannot be listed, but for what vanished meanwhile: a running server drops files.
pub fn scan(data_dir: &Path, blocks_per_segment: u32) -> Result<Scan> {
    let mut scanner = Scanner { scan: Scan::default(), blocks_per_segment };
    scanner.directory(data_dir, PGDATA, 0)?;
    let links = data_dir.join("pg_tblspc");
    if scanner.scan.items.iter().any(|item| item.path == format!("{PGDATA}/pg_tblspc")) {
        scanner.tablespaces(&links)?;
    }
    Ok(scanner.scan)
}

struct Scanner {
    scan: Scan,
    blocks_per_segment: u32,
}

impl Scanner {
    fn directory(&mut self, dir: &Path, path: &str, depth: usize) -> Result<()> {
        if depth > DEPTH_LIMIT {
            return Err(Error::failed(format!("{} is nested too deeply", dir.display())));
        }
        let what = || format!("list the directory {}", dir.display());
        let Some(stat) = vanished_is_none(stat(dir)).attempt(what)? else { return Ok(()) };
        self.push(path.to_owned(), ItemKind::Dir, stat);
        let name = path.rsplit('/').next().unwrap_or(path);
        if exclusion::is_emptied(name, depth == 1) || path == "pgdata/pg_tblspc" {
            return self.empty_children(path, dir);
        }
        let Some(entries) = vanished_is_none(fs::read_dir(dir)).attempt(what)? else {
            return Ok(());
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.attempt(what)?;
            let name = entry.file_name().into_string().map_err(|name| {
                Error::failed(format!(
                    "{} holds a file whose name is not UTF-8: {name:?}",
                    dir.display()
                ))
            })?;
            names.push(name);
        }
        names.sort();
        let volatile = exclusion::volatile_relations(names.iter().map(String::as_str));
        for name in names.iter().filter(|name| !volatile.contains(name.as_str())) {
            self.child(&dir.join(name), &format!("{path}/{name}"), name, depth)?;
        }
        Ok(())
    }

    fn child(&mut self, from: &Path, path: &str, name: &str, depth: usize) -> Result<()> {
        let what = || format!("look at {}", from.display());
        let Some(facts) = vanished_is_none(fs::symlink_metadata(from)).attempt(what)? else {
            return Ok(());
        };
        let kind = facts.file_type();
        if kind.is_dir() {
            return self.directory(from, path, depth + 1);
        }
        if exclusion::is_left_out(name, depth == 0) {
            return Ok(());
        }
        if kind.is_symlink() {
            return self.link(from, path, depth);
        }
        if !kind.is_file() {
            // Sockets and pipes of extensions; a base backup leaves them out too.
            return Ok(());
        }
        let first_block = first_block(path, self.blocks_per_segment);
        let file = SourceFile { from: from.to_owned(), first_block };
        self.push(path.to_owned(), ItemKind::File(file), to_stat(&facts).attempt(what)?);
        Ok(())
    }

    /// Links in a data directory: `pg_wal` elsewhere, or configuration. The file or directory
    /// behind is stored in its place, so that a restore needs nothing outside.
    fn link(&mut self, from: &Path, path: &str, depth: usize) -> Result<()> {
        let what = || format!("follow the link {}", from.display());
        let behind = vanished_is_none(fs::metadata(from)).map_err(|cause| {
            Error::failed(format!("cannot {}", what())).because(cause).hint(
                "Every file must be readable, or the copy would lack it: repair or remove it.",
            )
        })?;
        let Some(behind) = behind else { return Ok(()) };
        if behind.is_dir() {
            return self.directory(from, path, depth + 1);
        }
        let first_block = first_block(path, self.blocks_per_segment);
        let file = SourceFile { from: from.to_owned(), first_block };
        self.push(path.to_owned(), ItemKind::File(file), to_stat(&behind).attempt(what)?);
        Ok(())
    }

    /// Directories below an emptied one are kept where a server expects them, files not.
    fn empty_children(&mut self, path: &str, dir: &Path) -> Result<()> {
        for kept in exclusion::KEPT_BELOW_EMPTIED {
            let kept_path = format!("{PGDATA}/{kept}");
            let Some(name) = kept_path.strip_prefix(path).and_then(|rest| rest.strip_prefix('/'))
            else {
                continue;
            };
            let below = dir.join(name);
            let what = || format!("look at {}", below.display());
            if let Some(stat) = vanished_is_none(stat(&below)).attempt(what)? {
                self.push(kept_path, ItemKind::Dir, stat);
            }
        }
        Ok(())
    }

    fn tablespaces(&mut self, links: &Path) -> Result<()> {
        let what = || format!("list the tablespaces in {}", links.display());
        let mut oids = Vec::new();
        for entry in fs::read_dir(links).attempt(what)? {
            let name = entry.attempt(what)?.file_name();
            oids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        oids.sort_unstable();
        let mut root_stored = false;
        for oid in oids {
            let link = links.join(oid.to_string());
            let what = || format!("look at the tablespace {}", link.display());
            let Some(facts) = vanished_is_none(fs::symlink_metadata(&link)).attempt(what)? else {
                continue;
            };
            if facts.is_dir() {
                // allow_in_place_tablespaces: it lies within the data directory.
                self.directory(&link, &format!("{PGDATA}/pg_tblspc/{oid}"), 2)?;
                continue;
            }
            if !root_stored {
                let stat = stat(links).attempt(what)?;
                self.push(TABLESPACES.to_owned(), ItemKind::Dir, stat);
                root_stored = true;
            }
            let location = fs::read_link(&link).attempt(what)?.to_string_lossy().into_owned();
            let stat = to_stat(&facts).attempt(what)?;
            // Relative, so that files restored by any tool never point at production.
            let target = format!("../../{TABLESPACES}/{oid}");
            let path = format!("{PGDATA}/pg_tblspc/{oid}");
            self.push(path, ItemKind::Symlink { target }, stat);
            self.directory(&link, &format!("{TABLESPACES}/{oid}"), 2)?;
            self.scan.tablespaces.push(TablespaceRef { oid, location });
        }
        Ok(())
    }

    fn push(&mut self, path: String, kind: ItemKind, stat: Stat) {
        self.scan.items.push(Item { path, kind, stat });
    }
}

/// For files of pages: the number of the first page within its relation, by the path in the vault.
pub fn first_block(path: &str, blocks_per_segment: u32) -> Option<u32> {
    let of_pages = ["pgdata/base/", "pgdata/global/", "pgdata/pg_tblspc/", "tablespaces/"];
    let in_place = of_pages.iter().any(|prefix| path.starts_with(prefix));
    let relation = RelationFile::parse(path.rsplit('/').next()?)?;
    let segment = u32::try_from(relation.segment).ok()?;
    in_place.then(|| segment.wrapping_mul(blocks_per_segment))
}

/// What `stat` says of `path`, following links.
pub fn stat(path: &Path) -> std::io::Result<Stat> {
    to_stat(&fs::metadata(path)?)
}

/// From the standard library's shape.
pub fn to_stat(facts: &fs::Metadata) -> std::io::Result<Stat> {
    let time = |seconds: i64, nanoseconds: i64| {
        Timestamp::new(seconds, nanoseconds as i32).map_err(std::io::Error::other)
    };
    Ok(Stat {
        size: facts.len(),
        mtime: time(facts.mtime(), facts.mtime_nsec())?,
        ctime: time(facts.ctime(), facts.ctime_nsec())?,
        inode: facts.ino(),
        device: facts.dev(),
        permissions: facts.mode() & 0o7777,
        uid: facts.uid(),
        gid: facts.gid(),
    })
}

/// What vanished between listing and looking was dropped by the server; its log says so.
pub fn vanished_is_none<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
