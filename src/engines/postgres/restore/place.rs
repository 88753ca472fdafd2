//! Where a restore puts things, checked before anything is written.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Attempt, Error, Result};
use crate::repository::manifest::TablespaceRef;
use crate::repository::wal_codec;

/// Of a unix socket's path (`unix(7)`: 108 bytes with the final zero), less PostgreSQL's own name.
const LONGEST_SOCKET_DIR: usize = 80;

/// Directories of one restore. All lie beside the target, none on production's paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The data directory.
    pub target: PathBuf,
    /// Tablespace by oid.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// Configuration as it was on the source, for reading; the generated one; log; socket.
    pub side: PathBuf,
}

impl Place {
    /// Decides the places for `target`: tablespaces under `<target>.tablespaces/<oid>` unless
    /// `chosen` names another, everything else under `<target>.fenice`.
    ///
    /// # Errors
    /// Refused if a directory exists and is not empty, if a tablespace would go where production
    /// has it, or if two would go to one place. All problems are reported together.
    pub fn choose(
        target: &Path,
        tablespaces: &[TablespaceRef],
        chosen: &BTreeMap<u32, PathBuf>,
    ) -> Result<Place> {
        let target = std::path::absolute(target)
            .attempt(|| format!("make {} absolute", target.display()))?;
        let mut places = BTreeMap::new();
        let mut problems = Vec::new();
        for tablespace in tablespaces {
            let default = || beside(&target, "tablespaces").join(tablespace.oid.to_string());
            let place = chosen.get(&tablespace.oid).cloned().unwrap_or_else(default);
            if is_same(&place, Path::new(&tablespace.location)) {
                problems.push(format!(
                    "tablespace {} would be restored over production's own at {}",
                    tablespace.oid, tablespace.location
                ));
            }
            places.insert(tablespace.oid, place);
        }
        for oid in chosen.keys().filter(|oid| !places.contains_key(oid)) {
            problems.push(format!("the snapshot has no tablespace {oid}"));
        }
        let all: Vec<&PathBuf> = std::iter::once(&target).chain(places.values()).collect();
        for (index, place) in all.iter().enumerate() {
            problems.extend(check_free(place));
            let overlaps = |other: &&PathBuf| place.starts_with(other) || other.starts_with(place);
            if let Some(other) = all[..index].iter().copied().find(overlaps) {
                problems.push(format!("{} and {} overlap", other.display(), place.display()));
            }
        }
        let side = beside(&target, "fenice");
        problems.extend(check_free(&side));
        match problems.is_empty() {
            true => Ok(Place { target, tablespaces: places, side }),
            false => Err(Error::refused("cannot restore there")
                .because(problems.join("; "))
                .hint("Name an empty directory as --target; nothing was written.")),
        }
    }

    /// The places of a restore that was made before.
    pub fn of_existing(target: &Path) -> Result<Place> {
        let target = std::path::absolute(target)
            .attempt(|| format!("make {} absolute", target.display()))?;
        let place = Place::of_target(target);
        match place.side.is_dir() {
            true => Ok(place),
            false => Err(Error::failed(format!(
                "{} was not restored by `fenice restore`",
                place.target.display()
            ))),
        }
    }

    /// The places beside a data directory, made or not. Tablespaces are not known.
    pub fn of_target(target: PathBuf) -> Place {
        let side = beside(&target, "fenice");
        Place { target, tablespaces: BTreeMap::new(), side }
    }

    pub fn log_file(&self) -> PathBuf {
        self.side.join("postgres.log")
    }

    /// Where segments wait that are fetched ahead: beside the target, so that a rename will do.
    pub fn spool_dir(&self) -> PathBuf {
        self.side.join("wal-ahead")
    }

    pub fn config_dir(&self) -> PathBuf {
        self.side.join("conf")
    }

    /// Files of configuration as they were on the source.
    pub fn source_config_dir(&self) -> PathBuf {
        self.side.join("source-config")
    }
}

impl Place {
    /// Where sockets are made: beside the target, or, where that path is too long for a socket,
    /// in a directory of its own below `/tmp`.
    pub fn socket_dir(&self) -> Result<PathBuf> {
        let dir = if self.side.as_os_str().len() <= LONGEST_SOCKET_DIR {
            self.side.clone()
        } else {
            let name = wal_codec::sha256_hex(self.side.as_os_str().as_encoded_bytes());
            beside(Path::new("/tmp/fenice"), &name[..16])
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&dir).attempt(|| format!("make the directory {}", dir.display()))?;
        Ok(dir)
    }
}

/// `/srv/new` and `fenice` give `/srv/new.fenice`.
pub fn beside(target: &Path, suffix: &str) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    target.with_file_name(name)
}

fn check_free(place: &Path) -> Option<String> {
    match fs::read_dir(place) {
        Ok(mut entries) => entries.next().map(|_| format!("{} is not empty", place.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("{} cannot be used: {error}", place.display())),
    }
}

/// Whether two paths name one directory, as far as they exist.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn nothing_is_put_over_anything() {
        let dir = tempfile::tempdir().unwrap();
        let production = dir.path().join("production");
        fs::create_dir(&production).unwrap();
        let spaces = [TablespaceRef { oid: 7, location: production.display().to_string() }];
        let target = dir.path().join("new");
        let place = Place::choose(&target, &spaces, &BTreeMap::new()).unwrap();
        assert_eq!(place.tablespaces[&7], dir.path().join("new.tablespaces/7"));

        let over = BTreeMap::from([(7, production.clone()), (8, production)]);
        let error = Place::choose(&target, &spaces, &over).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.chain().contains("production's own"), "{error:?}");
        assert!(error.chain().contains("no tablespace 8"), "{error:?}");

        fs::create_dir(&target).unwrap();
        fs::write(target.join("PG_VERSION"), "15").unwrap();
        let error = Place::choose(&target, &spaces, &BTreeMap::new()).unwrap_err();
        assert!(error.chain().contains("is not empty"), "{error:?}");
    }
}
