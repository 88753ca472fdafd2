//! A repository in a scratch folder and the engine's parts around one cluster, as the daemon would
//! build them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fenice::adapters::folder::FolderStore;
use fenice::adapters::postgres::PgConnector;
use fenice::adapters::system::{SystemClock, SystemEntropy};
use fenice::engines::postgres::cluster;
use fenice::engines::postgres::ship::{ShipState, Shipper, Until};
use fenice::engines::postgres::snapshot::log::lock_name;
use fenice::engines::postgres::snapshot::{LogKeeper, SnapshotJob, files};
use fenice::engines::postgres::source::Source;
use fenice::engines::progress::Progress;
use fenice::error::Result;
use fenice::model::ResourceName;
use fenice::ports::Store;
use fenice::ports::postgres::Connector;
use fenice::repository::Repository;
use fenice::repository::manifest::SnapshotManifest;
use fenice::repository::seal::{Identities, Recipients};
use fenice::repository::vault::WriteSettings;
use fenice::repository::wal::WalArchive;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{Cluster, Scratch};

/// Everything about one protected resource.
pub struct Rig {
    pub scratch: Scratch,
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
        let store = FolderStore::create(&scratch.path().join("repository")).unwrap();
        Rig::on(scratch, Arc::new(store))
    }

    /// A fresh repository in `store`.
    pub fn on(scratch: Scratch, store: Arc<dyn Store>) -> Rig {
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
        Rig { scratch, repository, identity, resource, runtime }
    }

    pub fn repository_dir(&self) -> PathBuf {
        self.scratch.path().join("repository")
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
        let lock = self.repository.store.lock(&lock_name(source)).unwrap();
        let task = self.runtime.spawn(async move {
            let _lock = lock;
            shipper.run(Until::Stopped, stopped).await
        });
        Shipping { stop, state, task: Some(task) }
    }
}

impl Shipping {
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
