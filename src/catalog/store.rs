//! The file: opened, upgraded, shared by every loop of one process.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use crate::error::{Attempt, Error, Result};

/// Each entry brings the file from the version of its index to the next.
const MIGRATIONS: [&str; 7] = [
    "
    create table heartbeat (
        resource text not null,
        system_id text not null,
        seq integer not null,
        at_us integer not null,
        committed_before integer not null,
        primary key (resource, system_id, seq)
    ) strict;
    create table shipping (
        resource text not null,
        system_id text not null,
        timeline integer not null,
        stored_until integer not null,
        complete_at_us integer,
        noted_at_us integer not null,
        trouble text,
        primary key (resource, system_id)
    ) strict;
",
    "
    create table soundness (
        repository text not null,
        resource text not null,
        key text not null,
        bytes integer not null,
        stored_at_us integer not null,
        sound_at_us integer not null,
        primary key (repository, resource, key)
    ) strict, without rowid;
",
    "
    create table finding (
        repository text not null,
        resource text not null,
        what text not null,
        because text not null
    ) strict;
",
    "
    create table retained (
        repository text not null,
        resource text not null,
        key text not null,
        until_us integer not null,
        primary key (repository, resource, key)
    ) strict, without rowid;
",
    "
    create table verified (
        repository text not null,
        resource text not null,
        snapshot text not null,
        since_us integer not null,
        primary key (repository, resource, snapshot)
    ) strict, without rowid;
",
    "
    create table standing (
        resource text not null,
        work text not null,
        known_since_us integer not null,
        settled_due_at_us integer,
        failed_due_at_us integer,
        failed_attempts integer,
        failed_at_us integer,
        failed_for_good integer,
        primary key (resource, work)
    ) strict, without rowid;
    create table pause (
        resource text primary key,
        why text not null,
        until_us integer
    ) strict, without rowid;
    create table job (
        id integer primary key autoincrement,
        resource text not null,
        work text not null,
        due_at_us integer,
        because text not null,
        begun_at_us integer not null,
        ended_at_us integer,
        result text,
        told text
    ) strict;
    create index job_open on job (id) where ended_at_us is null;
",
    "
    create table step (
        job integer not null references job (id) on delete cascade,
        at_us integer not null,
        what text not null,
        detail text not null
    ) strict;
    create index step_of_job on step (job);
    create table telling (
        one integer primary key check (one = 1),
        told text not null,
        outbox text not null,
        summary_at_us integer
    ) strict;
    create table exposure (
        resource text not null,
        day text not null,
        most_seconds integer,
        unknown_minutes integer not null,
        primary key (resource, day)
    ) strict, without rowid;
",
];

/// An open catalog. Calls are short; they may be made from any thread.
pub struct Catalog {
    connection: Mutex<Connection>,
}

impl Catalog {
    /// Opens the file, making or upgrading it.
    ///
    /// # Errors
    /// Unreadable, or written by a newer version: that is never touched.
    pub fn open(path: &Path) -> Result<Catalog> {
        let what = || format!("open the catalog {}", path.display());
        let connection = Catalog::connect(path).attempt(what).map_err(|error| {
            error.hint(
                "If the file is damaged, move it away with its -wal and -shm: `fenice catalog \
                 rebuild` fills a new one from the repository.",
            )
        })?;
        let catalog = Catalog { connection: Mutex::new(connection) };
        catalog.upgrade(path)?;
        Ok(catalog)
    }

    fn connect(path: &Path) -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.execute_batch("pragma journal_mode = wal; pragma synchronous = full;")?;
        Ok(connection)
    }

    fn upgrade(&self, path: &Path) -> Result<()> {
        let what = || format!("upgrade the catalog {}", path.display());
        let mut connection = self.lock();
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .attempt(what)?;
        let version: u32 =
            transaction.query_row("pragma user_version", [], |row| row.get(0)).attempt(what)?;
        let Some(missing) = MIGRATIONS.get(version as usize..) else {
            return Err(Error::refused(format!(
                "the catalog {} has version {version}, this program knows {}",
                path.display(),
                MIGRATIONS.len()
            ))
            .hint("Use the newer version of Fenice, or move the file away: it is rebuilt."));
        };
        for migration in missing {
            transaction.execute_batch(migration).attempt(what)?;
        }
        let version = MIGRATIONS.len();
        transaction.execute_batch(&format!("pragma user_version = {version}")).attempt(what)?;
        transaction.commit().attempt(what)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        // SQLite rolls back what a panicking thread left open.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
