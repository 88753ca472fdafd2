//! The work that is done on a resource, each piece put together from its parts.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::sync::watch;

use super::{Parts, Protected, Purpose, compression_level};
use crate::adapters::programs;
use crate::catalog::Catalog;
use crate::config::{self, Config, Resource};
use crate::engines::blocking::blocking;
use crate::engines::postgres::cluster;
use crate::engines::postgres::copy::CopyJob;
use crate::engines::postgres::expire::Expiry;
use crate::engines::postgres::heartbeat::HeartbeatKey;
use crate::engines::postgres::locking::Locking;
use crate::engines::postgres::protect::Protection;
use crate::engines::postgres::restore::originals::NewTablespaces;
use crate::engines::postgres::restore::recover::Tools;
use crate::engines::postgres::restore::sources::Sources;
use crate::engines::postgres::scrub::Scrub;
use crate::engines::postgres::ship::{ShipState, Shipper};
use crate::engines::postgres::snapshot::{LogKeeper, SnapshotJob};
use crate::engines::progress::Progress;
use crate::error::{Error, Kind, Result};
use crate::model::{ResourceName, Span, SystemId};
use crate::plan::retention::{Role, Terms};
use crate::plan::schedule::{Standing, standing_of};
use crate::repository::Repository;
use crate::repository::manifest::ClusterFacts;
use crate::repository::secrets;
use crate::repository::vault::WriteSettings;

/// A snapshot waits for its log at least this long, and for two turns of a shipper elsewhere.
const LOG_PATIENCE: Duration = Duration::from_secs(600);

impl Parts {
    /// What copying a resource works with.
    ///
    /// # Errors
    /// Of kind `Config` if its policy names no repository for copies.
    pub fn copy_job_of(
        &self,
        config: &Config,
        resource: &Resource,
        purpose: Purpose,
    ) -> Result<CopyJob> {
        let policy = config.policy_of(resource);
        let Some(to) = policy.copy_to.as_deref() else {
            let what =
                format!("the policy `{}` of `{}` copies nothing", policy.name, resource.name);
            return Err(Error::new(Kind::Config, what)
                .hint("Name the repository of the copies with `copy_to`."));
        };
        Ok(CopyJob {
            from: self.open_repository(config, &resource.repository)?,
            to: self.open_for(config, to, purpose)?,
            resource: resource.name.clone(),
            terms: Terms::of(policy, &config.daemon.timezone, Role::Main),
            replicate: policy.replicate,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            progress: Arc::new(Progress::default()),
            workers: workers_of(resource),
            write: write_settings(policy),
        })
    }

    /// Registers the cluster that answers, or compares it with the one registered.
    ///
    /// # Errors
    /// Refused if it is a stranger; no server answers.
    pub async fn register(&self, of: &Protected<'_>) -> Result<ClusterFacts> {
        let facts = of.source.session().await?.facts;
        let (repository, clock) = (of.repository.clone(), self.clock.clone());
        let name = of.resource.name.clone();
        let registered = blocking(move || {
            let (cluster, timeline) = (&facts.cluster, facts.timeline);
            cluster::register(&repository, &name, cluster, timeline, clock.as_ref(), false)
        });
        Ok(registered.await?.cluster)
    }

    /// The key of the resource's beats, made at the first need.
    pub fn heartbeat_key_of(
        &self,
        of: &Protected<'_>,
        system_id: SystemId,
    ) -> Result<HeartbeatKey> {
        let name = secrets::heartbeat_key(&of.resource.name);
        let secret = secrets::obtain(&of.repository, &name, self.entropy.as_ref())?;
        Ok(HeartbeatKey::new(secret.expose_secret(), system_id))
    }

    /// Ships the log of the registered cluster with all that belongs to it, as `ship` does.
    pub fn protection_of(
        &self,
        of: &Protected<'_>,
        cluster: &ClusterFacts,
        catalog: Arc<Catalog>,
    ) -> Result<Protection> {
        Ok(Protection {
            shipper: Arc::new(self.shipper_of(of, cluster, of.policy.ship_every)),
            catalog,
            clock: self.clock.clone(),
            heartbeat_key: self.heartbeat_key_of(of, cluster.system_id)?,
            heartbeat_every: of.policy.heartbeat_every.0,
            snapshot: self.snapshot_job_of(of, false),
            method: of.postgres.method.clone(),
        })
    }

    /// Ships the log of the registered cluster; the unfinished segment `every` so often.
    pub fn shipper_of(&self, of: &Protected<'_>, cluster: &ClusterFacts, every: Span) -> Shipper {
        let level = compression_level(of.policy);
        Shipper {
            archive: cluster::archive(&of.repository, &of.resource.name, cluster, level),
            source: of.source.clone(),
            clock: self.clock.clone(),
            every: every.0,
            state: watch::channel(ShipState::default()).0,
        }
    }

    /// A snapshot to be taken; `full_read` reads every file, changed or not.
    pub fn snapshot_job_of(&self, of: &Protected<'_>, full_read: bool) -> SnapshotJob {
        let policy = of.policy;
        SnapshotJob {
            repository: of.repository.clone(),
            source: of.source.clone(),
            log: LogKeeper {
                repository: of.repository.clone(),
                source: of.source.clone(),
                clock: self.clock.clone(),
                compression_level: compression_level(policy),
                patience: LOG_PATIENCE + policy.ship_every.0 * 2,
            },
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            progress: Arc::new(Progress::default()),
            workers: workers_of(of.resource),
            chunk_bytes: policy.chunk.0 as usize,
            write: write_settings(policy),
            full_read_every: of.resource.full_read_every.0,
            full_read,
            due_at: None,
        }
    }

    /// What retention of a resource works with, in one of the repositories that hold it.
    pub fn expiry_of(
        &self,
        config: &Config,
        resource: &Resource,
        role: Role,
        purpose: Purpose,
    ) -> Result<Expiry> {
        let policy = config.policy_of(resource);
        let (repository, copies) = match (role, policy.copy_to.as_deref()) {
            (Role::Copies, Some(copies)) => (self.open_for(config, copies, purpose)?, None),
            _ => {
                let copies = self.copies_of(config, resource)?.map(|(_, copies)| copies);
                (self.open_for(config, &resource.repository, purpose)?, copies)
            }
        };
        Ok(Expiry {
            repository,
            copies,
            resource: resource.name.clone(),
            terms: Terms::of(policy, &config.daemon.timezone, role),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            write: write_settings(policy),
        })
    }

    /// What locking of a resource works with in `repository`, which is the one of that role; `None`
    /// where nothing is locked, and nothing is made for it then.
    pub fn locking_of(
        &self,
        config: &Config,
        resource: &Resource,
        role: Role,
        repository: &Repository,
    ) -> Result<Option<Locking>> {
        if !repository.store.locks() {
            return Ok(None);
        }
        Ok(Some(Locking {
            repository: repository.clone(),
            resource: resource.name.clone(),
            terms: Terms::of(config.policy_of(resource), &config.daemon.timezone, role),
            clock: self.clock.clone(),
            catalog: Arc::new(self.catalog(config)?),
            progress: Arc::new(Progress::default()),
        }))
    }

    /// What verification of a resource works with, in one of the repositories that hold it.
    pub fn scrub_of(
        &self,
        config: &Config,
        resource: &Resource,
        role: Role,
        purpose: Purpose,
    ) -> Result<Scrub> {
        let policy = config.policy_of(resource);
        let (own, copies) = (resource.repository.as_str(), policy.copy_to.as_deref());
        let (own, other) = match (role, copies) {
            (Role::Copies, Some(copies)) => (copies, Some(own)),
            _ => (own, copies),
        };
        let repository = self.open_for(config, own, purpose)?;
        // The other one is for comparing and healing; this one is verified without it.
        let other = other.and_then(|other| told(self.open_repository(config, other)));
        Ok(Scrub {
            repository,
            other,
            resource: resource.name.clone(),
            terms: Terms::of(policy, &config.daemon.timezone, role),
            replicate: policy.replicate,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            progress: Arc::new(Progress::default()),
            workers: workers_of(resource),
            write: write_settings(policy),
        })
    }

    /// What restores and drills of a resource work with.
    pub fn tools_of(&self, of: &Protected<'_>) -> Result<Tools> {
        let registered = cluster::registered(&of.repository, &of.resource.name)?;
        Ok(Tools {
            new_tablespaces: NewTablespaces::Refused,
            sources: Sources { first: of.repository.clone(), copies: of.copies.clone() },
            clock: self.clock.clone(),
            connector: self.connector.clone(),
            launcher: self.launcher.clone(),
            bin_dir: programs::find(of.postgres.bin_dir.as_deref(), registered.cluster.major())?,
            workers: workers_of(of.resource),
            progress: Arc::new(Progress::default()),
        })
    }
}

/// The standing orders of everything that is configured.
pub fn standings(config: &Config) -> Vec<(ResourceName, Standing)> {
    let zone = &config.daemon.timezone;
    let of = |resource: &Resource| {
        let standings = standing_of(config.policy_of(resource), zone);
        let name = resource.name.clone();
        standings.into_iter().map(move |standing| (name.clone(), standing))
    };
    config.resources.iter().flat_map(of).collect()
}

/// What can be done without, with a warning if it has to be.
fn told<T>(opened: Result<T>) -> Option<T> {
    let warn = |error: &Error| {
        tracing::warn!(error = %error.chain(), "going on without the other repository");
    };
    opened.inspect_err(warn).ok()
}

fn workers_of(resource: &Resource) -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    resource.workers.map_or(cores, |workers| workers as usize)
}

fn write_settings(policy: &config::Policy) -> WriteSettings {
    WriteSettings {
        pack_bytes: policy.pack.0 as usize,
        compression_level: compression_level(policy),
        ..WriteSettings::default()
    }
}
