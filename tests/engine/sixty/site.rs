//! A protected cluster and its two repositories, all by one clock that the test moves, and the
//! work that its days and nights bring: rows, shipping, snapshots, copies, retention.

use std::sync::Arc;
use std::time::Duration;

use fenice::adapters::memory::MemoryStore;
use fenice::adapters::postgres::PgConnector;
use fenice::adapters::system::SystemEntropy;
use fenice::catalog::Catalog;
use fenice::config::Replicate;
use fenice::engines::postgres::cluster;
use fenice::engines::postgres::copy::{CopyJob, CopyRun};
use fenice::engines::postgres::expire::{Applied, Expiry};
use fenice::engines::postgres::locking::Locking;
use fenice::engines::postgres::ship::{ShipState, Shipper, Until};
use fenice::engines::postgres::snapshot::{LogKeeper, SnapshotJob, files};
use fenice::engines::postgres::source::Source;
use fenice::engines::progress::Progress;
use fenice::model::{Lsn, ResourceName, Span};
use fenice::plan::retention::{Role, Terms};
use fenice::ports::postgres::Connector;
use fenice::ports::{Clock, Store};
use fenice::repository::Repository;
use fenice::repository::manifest::SnapshotManifest;
use fenice::repository::seal::{Identities, Recipients};
use fenice::repository::vault::WriteSettings;
use fenice::repository::wal::WalArchive;
use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::support::{Cluster, Dice, MovedClock, Scratch};

pub const ZONE: &str = "Europe/Rome";
const DAY: u64 = 86_400;

/// How a store begins that lives by a clock.
pub type NewStore = fn(Arc<dyn Clock>) -> MemoryStore;

/// One row, and the instant from which it is there.
pub struct Row {
    pub number: usize,
    pub text: String,
    pub committed_at: Timestamp,
}

/// Everything of one resource.
pub struct Site {
    // Stopped before its clock goes.
    pub cluster: Cluster,
    pub clock: Arc<MovedClock>,
    pub main: Repository,
    pub copies: Repository,
    pub resource: ResourceName,
    pub runtime: Runtime,
    pub scratch: Scratch,
    /// What is locked until when, as far as it is remembered.
    catalog: Arc<Catalog>,
    /// Nothing is taken any more: what guards an active resource lapses.
    pub is_over: bool,
    /// Every row ever written, in order of time.
    pub journal: Vec<Row>,
}

impl Site {
    /// A cluster with one empty table, and two empty repositories with keys of their own.
    pub fn begin(at: Timestamp, store: NewStore) -> Site {
        let clock = Arc::new(MovedClock::at(at));
        // Its own patience with us is counted by a clock that leaps.
        let builder = Cluster::builder().version(15).segment_size_mib(1).clock(&clock);
        let builder = builder.setting("wal_sender_timeout", "0").setting("autovacuum", "off");
        let builder = builder.setting("checkpoint_timeout", "1d");
        let cluster = builder.setting("track_commit_timestamp", "on").start();
        // Nothing is made from them, and a third of the files is quicker to take and to restore.
        cluster.psql(
            "postgres",
            "update pg_database set datistemplate = false; drop database template0; \
             drop database template1; create table notes (number int primary key, text text); \
             create table total (numbers int); insert into total values (0); checkpoint",
        );
        // The cluster was made before the clock was moved: its first commits stay out of the log.
        cluster.psql("postgres", "select pg_switch_wal()");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (main, copies) = (repository(&clock, store), repository(&clock, store));
        let (resource, scratch) = ("registro".parse().unwrap(), Scratch::new());
        let catalog = Arc::new(Catalog::open(&scratch.path().join("catalog")).unwrap());
        let site = Site {
            cluster,
            clock,
            main,
            copies,
            resource,
            runtime,
            scratch,
            catalog,
            is_over: false,
            journal: Vec::new(),
        };
        // Registers the cluster, as `prepare` does.
        let job = site.snapshot_job(None);
        site.runtime.block_on(async { job.reach().await.map(drop) }).unwrap();
        site
    }

    /// The next row, committed at an instant of its own.
    pub fn write(&mut self, dice: &mut Dice) {
        let (number, text) = (self.journal.len() + 1, format!("{:07x}", dice.below(1 << 28)));
        let sql = format!(
            "begin; insert into notes values ({number}, '{text}'); \
             update total set numbers = {number}; commit; \
             select (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000000)::bigint \
             from notes where number = {number}"
        );
        let before = self.clock.now().as_microsecond();
        let micros: i64 = self.cluster.psql("postgres", &sql).parse().unwrap();
        let lived = before..=self.clock.now().as_microsecond();
        assert!(lived.contains(&micros), "the server does not live by the clock: {micros}");
        let committed_at = Timestamp::from_microsecond(micros).unwrap();
        self.journal.push(Row { number, text, committed_at });
    }

    /// Ships all log that there is, as `fenice ship --once` does.
    pub fn ship(&self) {
        let end = self.cluster.psql("postgres", "select pg_current_wal_flush_lsn()");
        let end: Lsn = end.parse().unwrap();
        let shipper = Shipper {
            archive: self.archive(&self.main),
            source: self.source(),
            clock: self.clock.clone(),
            every: Duration::from_secs(1),
            state: watch::channel(ShipState::default()).0,
        };
        let (_stop, stopped) = watch::channel(false);
        self.runtime.block_on(shipper.run(Until::Stored(end), stopped)).unwrap();
    }

    /// The snapshot of a run that was scheduled for `due_at`, as `fenice snapshot` takes it.
    pub fn snapshot(&self, due_at: Timestamp) -> SnapshotManifest {
        let job = self.snapshot_job(Some(due_at));
        let taken = self.runtime.block_on(files::take(&job, &self.cluster.data_dir()));
        let taken = taken.unwrap();
        assert_eq!((taken.due_at, taken.pages.damaged_count), (Some(due_at), 0));
        self.lock(Role::Main);
        taken
    }

    /// Copies what is due, as `fenice copy` does.
    pub fn copy(&self) -> CopyRun {
        let job = CopyJob {
            from: self.main.clone(),
            to: self.copies.clone(),
            resource: self.resource.clone(),
            terms: self.terms(Role::Main),
            replicate: Replicate::Weekly,
            clock: self.clock.clone(),
            entropy: Arc::new(SystemEntropy),
            progress: Arc::new(Progress::default()),
            workers: 2,
            write: WriteSettings::default(),
        };
        let run = job.run().unwrap();
        assert!(run.failed.is_empty(), "{run:?}");
        self.lock(Role::Copies);
        run
    }

    /// Retention in one of the repositories, as `fenice retention --apply` does it. No day of the
    /// sixty is an unusual one, so nobody confirms anything; and nothing but the promise keeps
    /// anything, nor a lock anything but packs.
    pub fn retain(&self, role: Role) -> Applied {
        let copies = match role {
            Role::Copies => None,
            Role::Main | Role::Only => Some(self.copies.clone()),
        };
        let expiry = Expiry {
            repository: self.repository(role).clone(),
            copies,
            resource: self.resource.clone(),
            terms: self.terms(role),
            clock: self.clock.clone(),
            entropy: Arc::new(SystemEntropy),
            write: WriteSettings::default(),
        };
        let (plan, applied) = expiry.apply(false).unwrap();
        let overdue: Vec<_> = plan.overdue().collect();
        assert!(overdue.is_empty() && plan.strangers.is_empty(), "{overdue:?} {plan:?}");
        assert_eq!((plan.unnamed_snapshots, plan.overdue_packs), (0, 0), "{plan:?}");
        assert!(applied.arrived.is_empty() && applied.vault.is_some(), "{applied:?}");
        assert_eq!(applied.locked.objects, 0, "{applied:?}");
        self.lock(role);
        applied
    }

    /// Locks what is stored, where anything is locked: the end of all three.
    fn lock(&self, role: Role) {
        let locking = Locking {
            repository: self.repository(role).clone(),
            resource: self.resource.clone(),
            terms: self.terms(role),
            clock: self.clock.clone(),
            catalog: self.catalog.clone(),
            progress: Arc::new(Progress::default()),
        };
        let run = locking.apply().unwrap();
        assert_eq!(run.map(|run| run.gone), self.repository(role).store.locks().then_some(0));
    }

    fn repository(&self, role: Role) -> &Repository {
        match role {
            Role::Copies => &self.copies,
            Role::Main | Role::Only => &self.main,
        }
    }

    /// The standing promise.
    fn terms(&self, role: Role) -> Terms {
        Terms {
            daily: Span::seconds(35 * DAY),
            weekly_extra: Span::seconds(25 * DAY),
            weekly_day: Weekday::Sunday,
            zone: TimeZone::get(ZONE).unwrap(),
            keep_min: if self.is_over { 1 } else { 2 },
            role,
            active: !self.is_over,
        }
    }

    /// The log in one of the repositories.
    pub fn archive(&self, repository: &Repository) -> WalArchive {
        let registered = cluster::registered(&self.main, &self.resource).unwrap();
        cluster::archive(repository, &self.resource, &registered.cluster, 3)
    }

    fn source(&self) -> Source {
        Source {
            resource: self.resource.clone(),
            slot: self.resource.slot_name(),
            hosts: PgConnector::default().hosts(&self.cluster.conninfo()).unwrap(),
            primary_hosts: Vec::new(),
        }
    }

    fn snapshot_job(&self, due_at: Option<Timestamp>) -> SnapshotJob {
        SnapshotJob {
            repository: self.main.clone(),
            source: self.source(),
            log: LogKeeper {
                repository: self.main.clone(),
                source: self.source(),
                clock: self.clock.clone(),
                compression_level: 3,
                patience: Duration::from_secs(120),
            },
            clock: self.clock.clone(),
            entropy: Arc::new(SystemEntropy),
            progress: Arc::new(Progress::default()),
            workers: 2,
            chunk_bytes: 1 << 20,
            write: WriteSettings::default(),
            full_read_every: Duration::from_secs(7 * DAY),
            full_read: false,
            due_at,
        }
    }
}

/// In memory, so that what is stored is as old as the clock says.
fn repository(clock: &Arc<MovedClock>, store: NewStore) -> Repository {
    let clock: Arc<dyn Clock> = clock.clone();
    let store: Arc<dyn Store> = Arc::new(store(clock.clone()));
    let (identity, recipient) = Identities::generate();
    let recipients = Recipients::parse(&[recipient]).unwrap();
    Repository::init(store.clone(), recipients.clone(), clock.as_ref(), &SystemEntropy).unwrap();
    let identities = Identities::parse(&identity).unwrap();
    Repository::open(store, recipients, Some(identities)).unwrap()
}
