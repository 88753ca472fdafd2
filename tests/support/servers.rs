//! Which PostgreSQL servers are installed, and as whom they run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Versions the tests run on: those we promise. `FENICE_TEST_VERSIONS=15,18` narrows them.
const SUPPORTED: [u32; 3] = [15, 17, 18];

/// The versions to test, each installed; panics if one is missing, rather than testing less.
pub fn available_versions() -> Vec<u32> {
    let versions = match std::env::var("FENICE_TEST_VERSIONS") {
        Ok(list) => list
            .split(',')
            .map(|version| version.trim().parse().expect("FENICE_TEST_VERSIONS=15,17,18"))
            .collect(),
        Err(_) => SUPPORTED.to_vec(),
    };
    for version in &versions {
        bin_dir(*version);
    }
    versions
}

/// Whether that server can speak TLS: the one for version 18 is built without.
pub fn has_tls(version: u32) -> bool {
    version != 18
}

/// Where Debian puts a server, or where `scripts/install test` does.
pub(super) fn bin_dir(version: u32) -> PathBuf {
    let ours = installed().join(format!("{version}/bin"));
    let debian = PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"));
    let found = [debian, ours].into_iter().find(|dir| is_safe(&dir.join("postgres")));
    found.unwrap_or_else(|| {
        panic!(
            "PostgreSQL {version} is not installed: run `scripts/install test`, or narrow the \
             tests with FENICE_TEST_VERSIONS=15"
        )
    })
}

/// Whether a program is there and ours: anybody may create a name under /var/tmp.
fn is_safe(program: &Path) -> bool {
    let trusted = [0, rustix::process::geteuid().as_raw()];
    fs::metadata(program).is_ok_and(|found| trusted.contains(&found.uid()))
}

/// Where `scripts/install test` puts servers.
fn installed() -> PathBuf {
    let dir = match std::env::var_os("FENICE_SERVERS") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let user = rustix::process::geteuid().as_raw();
            PathBuf::from(format!("/var/tmp/fenice-servers-{user}"))
        }
    };
    dir.join("current")
}

/// The S3 server's program; panics if it is not installed, rather than testing less.
pub(super) fn s3_server() -> PathBuf {
    let program = installed().join("weed");
    assert!(is_safe(&program), "the S3 server is not installed: run `scripts/install test`");
    program
}

/// A Python that finds the mail server; panics if it is not installed, rather than testing less.
pub(super) fn mail_python() -> PathBuf {
    let program = installed().join("mail-python");
    assert!(is_safe(&program), "the mail server is not installed: run `scripts/install test`");
    program
}

/// Prometheus' own checker; panics if it is not installed, rather than testing less.
pub fn promtool() -> PathBuf {
    let ours = installed().with_file_name("promtool");
    let found = [PathBuf::from("/usr/bin/promtool"), ours].into_iter().find(|path| is_safe(path));
    found.unwrap_or_else(|| panic!("promtool is not installed: run `scripts/install test`"))
}

/// The system user that runs a server: PostgreSQL refuses root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runner {
    ids: Option<(u32, u32)>,
}

impl Runner {
    /// `postgres`, else `nobody`, when we are root; else whoever we are.
    pub(super) fn find() -> Runner {
        if !rustix::process::geteuid().is_root() {
            return Runner { ids: None };
        }
        let users = fs::read_to_string("/etc/passwd").expect("read the user list");
        let ids = ["postgres", "nobody"].iter().find_map(|name| ids_of(&users, name));
        assert!(ids.is_some(), "neither user postgres nor nobody exists");
        Runner { ids }
    }

    /// A command that will run as this user, in a directory it can read, with nothing of our
    /// environment that speaks to PostgreSQL.
    pub(super) fn command(self, program: &Path) -> Command {
        let mut command = clean(program);
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        command
    }

    /// Gives a file or directory to this user.
    pub(super) fn own(self, path: &Path) {
        if let Some((user, group)) = self.ids {
            std::os::unix::fs::chown(path, Some(user), Some(group)).expect("give a directory away");
        }
    }
}

/// A command of ours, with nothing in its environment that speaks to PostgreSQL.
pub(super) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    // No home: neither a password file nor certificates of whoever runs the tests count.
    command.env("HOME", "/nonexistent").env("LC_ALL", "C").env("TZ", "UTC");
    command.env("PGCONNECT_TIMEOUT", "20").current_dir("/");
    command
}

fn ids_of(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}
