//! Sees to it that the log a snapshot needs is stored before the snapshot is committed.
//!
//! If a shipper holds the lock on the log, it is waited for; else a shipper of our own runs as far
//! as needed. Either way the archive's listing decides, not the shipper's word.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::engines::blocking::blocking;
use crate::error::{Error, Kind, Result};
use crate::model::{Lsn, ResourceName, Timeline};
use crate::ports::Clock;
use crate::repository::Repository;

use super::super::cluster;
use super::super::ship::{ShipState, Shipper, Until};
use super::super::source::Source;

const POLL: Duration = Duration::from_millis(500);

/// Keeps the log of one resource coming.
#[derive(Clone)]
pub struct LogKeeper {
    pub repository: Repository,
    pub source: Source,
    pub clock: Arc<dyn Clock>,
    pub compression_level: i32,
    /// How long to wait for a stretch of log.
    pub patience: Duration,
}

/// The name of the lock that a shipper of `resource` holds.
pub fn lock_name(resource: &ResourceName) -> String {
    format!("postgres/{resource}/wal")
}

impl LogKeeper {
    /// Returns once all log of `timeline` from `from` to `to` is stored.
    ///
    /// # Errors
    /// It did not come within the patience; the reasons are told.
    pub async fn ensure_stored(&self, timeline: Timeline, from: Lsn, to: Lsn) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        let mut trouble = String::new();
        loop {
            if self.is_stored(timeline, from, to).await? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::failed(format!(
                    "the log from {from} to {to} did not come within {} s",
                    self.patience.as_secs()
                ))
                .because(trouble)
                .hint("Does the daemon, or `fenice ship`, ship its log? `fenice status` tells."));
            }
            match self.ship_until(to, deadline).await {
                Ok(()) if self.is_stored(timeline, from, to).await? => return Ok(()),
                Ok(()) => trouble = format!("shipping passed {to} without storing all of it"),
                // Another process ships: its work shows in the archive.
                Err(error) if error.kind() == Kind::Busy => {}
                Err(error) => trouble = error.chain(),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Begins shipping, or catches up with the server: a snapshot is worth nothing without the
    /// log from its very start. Nothing to do where another process ships.
    pub async fn catch_up(&self, to: Lsn) -> Result<()> {
        match self.ship_until(to, Instant::now() + self.patience).await {
            Err(error) if error.kind() == Kind::Busy => Ok(()),
            other => other,
        }
    }

    async fn is_stored(&self, timeline: Timeline, from: Lsn, to: Lsn) -> Result<bool> {
        let keeper = self.clone();
        blocking(move || {
            let resource = &keeper.source.resource;
            let registered = cluster::registered(&keeper.repository, resource)?;
            let level = keeper.compression_level;
            let archive =
                cluster::archive(&keeper.repository, resource, &registered.cluster, level);
            let inventory = archive.inventory()?;
            let history = inventory.history(timeline);
            Ok(history.is_some_and(|history| inventory.stored_until(&history, from) >= to))
        })
        .await
    }

    async fn ship_until(&self, to: Lsn, deadline: Instant) -> Result<()> {
        let _lock = self.repository.lock(&lock_name(&self.source.resource))?;
        let registered = {
            let (repository, resource) = (self.repository.clone(), self.source.resource.clone());
            blocking(move || cluster::registered(&repository, &resource)).await?
        };
        let resource = &self.source.resource;
        let level = self.compression_level;
        let shipper = Shipper {
            archive: cluster::archive(&self.repository, resource, &registered.cluster, level),
            source: self.source.clone(),
            clock: self.clock.clone(),
            every: Duration::from_secs(1),
            state: watch::channel(ShipState::default()).0,
        };
        let (_keep, stop) = watch::channel(false);
        match tokio::time::timeout_at(deadline, shipper.run(Until::Stored(to), stop)).await {
            Ok(ended) => ended,
            Err(_) => {
                let trouble = shipper.state.borrow().trouble.clone();
                Err(Error::failed("shipping did not come so far")
                    .because(trouble.unwrap_or_default()))
            }
        }
    }
}
