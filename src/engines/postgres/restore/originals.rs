//! Tablespaces that the log creates after the snapshot began. Replay makes them at their original
//! place, so a recovery stops there, unless the operator says that this host may have them; and
//! even then only a place where nothing lies is taken (RULES 4).

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Attempt, Error, Result};

use super::owner::give;

/// What a recovery does about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewTablespaces {
    /// It stops before the first.
    #[default]
    Refused,
    /// It makes them where they were. For a host that production is not on.
    AtOriginal,
}

/// The places that one recovery has taken.
#[derive(Debug, Default)]
pub struct Originals {
    taken: BTreeSet<PathBuf>,
}

impl Originals {
    /// Makes `place` an empty directory of `owner`, or finds it empty. What this recovery took
    /// before it may use again: PostgreSQL replays from its last restartpoint after a restart.
    ///
    /// # Errors
    /// Refused if anything lies there; failed if it cannot be made.
    pub fn take(&mut self, place: &Path, owner: Option<(u32, u32)>) -> Result<()> {
        if self.taken.contains(place) {
            return Ok(());
        }
        let what = || format!("make the tablespace's original place {}", place.display());
        match fs::read_dir(place).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => {
                let lies = format!("{} is not empty: it may be production's own", place.display());
                return Err(Error::refused(lies).hint(
                    "Recover on another host, or to an instant before the tablespace was created; \
                     or move away what lies there if it is of no use.",
                ));
            }
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                fs::DirBuilder::new().mode(0o700).create(place).attempt(what)?;
            }
            Err(cause) => return Err(cause).attempt(what),
        }
        give(place, owner).attempt(what)?;
        self.taken.insert(place.to_owned());
        Ok(())
    }
}
