//! Whether two servers, or two trees of files, hold the same.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fenice::repository::wal_codec::sha256_hex;

use super::restoring::Restored;
use crate::support::{Cluster, Finished, run};

/// Whether every transaction of pgbench is there whole or not at all: `t`.
pub const BALANCED: &str = "select (select sum(abalance) from pgbench_accounts) = h.sum \
    and (select sum(tbalance) from pgbench_tellers) = h.sum \
    and (select sum(bbalance) from pgbench_branches) = h.sum \
    from (select coalesce(sum(delta), 0) as sum from pgbench_history) h";

/// How to reach a server with PostgreSQL's own client programs.
#[derive(Debug, Clone)]
pub struct Reach {
    pub bin_dir: PathBuf,
    pub socket_dir: PathBuf,
    pub port: u16,
}

impl Cluster {
    pub fn reach(&self) -> Reach {
        let (bin_dir, socket_dir) = (self.bin_dir(), self.socket_dir());
        Reach { bin_dir, socket_dir, port: self.port() }
    }
}

impl Restored {
    pub fn reach(&self, like: &Cluster) -> Reach {
        let (bin_dir, socket_dir) = (like.bin_dir(), self.socket_dir().to_owned());
        Reach { bin_dir, socket_dir, port: 5432 }
    }
}

impl Reach {
    /// Runs one of PostgreSQL's client programs against the server.
    pub fn program(&self, name: &str, arguments: &[&str]) -> Finished {
        let mut command = Command::new(self.bin_dir.join(name));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        command.env("HOME", "/nonexistent").env("TZ", "UTC").current_dir("/");
        command.env("PGHOST", &self.socket_dir).env("PGPORT", self.port.to_string());
        command.env("PGUSER", "postgres").args(arguments);
        run(&mut command, "")
    }

    #[track_caller]
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let options = ["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql];
        self.program("psql", &options).expect_success(sql).trim_end().to_owned()
    }

    /// Everything a client can see, as SQL: roles and, database by database, definitions and
    /// rows. Rows of unlogged tables are left out: they do not survive. `without` names tables
    /// whose rows are compared otherwise.
    #[track_caller]
    pub fn dump(&self, without: &str) -> BTreeMap<String, String> {
        let globals = self.program("pg_dumpall", &["--globals-only"]).expect_success("pg_dumpall");
        // Where tablespaces lie differs on purpose.
        let places = |line: &&str| !line.starts_with("CREATE TABLESPACE");
        let globals = globals.lines().filter(places).collect::<Vec<_>>().join("\n");
        let mut dumps = BTreeMap::from([("globals".to_owned(), comparable(&globals))]);
        let names = "select datname from pg_database where datallowconn order by 1";
        for name in self.psql("postgres", names).lines() {
            let dbname = format!("dbname='{}'", name.replace('\\', r"\\").replace('\'', r"\'"));
            let excluded = format!("--exclude-table-data={without}");
            let options = ["--create", "--no-unlogged-table-data", &excluded, "-d", &dbname];
            let dump = self.program("pg_dump", &options).expect_success("pg_dump");
            dumps.insert(format!("database {name}"), comparable(&dump));
        }
        dumps
    }

    /// The structure of every table and index of every database is sound.
    #[track_caller]
    pub fn amcheck(&self) {
        let options = ["--all", "--install-missing", "--heapallindexed", "--jobs=2"];
        let checked = self.program("pg_amcheck", &options);
        assert!(checked.success() && checked.stdout.is_empty(), "{checked:?}");
    }

    /// The rows of a table in an order of their own, as a hash.
    #[track_caller]
    pub fn rows_hash(&self, database: &str, table: &str) -> String {
        let sql = format!("\\copy (select t::text from {table} t order by t::text) to stdout");
        sha256_hex(self.psql(database, &sql).as_bytes())
    }

    /// Every table of `database` that is not the system's, quoted.
    #[track_caller]
    pub fn tables(&self, database: &str) -> Vec<String> {
        let sql = "select format('%I.%I', schemaname, tablename) from pg_tables
                   where schemaname not in ('pg_catalog', 'information_schema') order by 1";
        self.psql(database, sql).lines().map(str::to_owned).collect()
    }
}

/// Newer `pg_dump` begins and ends with a random key.
fn comparable(dump: &str) -> String {
    let random = |line: &&str| line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
    dump.lines().filter(|line| !random(line)).collect::<Vec<_>>().join("\n")
}

/// Panics with the first line that differs.
#[track_caller]
pub fn assert_same_dumps(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) {
    let names = |of: &BTreeMap<String, String>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(one), names(other));
    for (name, text) in one {
        let differs = text.lines().zip(other[name].lines()).find(|(a, b)| a != b);
        assert!(text == &other[name], "{name} differs: {differs:?}");
    }
}

/// Name, size and hash of every file below `dirs`; directories and links by name.
pub fn tree(dirs: &[&Path]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left: Vec<PathBuf> = dirs.iter().map(|dir| dir.to_path_buf()).collect();
    while let Some(path) = left.pop() {
        let facts = std::fs::symlink_metadata(&path).unwrap();
        let what = if facts.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            left.extend(entries.map(|entry| entry.unwrap().path()));
            "directory".to_owned()
        } else if facts.is_symlink() {
            format!("link to {}", std::fs::read_link(&path).unwrap().display())
        } else {
            let bytes = std::fs::read(&path).unwrap();
            format!("{} bytes {}", bytes.len(), sha256_hex(&bytes))
        };
        found.insert(String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned(), what);
    }
    found
}
