//! Taking over: from a configuration, an identity and a repository to a host that is in charge.
//!
//! In phases, each with the time it took: repositories are opened; their leases are obtained, all
//! at once, because where a host died without a word each must be watched for a while; the catalog
//! is rebuilt; every log is shipped up to its present end. Another installation that is at work
//! ends it before anything is changed; every other problem is told with what it concerns, and
//! stops nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::rebuild::{Opened, again};
use super::{Parts, Protected};
use crate::catalog::Catalog;
use crate::config::{Config, Resource};
use crate::engines::postgres::rebuild::Rebuilt;
use crate::engines::postgres::ship::{ShipState, Shipper};
use crate::engines::postgres::snapshot::log::lock_name;
use crate::error::{Error, Kind, Result};
use crate::model::Lsn;
use crate::repository::retirement::{self, Retirement};
use crate::repository::{Repository, at_once};

/// Logs that are shipped at once.
const SHIPPERS: usize = 8;
/// Leases that are waited for at once, each on a thread of its own.
const WAITING: usize = 128;
/// A log of which nothing more is stored for so long is given up. PostgreSQL needs most of it to
/// notice that whoever had the slot is gone (`wal_sender_timeout`, 60 s).
const PATIENCE: Duration = Duration::from_secs(90);

/// A takeover under way, and what it came to.
pub struct Takeover<'c> {
    parts: &'c Parts,
    config: &'c Config,
    catalog: Arc<Catalog>,
    /// To be written to.
    pub repositories: Opened<'c>,
    /// What was done, in order, and how long it took.
    pub phases: Vec<(&'static str, Duration)>,
    /// Of each resource, in the order of the configuration.
    pub rebuilt: Vec<Result<Rebuilt>>,
    /// Likewise; empty before [`Takeover::ship`].
    pub shipped: Vec<Result<Shipped>>,
}

/// What became of the log of a resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Shipped {
    /// All of it is stored that there was.
    Until(ShipState),
    /// It is out of use: nothing more is stored of it.
    Retired(Retirement),
}

impl Parts {
    /// Takes over all that `config` names, but for shipping.
    ///
    /// # Errors
    /// `Kind::Busy` if another installation is at work; no repository can be opened; the catalog
    /// cannot be made here.
    pub fn take_over<'c>(&'c self, config: &'c Config) -> Result<Takeover<'c>> {
        let catalog = Arc::new(self.catalog(config)?);
        let mut phases = Vec::new();
        let opened = self.timed(&mut phases, "repositories", || self.open_all(config));
        if opened.all().next().is_none()
            && let Some((_, error)) = opened.failed().next()
        {
            return Err(again(error));
        }
        let claimed = self.timed(&mut phases, "lease", || self.claim(config, opened));
        let repositories = claimed?;
        let rebuilt = self
            .timed(&mut phases, "catalog", || self.rebuild_all(config, &repositories, &catalog));
        Ok(Takeover {
            parts: self,
            config,
            catalog,
            repositories,
            phases,
            rebuilt,
            shipped: Vec::new(),
        })
    }

    fn timed<T>(
        &self,
        phases: &mut Vec<(&'static str, Duration)>,
        phase: &'static str,
        work: impl FnOnce() -> T,
    ) -> T {
        tracing::info!("taking over: {phase}");
        let started = self.clock.monotonic();
        let done = work();
        phases.push((phase, self.clock.monotonic().saturating_sub(started)));
        done
    }

    /// Obtains every lease.
    fn claim<'c>(&self, config: &Config, mut opened: Opened<'c>) -> Result<Opened<'c>> {
        let open: Vec<(&'c str, Repository)> =
            opened.all().map(|(name, repository)| (name, repository.clone())).collect();
        let leases: Vec<Result<Repository>> =
            at_once::each(WAITING, &open, |(name, repository)| {
                let lease = self.lease_of(config, name, repository)?;
                Ok(repository.clone().under(lease))
            });
        for ((name, _), lease) in open.into_iter().zip(leases) {
            match lease {
                Err(error) if error.kind() == Kind::Busy => return Err(error),
                taken => opened.set(name, taken),
            }
        }
        Ok(opened)
    }
}

impl Takeover<'_> {
    /// Ships every log up to its present end, on `runtime`; `stop` ends it before.
    pub fn ship(&mut self, stop: &watch::Receiver<bool>, runtime: &Handle) {
        let mut phases = std::mem::take(&mut self.phases);
        let shipped = self.parts.timed(&mut phases, "shipping", || {
            at_once::each(SHIPPERS, &self.config.resources, |resource| {
                runtime.block_on(Box::pin(self.ship_one(resource, stop.clone())))
            })
        });
        (self.phases, self.shipped) = (phases, shipped);
    }

    async fn ship_one(&self, resource: &Resource, stop: watch::Receiver<bool>) -> Result<Shipped> {
        let repository = self.repositories.get(&resource.repository)?.clone();
        let name = &resource.name;
        if let Some(retired) = retirement::in_force(&repository, name)? {
            return Ok(Shipped::Retired(retired));
        }
        let _lock = repository.lock(&lock_name(name))?;
        // Asked again under the lock, without which nobody retires it.
        retirement::must_be_in_use(&repository, name)?;
        let protected = self.parts.protected_in(self.config, resource, repository)?;
        let shipped = Box::pin(self.ship_log(&protected, stop)).await;
        shipped.map(Shipped::Until)
    }

    async fn ship_log(&self, of: &Protected<'_>, stop: watch::Receiver<bool>) -> Result<ShipState> {
        let cluster = self.parts.register(of).await?;
        let protection = self.parts.protection_of(of, &cluster, self.catalog.clone())?;
        tokio::select! {
            ended = Box::pin(protection.run_once(stop)) => {
                ended?;
            }
            stalled = stalled(&protection.shipper) => return Err(stalled),
        }
        let state = protection.shipper.state.borrow().clone();
        Ok(state)
    }

    /// Whether this host is in charge of all of it, and nothing of it is in doubt.
    pub fn is_whole(&self) -> bool {
        let sound = |one: &Result<Rebuilt>| one.as_ref().is_ok_and(|one| one.unread.is_empty());
        self.repositories.failed().next().is_none()
            && self.rebuilt.iter().all(sound)
            && self.shipped.len() == self.config.resources.len()
            && self.shipped.iter().all(Result::is_ok)
    }

    /// Leaves the leases to whoever starts on this installation within the next seconds, rather
    /// than to anybody.
    pub fn hand_on(&self) {
        self.parts.leases.outlive_this_process();
    }
}

/// Returns once nothing more of a log was stored for [`PATIENCE`].
async fn stalled(shipper: &Shipper) -> Error {
    let mut before = Lsn::ZERO;
    loop {
        tokio::time::sleep(PATIENCE).await;
        let state = shipper.state.borrow().clone();
        if state.stored == before {
            let (name, seconds) = (&shipper.source.resource, PATIENCE.as_secs());
            let what = format!("nothing more of the log of {name} was stored for {seconds} s");
            let trouble = state.trouble.unwrap_or_else(|| "no reason was told".to_owned());
            return Error::failed(what)
                .later()
                .because(trouble)
                .hint("The daemon goes on trying; `fenice status` tells how far it is.");
        }
        before = state.stored;
    }
}
