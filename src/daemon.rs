//! The composition root: out of a checked configuration it builds adapters and puts them into
//! engines. Whoever runs work, a command or the daemon's loop, gets its parts here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::sync::watch;

use crate::adapters::folder::FolderStore;
use crate::adapters::launcher::ProcessLauncher;
use crate::adapters::postgres::PgConnector;
use crate::adapters::postgres::conninfo::Conninfo;
use crate::adapters::s3::{Credentials, S3Store};
use crate::adapters::system::{SystemClock, SystemEntropy};
use crate::adapters::{private, programs, secrets};
use crate::catalog::Catalog;
use crate::config::{self, Config, Location, ObjectLock, PostgresSource, Resource};
use crate::engines::postgres::cluster;
use crate::engines::postgres::copy::CopyJob;
use crate::engines::postgres::expire::Expiry;
use crate::engines::postgres::restore::originals::NewTablespaces;
use crate::engines::postgres::restore::recover::Tools;
use crate::engines::postgres::restore::sources::Sources;
use crate::engines::postgres::ship::{ShipState, Shipper};
use crate::engines::postgres::snapshot::{LogKeeper, SnapshotJob};
use crate::engines::postgres::source::Source;
use crate::engines::progress::Progress;
use crate::error::{Attempt, Error, Kind, Result};
use crate::model::Span;
use crate::plan::retention::{Role, Terms};
use crate::ports::postgres::Connector;
use crate::ports::server::Launcher;
use crate::ports::{Clock, Entropy, Store};
use crate::repository::manifest::ClusterFacts;
use crate::repository::seal::{Identities, Recipients};
use crate::repository::vault::WriteSettings;
use crate::repository::{Repository, retirement};

/// A snapshot waits for its log at least this long, and for two turns of a shipper elsewhere.
const LOG_PATIENCE: Duration = Duration::from_secs(600);

const CATALOG: &str = "catalog.sqlite";

/// What reaches the world, shared by everything that is built here.
#[derive(Clone)]
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub connector: Arc<dyn Connector>,
    pub launcher: Arc<dyn Launcher>,
    /// Where `.pgpass` is looked for.
    home: Option<PathBuf>,
}

/// One resource with its repository and its servers; nothing is connected yet.
#[derive(Clone)]
pub struct Protected<'c> {
    pub resource: &'c Resource,
    pub policy: &'c config::Policy,
    pub postgres: &'c PostgresSource,
    pub repository: Repository,
    /// That of the copies, where recoveries read as well.
    pub copies: Option<Repository>,
    pub source: Source,
}

impl Parts {
    /// This machine's.
    pub fn of_this_machine() -> Result<Parts> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        Ok(Parts {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            connector: Arc::new(PgConnector { home: home.clone() }),
            launcher: Arc::new(ProcessLauncher::new()?),
            home,
        })
    }

    /// The repository of that name, which is of `config`.
    ///
    /// # Errors
    /// It cannot be opened; its keys are not those configured.
    pub fn open_repository(&self, config: &Config, name: &str) -> Result<Repository> {
        let configured = config.repositories.get(name).ok_or_else(|| {
            Error::usage(format!("the configuration has no repository `{name}`"))
                .hint(format!("It has: {}.", names(config.repositories.keys())))
        })?;
        let identities = identities_of(configured)?;
        let recipients = effective_recipients(configured, identities.as_ref())?;
        let opened = Repository::open(open_store(configured)?, recipients, identities);
        opened.attempt(|| format!("open the repository `{name}`"))
    }

    /// The servers of a resource.
    pub fn source_of(&self, resource: &Resource) -> Result<Source> {
        let postgres = postgres_of(resource);
        let primary = postgres.primary_connection.as_deref();
        Ok(Source {
            resource: resource.name.clone(),
            slot: postgres.slot.clone(),
            hosts: self.connector.hosts(&postgres.connection)?,
            primary_hosts: match primary {
                Some(conninfo) => self.connector.hosts(conninfo)?,
                None => Vec::new(),
            },
        })
    }

    /// The role that Fenice connects as.
    pub fn role_of(&self, resource: &Resource) -> Result<String> {
        let conninfo = &postgres_of(resource).connection;
        Ok(Conninfo::parse(conninfo, self.home.as_deref())?.user)
    }

    /// The resource of that name with all that belongs to it, to store more of it.
    ///
    /// # Errors
    /// Refused if it is retired; those of [`Parts::open_repository`].
    pub fn protected<'c>(&self, config: &'c Config, name: &str) -> Result<Protected<'c>> {
        let resource = resource_of(config, name)?;
        let repository = self.open_repository(config, &resource.repository)?;
        retirement::must_be_in_use(&repository, &resource.name)?;
        Ok(Protected {
            resource,
            policy: config.policy_of(resource),
            postgres: postgres_of(resource),
            repository,
            copies: None,
            source: self.source_of(resource)?,
        })
    }

    /// The same for a recovery: from the repository named `from` alone, or else from the resource's
    /// own together with that of its copies. Copies that cannot be reached do not hold it up.
    ///
    /// # Errors
    /// Of kind `Usage` if nothing of the resource is ever stored in `from`; the repository cannot
    /// be opened.
    pub fn recoverable<'c>(
        &self,
        config: &'c Config,
        name: &str,
        from: Option<&str>,
    ) -> Result<Protected<'c>> {
        let resource = resource_of(config, name)?;
        let policy = config.policy_of(resource);
        let (own, other) = (resource.repository.as_str(), policy.copy_to.as_deref());
        let chosen = from.unwrap_or(own);
        if chosen != own && Some(chosen) != other {
            let known = names([own].into_iter().chain(other));
            return Err(Error::usage(format!("`{chosen}` holds nothing of `{name}`"))
                .hint(format!("It is stored in: {known}.")));
        }
        let repository = self.open_repository(config, chosen).map_err(|error| match other {
            Some(other) if from.is_none() => {
                error.hint(format!("If it is lost, `--from {other}` recovers from the copies."))
            }
            _ => error,
        })?;
        let copies = other.filter(|_| from.is_none()).and_then(|other| {
            let told = |error: &Error| {
                tracing::warn!(error = %error.chain(), "recovering without the copies");
            };
            self.open_repository(config, other).inspect_err(told).ok()
        });
        let (postgres, source) = (postgres_of(resource), self.source_of(resource)?);
        Ok(Protected { resource, policy, postgres, repository, copies, source })
    }

    /// The repository of a resource's copies with its name, if its policy names one.
    pub fn copies_of<'c>(
        &self,
        config: &'c Config,
        resource: &Resource,
    ) -> Result<Option<(&'c str, Repository)>> {
        let Some(name) = config.policy_of(resource).copy_to.as_deref() else { return Ok(None) };
        Ok(Some((name, self.open_repository(config, name)?)))
    }

    /// What copying a resource works with.
    ///
    /// # Errors
    /// Of kind `Config` if its policy names no repository for copies.
    pub fn copy_job_of(&self, config: &Config, resource: &Resource) -> Result<CopyJob> {
        let policy = config.policy_of(resource);
        let Some((_, to)) = self.copies_of(config, resource)? else {
            let what =
                format!("the policy `{}` of `{}` copies nothing", policy.name, resource.name);
            return Err(Error::new(Kind::Config, what)
                .hint("Name the repository of the copies with `copy_to`."));
        };
        Ok(CopyJob {
            from: self.open_repository(config, &resource.repository)?,
            to,
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
        }
    }

    /// What retention of a resource works with, in one of the repositories that hold it.
    pub fn expiry_of(&self, config: &Config, resource: &Resource, role: Role) -> Result<Expiry> {
        let policy = config.policy_of(resource);
        let copies = self.copies_of(config, resource)?.map(|(_, copies)| copies);
        let (repository, copies) = match (role, copies) {
            (Role::Copies, Some(copies)) => (copies, None),
            (_, copies) => (self.open_repository(config, &resource.repository)?, copies),
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

    /// The catalog, made the first time in the state directory (mode 0700).
    pub fn catalog(&self, config: &Config) -> Result<Catalog> {
        let dir = &config.daemon.state_dir;
        private::make_directory(dir)?;
        Catalog::open(&dir.join(CATALOG))
    }

    /// The catalog, if something was ever noted on this host. Asking makes nothing: the one who
    /// asks may be another user than the one who notes.
    pub fn known_catalog(&self, config: &Config) -> Result<Option<Catalog>> {
        let path = config.daemon.state_dir.join(CATALOG);
        match private::exists(&path)? {
            true => Catalog::open(&path).map(Some),
            false => Ok(None),
        }
    }
}

/// Threads that read or write files of a resource: as configured, else one a core.
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

/// zstd's level of a policy, which is from 1 to 19.
pub fn compression_level(policy: &config::Policy) -> i32 {
    i32::try_from(policy.compression_level).unwrap_or(3)
}

/// Opens the place where a repository lies.
///
/// # Errors
/// The folder or the bucket is not there, or cannot be used as configured.
pub fn open_store(repository: &config::Repository) -> Result<Arc<dyn Store>> {
    match &repository.location {
        Location::Folder(path) => Ok(Arc::new(FolderStore::open(path)?)),
        Location::Bucket(bucket) => Ok(Arc::new(open_bucket(bucket)?)),
    }
}

/// Makes the place where a repository will lie, if it is not there, and opens it. Buckets are made
/// by whoever answers for region, access and locks.
pub fn create_store(repository: &config::Repository) -> Result<Arc<dyn Store>> {
    match &repository.location {
        Location::Folder(path) => Ok(Arc::new(FolderStore::create(path)?)),
        Location::Bucket(bucket) => Ok(Arc::new(open_bucket(bucket)?)),
    }
}

fn open_bucket(bucket: &config::Bucket) -> Result<S3Store> {
    let config::Bucket { place, object_lock, credentials } = bucket;
    if *object_lock != ObjectLock::None {
        return Err(Error::new(Kind::Config, "Object Lock is not supported by this version yet")
            .hint("Set `object_lock = \"none\"`; a bucket's own default retention still holds."));
    }
    let credentials = credentials.as_ref().map(|reference| {
        Credentials::parse(&secrets::read_secret(reference)?)
            .attempt(|| format!("read the credentials of the bucket {}", place.bucket))
    });
    S3Store::open(place.clone(), credentials.transpose()?)
}

/// The identity of a repository, if the configuration names one.
pub fn identities_of(repository: &config::Repository) -> Result<Option<Identities>> {
    let Some(reference) = &repository.identity else { return Ok(None) };
    let text = secrets::read_secret(reference)
        .attempt(|| format!("read the identity of the repository `{}`", repository.name))?;
    let identities = Identities::parse(text.expose_secret());
    identities
        .map(Some)
        .map_err(|cause| cause.with_kind(Kind::Config))
        .attempt(|| format!("read the identity of the repository `{}`", repository.name))
}

/// To whom everything is sealed: those configured, and whoever can read here anyway.
pub fn effective_recipients(
    repository: &config::Repository,
    identities: Option<&Identities>,
) -> Result<Recipients> {
    let mut texts = repository.recipients.clone();
    for own in identities.map(Identities::recipients).unwrap_or_default() {
        if !texts.contains(&own) {
            texts.push(own);
        }
    }
    Recipients::parse(&texts).attempt(|| format!("seal to the repository `{}`", repository.name))
}

/// The resource of that name.
///
/// # Errors
/// Of kind `Usage`, with the names there are.
pub fn resource_of<'c>(config: &'c Config, name: &str) -> Result<&'c Resource> {
    config.resource(name).ok_or_else(|| {
        let known = names(config.resources.iter().map(|resource| resource.name.as_str()));
        Error::usage(format!("the configuration has no resource `{name}`"))
            .hint(format!("It has: {known}."))
    })
}

/// What is particular to PostgreSQL; there is no other kind yet.
pub fn postgres_of(resource: &Resource) -> &PostgresSource {
    let config::Source::Postgres(postgres) = &resource.source;
    postgres
}

fn names(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    names.join(", ")
}
