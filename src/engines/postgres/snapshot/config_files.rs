//! Configuration that lies outside the data directory, as Debian keeps it (RULES 6): the three
//! main files and what they include.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Attempt, Error, Result};

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
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for file in main_files {
        collect(Path::new(file), data_dir, 0, &mut seen, &mut found)?;
    }
    Ok(found)
}

fn collect(
    path: &Path,
    data_dir: &Path,
    depth: usize,
    seen: &mut BTreeSet<PathBuf>,
    found: &mut Vec<ConfigFile>,
) -> Result<()> {
    let what = || format!("read the configuration file {}", path.display());
    if depth > DEPTH_LIMIT || !seen.insert(path.to_owned()) {
        return Ok(());
    }
    let size = fs::metadata(path).attempt(what)?.len();
    if size > LARGEST_BYTES {
        return Err(Error::failed(format!("{} is no configuration file", path.display())));
    }
    let content = fs::read(path).map_err(|cause| {
        Error::failed(format!("cannot {}", what()))
            .because(cause)
            .hint("Give the user that runs Fenice the right to read it (group `postgres`).")
    })?;
    for include in includes(&String::from_utf8_lossy(&content), path) {
        for file in include.files().attempt(what)? {
            collect(&file, data_dir, depth + 1, seen, found)?;
        }
    }
    if !path.starts_with(data_dir)
        && let Some(name) = name_of(path)
    {
        found.push(ConfigFile { name, content });
    }
    Ok(())
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
    fn files(&self) -> std::io::Result<Vec<PathBuf>> {
        match self {
            Include::File(path) => Ok(vec![path.clone()]),
            Include::IfExists(path) => {
                Ok(path.exists().then(|| path.clone()).into_iter().collect())
            }
            Include::Dir(dir) => {
                let mut files = Vec::new();
                for entry in fs::read_dir(dir)? {
                    let path = entry?.path();
                    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
                    if name.ends_with(".conf") && !name.starts_with('.') {
                        files.push(path);
                    }
                }
                files.sort();
                Ok(files)
            }
        }
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
