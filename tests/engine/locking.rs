//! Object Lock over months, by a clock of the test's: what is stored is locked as long as it was
//! promised to stay, no longer, and goes then.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fenice::adapters::memory::MemoryStore;
use fenice::adapters::system::{SystemClock, SystemEntropy};
use fenice::catalog::Catalog;
use fenice::engines::keys::{Change, KeyChange};
use fenice::engines::postgres::expire::Expiry;
use fenice::engines::postgres::locking::{LockRun, Locking};
use fenice::engines::postgres::{cluster, vaults};
use fenice::engines::progress::Progress;
use fenice::model::Timeline;
use fenice::ports::store::{Retained, locked_until};
use fenice::ports::{Clock, Store};
use fenice::repository::manifest::{self, SnapshotManifest};
use fenice::repository::seal::Identities;
use fenice::repository::vault::WriteSettings;
use fenice::repository::{Repository, layout};
use jiff::Timestamp;

use super::world::{DAY, SEGMENT_BYTES, World, cluster_facts, resource, snapshot};
use crate::vault::faults::{Fault, FaultyStore, Stage};
use crate::vault::model::{self, Item, Model};

/// It is as late as it was last set.
struct Settable(Mutex<Timestamp>);

impl Clock for Settable {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A repository that locks, with nothing in it.
struct Months {
    world: World,
    clock: Arc<Settable>,
    began: Timestamp,
    dir: tempfile::TempDir,
}

impl Months {
    fn new() -> Months {
        let began = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        let clock = Arc::new(Settable(Mutex::new(began)));
        let world = World::empty_in(Arc::new(MemoryStore::with_locks(clock.clone())));
        let repository = world.repository(&world.base);
        let facts = cluster_facts();
        cluster::register(&repository, &resource(), &facts, Timeline(1), &SystemClock, false)
            .unwrap();
        Months { world, clock, began, dir: tempfile::tempdir().unwrap() }
    }

    /// So many hours after it began.
    fn at(&self, hours: u64) -> Timestamp {
        self.began.checked_add(Duration::from_secs(hours * 3_600)).unwrap()
    }

    fn day(&self, days: u64) -> Timestamp {
        self.at(days * DAY / 3_600)
    }

    fn go_to(&self, at: Timestamp) {
        *self.clock.0.lock().unwrap() = at;
    }

    fn repository(&self) -> Repository {
        self.world.repository(&self.world.base)
    }

    /// A snapshot of `tree` on that day, with its log: a whole segment, and a part of it.
    fn take(&mut self, days: u64, tree: Model) -> SnapshotManifest {
        self.go_to(self.day(days));
        let (at, number) = (self.day(days), self.world.trees.len() as u64);
        let repository = self.repository();
        let vault = vaults::open_or_make(&repository, &resource(), at, &SystemEntropy).unwrap();
        let committed = model::back_up(&vault.vault, &tree).unwrap();
        let archive = cluster::archive(&repository, &resource(), &cluster_facts(), 3);
        let bytes = vec![number as u8; SEGMENT_BYTES as usize];
        archive.put(Timeline(1), number, 0, &bytes, None).unwrap();
        archive.put(Timeline(1), number, 0, &bytes[..9_000], None).unwrap();
        let manifest = SnapshotManifest {
            id: layout::instant(at),
            due_at: Some(at),
            started_at: at,
            stopped_at: at,
            ..snapshot(number, committed.snapshot.to_string())
        };
        let key = layout::snapshot(&resource(), &manifest.id);
        manifest::create(&repository, &key, &manifest).unwrap();
        self.world.trees.push(tree);
        manifest
    }

    fn locking(&self, repository: Repository, catalog: &str) -> Locking {
        Locking {
            repository,
            resource: resource(),
            terms: World::terms(),
            clock: self.clock.clone(),
            catalog: Arc::new(Catalog::open(&self.dir.path().join(catalog)).unwrap()),
            progress: Arc::new(Progress::default()),
        }
    }

    fn lock(&self) -> LockRun {
        self.locking(self.repository(), "catalog").apply().unwrap().unwrap()
    }

    fn expiry(&self) -> Expiry {
        Expiry {
            copies: None,
            repository: self.repository(),
            resource: resource(),
            terms: World::terms(),
            clock: self.clock.clone(),
            entropy: Arc::new(SystemEntropy),
            write: WriteSettings { pack_bytes: 64 << 10, ..WriteSettings::default() },
        }
    }

    /// Every object below a prefix with the end of its lock.
    fn ends(&self, prefix: &str) -> Vec<(String, Option<Timestamp>)> {
        let end = |key: String| {
            let until = self.world.base.retained_until(&key).unwrap();
            (key, until)
        };
        let listed = self.world.base.list(prefix).unwrap();
        listed.into_iter().map(|entry| end(entry.key)).collect()
    }

    fn packs(&self) -> Vec<Option<Timestamp>> {
        let below = format!("{}data/", layout::vault(&resource(), 1));
        self.ends(&below).into_iter().map(|(_, until)| until).collect()
    }
}

/// Two that share some directories, and the first of which fills several packs by itself.
fn trees() -> (Model, Model) {
    let (mut before, after) = (model::random_model(31, 6), model::random_model(32, 6));
    let mut random = model::Random(33);
    let content = (0..2 << 20).map(|_| random.next() as u8).collect();
    before.insert("large".into(), Item::File { content, mode: 0o600 });
    (before, after)
}

#[test]
fn everything_of_a_snapshot_is_locked_until_it_leaves_and_goes_then() {
    let mut months = Months::new();
    let taken = months.take(0, trees().0);
    let run = months.lock();
    let end = months.day(35);
    assert_eq!((run.locked, run.gone, run.until), (run.objects, 0, Some(end)), "{run:?}");
    let vault = layout::vault(&resource(), 1);
    for (key, until) in months.ends("") {
        let name = key.rsplit('/').next().unwrap();
        let is_part = key.contains("/wal/") && name.split('.').count() > 3;
        let is_open = is_part || key.starts_with(&format!("{vault}index/"));
        assert_eq!(until, (!is_open).then_some(end), "{key}");
    }
    let manifest = layout::snapshot(&resource(), &taken.id);
    let refused = months.world.base.remove(&manifest).unwrap_err();
    assert_eq!(locked_until(&refused), Some(end));

    // Nothing is asked twice, and without the catalog nothing changes.
    assert_eq!(months.lock().locked, 0);
    let again = months.locking(months.repository(), "another").apply().unwrap().unwrap();
    assert_eq!((again.locked, again.until), (run.objects, Some(end)));

    // Nothing keeps it any longer than its time.
    months.take(3, trees().1);
    months.go_to(months.at(24 * 38 + 1));
    let applied = months.expiry().apply(true).unwrap().1;
    assert_eq!((applied.snapshots, applied.locked.objects), (1, 0), "{applied:?}");
    assert!(months.world.base.get(&manifest).unwrap().is_none());
}

#[test]
fn a_store_without_locks_is_not_even_read() {
    let months = Months::new();
    let world = World::of(1);
    let reading: Arc<dyn Store> = Arc::new(FaultyStore::new(&world.base, Fault::ForEver, 2));
    let repository = world.repository(&reading);
    let locking = months.locking(repository, "catalog");
    assert_eq!(locking.apply().unwrap(), None);
}

#[test]
fn what_a_later_snapshot_uses_again_is_locked_as_long_as_that() {
    let mut months = Months::new();
    let (tree, _) = trees();
    let first = months.take(0, tree.clone());
    months.lock();
    let packs = months.packs();
    assert!(packs.len() > 1 && packs.iter().all(|until| *until == Some(months.day(35))));
    let second = months.take(3, tree);
    months.lock();
    // The first anchors the window until the second takes its place.
    let end = Some(months.day(38));
    assert_eq!(months.packs(), vec![end; packs.len()], "no pack is new");
    for manifest in [&first, &second] {
        let key = layout::snapshot(&resource(), &manifest.id);
        assert_eq!(months.world.base.retained_until(&key).unwrap(), end, "{key}");
    }
    let wal = months.ends(&layout::wals(&resource()));
    let whole: Vec<_> = wal.iter().filter_map(|(_, until)| *until).collect();
    assert_eq!(whole, [months.day(38); 2]);
}

#[test]
fn a_pack_with_dead_data_is_written_anew_and_goes_within_the_horizon() {
    let mut months = Months::new();
    let (before, after) = trees();
    months.take(0, before);
    months.lock();
    months.take(3, after.clone());
    months.take(10, after);
    months.lock();
    // What the last one uses is asked for until day 45; but the first one's own data, in the same
    // packs, has to be able to go by its horizon.
    let (horizon, last) = (months.day(42), months.day(45));
    let packs = months.packs();
    assert!(packs.iter().all(|until| until.is_some_and(|until| until <= last)), "{packs:?}");
    assert!(packs.contains(&Some(horizon)) && packs.contains(&Some(last)), "{packs:?}");

    // The first one leaves; its packs leave the index, and are not locked any longer than before.
    months.go_to(months.at(24 * 38 + 1));
    let (_, applied) = months.expiry().apply(true).unwrap();
    let pruned = applied.vault.unwrap();
    assert!(applied.snapshots == 1 && pruned.packs_marked > 1, "{applied:?}");
    months.lock();
    let packs = months.packs();
    assert!(packs.iter().all(Option::is_some), "new ones are locked: {packs:?}");
    months.world.check(&months.repository());

    // Those that no lock keeps go after the grace, the others wait and are told.
    months.go_to(months.at(24 * 39));
    let pruned = months.expiry().apply(true).unwrap().1.vault.unwrap();
    assert!(pruned.packs_deleted > 0 && pruned.packs_locked > 0, "{pruned:?}");
    assert_eq!(pruned.packs_waiting, pruned.packs_locked);
    assert_eq!(pruned.locked_until, Some(horizon));
    months.go_to(months.at(24 * 41));
    let (planned, again) = months.expiry().apply(true).unwrap();
    assert_eq!(again.vault.unwrap().packs_locked, pruned.packs_locked);
    assert_eq!((planned.locked_packs, planned.locked_until), (pruned.packs_locked, Some(horizon)));
    assert_eq!(planned.overdue_packs, 0, "their time is not over yet");

    months.go_to(months.at(24 * 42 + 1));
    let (planned, gone) = months.expiry().apply(true).unwrap();
    let gone = gone.vault.unwrap();
    assert_eq!((planned.locked_packs, planned.locked_until), (0, None));
    assert_eq!(planned.overdue_packs, 0, "nobody could delete them before");
    assert_eq!((gone.packs_deleted, gone.packs_waiting), (pruned.packs_locked, 0));
    assert_eq!(months.world.check(&months.repository()).len(), 2);
}

#[test]
fn what_a_lock_keeps_beyond_its_date_is_told_and_nothing_fails() {
    let mut months = Months::new();
    let (before, after) = trees();
    let first = months.take(0, before);
    months.take(3, after);
    let (store, until) = (months.world.base.clone(), months.day(60));
    let manifest = layout::snapshot(&resource(), &first.id);
    assert_eq!(store.retain(&manifest, until).unwrap(), Retained::Until(until));
    let listed = store.list(&layout::wals(&resource())).unwrap();
    let part = listed.iter().find(|entry| entry.key.contains(".00000000-")).unwrap();
    store.retain(&part.key, until).unwrap();

    months.go_to(months.day(40));
    let (planned, applied) = months.expiry().apply(true).unwrap();
    let overdue: Vec<String> = planned.overdue().map(|r| r.verdict.to_string()).collect();
    assert_eq!(overdue.len(), 1);
    assert!(overdue[0].contains(&format!("the store locks it until {until}")), "{overdue:?}");
    assert_eq!((applied.snapshots, applied.locked.objects), (0, 1), "{applied:?}");
    assert_eq!(applied.locked.until, Some(until));
    assert!(applied.vault.is_some() && applied.arrived.is_empty());
    assert_eq!(months.world.check(&months.repository()).len(), 2);

    months.go_to(months.at(24 * 60 + 1));
    let (_, applied) = months.expiry().apply(true).unwrap();
    assert_eq!((applied.snapshots, applied.locked.objects), (1, 0), "{applied:?}");
    assert_eq!(months.world.check(&months.repository()).len(), 1);
}

#[test]
fn wherever_the_store_fails_it_ends_loudly_and_the_next_run_locks_the_rest() {
    let mut months = Months::new();
    let (before, after) = trees();
    months.take(0, before);
    months.take(3, after);
    let base: Arc<dyn Store> = months.world.base.clone();
    let stage = Stage::with(&base);
    let staged: Arc<dyn Store> = stage.clone();
    let repository = months.world.repository(&staged);
    for at in (1..2_000).step_by(9) {
        let faulty = Arc::new(FaultyStore::new(&base, Fault::ForEver, at));
        let through: Arc<dyn Store> = faulty.clone();
        stage.set(&through);
        // Each time as if the catalog had been lost.
        let catalog = format!("catalog {at}");
        let ended = months.locking(repository.clone(), &catalog).apply();
        assert_eq!(ended.is_ok(), !faulty.was_hit(), "at {at}: {ended:?}");
        stage.set(&base);
        let next = months.locking(repository.clone(), &catalog).apply().unwrap().unwrap();
        assert_eq!((next.until, next.gone), (Some(months.day(38)), 0));
        assert!(months.packs().iter().all(Option::is_some));
        match ended {
            Ok(run) => {
                assert_eq!(run.map(|run| run.locked), Some(next.objects));
                assert!(at > 20, "only {at} calls");
                return;
            }
            Err(error) => {
                assert!(error.chain().contains("not everything of registro is locked"));
                assert!(error.hint_text().is_some(), "{error:?}");
            }
        }
    }
    panic!("locking never succeeded");
}

#[test]
fn who_is_shut_out_keeps_what_is_locked_and_that_is_told() {
    let mut months = Months::new();
    months.take(0, trees().0);
    months.lock();
    let is_sealed =
        |(key, until): &(String, Option<Timestamp>)| key.ends_with(".age") && until.is_some();
    let sealed = || months.ends("").into_iter().filter(is_sealed).count() as u64;
    let before = sealed();
    let (_, recipient) = Identities::generate();
    let change = KeyChange {
        lease: None,
        store: months.world.base.clone(),
        identities: Identities::parse(&months.world.identity).unwrap(),
        change: Change::Add(recipient),
        clock: months.clock.clone(),
        progress: Arc::new(Progress::default()),
    };
    let changed = change.run().unwrap();
    assert!(before > 3 && changed.objects > before, "{changed:?}");
    assert_eq!((changed.versions_kept, changed.kept_until), (before, Some(months.day(35))));
    assert_eq!(sealed(), before, "what is in their place is locked as well");
}
