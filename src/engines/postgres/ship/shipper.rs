//! The shipping loop: connect, stream, store, report, follow timelines, survive.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::engines::blocking::blocking;
use crate::error::{Error, Kind, Result, Retry};
use crate::model::{Extent, Lsn, ResourceName, Timeline, TimelineHistory, WalObject};
use crate::ports::Clock;
use crate::ports::postgres::{Postgres, ServerError};
use crate::repository::manifest;
use crate::repository::wal::WalArchive;

use super::super::source::{Gap, Source, field};
use super::assembly::Assembly;
use super::gap;
use super::history::Histories;
use super::position::{self, Start};
use super::slots;
use super::streaming::{Ended, STATUS_EVERY, Stream};

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

impl ShipState {
    /// As JSON tells it.
    pub fn value(&self, resource: &ResourceName) -> Value {
        json!({
            "resource": resource,
            "timeline": self.timeline,
            "stored_until": self.stored,
            "complete_at": self.complete_at,
            "server_end": self.server_end,
            "gaps": self.gaps.len(),
            "trouble": self.trouble,
        })
    }
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

impl Shipper {
    /// Ships until told. A server that goes away, a repository that is unreachable, a standby that
    /// is promoted: all of that is survived, with pauses that grow to [`LONGEST_PAUSE`].
    ///
    /// # Errors
    /// Only what another try cannot mend: another cluster, other content, a synchronous name;
    /// `Kind::Busy` once another installation took over.
    /// With [`Until::Stored`] also what does not pass within `stop`'s patience.
    pub async fn run(&self, until: Until, mut stop: watch::Receiver<bool>) -> Result<()> {
        let mut course = Course { host: 0, failures: 0, pause: FIRST_PAUSE, away: false };
        let mut ended_before = None;
        while !*stop.borrow() {
            self.archive.repository.must_not_be_deposed()?;
            let chosen = self.source.hosts[course.host % self.source.hosts.len()].clone();
            let stored_before = self.state.borrow().stored;
            let ended = self.ship_from(chosen.as_ref(), until, &stop, &mut course.away).await;
            let stored = self.state.borrow().stored;
            if stored > stored_before {
                (course.failures, course.pause) = (0, FIRST_PAUSE);
            }
            let error = match ended {
                Ok(Ended::Done) => return Ok(()),
                Ok(Ended::NextTimeline) if ended_before.replace(stored) != Some(stored) => continue,
                Ok(Ended::NextTimeline) => Error::failed("the timeline ended twice").later(),
                // Another host may still have it.
                Err(error) if !is_log_removed(&error) || !course.asked_all(&self.source) => error,
                Err(lost) => match self.leap_over_gap(chosen.as_ref(), &lost).await {
                    Ok(()) => continue,
                    Err(error) => error,
                },
            };
            if !self.may_pass(&error) {
                return Err(error);
            }
            let chain = error.chain();
            tracing::warn!(host = %chosen.describe(), error = %chain, "shipping pauses");
            self.tell(Some(chain));
            course.host += 1;
            course.failures += 1;
            if !course.failures.is_multiple_of(self.source.hosts.len()) {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(course.pause) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            course.pause = (course.pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// Whether another try, or another host, may succeed. An old primary among several hosts is
    /// no reason to stop shipping from the others; what a server says of itself (it restarts, it
    /// has not come so far, its slot was taken) changes, but for rights and wrong names. Of other
    /// recipients of the repository only a new process learns whether they are meant.
    fn may_pass(&self, error: &Error) -> bool {
        let elsewhere = !matches!(error.kind(), Kind::Config | Kind::Busy);
        let several = self.source.hosts.len() > 1 && elsewhere;
        let lasting = ["0A", "22", "28", "3D", "42"];
        let told = ServerError::of(error).map(ServerError::code);
        let changes = told.is_some_and(|code| !lasting.iter().any(|class| code.starts_with(class)));
        error.retry() == Retry::Later || several || changes
    }

    async fn ship_from(
        &self,
        host: &dyn Postgres,
        until: Until,
        stop: &watch::Receiver<bool>,
        away: &mut bool,
    ) -> Result<Ended> {
        let name = self.source.name();
        tracing::debug!(host = %host.describe(), "connecting");
        let mut server = host.walsender(&name).await?;
        let identity = server.identify().await?;
        if identity.system_id != self.archive.system_id {
            return Err(Error::refused(format!("{} is another cluster", host.describe())).because(
                format!("its system id is {}, not {}", identity.system_id, self.archive.system_id),
            ));
        }
        refuse_if_synchronous(&server.show("synchronous_standby_names").await?, &name)?;
        let histories = Histories::read(server.as_mut(), identity.timeline).await?;
        // A server that has no place here is refused before anything is changed, here or there.
        let mut start = self.find_start(&histories.own, identity.flushed).await?;
        slots::keep(host, server.as_mut(), &self.source).await?;
        histories.store(&self.archive).await?;
        if start.first {
            // From the last checkpoint on, which the server has the log of. A backup of a standby
            // begins at its last restartpoint, however long ago that was.
            start = self.find_start(&histories.own, gap::redo(host, &name).await?).await?;
        }
        let from = self.archive.segment_size.start_of(start.segment);
        server.start(Some(&self.source.slot), from, start.timeline).await?;
        tracing::debug!(%from, "receiving the log");
        self.state.send_modify(|state| state.server_end = identity.flushed);
        if !*away {
            self.tell(None);
        }
        let durable = from.plus(start.stored);
        let assembly = self.assemble(start).await?;
        self.publish(start.timeline, durable, None);
        let mut stream = Stream::new(self, server.as_mut(), assembly, durable, *away);
        let ended = tokio::select! {
            ended = stream.run(until, stop) => ended,
            refused = self.watch_for_refusal(host) => Err(refused),
        };
        *away = stream.given_up;
        ended
    }

    /// Looks now and then whether commits have come to wait for us, or another installation took
    /// over while there is nothing to store; returns the refusal.
    async fn watch_for_refusal(&self, host: &dyn Postgres) -> Error {
        let name = self.source.name();
        let mut session = None;
        loop {
            tokio::time::sleep(STATUS_EVERY).await;
            if let Err(deposed) = self.archive.repository.must_not_be_deposed() {
                return deposed;
            }
            let asked = async {
                let mut open = match session.take() {
                    Some(open) => open,
                    None => host.session(&name).await?,
                };
                let rows = open.query("show synchronous_standby_names").await?;
                session = Some(open);
                field::<String>(rows.first().unwrap_or(&Vec::new()), 0)
            };
            // A server that does not answer ends the stream by itself.
            let Ok(names) = asked.await else { continue };
            if let Err(refused) = refuse_if_synchronous(&names, &name) {
                return refused;
            }
        }
    }

    pub(super) async fn find_start(
        &self,
        history: &TimelineHistory,
        otherwise: Lsn,
    ) -> Result<Start> {
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
        position::start(&inventory, history, &gaps, otherwise)
    }

    /// The assembly to start with: what is stored of its segment is read back for comparison.
    async fn assemble(&self, start: Start) -> Result<Assembly> {
        let size = self.archive.segment_size;
        let mut stored = Vec::new();
        if start.stored > 0 && self.archive.repository.can_read() {
            let archive = self.archive.clone();
            let bytes = blocking(move || {
                let inventory = archive.inventory()?;
                // Parts behind a hole, which a kill may leave, do not count.
                let objects = inventory.segment(start.timeline, start.segment).iter();
                let joined = |object: &&WalObject| match object.extent {
                    Extent::Whole => true,
                    Extent::Part { from, .. } => from <= start.stored,
                };
                let objects: Vec<WalObject> = objects.filter(joined).cloned().collect();
                archive.read_segment(&objects)
            });
            stored = bytes.await?;
            stored.truncate(start.stored as usize);
        }
        Ok(Assembly::new(start.timeline, size, start.segment, stored))
    }

    pub(super) fn tell(&self, trouble: Option<String>) {
        self.state.send_if_modified(|state| {
            let news = state.trouble != trouble;
            state.trouble = trouble;
            news
        });
    }

    pub(super) fn publish(&self, timeline: Timeline, stored: Lsn, complete_at: Option<Timestamp>) {
        self.state.send_modify(|state| {
            state.timeline = Some(timeline);
            state.stored = stored;
            state.complete_at = complete_at;
        });
    }
}

/// Which host is next, and what went before.
struct Course {
    host: usize,
    /// In a row, without anything stored in between.
    failures: usize,
    pause: Duration,
    /// The repository took nothing the last time.
    away: bool,
}

impl Course {
    /// Whether every other host was asked in vain before this one.
    fn asked_all(&self, source: &Source) -> bool {
        self.failures + 1 >= source.hosts.len()
    }
}

/// A slot's receiver under a synchronous name makes every commit wait for the repository.
fn refuse_if_synchronous(names: &str, name: &str) -> Result<()> {
    match position::is_synchronous(names, name) {
        false => Ok(()),
        true => Err(Error::refused(format!(
            "commits of the source would wait for Fenice: synchronous_standby_names is '{names}', \
             which matches {name}"
        ))
        .hint("Name the synchronous standbys one by one instead of `*`.")),
    }
}

/// SQLSTATE 58P01 of a segment: it was removed, because no slot held it or the slot was dropped.
/// The server may say so only after streaming has begun. A history that is missing is no gap.
fn is_log_removed(error: &Error) -> bool {
    ServerError::of(error)
        .is_some_and(|server| server.code() == "58P01" && !server.message.contains(".history"))
}
