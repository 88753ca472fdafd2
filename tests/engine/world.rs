//! A small repository in memory: a resource with five snapshots, one every three days from today,
//! and its log. For what is tried with every call failing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fenice::adapters::memory::MemoryStore;
use fenice::adapters::system::{SystemClock, SystemEntropy};
use fenice::engines::postgres::cluster;
use fenice::engines::postgres::restore::facts;
use fenice::engines::postgres::restore::recover::checked_plan;
use fenice::engines::postgres::restore::sources::Sources;
use fenice::engines::postgres::vaults::{self, Current};
use fenice::error::Result;
use fenice::model::{Lsn, ResourceName, SegmentSize, Span, SystemId, Timeline};
use fenice::plan::facts::{Request, Target};
use fenice::plan::retention::{Role, Terms};
use fenice::ports::{Clock, Store};
use fenice::repository::manifest::{
    self, ClusterFacts, HostMark, Method, PageReport, SnapshotManifest, VaultRef,
};
use fenice::repository::seal::{Identities, Recipients};
use fenice::repository::vault::{Index, Vault};
use fenice::repository::{Repository, layout};
use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::vault::model::{self, Model};

pub const DAY: u64 = 86_400;
pub const SEGMENT_BYTES: u64 = 1 << 20;

/// It is always then.
pub struct At(pub Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

pub fn resource() -> ResourceName {
    "registro".parse().unwrap()
}

/// `days` after now.
pub fn after(days: u64) -> Timestamp {
    Timestamp::now().checked_add(Duration::from_secs(days * DAY)).unwrap()
}

pub fn cluster_facts() -> ClusterFacts {
    ClusterFacts {
        system_id: SystemId(7),
        version_num: 150_018,
        wal_segment_size: SegmentSize::try_from(SEGMENT_BYTES).unwrap(),
        block_size: 8_192,
        blocks_per_segment: 131_072,
        data_checksums: true,
    }
}

pub fn snapshot(number: u64, restic: String) -> SnapshotManifest {
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
        generation: 0,
        copied: None,
    }
}

pub struct World {
    pub base: Arc<dyn Store>,
    pub recipients: Recipients,
    pub identity: String,
    pub trees: Vec<Model>,
}

impl World {
    /// A repository with nothing in it, under a key of its own.
    pub fn empty() -> World {
        World::empty_in(Arc::new(MemoryStore::new()))
    }

    /// The same in a store of the caller's.
    pub fn empty_in(base: Arc<dyn Store>) -> World {
        let (identity, recipient) = Identities::generate();
        let recipients = Recipients::parse(&[recipient]).unwrap();
        Repository::init(base.clone(), recipients.clone(), &SystemClock, &SystemEntropy).unwrap();
        World { base, recipients, identity, trees: Vec::new() }
    }

    pub fn new() -> World {
        World::of(5)
    }

    /// With so many snapshots.
    pub fn of(count: u64) -> World {
        let mut world = World::empty();
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
        for number in 0..count {
            world.take(&repository, model::random_model(100 + number, 6));
        }
        world
    }

    /// Takes the next snapshot, of `tree`, into the vault of the present epoch.
    pub fn take(&mut self, repository: &Repository, tree: Model) -> SnapshotManifest {
        let now = Timestamp::now();
        let Current { epoch, vault } =
            vaults::open_or_make(repository, &resource(), now, &SystemEntropy).unwrap();
        let archive = cluster::archive(repository, &resource(), &cluster_facts(), 3);
        let number = self.trees.len() as u64;
        let committed = model::back_up(&vault, &tree).unwrap();
        let bytes = vec![number as u8; SEGMENT_BYTES as usize];
        archive.put(Timeline(1), number, 0, &bytes, None).unwrap();
        archive.put(Timeline(1), number, 0, &bytes[..9_000], None).unwrap();
        let mut manifest = snapshot(number, committed.snapshot.to_string());
        manifest.vault.epoch = epoch;
        let key = layout::snapshot(&resource(), &manifest.id);
        manifest::create(repository, &key, &manifest).unwrap();
        self.trees.push(tree);
        manifest
    }

    /// The same, with everything in another store.
    pub fn with(&self, store: &Arc<dyn Store>) -> World {
        World {
            base: store.clone(),
            recipients: self.recipients.clone(),
            identity: self.identity.clone(),
            trees: self.trees.clone(),
        }
    }

    pub fn repository(&self, store: &Arc<dyn Store>) -> Repository {
        let identities = Identities::parse(&self.identity).unwrap();
        Repository::open(store.clone(), self.recipients.clone(), Some(identities)).unwrap()
    }

    /// Daily for 35 days, nothing weekly.
    pub fn terms() -> Terms {
        Terms {
            daily: Span::seconds(35 * DAY),
            weekly_extra: Span::default(),
            weekly_day: Weekday::Sunday,
            zone: TimeZone::UTC,
            keep_min: 1,
            role: Role::Only,
            active: true,
        }
    }

    /// Nothing but pins came or went since it was made.
    pub fn assert_same(&self, store: &dyn Store) {
        let entries = |store: &dyn Store| -> Vec<(String, Vec<u8>)> {
            let entries = store.list("").unwrap().into_iter();
            let kept = entries.filter(|entry| !entry.key.starts_with("pins/"));
            kept.map(|e| (e.key.clone(), store.get(&e.key).unwrap().unwrap())).collect()
        };
        assert!(entries(store) == entries(self.base.as_ref()), "an object differs");
    }

    /// Whether one snapshot restores from this repository alone, with its log.
    pub fn restores(&self, repository: &Repository, id: &str) -> bool {
        let restored = || -> Result<bool> {
            let key = layout::snapshot(&resource(), id);
            let manifest: SnapshotManifest = manifest::read(repository, &key)?;
            let vault = vaults::open(repository, &resource(), manifest.vault.epoch)?;
            let index = vault.survey()?.index;
            let tree = vault.snapshot(&manifest.vault.snapshot.parse()?)?.tree;
            let (restored, _) = model::restore(&vault, &index, &tree)?;
            let number = manifest.start_lsn.0 / SEGMENT_BYTES;
            model::assert_same(&restored, &self.trees[number as usize]);
            let sources = Sources::only(repository);
            let mut stored = facts::read_now_undated(&sources, &resource())?;
            stored.facts.snapshots.retain(|snapshot| snapshot.id == id);
            let target = Target::Consistent { snapshot: id.to_owned() };
            let request = Request { timeline: Some(manifest.timeline), ..Request::to(target) };
            for segment in checked_plan(&stored.facts, &request, after(13))?.segments {
                stored.archive.read_segment(&segment.objects)?;
            }
            Ok(true)
        };
        restored().unwrap_or(false)
    }

    /// Every snapshot with a manifest restores from the vault, with its log.
    pub fn check(&self, repository: &Repository) -> Vec<SnapshotManifest> {
        let manifests = manifest::snapshots(repository, &resource()).unwrap();
        if manifests.is_empty() {
            return manifests;
        }
        let mut opened: BTreeMap<u32, (Vault, Index)> = BTreeMap::new();
        let archive = cluster::archive(repository, &resource(), &cluster_facts(), 3);
        let inventory = archive.inventory().unwrap();
        for manifest in &manifests {
            let epoch = manifest.vault.epoch;
            let (vault, index) = opened.entry(epoch).or_insert_with(|| {
                let vault = vaults::open(repository, &resource(), epoch).unwrap();
                model::assert_undamaged(&vault);
                let index = vault.load_index().unwrap();
                (vault, index)
            });
            let number = manifest.start_lsn.0 / SEGMENT_BYTES;
            let restic = manifest.vault.snapshot.parse().unwrap();
            let tree = vault.snapshot(&restic).unwrap().tree;
            let (restored, _) = model::restore(vault, index, &tree).unwrap();
            model::assert_same(&restored, &self.trees[number as usize]);
            assert!(!inventory.segment(Timeline(1), number).is_empty(), "{}", manifest.id);
        }
        manifests
    }
}

/// All objects of a store in another one.
pub fn copy(from: &dyn Store) -> Arc<dyn Store> {
    let to: Arc<dyn Store> = Arc::new(MemoryStore::new());
    for entry in from.list("").unwrap() {
        to.put_new(&entry.key, &from.get(&entry.key).unwrap().unwrap()).unwrap();
    }
    to
}
