//! A session for physical replication (PostgreSQL manual, "Streaming Replication Protocol"):
//! commands here, the stream and base backups in files of their own. Nothing is answered by
//! itself: the caller decides what it may report as flushed.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::adapters::postgres::backup::{self, Backup};
use crate::adapters::postgres::message::{RawRow, column, parsed, violation};
use crate::adapters::postgres::streaming;
use crate::adapters::postgres::wire::{Reply, Wire};
use crate::error::{Error, Result};
use crate::model::{Lsn, SystemId, Timeline};
use crate::ports::postgres::{BackupEvent, BackupRequest, Identity, Slot, Streamed, Walsender};

/// Commands other than a backup answer at once; this much only on a machine in distress.
pub(super) const COMMAND_WAIT: Duration = Duration::from_secs(60);

/// What the session is at.
pub(super) enum Activity {
    Idle,
    Streaming,
    /// The server ended the stream before anything came; `next` has yet to say so.
    Over(Streamed),
    /// The server left in order.
    Closed,
    Backup(Backup),
}

/// A connection to a walsender process.
pub(super) struct PgWalsender {
    pub wire: Wire,
    pub activity: Activity,
}

impl PgWalsender {
    pub(super) fn new(wire: Wire) -> PgWalsender {
        PgWalsender { wire, activity: Activity::Idle }
    }

    /// Sends a command and waits for what it gives.
    pub(super) async fn ask(&mut self, command: &str) -> Result<Reply> {
        self.must_be_idle(command)?;
        self.wire.command(command).await?;
        self.wire.reply(COMMAND_WAIT).await
    }

    pub(super) fn must_be_idle(&self, command: &str) -> Result<()> {
        match &self.activity {
            Activity::Idle => Ok(()),
            Activity::Backup(backup) if backup.is_finished() => Ok(()),
            Activity::Closed => Err(Error::failed("the server has ended the session").later()),
            _ => Err(Error::usage(format!("`{command}` cannot run during a stream or backup"))),
        }
    }

    /// The one row a command gives.
    async fn row(&mut self, command: &str) -> Result<RawRow> {
        let rows = match self.ask(command).await? {
            Reply::Done(mut sets) => sets.pop().unwrap_or_default(),
            Reply::CopyOut(_) | Reply::CopyBoth => {
                return Err(violation(format!("`{command}` started a copy")));
            }
        };
        let row = rows.into_iter().next();
        row.ok_or_else(|| violation(format!("`{command}` gave no row")))
    }

    fn explain(&self, what: &str, cause: Error) -> Error {
        Error::failed(format!("cannot {what} at {}", self.wire.peer())).because(cause)
    }

    async fn identity(&mut self) -> Result<Identity> {
        let row = self.row("IDENTIFY_SYSTEM").await?;
        Ok(Identity {
            system_id: SystemId(parsed(&row, 0)?),
            timeline: Timeline(parsed(&row, 1)?),
            flushed: parsed(&row, 2)?,
        })
    }

    async fn setting(&mut self, name: &str) -> Result<String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.".contains(&b);
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(Error::usage(format!("`{name}` is not the name of a setting")));
        }
        let row = self.row(&format!("SHOW {name}")).await?;
        Ok(column(&row, 0)?.unwrap_or_default().to_owned())
    }

    async fn history(&mut self, timeline: Timeline) -> Result<Vec<u8>> {
        let row = self.row(&format!("TIMELINE_HISTORY {timeline}")).await?;
        let content = row.get(1).and_then(Option::as_ref);
        let content = content.ok_or_else(|| violation("the history has no content"))?;
        Ok(content.to_vec())
    }

    async fn slot(&mut self, slot: &str) -> Result<Option<Slot>> {
        let command = format!("READ_REPLICATION_SLOT {}", quoted_slot(slot)?);
        let row = self.row(&command).await?;
        // The server answers with nulls where there is no such slot.
        if column(&row, 0)?.is_none() {
            return Ok(None);
        }
        let restart = column(&row, 1)?.map(str::parse).transpose()?;
        Ok(Some(Slot { restart }))
    }

    async fn new_slot(&mut self, slot: &str) -> Result<()> {
        let slot = quoted_slot(slot)?;
        // Without RESERVE_WAL the slot would keep nothing until its first use.
        self.row(&format!("CREATE_REPLICATION_SLOT {slot} PHYSICAL (RESERVE_WAL)")).await.map(drop)
    }
}

/// Slot names are 1 to 63 of `a-z0-9_` (PostgreSQL, `ReplicationSlotValidateName`).
pub(super) fn quoted_slot(name: &str) -> Result<String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    match (1..=63).contains(&name.len()) && name.bytes().all(plain) {
        true => Ok(format!("\"{name}\"")),
        false => Err(Error::usage(format!("`{name}` is not the name of a replication slot"))
            .hint("Use lower-case letters, digits and underscores, at most 63.")),
    }
}

#[async_trait]
impl Walsender for PgWalsender {
    async fn identify(&mut self) -> Result<Identity> {
        let told = self.identity().await;
        told.map_err(|cause| self.explain("identify the system", cause))
    }

    async fn show(&mut self, name: &str) -> Result<String> {
        let told = self.setting(name).await;
        told.map_err(|cause| self.explain(&format!("read the setting {name}"), cause))
    }

    async fn timeline_history(&mut self, timeline: Timeline) -> Result<Vec<u8>> {
        let told = self.history(timeline).await;
        told.map_err(|cause| self.explain(&format!("read the history of {timeline}"), cause))
    }

    async fn read_slot(&mut self, slot: &str) -> Result<Option<Slot>> {
        let told = self.slot(slot).await;
        told.map_err(|cause| self.explain(&format!("read the slot {slot}"), cause))
    }

    async fn create_slot(&mut self, slot: &str) -> Result<()> {
        let made = self.new_slot(slot).await;
        made.map_err(|cause| self.explain(&format!("create the slot {slot}"), cause))
    }

    async fn start(&mut self, slot: Option<&str>, from: Lsn, timeline: Timeline) -> Result<()> {
        let started = streaming::start(self, slot, from, timeline).await;
        let what = format!("stream timeline {timeline} from {from}");
        started.map_err(|cause| self.explain(&what, cause))
    }

    async fn next(&mut self, wait: Duration) -> Result<Streamed> {
        let came = streaming::next(self, wait).await;
        came.map_err(|cause| self.explain("go on streaming", cause))
    }

    async fn status(&mut self, written: Lsn, flushed: Lsn, now: Timestamp) -> Result<()> {
        let sent = streaming::status(self, written, flushed, now).await;
        sent.map_err(|cause| self.explain("report progress", cause))
    }

    async fn stop(&mut self) -> Result<()> {
        let stopped = streaming::stop(self).await;
        stopped.map_err(|cause| self.explain("end the stream", cause))
    }

    async fn start_backup(&mut self, request: &BackupRequest) -> Result<()> {
        let started = backup::start(self, request).await;
        started.map_err(|cause| self.explain("start a base backup", cause))
    }

    async fn next_of_backup(&mut self) -> Result<Option<BackupEvent>> {
        let came = backup::next(self).await;
        came.map_err(|cause| self.explain("go on with the base backup", cause))
    }
}
