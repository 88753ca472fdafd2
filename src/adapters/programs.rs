//! Finds the programs of an installed PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where packages put them: Debian and Ubuntu; Red Hat and its kin; what is built by hand.
fn usual_places(major: u32) -> [PathBuf; 4] {
    [
        format!("/usr/lib/postgresql/{major}/bin").into(),
        format!("/usr/pgsql-{major}/bin").into(),
        "/usr/local/pgsql/bin".into(),
        "/usr/bin".into(),
    ]
}

/// The folder that holds `postgres` of version `major`: `configured`, or where packages put it.
///
/// # Errors
/// There is none.
pub fn find(configured: Option<&Path>, major: u32) -> Result<PathBuf> {
    let holds = |dir: &Path| dir.join("postgres").is_file();
    if let Some(dir) = configured {
        return match holds(dir) {
            true => Ok(dir.to_owned()),
            false => Err(Error::failed(format!("{} holds no `postgres`", dir.display()))
                .hint("Correct `bin_dir` of the resource.")),
        };
    }
    usual_places(major).into_iter().find(|dir| holds(dir)).ok_or_else(|| {
        Error::failed(format!("PostgreSQL {major} is not installed where packages put it"))
            .hint("Install the server, or set `bin_dir` of the resource.")
    })
}

/// The newest installed server from 15 on, with its version.
pub fn newest() -> Result<(PathBuf, u32)> {
    let found = (15..=30).rev().find_map(|major| Some((find(None, major).ok()?, major)));
    found.ok_or_else(|| {
        Error::failed("no PostgreSQL server is installed where packages put it")
            .hint("Install one, such as the package `postgresql`.")
    })
}

/// The name of this machine, for reports.
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
