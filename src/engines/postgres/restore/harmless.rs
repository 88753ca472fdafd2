//! What keeps a restored copy from touching production, even when it is started by hand (RULES 4).
//!
//! Production's `postgresql.auto.conf` never reaches the new data directory: it is restored beside
//! it, for reading. All of this is in place before `pg_control` is, without which nothing starts.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Attempt, Result};

use super::owner::give;
use super::place::Place;
use super::settings;

/// Production's settings by `ALTER SYSTEM`, relative to the data directory.
pub const AUTO_CONF: &str = "postgresql.auto.conf";
/// Overrules whatever the copied `postgresql.conf` says of the world outside.
const SAFE: &str = "\
# Written by Fenice: production's own settings are in the .fenice directory
# beside this one (source-config/postgresql.auto.conf).
archive_mode = off
archive_command = ''
primary_conninfo = ''
primary_slot_name = ''
synchronous_standby_names = ''
";

/// Makes the directories beside the target, with the generated configuration.
pub fn make_side(place: &Place, owner: Option<(u32, u32)>) -> Result<()> {
    for dir in [place.side.clone(), place.config_dir(), place.source_config_dir()] {
        let what = || format!("make the directory {}", dir.display());
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&dir).attempt(what).map_err(|error| {
            error.hint(
                "The directory that holds the target must be writable for the user who restores.",
            )
        })?;
        give(&dir, owner).attempt(what)?;
    }
    let conf = place.config_dir();
    write_owned(&conf.join("postgresql.conf"), settings::CONF, owner)?;
    write_owned(&conf.join("pg_hba.conf"), settings::HBA, owner)?;
    write_owned(&conf.join("pg_ident.conf"), "", owner)
}

/// Where production's settings by `ALTER SYSTEM` go.
pub fn auto_conf_kept_at(place: &Place) -> PathBuf {
    place.source_config_dir().join(AUTO_CONF)
}

/// Writes settings that reach nothing, and the order to recover, into the data directory.
pub fn disarm(place: &Place, owner: Option<(u32, u32)>) -> Result<()> {
    write_owned(&place.target.join(AUTO_CONF), SAFE, owner)?;
    write_owned(&place.target.join("recovery.signal"), "", owner)
}

fn write_owned(path: &Path, text: &str, owner: Option<(u32, u32)>) -> Result<()> {
    let written = fs::write(path, text).and_then(|()| give(path, owner));
    written.attempt(|| format!("write {}", path.display()))
}
