//! A repository in a scratch folder and the engine's parts around one cluster, as the daemon would
//! build them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fenice::adapters::postgres::PgConnector;
use fenice::adapters::system::{SystemClock, SystemEntropy};
use fenice::engines::postgres::cluster;
use fenice::engines::postgres::ship::{ShipState, Shipper, Until};
use fenice::engines::postgres::snapshot::log::lock_name;
use fenice::engines::postgres::snapshot::{LogKeeper, SnapshotJob, files, stream};
use fenice::engines::postgres::source::Source;
use fenice::engines::progress::Progress;
use fenice::error::Result;
use fenice::model::{Lsn, ResourceName, Timeline};
use fenice::ports::postgres::Connector;
use fenice::repository::manifest::{self, SnapshotManifest};
use fenice::repository::seal::{Identities, Recipients};
use fenice::repository::vault::{Node, Vault, WriteSettings};
use fenice::repository::wal::WalArchive;
use fenice::repository::{Repository, layout, secrets};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{Cluster, Home, Scratch};

/// Everything about one protected resource.
pub struct Rig {
    pub scratch: Scratch,
    pub home: Home,
    pub repository: Repository,
    pub identity: String,
    pub resource: ResourceName,
    pub runtime: tokio::runtime::Runtime,
}

/// A shipper at work in the background; stopped when told or dropped.
pub struct Shipping {
    stop: watch::Sender<bool>,
    pub state: watch::Receiver<ShipState>,
    task: Option<JoinHandle<Result<()>>>,
}

impl Rig {
    /// A fresh repository for a resource `registro`.
    pub fn new() -> Rig {
        let scratch = Scratch::new();
        let home = Home::new(scratch.path());
        Rig::on(scratch, home)
    }

    /// A fresh repository in `home`.
    pub fn on(scratch: Scratch, home: Home) -> Rig {
        let store = home.store();
        let (identity, recipient) = Identities::generate();
        let recipients = Recipients::parse(&[recipient]).unwrap();
        Repository::init(store.clone(), recipients.clone(), &SystemClock, &SystemEntropy).unwrap();
        let identities = Identities::parse(&identity).unwrap();
        let repository = Repository::open(store, recipients, Some(identities)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let resource = "registro".parse().unwrap();
        Rig { scratch, home, repository, identity, resource, runtime }
    }

    /// The resource's servers, by connection strings.
    pub fn source(&self, conninfos: &[String]) -> Source {
        let connector = PgConnector::default();
        let hosts = conninfos.iter().flat_map(|conninfo| connector.hosts(conninfo).unwrap());
        Source {
            resource: self.resource.clone(),
            slot: self.resource.slot_name(),
            hosts: hosts.collect(),
            primary_hosts: Vec::new(),
        }
    }

    pub fn job(&self, source: &Source) -> SnapshotJob {
        let clock = Arc::new(SystemClock);
        SnapshotJob {
            repository: self.repository.clone(),
            source: source.clone(),
            log: LogKeeper {
                repository: self.repository.clone(),
                source: source.clone(),
                clock: clock.clone(),
                compression_level: 3,
                patience: Duration::from_secs(120),
            },
            clock,
            entropy: Arc::new(SystemEntropy),
            progress: Arc::new(Progress::default()),
            workers: 2,
            chunk_bytes: 1 << 20,
            write: WriteSettings::default(),
            full_read_every: Duration::from_secs(7 * 86_400),
            full_read: false,
            due_at: None,
        }
    }

    /// A snapshot by method `files`.
    pub fn snapshot(&self, cluster: &Cluster) -> SnapshotManifest {
        self.try_snapshot(cluster).unwrap()
    }

    pub fn try_snapshot(&self, cluster: &Cluster) -> Result<SnapshotManifest> {
        let job = self.job(&self.source(&[cluster.conninfo()]));
        self.runtime.block_on(files::take(&job, &cluster.data_dir()))
    }

    /// A snapshot by method `stream`.
    pub fn stream(&self, source: &Source) -> Result<SnapshotManifest> {
        let job = self.job(source);
        self.runtime.block_on(stream::take(&job))
    }

    /// Every manifest, oldest first.
    pub fn manifests(&self) -> Vec<SnapshotManifest> {
        manifest::snapshots(&self.repository, &self.resource).unwrap()
    }

    fn vault_password(&self) -> SecretString {
        let secret = secrets::read(&self.repository, &secrets::vault_password(&self.resource, 1));
        SecretString::from(secret.unwrap().unwrap().expose_secret().to_owned())
    }

    /// Everything in a snapshot, by path.
    pub fn tree(&self, of: &SnapshotManifest) -> BTreeMap<PathBuf, Node> {
        let (store, prefix) = (self.repository.store.clone(), layout::vault(&self.resource, 1));
        let vault = Vault::open(store, &prefix, &self.vault_password()).unwrap();
        let index = vault.load_index().unwrap();
        let root = vault.snapshot(&of.vault.snapshot.parse().unwrap()).unwrap().tree;
        vault.walk(&index, &root).map(|found| found.unwrap()).collect()
    }

    /// Bytes of one file of a snapshot.
    pub fn file(&self, of: &SnapshotManifest, path: &str) -> Vec<u8> {
        let (store, prefix) = (self.repository.store.clone(), layout::vault(&self.resource, 1));
        let vault = Vault::open(store, &prefix, &self.vault_password()).unwrap();
        let index = vault.load_index().unwrap();
        let root = vault.snapshot(&of.vault.snapshot.parse().unwrap()).unwrap().tree;
        let node = vault.find(&index, &root, Path::new(path)).unwrap();
        vault.read_file(&index, &node.expect(path)).unwrap()
    }

    /// `restic check --read-data` finds no error.
    #[track_caller]
    pub fn restic_check(&self) {
        let file = self.scratch.path().join("password");
        self.home.restic_check("postgres/registro/vault", &self.vault_password(), &file);
    }

    /// How far the log is stored from the start of `of` on, along the way to its timeline.
    pub fn stored_from(&self, of: &SnapshotManifest) -> Lsn {
        self.stored_until(of.timeline, of.start_lsn)
    }

    /// How far the log is stored from `from` on, along the way to `timeline`.
    pub fn stored_until(&self, timeline: Timeline, from: Lsn) -> Lsn {
        let inventory = self.archive().inventory().unwrap();
        let history = inventory.history(timeline).expect("the history is stored");
        inventory.stored_until(&history, from)
    }

    /// The archive of the registered cluster.
    pub fn archive(&self) -> WalArchive {
        let registered = cluster::registered(&self.repository, &self.resource).unwrap();
        cluster::archive(&self.repository, &self.resource, &registered.cluster, 3)
    }

    /// Registers the cluster behind `source`, as `prepare` does.
    pub fn register(&self, source: &Source) {
        self.runtime.block_on(async { self.job(source).reach().await.map(drop) }).unwrap();
    }

    pub fn shipper(&self, source: &Source, every: Duration) -> Shipper {
        Shipper {
            archive: self.archive(),
            source: source.clone(),
            clock: Arc::new(SystemClock),
            every,
            state: watch::channel(ShipState::default()).0,
        }
    }

    /// Starts shipping in the background.
    pub fn ship(&self, source: &Source, every: Duration) -> Shipping {
        self.register(source);
        let shipper = self.shipper(source, every);
        let (stop, stopped) = watch::channel(false);
        let state = shipper.state.subscribe();
        // As `fenice ship` does: a snapshot then waits for this shipper instead of being one.
        let lock = self.repository.store.lock(&lock_name(&source.resource)).unwrap();
        let task = self.runtime.spawn(async move {
            let _lock = lock;
            shipper.run(Until::Stopped, stopped).await
        });
        Shipping { stop, state, task: Some(task) }
    }
}

impl Shipping {
    /// Whether it ended by itself.
    pub fn ended(&self) -> bool {
        self.task.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops in order and returns how it ended.
    pub fn stop(mut self, rig: &Rig) -> Result<()> {
        self.stop.send_replace(true);
        let task = self.task.take().unwrap();
        rig.runtime.block_on(task).unwrap()
    }
}

impl Drop for Shipping {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
