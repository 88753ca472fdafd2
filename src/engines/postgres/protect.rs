//! Continuous protection of one cluster: log is shipped, heartbeats beat, other hosts' slots are
//! kept, positions are noted; a gap or a new tablespace calls for a snapshot at once (RULES 4, 12
//! to 14).
//!
//! Shipping decides how it ends. Everything beside it may fail for a while: it is logged, and the
//! catalog and the archive show it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Interval;

use crate::catalog::Catalog;
use crate::catalog::heartbeats::Shipping;
use crate::config::Method;
use crate::engines::blocking::blocking;
use crate::error::{Error, Result};
use crate::model::Lsn;
use crate::ports::Clock;
use crate::ports::postgres::Session;

use super::heartbeat::{self, HeartbeatKey};
use super::ship::{ShipState, Shipper, Until, slots};
use super::snapshot::SnapshotJob;
use super::snapshot::take::take;
use super::source::flushed_lsn;
use super::tablespaces::Known;

/// Positions are noted at most this often.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// A beat that takes longer is given up, with its session: the server may be gone without a word.
const BEAT_LIMIT: Duration = Duration::from_secs(30);
/// A snapshot that is called for is tried again after this long, until it succeeds.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(60);

/// Everything that runs while a cluster is protected. The caller holds the lock on its log.
pub struct Protection {
    pub shipper: Arc<Shipper>,
    pub catalog: Arc<Catalog>,
    pub clock: Arc<dyn Clock>,
    pub heartbeat_key: HeartbeatKey,
    pub heartbeat_every: Duration,
    /// What to take when it is called for.
    pub snapshot: SnapshotJob,
    pub method: Method,
}

impl Protection {
    /// Protects until `stop` is true; then stores what was received.
    ///
    /// # Errors
    /// Those of [`Shipper::run`].
    pub async fn run(&self, stop: watch::Receiver<bool>) -> Result<()> {
        let shipping = self.shipper.run(Until::Stopped, stop);
        let ended = tokio::select! {
            ended = Box::pin(shipping) => ended,
            never = self.note_positions() => never,
            never = self.beat_for_ever() => never,
            never = self.keep_slots() => never,
            never = Box::pin(self.answer_gaps()) => never,
            never = Box::pin(self.watch_tablespaces()) => never,
        };
        let last = self.shipper.state.borrow().clone();
        self.note(&last).await;
        ended
    }

    /// Ships what the source has written by now, after a beat that dates it. Returns how far.
    ///
    /// # Errors
    /// The source cannot be reached; those of [`Shipper::run`].
    pub async fn run_once(&self, stop: watch::Receiver<bool>) -> Result<Lsn> {
        let beaten = self.beat(&mut None).await;
        let mut reached = self.shipper.source.session().await?;
        let flushed = flushed_lsn(reached.session.as_mut()).await?;
        drop(reached);
        let wanted = flushed.max(beaten.unwrap_or(Lsn::ZERO));
        Box::pin(self.shipper.run(Until::Stored(wanted), stop)).await?;
        let state = self.shipper.state.borrow().clone();
        self.note(&state).await;
        self.look_after_slots(state.stored).await;
        match state.stored >= wanted {
            true => Ok(state.stored),
            false => Err(Error::failed(format!(
                "shipping was ended at {}, short of {wanted}",
                state.stored
            ))
            .later()
            .hint("Run it again: it goes on from there.")),
        }
    }

    /// Beats once, on the session of the beat before if it still holds. A missed beat is no loss:
    /// it is logged, and the exposure grows until the next one.
    async fn beat(&self, session: &mut Option<Box<dyn Session>>) -> Option<Lsn> {
        let beaten = async {
            let mut open = match session.take() {
                Some(open) => open,
                None => self.shipper.source.primary_session().await?.session,
            };
            let (beat, committed_before) =
                heartbeat::beat(open.as_mut(), &self.heartbeat_key).await?;
            *session = Some(open);
            let (catalog, archive) = (self.catalog.clone(), &self.shipper.archive);
            let (resource, system_id) = (archive.resource.clone(), archive.system_id);
            blocking(move || {
                catalog.note_heartbeat(&resource, system_id, beat.seq, beat.at, committed_before)
            })
            .await?;
            Ok::<Lsn, Error>(committed_before)
        };
        let error = match tokio::time::timeout(BEAT_LIMIT, beaten).await {
            Ok(Ok(committed_before)) => return Some(committed_before),
            Ok(Err(error)) => error,
            Err(_) => Error::failed(format!("no answer within {} s", BEAT_LIMIT.as_secs())),
        };
        tracing::warn!(error = %error.chain(), "a heartbeat was missed");
        None
    }

    async fn beat_for_ever(&self) -> Result<()> {
        let (mut session, mut ticks) = (None, ticks(self.heartbeat_every));
        loop {
            ticks.tick().await;
            self.beat(&mut session).await;
        }
    }

    async fn keep_slots(&self) -> Result<()> {
        let mut ticks = ticks(self.shipper.every);
        loop {
            ticks.tick().await;
            let stored = self.shipper.state.borrow().stored;
            self.look_after_slots(stored).await;
        }
    }

    async fn look_after_slots(&self, stored: Lsn) {
        // A single host's slot is the shipper's own care.
        if self.shipper.source.hosts.len() > 1 && stored > Lsn::ZERO {
            for failure in slots::keep_others(&self.shipper.source, stored).await {
                tracing::warn!(error = %failure, "a host may lose log that is not stored yet");
            }
        }
    }

    async fn note_positions(&self) -> Result<()> {
        let mut state = self.shipper.state.subscribe();
        loop {
            let now = state.borrow_and_update().clone();
            self.note(&now).await;
            tokio::time::sleep(NOTE_EVERY).await;
            // The sender lives as long as the shipper that we hold.
            drop(state.changed().await);
        }
    }

    async fn note(&self, state: &ShipState) {
        let Some(timeline) = state.timeline else { return };
        let shipping = Shipping {
            timeline,
            stored_until: state.stored,
            complete_at: state.complete_at,
            noted_at: self.clock.now(),
            trouble: state.trouble.clone(),
        };
        let (catalog, archive) = (self.catalog.clone(), &self.shipper.archive);
        let (resource, system_id) = (archive.resource.clone(), archive.system_id);
        let noted = blocking(move || catalog.note_shipping(&resource, system_id, &shipping)).await;
        if let Err(error) = noted {
            // The archive itself tells how far it reaches; the catalog only tells it sooner.
            tracing::warn!(error = %error.chain(), "cannot note how far the log is stored");
        }
    }

    /// Looks as often as the heart beats; after a failure only after a while.
    async fn watch_tablespaces(&self) -> Result<()> {
        let (mut known, mut ticks) = (Known::default(), ticks(self.heartbeat_every));
        loop {
            ticks.tick().await;
            if let Err(error) = self.answer_tablespaces(&mut known).await {
                tracing::warn!(error = %error.chain(), "cannot answer for tablespaces");
                tokio::time::sleep(SNAPSHOT_PAUSE).await;
            }
        }
    }

    /// Takes a snapshot for every gap, until one is taken that began after it.
    async fn answer_gaps(&self) -> Result<()> {
        let mut state = self.shipper.state.subscribe();
        let mut answered = 0;
        loop {
            // The sender lives as long as the shipper that we hold.
            drop(state.wait_for(|state| state.gaps.len() > answered).await.map(drop));
            let known = state.borrow().gaps.len();
            tracing::warn!("taking a snapshot, because log is missing");
            match Box::pin(take(&self.snapshot, &self.method)).await {
                Ok(snapshot) => {
                    tracing::info!(id = %snapshot.id, "the snapshot after the gap is taken");
                    answered = known;
                }
                Err(error) => {
                    tracing::error!(error = %error.chain(), "no snapshot after the gap yet");
                    tokio::time::sleep(SNAPSHOT_PAUSE).await;
                }
            }
        }
    }
}

/// Now and then, for ever; late ones are not made up for.
fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}
