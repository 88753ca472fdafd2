//! Streaming the log: `START_REPLICATION … PHYSICAL` and the copy in both directions.

use std::time::Duration;

use bytes::BufMut;
use jiff::Timestamp;
use postgres_protocol::message::frontend::{self, CopyData};
use tokio::time::timeout;

use crate::adapters::postgres::message::{
    Frame, RawRow, Reader, parsed, postgres_micros, unexpected, violation,
};
use crate::adapters::postgres::walsender::{Activity, COMMAND_WAIT, PgWalsender, quoted_slot};
use crate::adapters::postgres::wire::Reply;
use crate::error::{Error, Result};
use crate::model::{Lsn, Timeline};
use crate::ports::postgres::Streamed;

/// What `stop` reads past at most: far more than fits in the buffers between two machines.
const DRAIN_BYTES: usize = 256 << 20;

pub(super) async fn start(
    session: &mut PgWalsender,
    slot: Option<&str>,
    from: Lsn,
    timeline: Timeline,
) -> Result<()> {
    let slot = match slot {
        Some(name) => format!("SLOT {} ", quoted_slot(name)?),
        None => String::new(),
    };
    let command = format!("START_REPLICATION {slot}PHYSICAL {from} TIMELINE {timeline}");
    session.activity = match session.ask(&command).await? {
        Reply::CopyBoth => Activity::Streaming,
        // The timeline has nothing after `from`.
        Reply::Done(sets) => Activity::Over(ending(&sets)?),
        Reply::CopyOut(_) => return Err(violation("a stream started as a copy out")),
    };
    Ok(())
}

/// Safe to abandon while it waits: what has arrived stays in the wire's buffer.
pub(super) async fn next(session: &mut PgWalsender, wait: Duration) -> Result<Streamed> {
    match session.activity {
        Activity::Streaming => {}
        Activity::Over(_) => {
            let Activity::Over(end) = std::mem::replace(&mut session.activity, Activity::Idle)
            else {
                return Err(no_stream());
            };
            return Ok(end);
        }
        _ => return Err(no_stream()),
    }
    let Ok(frame) = timeout(wait, session.wire.read()).await else {
        return Ok(Streamed::Quiet);
    };
    let came = match frame {
        Ok(frame) => understand(session, frame).await,
        Err(error) => Err(error),
    };
    if came.is_err() {
        // After an error of the server alone the session can go on; the wire knows.
        session.activity = Activity::Idle;
    }
    came
}

async fn understand(session: &mut PgWalsender, frame: Frame) -> Result<Streamed> {
    match frame.tag {
        b'd' => copied(Reader(frame.body)),
        b'c' => {
            session.wire.send(copy_done).await?;
            let reply = session.wire.reply(COMMAND_WAIT).await?;
            session.activity = Activity::Idle;
            match reply {
                Reply::Done(sets) => ending(&sets),
                Reply::CopyOut(_) | Reply::CopyBoth => Err(violation("a copy after the stream")),
            }
        }
        // On shutdown the walsender says its command is complete and leaves.
        b'C' => {
            session.activity = Activity::Closed;
            Ok(Streamed::Ended)
        }
        b'E' => Err(session.wire.failed(frame).await),
        other => Err(unexpected(other)),
    }
}

fn copy_done(buffer: &mut bytes::BytesMut) -> std::io::Result<()> {
    frontend::copy_done(buffer);
    Ok(())
}

/// `XLogData` or a keepalive.
fn copied(mut reader: Reader) -> Result<Streamed> {
    match reader.u8()? {
        b'w' => {
            let (start, server_end, sent_at) = (reader.lsn()?, reader.lsn()?, reader.timestamp()?);
            Ok(Streamed::Data { start, server_end, sent_at, bytes: reader.rest() })
        }
        b'k' => {
            let (server_end, sent_at) = (reader.lsn()?, reader.timestamp()?);
            Ok(Streamed::Keepalive { server_end, sent_at, reply: reader.u8()? != 0 })
        }
        other => Err(violation(format!("`{}` in the stream", other.escape_ascii()))),
    }
}

/// The next timeline and where it begins, if the server names them.
fn ending(sets: &[Vec<RawRow>]) -> Result<Streamed> {
    match sets.iter().flatten().next_back() {
        Some(row) => {
            Ok(Streamed::TimelineEnded { next: Timeline(parsed(row, 0)?), switch: parsed(row, 1)? })
        }
        None => Ok(Streamed::Ended),
    }
}

pub(super) async fn status(
    session: &mut PgWalsender,
    written: Lsn,
    flushed: Lsn,
    now: Timestamp,
) -> Result<()> {
    if !matches!(session.activity, Activity::Streaming) {
        return Err(no_stream());
    }
    let mut update = Vec::with_capacity(34);
    update.put_u8(b'r');
    update.put_u64(written.0);
    update.put_u64(flushed.0);
    // Applied: nothing, ever (RULES 13).
    update.put_u64(Lsn::ZERO.0);
    update.put_i64(postgres_micros(now));
    update.put_u8(0);
    session
        .wire
        .send(|buffer| {
            CopyData::new(update.as_slice())?.write(buffer);
            Ok(())
        })
        .await
}

/// `CopyDone`, then past what was on its way until the server is ready for commands.
pub(super) async fn stop(session: &mut PgWalsender) -> Result<()> {
    match session.activity {
        Activity::Streaming => {}
        Activity::Idle | Activity::Over(_) => {
            session.activity = Activity::Idle;
            return Ok(());
        }
        Activity::Closed => return Ok(()),
        Activity::Backup(_) => return Err(no_stream()),
    }
    session.activity = Activity::Idle;
    session.wire.send(copy_done).await?;
    match timeout(COMMAND_WAIT, past_the_copy(session)).await {
        Ok(past) => past,
        Err(_) => Err(session.wire.lost(std::io::ErrorKind::TimedOut.into())),
    }
}

async fn past_the_copy(session: &mut PgWalsender) -> Result<()> {
    let mut bytes = 0;
    loop {
        let frame = session.wire.read().await?;
        bytes += frame.body.len();
        match frame.tag {
            b'd' if bytes <= DRAIN_BYTES => {}
            b'd' => return Err(violation("it does not stop sending")),
            b'c' => return session.wire.reply(COMMAND_WAIT).await.map(drop),
            // It was leaving by itself.
            b'C' => {
                session.activity = Activity::Closed;
                return Ok(());
            }
            b'E' => return Err(session.wire.failed(frame).await),
            other => return Err(unexpected(other)),
        }
    }
}

fn no_stream() -> Error {
    Error::usage("the session is not streaming")
}
