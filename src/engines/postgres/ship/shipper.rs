//! The shipping loop: connect, stream, store, report, follow timelines, survive.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Attempt, Error, Kind, Result, Retry};
use crate::model::{Lsn, Timeline, TimelineHistory, WalName};
use crate::ports::Clock;
use crate::ports::postgres::{Postgres, ServerError, Streamed, Walsender};
use crate::repository::wal::WalArchive;
use crate::repository::{layout, manifest};

use super::super::source::{Gap, Source};
use super::assembly::Assembly;
use super::position::{self, Start};
use super::upload::{Durable, Uploads};

/// The server hears from us at least this often; its own patience is `wal_sender_timeout` (60 s).
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// How soon a stored piece is noticed, and a wish to stop.
const UPLOAD_POLL: Duration = Duration::from_millis(20);
const STOP_POLL: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long to ship.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until told to stop.
    Stopped,
    /// Until everything up to this position is stored, on whatever timeline it comes to lie.
    Stored(Lsn),
}

/// What shipping has come to; published while it runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShipState {
    /// All log of this timeline up to `stored` is in the archive.
    pub timeline: Option<Timeline>,
    pub stored: Lsn,
    /// The source's log ended at `stored` at this instant of its clock.
    pub complete_at: Option<Timestamp>,
    /// How far the source had come when it was last heard.
    pub server_end: Lsn,
    /// Why nothing moves, if nothing does.
    pub trouble: Option<String>,
    /// Gaps recorded by this run; each calls for a snapshot at once.
    pub gaps: Vec<Gap>,
}

/// Ships the log of one resource. The caller holds the lock on the resource's log.
pub struct Shipper {
    pub archive: WalArchive,
    pub source: Source,
    pub clock: Arc<dyn Clock>,
    /// How often the unfinished segment is shipped as a part.
    pub every: Duration,
    pub state: watch::Sender<ShipState>,
}

/// How one connection's work ended.
enum Ended {
    Done,
    /// The timeline ended; go on with the next.
    NextTimeline,
}

impl Shipper {
    /// Ships until told. A server that goes away, a repository that is unreachable, a standby that
    /// is promoted: all of that is survived, with pauses that grow to [`LONGEST_PAUSE`].
    ///
    /// # Errors
    /// Only what another try cannot mend: another cluster, other content, a synchronous name.
    /// With [`Until::Stored`] also what does not pass within `stop`'s patience.
    pub async fn run(&self, until: Until, mut stop: watch::Receiver<bool>) -> Result<()> {
        let mut pause = FIRST_PAUSE;
        let mut host = 0;
        while !*stop.borrow() {
            let chosen = self.source.hosts[host % self.source.hosts.len()].clone();
            let stored_before = self.state.borrow().stored;
            match self.ship_from(chosen.as_ref(), until, &stop).await {
                Ok(Ended::Done) => return Ok(()),
                Ok(Ended::NextTimeline) => continue,
                Err(error) if is_log_removed(&error) => {
                    self.leap_over_gap(chosen.as_ref(), &error).await?;
                    continue;
                }
                Err(error) if error.retry() == Retry::Later || self.has_other_hosts(&error) => {
                    let chain = error.chain();
                    tracing::warn!(host = %chosen.describe(), error = %chain, "shipping pauses");
                    self.state.send_modify(|state| state.trouble = Some(chain));
                    if self.state.borrow().stored > stored_before {
                        pause = FIRST_PAUSE;
                    }
                    host += 1;
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// An old primary among several hosts is no reason to stop shipping from the others.
    fn has_other_hosts(&self, error: &Error) -> bool {
        self.source.hosts.len() > 1 && error.kind() != Kind::Config
    }

    async fn ship_from(
        &self,
        host: &dyn Postgres,
        until: Until,
        stop: &watch::Receiver<bool>,
    ) -> Result<Ended> {
        let name = self.source.name();
        let mut server = host.walsender(&name).await?;
        let identity = server.identify().await?;
        if identity.system_id != self.archive.system_id {
            return Err(Error::refused(format!("{} is another cluster", host.describe())).because(
                format!("its system id is {}, not {}", identity.system_id, self.archive.system_id),
            ));
        }
        refuse_if_synchronous(server.as_mut(), &name).await?;
        let history = self.store_histories(server.as_mut(), identity.timeline).await?;
        self.keep_slot(host, server.as_mut()).await?;
        let start = self.find_start(&history, identity.flushed).await?;
        let from = self.archive.segment_size.start_of(start.segment);
        server.start(Some(&self.source.slot), from, start.timeline).await?;
        self.state.send_modify(|state| {
            state.trouble = None;
            state.server_end = identity.flushed;
        });
        let mut stream = Stream {
            shipper: self,
            uploads: Uploads::new(self.archive.clone()),
            assembly: self.assemble(start).await?,
            server: server.as_mut(),
            durable: self.archive.segment_size.start_of(start.segment).plus(start.stored),
            next_part: Instant::now() + self.every,
            next_status: Instant::now(),
        };
        self.publish(start.timeline, stream.durable, None);
        stream.run(until, stop).await
    }

    /// Stores the history files of `timeline` and of its ancestors, and returns its own.
    async fn store_histories(
        &self,
        server: &mut dyn Walsender,
        timeline: Timeline,
    ) -> Result<TimelineHistory> {
        if timeline == Timeline(1) {
            return Ok(TimelineHistory::root(timeline));
        }
        let text = server.timeline_history(timeline).await?;
        let history = TimelineHistory::parse(timeline, &String::from_utf8_lossy(&text))
            .attempt(|| format!("read the history of timeline {timeline}"))?;
        self.put_history(timeline, text).await?;
        for ancestor in history.ancestors.iter().filter(|a| a.timeline > Timeline(1)) {
            // A server keeps its ancestors' histories; one that lost them has told the essential
            // in its own, which repeats them.
            if let Ok(text) = server.timeline_history(ancestor.timeline).await {
                self.put_history(ancestor.timeline, text).await?;
            }
        }
        Ok(history)
    }

    async fn put_history(&self, timeline: Timeline, text: Vec<u8>) -> Result<()> {
        let archive = self.archive.clone();
        blocking(move || archive.put_file(&WalName::History(timeline), &text).map(drop)).await
    }

    /// Makes the slot if it is not there, or again if the server let go of what it held
    /// (`max_slot_wal_keep_size`); then it reserves nothing and cannot be used.
    async fn keep_slot(&self, host: &dyn Postgres, server: &mut dyn Walsender) -> Result<()> {
        let name = self.source.slot.as_str();
        match server.read_slot(name).await? {
            Some(slot) if slot.restart.is_some() => return Ok(()),
            Some(_) => {
                let drop = format!("select pg_drop_replication_slot('{name}')");
                let mut session = host.session(&self.source.name()).await?;
                session.query(&drop).await.attempt(|| format!("drop the lost slot {name}"))?;
            }
            None => {}
        }
        tracing::info!(slot = name, "making the replication slot");
        server.create_slot(name).await
    }

    async fn find_start(&self, history: &TimelineHistory, flushed: Lsn) -> Result<Start> {
        let archive = self.archive.clone();
        let resource = self.source.resource.clone();
        let (inventory, gaps) = blocking(move || {
            let gaps = manifest::gaps(&archive.repository, &resource)?;
            Ok((archive.inventory()?, gaps))
        })
        .await?;
        let ours = gaps.iter().filter(|gap| gap.system_id == self.archive.system_id);
        let gaps: Vec<Gap> =
            ours.map(|gap| Gap { timeline: gap.timeline, from: gap.from, to: gap.to }).collect();
        position::start(&inventory, history, &gaps, flushed)
    }

    /// The log wanted is gone from the server: records what is missing, so that the next
    /// connection starts after it. The record is durable before anything after it is stored.
    async fn leap_over_gap(&self, host: &dyn Postgres, lost: &Error) -> Result<()> {
        let size = self.archive.segment_size;
        let mut server = host.walsender(&self.source.name()).await?;
        let identity = server.identify().await?;
        let history = self.store_histories(server.as_mut(), identity.timeline).await?;
        let start = self.find_start(&history, identity.flushed).await?;
        let gap = Gap {
            timeline: identity.timeline,
            from: size.start_of(start.segment).plus(start.stored),
            to: size.start_of(size.number_of(identity.flushed)),
        };
        if start.first || gap.to <= gap.from {
            return Err(Error::failed("the server has none of the log that is wanted").later());
        }
        self.record_gap(gap, lost.chain()).await
    }

    async fn record_gap(&self, gap: Gap, reason: String) -> Result<()> {
        let recorded_at = self.clock.now();
        let record = manifest::GapManifest {
            version: 1,
            recorded_at,
            system_id: self.archive.system_id,
            timeline: gap.timeline,
            from: gap.from,
            to: gap.to,
            reason,
        };
        let (from, to) = (gap.from, gap.to);
        tracing::error!(%from, %to, reason = %record.reason, "log is missing for ever");
        let key = layout::gap(&self.source.resource, &layout::instant(recorded_at));
        let repository = self.archive.repository.clone();
        blocking(move || manifest::create(&repository, &key, &record).map(drop)).await?;
        self.state.send_modify(|state| state.gaps.push(gap));
        Ok(())
    }

    /// The assembly to start with: what is stored of its segment is read back for comparison.
    async fn assemble(&self, start: Start) -> Result<Assembly> {
        let size = self.archive.segment_size;
        let mut stored = Vec::new();
        if start.stored > 0 && self.archive.repository.can_read() {
            let archive = self.archive.clone();
            let bytes = blocking(move || {
                let inventory = archive.inventory()?;
                archive.read_segment(inventory.segment(start.timeline, start.segment))
            });
            stored = bytes.await?;
            stored.truncate(start.stored as usize);
        }
        Ok(Assembly::new(start.timeline, size, start.segment, stored))
    }

    fn publish(&self, timeline: Timeline, stored: Lsn, complete_at: Option<Timestamp>) {
        self.state.send_modify(|state| {
            state.timeline = Some(timeline);
            state.stored = stored;
            state.complete_at = complete_at;
        });
    }
}

/// One stream from one server.
struct Stream<'a> {
    shipper: &'a Shipper,
    server: &'a mut dyn Walsender,
    uploads: Uploads,
    assembly: Assembly,
    durable: Lsn,
    next_part: Instant,
    next_status: Instant,
}

impl Stream<'_> {
    async fn run(&mut self, until: Until, stop: &watch::Receiver<bool>) -> Result<Ended> {
        loop {
            while let Some(durable) = self.uploads.finished().await? {
                self.note_durable(durable);
            }
            if Instant::now() >= self.next_status {
                self.report().await?;
            }
            if *stop.borrow() {
                // What was received is stored before leaving, once; the slot keeps the rest.
                self.hand_out_part();
                return self.leave().await;
            }
            if self.is_done(until) {
                return self.leave().await;
            }
            if !self.uploads.has_room() {
                // Not reading is the back-pressure; the server hears from us all the same.
                let trouble = self.uploads.trouble();
                self.shipper.state.send_modify(|state| state.trouble = trouble);
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
                    self.report().await?;
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
    async fn give(&mut self, piece: super::assembly::Piece) -> Result<()> {
        while !self.uploads.has_room() {
            self.wait_for_oldest().await?;
        }
        self.uploads.give(piece);
        Ok(())
    }

    /// Waits for the oldest piece, but not past the time to be heard from.
    async fn wait_for_oldest(&mut self) -> Result<()> {
        let patience = self.next_status.saturating_duration_since(Instant::now());
        match tokio::time::timeout(patience, self.uploads.next()).await {
            Ok(durable) => self.note_durable(durable?),
            Err(_) => {
                let trouble = self.uploads.trouble();
                self.shipper.state.send_modify(|state| state.trouble = trouble);
                // The stream may have ended: then there is nobody to report to.
                drop(self.report().await);
                self.next_status = Instant::now() + STATUS_EVERY;
            }
        }
        Ok(())
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
        // The server may let go of what is stored: tell it soon.
        self.next_status = Instant::now();
        self.shipper.publish(durable.timeline, durable.end, durable.complete_at);
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
        self.server.status(self.assembly.end(), self.durable, now).await
    }
}

/// A slot's receiver under a synchronous name makes every commit wait for the repository.
async fn refuse_if_synchronous(server: &mut dyn Walsender, name: &str) -> Result<()> {
    let names = server.show("synchronous_standby_names").await?;
    match position::is_synchronous(&names, name) {
        false => Ok(()),
        true => Err(Error::refused(format!(
            "commits of the source would wait for Fenice: synchronous_standby_names is '{names}', \
             which matches {name}"
        ))
        .hint("Name the synchronous standbys one by one instead of `*`.")),
    }
}

/// SQLSTATE 58P01: the file was removed, because no slot held it or the slot was dropped. The
/// server may say so only after streaming has begun.
fn is_log_removed(error: &Error) -> bool {
    ServerError::of(error).is_some_and(|server| server.code() == "58P01")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|cause| Error::failed("work on the repository panicked").because(cause))?
}
