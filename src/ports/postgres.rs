//! One PostgreSQL server: plain SQL, and the streaming replication protocol (PostgreSQL manual,
//! "Frontend/Backend Protocol", "Streaming Replication Protocol").

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::model::{Lsn, SystemId, Timeline};

/// One row of a result, every value in PostgreSQL's text form.
pub type Row = Vec<Option<String>>;

/// What a server said when it refused (PostgreSQL manual, "Error and Notice Message Fields").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// Untranslated: `ERROR`, `FATAL`, `PANIC`.
    pub severity: String,
    /// SQLSTATE, five characters.
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl ServerError {
    /// What the server said, if `error` comes from that.
    pub fn of(error: &Error) -> Option<&ServerError> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(cause) = next {
            if let Some(found) = cause.downcast_ref() {
                return Some(found);
            }
            next = cause.source();
        }
        None
    }

    /// SQLSTATE (PostgreSQL manual, "PostgreSQL Error Codes"): `58P01` is a file that is missing.
    pub fn code(&self) -> &str {
        &self.code
    }
}

impl fmt::Display for ServerError {
    /// The hint is left to [`Error::hint_text`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)?;
        match &self.detail {
            Some(detail) => write!(f, "; {detail}"),
            None => Ok(()),
        }
    }
}

impl StdError for ServerError {}

/// How to reach one server. Cheap to keep; connections are made when asked for, each within a
/// bounded time.
#[async_trait]
pub trait Postgres: Send + Sync {
    /// For messages, without secrets: `host=/run/postgresql port=5432 dbname=postgres`.
    fn describe(&self) -> String;

    /// The role it logs in as.
    fn user(&self) -> String;

    /// The same server, another database.
    fn in_database(&self, database: &str) -> Arc<dyn Postgres>;

    /// A session for SQL. It is named `application` (`application_name`).
    async fn session(&self, application: &str) -> Result<Box<dyn Session>>;

    /// A session for physical replication.
    async fn walsender(&self, application: &str) -> Result<Box<dyn Walsender>>;
}

/// Makes connections out of connection strings (libpq `key=value`).
pub trait Connector: Send + Sync {
    /// The servers that `conninfo` lists, in its order; nothing is connected yet.
    fn hosts(&self, conninfo: &str) -> Result<Vec<Arc<dyn Postgres>>>;
}

/// A session for SQL. Dropping it closes the connection; the server rolls back what was open.
#[async_trait]
pub trait Session: Send + Sync {
    /// Runs one statement (or several, then the rows of the last that returned any). An error of
    /// the server carries its message, SQLSTATE, detail and hint.
    async fn query(&mut self, sql: &str) -> Result<Vec<Row>>;

    /// When the certificate ends that the server showed; `None` without TLS.
    ///
    /// # Errors
    /// It showed one that cannot be read.
    fn certificate_until(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }
}

/// What `IDENTIFY_SYSTEM` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub system_id: SystemId,
    pub timeline: Timeline,
    /// Flushed so far; on a standby, replayed or received.
    pub flushed: Lsn,
}

/// A physical replication slot as `READ_REPLICATION_SLOT` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub restart: Option<Lsn>,
}

/// What comes while log is streamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Streamed {
    /// Log from `start`; `sent_at` is the server's clock, `server_end` its end of log then.
    Data { start: Lsn, bytes: Bytes, server_end: Lsn, sent_at: Timestamp },
    /// Nothing new; everything up to `server_end` was sent. `reply` asks for a status at once.
    Keepalive { server_end: Lsn, sent_at: Timestamp, reply: bool },
    /// Nothing came within the wait.
    Quiet,
    /// This timeline ended at `switch`; the log goes on in `next`. Streaming has stopped, the
    /// session can start again.
    TimelineEnded { next: Timeline, switch: Lsn },
    /// The server ended the stream in order, such as on shutdown, without a next timeline.
    Ended,
}

/// A directory of a base backup that lies outside the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupTablespace {
    pub oid: u32,
    pub location: String,
}

/// What to ask of `BASE_BACKUP`. Always with `WAL false`, `WAIT false`, `TABLESPACE_MAP true`,
/// `VERIFY_CHECKSUMS false`, `MANIFEST 'no'`: Fenice ships the log and checks pages itself.
#[derive(Debug, Clone)]
pub struct BackupRequest {
    pub label: String,
    /// Start with an immediate checkpoint instead of a spread one.
    pub fast_checkpoint: bool,
}

/// What comes while a base backup is taken, in this order: `Started`, then for each archive
/// `Archive` and its `Data` (tar), then `Finished`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupEvent {
    Started {
        start: Lsn,
        timeline: Timeline,
        tablespaces: Vec<BackupTablespace>,
    },
    /// `tablespace` is `None` for the data directory itself (`base.tar`, the last one).
    Archive {
        tablespace: Option<u32>,
    },
    Data(Bytes),
    Finished {
        stop: Lsn,
        timeline: Timeline,
    },
}

/// A session for physical replication. One activity at a time: commands, a stream, or a backup.
#[async_trait]
pub trait Walsender: Send {
    async fn identify(&mut self) -> Result<Identity>;

    /// `SHOW name`.
    async fn show(&mut self, name: &str) -> Result<String>;

    /// Text of the history file of `timeline`; not for timeline 1, which has none.
    async fn timeline_history(&mut self, timeline: Timeline) -> Result<Vec<u8>>;

    /// `None` if there is no such slot.
    async fn read_slot(&mut self, slot: &str) -> Result<Option<Slot>>;

    /// Creates a physical slot that reserves log at once (`RESERVE_WAL`).
    async fn create_slot(&mut self, slot: &str) -> Result<()>;

    /// Starts streaming `timeline` from `from`; afterwards only `next`, `status` and `stop`.
    /// If the server ends `timeline` at or before `from`, `next` says so.
    ///
    /// # Errors
    /// The server's own, such as SQLSTATE 55006: the slot is in use. That the segment has been
    /// removed already (58P01) the server finds out when it reads it: the first `next` says so.
    async fn start(&mut self, slot: Option<&str>, from: Lsn, timeline: Timeline) -> Result<()>;

    /// What came next, waiting at most `wait`. Safe to cancel between calls, not during one.
    async fn next(&mut self, wait: Duration) -> Result<Streamed>;

    /// Standby status: `written` received, `flushed` durable in the repository, applied always
    /// 0/0 (RULES 13).
    async fn status(&mut self, written: Lsn, flushed: Lsn, now: Timestamp) -> Result<()>;

    /// Ends the stream in order (`CopyDone` both ways); commands can follow.
    async fn stop(&mut self) -> Result<()>;

    /// Starts a base backup; afterwards only `next_of_backup` until `Finished`.
    async fn start_backup(&mut self, request: &BackupRequest) -> Result<()>;

    /// The next piece; `None` after `Finished`. Back-pressure: not reading pauses the server.
    async fn next_of_backup(&mut self) -> Result<Option<BackupEvent>>;
}
