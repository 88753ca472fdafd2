//! Configuration that lies outside the data directory, as Debian keeps it (RULES 6): the three
//! main files and what they include.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Attempt, Error, Result};
use crate::ports::postgres::{ServerError, Session};

/// Includes may include; PostgreSQL itself stops at ten (`CONF_FILE_MAX_DEPTH`).
const DEPTH_LIMIT: usize = 10;
const LARGEST_BYTES: u64 = 16 << 20;

/// A file of configuration with the name it is stored under: its path without the leading `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    pub name: String,
    pub content: Vec<u8>,
}

/// Reads `main_files` and their includes, as far as they lie outside `data_dir`.
///
/// # Errors
/// One that cannot be read, unless it is included by `include_if_exists`.
pub fn from_disk(main_files: &[String], data_dir: &Path) -> Result<Vec<ConfigFile>> {
    let mut walk = Walk::new(main_files);
    while let Some((include, depth)) = walk.waiting.pop() {
        let what = || format!("read the configuration in {}", include.path().display());
        match &include {
            Include::Dir(dir) => {
                let entries: std::io::Result<Vec<_>> = fs::read_dir(dir).attempt(what)?.collect();
                let names = entries.attempt(what)?.into_iter().map(|entry| entry.file_name());
                walk.directory(dir, names.filter_map(|name| name.into_string().ok()), depth);
            }
            Include::IfExists(path) if !path.exists() => {}
            Include::File(path) | Include::IfExists(path) => {
                let content = read_file(path)?;
                walk.file(path, content, depth, path.starts_with(data_dir));
            }
        }
    }
    Ok(walk.found())
}

/// Reads `main_files` and their includes through SQL, but for those that `is_stored` says are in
/// the base backup itself; `None` if the role may not.
///
/// # Errors
/// As [`from_disk`].
pub async fn from_server(
    session: &mut dyn Session,
    main_files: &[String],
    is_stored: impl Fn(&Path) -> bool,
) -> Result<Option<Vec<ConfigFile>>> {
    let mut walk = Walk::new(main_files);
    while let Some((include, depth)) = walk.waiting.pop() {
        let path = include.path().to_string_lossy().replace('\'', "''");
        let sql = match &include {
            Include::Dir(_) => format!("select pg_ls_dir('{path}')"),
            Include::File(_) => format!("select encode(pg_read_binary_file('{path}'), 'hex')"),
            Include::IfExists(_) => format!(
                "select encode(pg_read_binary_file('{path}', 0, {LARGEST_BYTES}, true), 'hex')"
            ),
        };
        let rows = match session.query(&sql).await {
            Err(error) if ServerError::of(&error).is_some_and(|e| e.code() == "42501") => {
                return Ok(None);
            }
            other => other.attempt(|| format!("read the configuration in {path}"))?,
        };
        let mut values = rows.into_iter().filter_map(|mut row| row.pop().flatten());
        match &include {
            Include::Dir(dir) => walk.directory(dir, values, depth),
            Include::File(path) | Include::IfExists(path) => {
                let Some(hex) = values.next() else { continue };
                let what = || format!("read {}", path.display());
                let content = hex::decode(hex).attempt(what)?;
                walk.file(path, content, depth, is_stored(path));
            }
        }
    }
    Ok(Some(walk.found()))
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let what = || format!("read the configuration file {}", path.display());
    let size = fs::metadata(path).attempt(what)?.len();
    if size > LARGEST_BYTES {
        return Err(Error::failed(format!("{} is no configuration file", path.display())));
    }
    fs::read(path).map_err(|cause| {
        Error::failed(format!("cannot {}", what()))
            .because(cause)
            .hint("Give the user that runs Fenice the right to read it (group `postgres`).")
    })
}

/// The way from the main files through their includes. Pure.
struct Walk {
    waiting: Vec<(Include, usize)>,
    seen: BTreeSet<PathBuf>,
    found: Vec<ConfigFile>,
}

impl Walk {
    fn new(main_files: &[String]) -> Walk {
        let waiting = main_files.iter().rev().map(|file| (Include::File(file.into()), 0));
        Walk { waiting: waiting.collect(), seen: BTreeSet::new(), found: Vec::new() }
    }

    /// Notes what a directory holds: its files called `*.conf`.
    fn directory(&mut self, dir: &Path, names: impl Iterator<Item = String>, depth: usize) {
        for name in names.filter(|name| name.ends_with(".conf") && !name.starts_with('.')) {
            self.visit(Include::File(dir.join(name)), depth);
        }
    }

    /// Notes a file that was read: what it includes, and, unless it is stored elsewhere, itself.
    fn file(&mut self, path: &Path, content: Vec<u8>, depth: usize, is_stored: bool) {
        if !self.seen.insert(path.to_owned()) {
            return;
        }
        for include in includes(&String::from_utf8_lossy(&content), path) {
            self.visit(include, depth + 1);
        }
        if !is_stored && let Some(name) = name_of(path) {
            self.found.push(ConfigFile { name, content });
        }
    }

    fn visit(&mut self, include: Include, depth: usize) {
        if depth <= DEPTH_LIMIT && !self.seen.contains(include.path()) {
            self.waiting.push((include, depth));
        }
    }

    fn found(mut self) -> Vec<ConfigFile> {
        self.found.sort_by(|a, b| a.name.cmp(&b.name));
        self.found
    }
}

/// The name within the vault's `config/`; `None` for a path that is not plain text.
fn name_of(path: &Path) -> Option<String> {
    let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    Some(path.strip_prefix("/").ok()?.to_str()?.to_owned()).filter(|_| plain)
}

/// One include directive.
#[derive(Debug, PartialEq, Eq)]
enum Include {
    File(PathBuf),
    IfExists(PathBuf),
    Dir(PathBuf),
}

impl Include {
    fn path(&self) -> &Path {
        let (Include::File(path) | Include::IfExists(path) | Include::Dir(path)) = self;
        path
    }
}

/// The include directives of a file at `path` (PostgreSQL manual, "Managing Configuration File
/// Contents"); also those of `pg_hba.conf` and `pg_ident.conf` since 16.
fn includes(text: &str, path: &Path) -> Vec<Include> {
    let base = path.parent().unwrap_or(Path::new("/"));
    let directive = |line: &str| {
        let line = line.split('#').next().unwrap_or("").trim();
        let (word, rest) = line.split_once(|c: char| c.is_whitespace() || c == '=')?;
        let value = rest.trim_start_matches([' ', '\t', '=']).trim();
        let value = value.trim_matches(|c| c == '\'' || c == '"');
        let target = base.join(value);
        match word.to_ascii_lowercase().as_str() {
            "include" => Some(Include::File(target)),
            "include_if_exists" => Some(Include::IfExists(target)),
            "include_dir" => Some(Include::Dir(target)),
            _ => None,
        }
    };
    text.lines().filter_map(directive).collect()
}

/// The directories that hold `names` below `config/`, each once, with `config` itself.
pub fn directories(names: &[String]) -> BTreeSet<String> {
    let mut dirs = BTreeSet::new();
    for name in names {
        let parts: Vec<&str> = name.split('/').collect();
        for depth in 0..parts.len() {
            let below = parts[..depth].iter().map(|part| format!("/{part}"));
            dirs.insert(format!("{}{}", super::scan::CONFIG, below.collect::<String>()));
        }
    }
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_are_found_as_postgresql_finds_them() {
        let text = "a = 1\ninclude 'b.conf' # c\n#include 'no'\n Include_Dir = 'conf.d'\n\
                    include_if_exists '/x/y.conf'\n";
        assert_eq!(
            includes(text, Path::new("/etc/postgresql/15/main/postgresql.conf")),
            [
                Include::File("/etc/postgresql/15/main/b.conf".into()),
                Include::Dir("/etc/postgresql/15/main/conf.d".into()),
                Include::IfExists("/x/y.conf".into()),
            ]
        );
    }

    #[test]
    fn every_directory_is_named_once() {
        let names = ["etc/pg/a.conf".to_owned(), "etc/pg/b.conf".to_owned()];
        let dirs: Vec<String> = directories(&names).into_iter().collect();
        assert_eq!(dirs, ["config", "config/etc", "config/etc/pg"]);
        assert!(directories(&[]).is_empty());
    }
}
