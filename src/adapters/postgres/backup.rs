//! Taking a base backup: `BASE_BACKUP` of PostgreSQL 15 and newer, read piece by piece.
//!
//! Order on the wire, the same in 15, 17 and 18: two result sets (start, tablespaces), one copy out
//! that holds every archive, one result set (stop). Only after all of it does `Finished` come.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use crate::adapters::postgres::message::{RawRow, Reader, column, parsed, unexpected, violation};
use crate::adapters::postgres::walsender::{Activity, COMMAND_WAIT, PgWalsender};
use crate::adapters::postgres::wire::Reply;
use crate::error::{Error, Result};
use crate::model::{Lsn, Timeline};
use crate::ports::postgres::{BackupEvent, BackupRequest, BackupTablespace};

/// A spread checkpoint may take most of `checkpoint_timeout`, which goes up to a day.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(24 * 3_600);
/// While it copies, the server always has something to send, from however slow a disk.
const SILENCE: Duration = Duration::from_secs(900);
/// PostgreSQL's own limit (`MAXPGPATH`), less its terminator.
const LABEL_BYTES: usize = 1023;

/// How far the backup has come.
pub(super) struct Backup {
    stage: Stage,
    /// Archives that were announced and have not come. The data directory is `None`.
    missing: BTreeSet<Option<u32>>,
    /// What `d` belongs to: an archive, or the manifest, which is not asked for.
    in_archive: bool,
}

enum Stage {
    /// The server makes its checkpoint.
    Starting,
    Copying,
    /// Everything came, or the server gave up.
    Finished,
}

impl Backup {
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.stage, Stage::Finished)
    }
}

pub(super) async fn start(session: &mut PgWalsender, request: &BackupRequest) -> Result<()> {
    session.must_be_idle("BASE_BACKUP")?;
    let label = &request.label;
    if label.len() > LABEL_BYTES || label.chars().any(char::is_control) {
        return Err(Error::usage(format!("`{}` is not a label", label.escape_debug()))
            .hint("Use one line of at most 1023 bytes."));
    }
    let label = label.replace('\'', "''");
    let checkpoint = if request.fast_checkpoint { "fast" } else { "spread" };
    let command = format!(
        "BASE_BACKUP (LABEL '{label}', CHECKPOINT '{checkpoint}', WAL false, WAIT false, \
         TABLESPACE_MAP true, VERIFY_CHECKSUMS false, MANIFEST 'no')"
    );
    session.wire.command(&command).await?;
    let (stage, missing) = (Stage::Starting, BTreeSet::new());
    session.activity = Activity::Backup(Backup { stage, missing, in_archive: false });
    Ok(())
}

pub(super) async fn next(session: &mut PgWalsender) -> Result<Option<BackupEvent>> {
    let came = match &session.activity {
        Activity::Backup(Backup { stage: Stage::Finished, .. }) => return Ok(None),
        Activity::Backup(Backup { stage: Stage::Starting, .. }) => started(session).await,
        Activity::Backup(Backup { stage: Stage::Copying, .. }) => copied(session).await,
        _ => return Err(Error::usage("no base backup is running")),
    };
    match came {
        Ok(event) => Ok(Some(event)),
        Err(error) => {
            // A second call must not look like an end in order.
            session.activity = Activity::Idle;
            Err(error)
        }
    }
}

async fn started(session: &mut PgWalsender) -> Result<BackupEvent> {
    let Reply::CopyOut(sets) = session.wire.reply(CHECKPOINT_WAIT).await? else {
        return Err(violation("a base backup without data"));
    };
    let [first, second] = sets.as_slice() else {
        return Err(violation("a base backup starts with two results"));
    };
    let (start, timeline) = position(first)?;
    let mut tablespaces = Vec::new();
    for row in second {
        // The data directory itself has neither number nor place.
        if column(row, 0)?.is_some() {
            let location = column(row, 1)?.unwrap_or_default().to_owned();
            tablespaces.push(BackupTablespace { oid: parsed(row, 0)?, location });
        }
    }
    let mut missing: BTreeSet<Option<u32>> = tablespaces.iter().map(|t| Some(t.oid)).collect();
    missing.insert(None);
    let stage = Stage::Copying;
    session.activity = Activity::Backup(Backup { stage, missing, in_archive: false });
    Ok(BackupEvent::Started { start, timeline, tablespaces })
}

fn position(rows: &[RawRow]) -> Result<(Lsn, Timeline)> {
    let row = rows.first().ok_or_else(|| violation("a position is missing"))?;
    Ok((parsed(row, 0)?, Timeline(parsed(row, 1)?)))
}

async fn copied(session: &mut PgWalsender) -> Result<BackupEvent> {
    loop {
        let Ok(frame) = timeout(SILENCE, session.wire.read()).await else {
            return Err(session.wire.lost(std::io::ErrorKind::TimedOut.into()));
        };
        let frame = frame?;
        let Activity::Backup(backup) = &mut session.activity else {
            return Err(Error::usage("no base backup is running"));
        };
        match frame.tag {
            b'd' => {
                if let Some(event) = backup.piece(Reader(frame.body))? {
                    return Ok(event);
                }
            }
            b'c' => return finished(session).await,
            b'E' => return Err(session.wire.failed(frame).await),
            other => return Err(unexpected(other)),
        }
    }
}

impl Backup {
    /// One message of the copy (PostgreSQL manual, `BASE_BACKUP`).
    fn piece(&mut self, mut reader: Reader) -> Result<Option<BackupEvent>> {
        match reader.u8()? {
            b'n' => {
                let tablespace = archive(&reader.text()?)?;
                if !self.missing.remove(&tablespace) {
                    return Err(violation("an archive came that was not announced"));
                }
                self.in_archive = true;
                Ok(Some(BackupEvent::Archive { tablespace }))
            }
            b'd' if self.in_archive => Ok(Some(BackupEvent::Data(reader.rest()))),
            // Of the manifest, should a server send one unasked.
            b'd' => Ok(None),
            b'm' => {
                self.in_archive = false;
                Ok(None)
            }
            // Progress: the caller counts by itself.
            b'p' => Ok(None),
            other => Err(violation(format!("`{}` in the backup", other.escape_ascii()))),
        }
    }
}

/// Which directory an archive called `16384.tar` or `base.tar` holds.
fn archive(name: &str) -> Result<Option<u32>> {
    let stem = name.strip_suffix(".tar");
    match stem {
        Some("base") => Ok(None),
        Some(oid) if oid.parse::<u32>().is_ok() => Ok(oid.parse().ok()),
        _ => Err(violation(format!("`{name}` is not the name of an archive"))),
    }
}

async fn finished(session: &mut PgWalsender) -> Result<BackupEvent> {
    let Reply::Done(sets) = session.wire.reply(COMMAND_WAIT).await? else {
        return Err(violation("a copy after the base backup"));
    };
    let Activity::Backup(backup) = &mut session.activity else {
        return Err(Error::usage("no base backup is running"));
    };
    if !backup.missing.is_empty() {
        let count = backup.missing.len();
        return Err(violation(format!("{count} archives of the base backup did not come")));
    }
    let (stop, timeline) = position(sets.first().map_or(&[], Vec::as_slice))?;
    backup.stage = Stage::Finished;
    Ok(BackupEvent::Finished { stop, timeline })
}
