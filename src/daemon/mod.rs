//! The composition root: out of a checked configuration it builds adapters and puts them into
//! engines. Whoever runs work, a command or the daemon's loop, gets its parts here.

pub mod control;
mod jobs;
pub mod judge;
mod leases;
pub mod notify;
pub mod rebuild;
pub mod service;
pub mod takeover;
pub mod telling;
pub mod watch;
pub mod work;

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::ExposeSecret;

use crate::adapters::folder::FolderStore;
use crate::adapters::launcher::ProcessLauncher;
use crate::adapters::postgres::PgConnector;
use crate::adapters::postgres::conninfo::Conninfo;
use crate::adapters::s3::{Credentials, S3Store};
use crate::adapters::system::{SystemClock, SystemEntropy};
use crate::adapters::{private, secrets, system};
use crate::catalog::Catalog;
use crate::config::{self, Config, Location, ObjectLock, PostgresSource, Resource};
use crate::engines::postgres::source::Source;
use crate::error::{Attempt, Error, Kind, Result};
use crate::model::{LockMode, ResourceName};
use crate::plan::retention::Role;
use crate::ports::postgres::Connector;
use crate::ports::server::Launcher;
use crate::ports::{Clock, Entropy, Store};
use crate::repository::lease::{self, Lease};
use crate::repository::seal::{Identities, Recipients};
use crate::repository::{Repository, retirement};

pub use jobs::standings;

use leases::{Leases, Patience};

const CATALOG: &str = "catalog.sqlite";
const INSTALLATION: &str = "installation";

/// What reaches the world, shared by everything that is built here.
#[derive(Clone)]
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub connector: Arc<dyn Connector>,
    pub launcher: Arc<dyn Launcher>,
    /// Where `.pgpass` is looked for.
    home: Option<PathBuf>,
    leases: Arc<Leases>,
    /// Waits where another installation writes, instead of giving up.
    stands_by: bool,
    /// Of whoever waits for a lease.
    patience: Arc<Patience>,
}

/// What a repository is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Reading; needs no lease.
    Look,
    /// Storing or removing, under the lease.
    Write,
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
            leases: Arc::default(),
            stands_by: false,
            patience: Arc::default(),
        })
    }

    /// The same, for who waits his turn where another installation writes.
    pub fn standing_by(self, stands_by: bool) -> Parts {
        Parts { stands_by, ..self }
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

    /// The same for `purpose`: for writing it takes the lease, or shares in it, as long as this
    /// value or a clone of it lives.
    ///
    /// # Errors
    /// Besides: `Kind::Busy` while another installation writes.
    pub fn open_for(&self, config: &Config, name: &str, purpose: Purpose) -> Result<Repository> {
        let repository = self.open_repository(config, name)?;
        match purpose {
            Purpose::Look => Ok(repository),
            Purpose::Write => {
                let lease = self.lease_of(config, name, &repository)?;
                Ok(repository.under(lease))
            }
        }
    }

    /// The lease of the repository of that name, taken now or before.
    pub fn lease_of(
        &self,
        config: &Config,
        name: &str,
        repository: &Repository,
    ) -> Result<Arc<Lease>> {
        let installation = self.installation(config)?;
        let resources: Vec<ResourceName> = config
            .resources
            .iter()
            .filter(|resource| places(config, resource).iter().any(|(place, _)| *place == name))
            .map(|resource| resource.name.clone())
            .collect();
        let claimant = lease::Claimant {
            installation: &installation,
            host: &system::host_name(),
            clock: self.clock.clone(),
            entropy: self.entropy.as_ref(),
            pause: &|pause| self.patience.wait(pause),
            stand_by: self.stands_by,
            resources: &resources,
        };
        let what = || format!("obtain the lease of the repository `{name}`");
        self.leases.obtain(name, || lease::take(repository, &claimant).attempt(what))
    }

    /// What tells this installation from others: drawn once, kept in the state directory.
    fn installation(&self, config: &Config) -> Result<String> {
        let dir = &config.daemon.state_dir;
        private::make_directory(dir)?;
        let mut drawn = [0; 16];
        self.entropy.fill(&mut drawn);
        private::obtain_line(&dir.join(INSTALLATION), &hex::encode(drawn))
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
        let repository = self.open_for(config, &resource.repository, Purpose::Write)?;
        retirement::must_be_in_use(&repository, &resource.name)?;
        self.protected_in(config, resource, repository)
    }

    /// The same in its repository, which is open.
    fn protected_in<'c>(
        &self,
        config: &'c Config,
        resource: &'c Resource,
        repository: Repository,
    ) -> Result<Protected<'c>> {
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
            let opened = self.open_repository(config, other).inspect_err(told).ok();
            // Without an identity nothing of them can be read.
            opened.filter(Repository::can_read)
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

/// What a resource's own repository is for.
pub fn own_role(policy: &config::Policy) -> Role {
    match policy.copy_to {
        None => Role::Only,
        Some(_) => Role::Main,
    }
}

/// Where a resource is stored, and as what.
pub fn places<'c>(config: &'c Config, resource: &'c Resource) -> Vec<(&'c str, Role)> {
    let own = resource.repository.as_str();
    match config.policy_of(resource).copy_to.as_deref() {
        None => vec![(own, Role::Only)],
        Some(copies) => vec![(own, Role::Main), (copies, Role::Copies)],
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
    let lock = match object_lock {
        ObjectLock::None => None,
        ObjectLock::Governance => Some(LockMode::Governance),
        ObjectLock::Compliance => Some(LockMode::Compliance),
    };
    let credentials = credentials.as_ref().map(|reference| {
        Credentials::parse(&secrets::read_secret(reference)?)
            .attempt(|| format!("read the credentials of the bucket {}", place.bucket))
    });
    S3Store::open_locking(place.clone(), credentials.transpose()?, lock)
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
