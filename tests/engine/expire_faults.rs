//! Retention while the store fails: every call in turn. It ends loudly, what stays is whole, and
//! the next runs finish the work.

use std::sync::Arc;
use std::time::Duration;

use fenice::adapters::memory::MemoryStore;
use fenice::adapters::system::{SystemClock, SystemEntropy};
use fenice::engines::postgres::cluster;
use fenice::engines::postgres::expire::Expiry;
use fenice::model::{Lsn, ResourceName, SegmentSize, Span, SystemId, Timeline};
use fenice::plan::retention::{Role, Terms};
use fenice::ports::{Clock, Store};
use fenice::repository::manifest::{
    self, ClusterFacts, HostMark, Method, PageReport, SnapshotManifest, VaultRef,
};
use fenice::repository::seal::{Identities, Recipients};
use fenice::repository::vault::{Vault, WriteSettings};
use fenice::repository::{Repository, layout, secrets};
use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::vault::faults::{Fault, FaultyStore, Stage};
use crate::vault::model::{self, Model};

const DAY: u64 = 86_400;
const SEGMENT_BYTES: u64 = 1 << 20;

struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

fn resource() -> ResourceName {
    "registro".parse().unwrap()
}

/// `days` after now.
fn after(days: u64) -> Timestamp {
    Timestamp::now().checked_add(Duration::from_secs(days * DAY)).unwrap()
}

fn cluster_facts() -> ClusterFacts {
    ClusterFacts {
        system_id: SystemId(7),
        version_num: 150_018,
        wal_segment_size: SegmentSize::try_from(SEGMENT_BYTES).unwrap(),
        block_size: 8_192,
        blocks_per_segment: 131_072,
        data_checksums: true,
    }
}

fn snapshot(number: u64, restic: String) -> SnapshotManifest {
    let at = after(number * 3);
    SnapshotManifest {
        version: 1,
        id: layout::instant(at),
        resource: resource(),
        method: Method::Files,
        cluster: cluster_facts(),
        timeline: Timeline(1),
        start_lsn: Lsn(number * SEGMENT_BYTES + 1_000),
        stop_lsn: Lsn(number * SEGMENT_BYTES + 2_000),
        due_at: Some(at),
        started_at: at,
        stopped_at: at,
        from_standby: false,
        vault: VaultRef { epoch: 1, snapshot: restic },
        host: HostMark {
            machine: String::new(),
            boot: String::new(),
            clock_offset_ms: 0,
            data_dir: String::new(),
        },
        tablespaces: Vec::new(),
        files: 1,
        bytes: 1,
        new_bytes: 1,
        unread_bytes: 0,
        full_read: true,
        pages: PageReport::default(),
        config_files: Vec::new(),
        tables: Vec::new(),
    }
}

/// A resource's repository with a snapshot every three days, five in all, and its log.
struct World {
    base: Arc<dyn Store>,
    recipients: Recipients,
    identity: String,
    trees: Vec<Model>,
}

impl World {
    fn new() -> World {
        let base: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (identity, recipient) = Identities::generate();
        let recipients = Recipients::parse(&[recipient]).unwrap();
        Repository::init(base.clone(), recipients.clone(), &SystemClock, &SystemEntropy).unwrap();
        let mut world = World { base, recipients, identity, trees: Vec::new() };
        let repository = world.repository(&world.base);
        cluster::register(
            &repository,
            &resource(),
            &cluster_facts(),
            Timeline(1),
            &SystemClock,
            false,
        )
        .unwrap();
        let name = secrets::vault_password(&resource(), 1);
        let password = secrets::obtain(&repository, &name, &SystemEntropy).unwrap();
        let prefix = layout::vault(&resource(), 1);
        let store = world.base.clone();
        let vault =
            Vault::init(store, &prefix, &password, Timestamp::now(), &SystemEntropy).unwrap();
        let archive = cluster::archive(&repository, &resource(), &cluster_facts(), 3);
        for number in 0..5 {
            let tree = model::random_model(100 + number, 6);
            let committed = model::back_up(&vault, &tree).unwrap();
            let bytes = vec![number as u8; SEGMENT_BYTES as usize];
            archive.put(Timeline(1), number, 0, &bytes, None).unwrap();
            archive.put(Timeline(1), number, 0, &bytes[..9_000], None).unwrap();
            let manifest = snapshot(number, committed.snapshot.to_string());
            let key = layout::snapshot(&resource(), &manifest.id);
            manifest::create(&repository, &key, &manifest).unwrap();
            world.trees.push(tree);
        }
        world
    }

    fn repository(&self, store: &Arc<dyn Store>) -> Repository {
        let identities = Identities::parse(&self.identity).unwrap();
        Repository::open(store.clone(), self.recipients.clone(), Some(identities)).unwrap()
    }

    /// Days 40 on: the first two snapshots have no place left, unless one is weekly or anchor.
    fn expiry(&self, repository: &Repository, hours: u64) -> Expiry {
        let now = after(47).checked_add(Duration::from_secs(hours * 3_600)).unwrap();
        Expiry {
            repository: repository.clone(),
            resource: resource(),
            terms: Terms {
                daily: Span::seconds(35 * DAY),
                weekly_extra: Span::default(),
                weekly_day: Weekday::Sunday,
                zone: TimeZone::UTC,
                keep_min: 1,
                role: Role::Only,
                active: true,
            },
            clock: Arc::new(At(now)),
            entropy: Arc::new(SystemEntropy),
            write: WriteSettings { pack_bytes: 64 << 10, ..WriteSettings::default() },
        }
    }

    /// Every snapshot with a manifest restores from the vault, with its log.
    fn check(&self, repository: &Repository) -> Vec<SnapshotManifest> {
        let manifests = manifest::snapshots(repository, &resource()).unwrap();
        let vault = fenice::engines::postgres::restore::facts::open_vault(
            repository,
            manifests.last().expect("the newest always stays"),
        )
        .unwrap();
        model::assert_undamaged(&vault);
        let index = vault.load_index().unwrap();
        let archive = cluster::archive(repository, &resource(), &cluster_facts(), 3);
        let inventory = archive.inventory().unwrap();
        for manifest in &manifests {
            let number = manifest.start_lsn.0 / SEGMENT_BYTES;
            let restic = manifest.vault.snapshot.parse().unwrap();
            let tree = vault.snapshot(&restic).unwrap().tree;
            let (restored, _) = model::restore(&vault, &index, &tree).unwrap();
            model::assert_same(&restored, &self.trees[number as usize]);
            assert!(!inventory.segment(Timeline(1), number).is_empty(), "{}", manifest.id);
        }
        manifests
    }
}

fn copy(from: &dyn Store) -> Arc<dyn Store> {
    let to: Arc<dyn Store> = Arc::new(MemoryStore::new());
    for entry in from.list("").unwrap() {
        to.put_new(&entry.key, &from.get(&entry.key).unwrap().unwrap()).unwrap();
    }
    to
}

fn every_call_fails(fault: Fault, step: usize) {
    let world = World::new();
    let stage = Stage::with(&world.base);
    let staged: Arc<dyn Store> = stage.clone();
    let repository = world.repository(&staged);
    for at in (1..400).step_by(step) {
        let store = copy(world.base.as_ref());
        let faulty = Arc::new(FaultyStore::new(&store, fault, at));
        let through: Arc<dyn Store> = faulty.clone();
        stage.set(&through);
        let ended = world.expiry(&repository, 0).apply(true);
        let succeeded = ended.is_ok();
        assert_eq!(succeeded, !faulty.was_hit(), "{fault:?} at {at}: {:?}", ended.err());
        stage.set(&store);
        world.check(&repository);
        for hours in [20, 41] {
            world.expiry(&repository, hours).apply(true).unwrap();
        }
        // The window begins on day 12 to 14: of days 0, 3, 6, 9 and 12 the last ones stay.
        let left = world.check(&repository);
        let segments: Vec<u64> = left.iter().map(|m| m.start_lsn.0 / SEGMENT_BYTES).collect();
        assert_eq!(segments, [4], "{fault:?} at {at}");
        let inventory =
            cluster::archive(&repository, &resource(), &cluster_facts(), 3).inventory().unwrap();
        assert_eq!(inventory.objects.len(), 1, "{:?}", inventory.objects);
        let again = world.expiry(&repository, 60).apply(true).unwrap().1;
        let pruned = again.vault.unwrap();
        assert_eq!((again.snapshots, again.log_objects), (0, 0));
        assert_eq!((pruned.packs_marked, pruned.packs_deleted, pruned.packs_waiting), (0, 0, 0));
        if succeeded {
            assert!(at > 40, "only {at} calls");
            return;
        }
    }
    panic!("retention never succeeded");
}

#[test]
fn every_second_call_failing_once() {
    every_call_fails(Fault::Once, 2);
}

#[test]
fn every_third_call_failing_for_ever() {
    every_call_fails(Fault::ForEver, 3);
}

#[test]
fn every_third_call_done_but_answered_with_a_failure() {
    every_call_fails(Fault::DoneButFailed, 3);
}
