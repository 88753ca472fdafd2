//! One stream from one server into the archive: parts, back-pressure, reports, and its end.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::model::Lsn;
use crate::ports::postgres::{Streamed, Walsender};

use super::assembly::{Assembly, Piece};
use super::shipper::{Shipper, Until};
use super::upload::{Durable, Uploads};

/// The server hears from us at least this often; its own patience is `wal_sender_timeout` (60 s).
pub(super) const STATUS_EVERY: Duration = Duration::from_secs(10);
/// How soon a stored piece is noticed, and a wish to stop.
const UPLOAD_POLL: Duration = Duration::from_millis(20);
const STOP_POLL: Duration = Duration::from_secs(1);
/// How long a stream is held while the repository takes nothing.
const TROUBLE_PATIENCE: Duration = Duration::from_secs(10);

/// How the work of one stream ended.
pub(super) enum Ended {
    Done,
    /// The timeline ended; go on with the next.
    NextTimeline,
}

/// One stream from one server.
pub(super) struct Stream<'a> {
    shipper: &'a Shipper,
    server: &'a mut dyn Walsender,
    uploads: Uploads,
    assembly: Assembly,
    /// Everything before is stored.
    durable: Lsn,
    /// Whether this stream moved `durable`: only then is it reported. The slot may be behind it,
    /// and never needs to move back.
    moved: bool,
    next_part: Instant,
    next_status: Instant,
    trouble_since: Option<Instant>,
    /// Whether the stream was given up because the repository takes nothing.
    pub(super) given_up: bool,
}

impl<'a> Stream<'a> {
    /// `durable`: everything before is stored. `at_once`: the first part is not waited for.
    pub(super) fn new(
        shipper: &'a Shipper,
        server: &'a mut dyn Walsender,
        assembly: Assembly,
        durable: Lsn,
        at_once: bool,
    ) -> Stream<'a> {
        let now = Instant::now();
        Stream {
            shipper,
            server,
            uploads: Uploads::new(shipper.archive.clone()),
            assembly,
            durable,
            moved: false,
            next_part: if at_once { now } else { now + shipper.every },
            next_status: now,
            trouble_since: None,
            given_up: false,
        }
    }

    pub(super) async fn run(
        &mut self,
        until: Until,
        stop: &watch::Receiver<bool>,
    ) -> Result<Ended> {
        loop {
            while let Some(durable) = self.uploads.finished().await? {
                self.note_durable(durable);
            }
            self.watch_trouble()?;
            if Instant::now() >= self.next_status {
                self.report().await?;
            }
            if *stop.borrow() {
                // What was received is stored before leaving, if the repository takes it; the
                // slot keeps the rest.
                self.hand_out_part();
                return match self.leave().await {
                    Err(_) if self.given_up => Ok(Ended::Done),
                    other => other,
                };
            }
            if self.is_done(until) {
                return self.leave().await;
            }
            if !self.uploads.has_room() {
                // Not reading is the back-pressure; the server hears from us all the same.
                tokio::time::sleep(UPLOAD_POLL).await;
                continue;
            }
            if self.is_part_due(until) {
                self.hand_out_part();
            }
            // Never abandoned half-way: a change of timeline is a conversation.
            let event = self.server.next(self.wait()).await?;
            if let Some(ended) = self.take(event).await? {
                return Ok(ended);
            }
        }
    }

    /// How long to listen before looking at everything else again.
    fn wait(&self) -> Duration {
        let idle = if self.uploads.is_empty() { STOP_POLL } else { UPLOAD_POLL };
        let due = self.next_status.min(self.next_part).saturating_duration_since(Instant::now());
        idle.min(due)
    }

    async fn leave(&mut self) -> Result<Ended> {
        self.drain().await?;
        self.report().await?;
        self.server.stop().await?;
        Ok(Ended::Done)
    }

    async fn take(&mut self, event: Streamed) -> Result<Option<Ended>> {
        match event {
            Streamed::Data { start, bytes, server_end, sent_at } => {
                for piece in self.assembly.push(start, &bytes)? {
                    self.give(piece).await?;
                }
                self.heard(server_end, sent_at);
            }
            Streamed::Keepalive { server_end, sent_at, reply } => {
                self.heard(server_end, sent_at);
                if reply {
                    self.answer().await?;
                }
            }
            Streamed::Quiet => {}
            Streamed::TimelineEnded { next, switch } => {
                tracing::info!(%next, %switch, "the source changed its timeline");
                self.hand_out_part();
                self.drain().await?;
                return Ok(Some(Ended::NextTimeline));
            }
            Streamed::Ended => {
                self.hand_out_part();
                self.drain().await?;
                return Err(Error::failed("the server ended the stream").later());
            }
        }
        Ok(None)
    }

    fn heard(&mut self, server_end: Lsn, sent_at: Timestamp) {
        self.assembly.complete_at(server_end, sent_at);
        self.shipper.state.send_modify(|state| state.server_end = server_end);
    }

    /// Gives a whole segment to be stored, waiting for room.
    async fn give(&mut self, piece: Piece) -> Result<()> {
        while !self.uploads.has_room() {
            self.wait_for_oldest().await?;
        }
        self.uploads.give(piece);
        Ok(())
    }

    /// The server wants to hear from us. When it shuts down it waits until everything is reported
    /// durable, so what was received is stored without delay (as `pg_receivewal` does).
    async fn answer(&mut self) -> Result<()> {
        self.hand_out_part();
        match self.uploads.is_empty() {
            true => self.report().await,
            // Said as soon as it is stored.
            false => Ok(()),
        }
    }

    /// Waits for the oldest piece, but not past the time to be heard from.
    async fn wait_for_oldest(&mut self) -> Result<()> {
        let patience = self.next_status.saturating_duration_since(Instant::now()).min(STOP_POLL);
        if let Ok(durable) = tokio::time::timeout(patience, self.uploads.next()).await {
            self.note_durable(durable?);
            return Ok(());
        }
        self.watch_trouble()?;
        if Instant::now() >= self.next_status {
            // The stream may have ended: then there is nobody to report to.
            drop(self.report().await);
        }
        Ok(())
    }

    /// Tells why pieces wait. If they wait for long the server is left alone: it could not shut
    /// down in order while we hold the stream and report nothing. Its slot keeps what is missing.
    fn watch_trouble(&mut self) -> Result<()> {
        let Some(trouble) = self.uploads.trouble() else {
            self.trouble_since = None;
            return Ok(());
        };
        let since = *self.trouble_since.get_or_insert_with(Instant::now);
        self.shipper.tell(Some(trouble.clone()));
        if since.elapsed() < TROUBLE_PATIENCE {
            return Ok(());
        }
        self.given_up = true;
        Err(Error::failed("the repository does not take the log").later().because(trouble))
    }

    fn hand_out_part(&mut self) {
        self.next_part = Instant::now() + self.shipper.every;
        if let Some(part) = self.assembly.part() {
            self.uploads.give(part);
        }
    }

    fn is_part_due(&self, until: Until) -> bool {
        match until {
            Until::Stored(wanted) if self.assembly.end() >= wanted => self.durable < wanted,
            Until::Stored(_) | Until::Stopped => Instant::now() >= self.next_part,
        }
    }

    fn is_done(&self, until: Until) -> bool {
        match until {
            Until::Stopped => false,
            Until::Stored(wanted) => self.durable >= wanted,
        }
    }

    fn note_durable(&mut self, durable: Durable) {
        self.durable = durable.end;
        self.moved = true;
        // The server may let go of what is stored: tell it soon.
        self.next_status = Instant::now();
        self.shipper.publish(durable.timeline, durable.end, durable.complete_at);
        self.shipper.tell(self.uploads.trouble());
    }

    /// Waits until all that was handed out is stored.
    async fn drain(&mut self) -> Result<()> {
        while !self.uploads.is_empty() {
            self.wait_for_oldest().await?;
        }
        Ok(())
    }

    async fn report(&mut self) -> Result<()> {
        self.next_status = Instant::now() + STATUS_EVERY;
        let now = self.shipper.clock.now();
        // 0/0 says nothing of what is durable (PostgreSQL, `ProcessStandbyReplyMessage`).
        let flushed = if self.moved { self.durable } else { Lsn::ZERO };
        self.server.status(self.assembly.end(), flushed, now).await
    }
}
