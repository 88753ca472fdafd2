//! Two daemons that both hold themselves in charge (RULES 21), or two processes of one: paused, cut
//! off, deposed between any two calls, with locks that keep nobody out. `FENICE_TEST_ROUNDS` says
//! how often.
//!
//! After each round: what was acknowledged counts and restores, whatever counts restores, nothing
//! counts that was committed after the takeover by another, and the survivor can go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fenice::adapters::memory::MemoryStore;
use fenice::adapters::system::SystemEntropy;
use fenice::engines::postgres::expire::Expiry;
use fenice::engines::postgres::{cluster, vaults};
use fenice::error::Result;
use fenice::model::{Lsn, Timeline};
use fenice::ports::store::{Change, Entry, Lock, Put, Replaced};
use fenice::ports::{Clock, Store};
use fenice::repository::lease::{self, Claimant};
use fenice::repository::manifest::{self, SnapshotManifest};
use fenice::repository::seal::Identities;
use fenice::repository::vault::WriteSettings;
use fenice::repository::{Repository, commit, generation, layout};
use jiff::Timestamp;

use super::turnstile::{SEATS, SeatStore, Turnstile};
use super::world::{SEGMENT_BYTES, World, after, cluster_facts, resource, snapshot};
use crate::support::Dice;
use crate::vault::model;

/// What the daemons told, in the order of the store.
#[derive(Default)]
struct Told {
    /// Every manifest that was to be written, with the number of its tree.
    begun: BTreeMap<String, usize>,
    acknowledged: BTreeSet<String>,
    /// Manifests and beginnings of generations, as they were stored: `(key, generation)`.
    stored: Vec<(String, u64)>,
    takeovers: u64,
    refused: u64,
    /// Manifests that are there and do not count.
    late: u64,
}

/// Notes the order in which manifests and generations come.
struct Watched {
    inner: Arc<dyn Store>,
    told: Arc<Mutex<Told>>,
}

impl Store for Watched {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn put_new(&self, key: &str, body: &[u8]) -> Result<Put> {
        let put = self.inner.put_new(key, body)?;
        let is_manifest = key.starts_with(&layout::snapshots(&resource()));
        if put == Put::Created && (is_manifest || key.starts_with(layout::GENERATIONS)) {
            let number = layout::generation_number(key).unwrap_or(0);
            self.told.lock().unwrap().stored.push((key.to_owned(), number));
        }
        Ok(put)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.inner.get(key)
    }

    fn read_range(&self, key: &str, offset: u64, into: &mut [u8]) -> Result<()> {
        self.inner.read_range(key, offset, into)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.inner.list(prefix)
    }

    fn replace(&self, key: &str, change: Change<'_>) -> Result<Replaced> {
        self.inner.replace(key, change)
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.inner.remove(key)
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Lock>> {
        self.inner.lock(name)
    }
}

struct Daemon<'w> {
    world: &'w World,
    installation: &'static str,
    store: Arc<SeatStore>,
    told: Arc<Mutex<Told>>,
    dice: Dice,
}

impl Daemon<'_> {
    fn clock(&self) -> Arc<Turnstile> {
        self.store.turnstile.clone()
    }

    fn live(&mut self) {
        let _seat = self.store.clone().taken();
        for _ in 0..4 {
            let ended = self.be_in_charge();
            self.store.keep(None);
            if ended.is_err() {
                self.told.lock().unwrap().refused += 1;
            }
            let pause = [1, 3, 40, 20_000][self.dice.below(4)];
            self.clock().sleep(self.store.seat, Duration::from_secs(pause));
        }
    }

    /// Takes the lease and works under it, until something fails.
    fn be_in_charge(&mut self) -> Result<()> {
        let store: Arc<dyn Store> = self.store.clone();
        let identities = Identities::parse(&self.world.identity).unwrap();
        let repository = Repository::open(store, self.world.recipients.clone(), Some(identities))?;
        let (clock, seat) = (self.clock(), self.store.seat);
        let claimant = Claimant {
            installation: self.installation,
            host: ["one", "two"][seat],
            clock: self.clock(),
            entropy: &SystemEntropy,
            pause: &|pause| {
                clock.sleep(seat, pause);
                true
            },
            stand_by: false,
            resources: &[resource()],
        };
        let lease = Arc::new(lease::take(&repository, &claimant)?);
        self.told.lock().unwrap().takeovers += 1;
        self.store.keep(Some(lease.clone()));
        let repository = repository.under(lease.clone());
        for _ in 0..2 {
            match self.dice.below(2) {
                0 => self.take_snapshot(&repository)?,
                _ => drop(self.expiry(&repository).apply(true)?),
            }
            if self.dice.below(3) == 0 {
                let hours = 1 + self.dice.below(15) as u64;
                self.clock().sleep(seat, Duration::from_secs(hours * 3_600));
            }
        }
        // One in three dies without a word.
        if self.dice.below(3) > 0 {
            lease.leave();
        }
        Ok(())
    }

    /// As the engine does, of the files of an earlier snapshot, so that it counts on what lies in
    /// the vault and may just be leaving.
    fn take_snapshot(&mut self, repository: &Repository) -> Result<()> {
        let tree = self.dice.below(self.world.trees.len());
        let now = self.clock().now();
        let lock = vaults::write(repository, &resource(), now, &SystemEntropy)?;
        let vault = vaults::open_or_make(repository, &resource(), now, &SystemEntropy)?;
        let committed = model::back_up(&vault.vault, &self.world.trees[tree])?;
        // Unlike every other's, down to the millisecond.
        let at = now.checked_add(Duration::from_millis(self.store.seat as u64)).unwrap();
        let id = layout::instant(at);
        let number = 100 + self.clock().monotonic().as_millis() as u64 * 2 + self.store.seat as u64;
        let archive = cluster::archive(repository, &resource(), &cluster_facts(), 3);
        archive.put(Timeline(1), number, 0, &[7; SEGMENT_BYTES as usize], None)?;
        let manifest = SnapshotManifest {
            id: id.clone(),
            due_at: None,
            started_at: at,
            stopped_at: at,
            start_lsn: Lsn(number * SEGMENT_BYTES + 1_000),
            stop_lsn: Lsn(number * SEGMENT_BYTES + 2_000),
            ..snapshot(0, committed.snapshot.to_string())
        };
        self.told.lock().unwrap().begun.insert(id.clone(), tree);
        commit::snapshot(repository, &manifest, &|| lock.may_commit())?;
        self.told.lock().unwrap().acknowledged.insert(id);
        Ok(())
    }

    fn expiry(&self, repository: &Repository) -> Expiry {
        expiry(repository, self.clock())
    }
}

fn expiry(repository: &Repository, clock: Arc<dyn Clock>) -> Expiry {
    Expiry {
        copies: None,
        repository: repository.clone(),
        resource: resource(),
        terms: World::terms(),
        clock,
        entropy: Arc::new(SystemEntropy),
        write: WriteSettings { pack_bytes: 64 << 10, uploaders: 1, ..WriteSettings::default() },
    }
}

/// A clock that stands.
struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn whoever_is_deposed_commits_nothing_and_destroys_nothing() {
    let rounds = std::env::var("FENICE_TEST_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: u64 = rounds.unwrap_or(40);
    // Each round has dice of its own.
    let first = Dice::seeded().seed();
    let world = World::new();
    // Some packs are marked already, and can be deleted when the daemons begin.
    let repository = world.repository(&world.base);
    expiry(&repository, Arc::new(Still(after(42)))).apply(true).unwrap();
    let mut sums = [0_u64; 5];
    for round in 0..rounds {
        let seed = first.wrapping_add(round);
        let told = one_round(&world, seed);
        let lost = told.begun.len() - told.acknowledged.len();
        let acknowledged = told.acknowledged.len() as u64;
        let counts = [told.takeovers, told.refused, acknowledged, lost as u64, told.late];
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    println!(
        "{rounds} rounds: in charge {} times, ended by a failure {} times, {} snapshots \
         acknowledged, {} not, {} of them committed too late",
        sums[0], sums[1], sums[2], sums[3], sums[4]
    );
    assert!(sums[2] > 0 && sums[1] > 0 && (rounds < 1_000 || sums[4] > 0));
}

fn one_round(world: &World, seed: u64) -> Told {
    let turnstile = Turnstile::new(after(47));
    let base: Arc<dyn Store> = Arc::new(MemoryStore::with_clock(turnstile.clone()));
    for entry in world.base.list("").unwrap() {
        base.put_new(&entry.key, &world.base.get(&entry.key).unwrap().unwrap()).unwrap();
    }
    let told: Arc<Mutex<Told>> = Arc::default();
    let watched: Arc<dyn Store> = Arc::new(Watched { inner: base.clone(), told: told.clone() });
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SEATS)
            .map(|seat| {
                let store = Arc::new(SeatStore::new(&watched, &turnstile, seat));
                let dice = Dice::of(seed.wrapping_mul(31).wrapping_add(seat as u64));
                // In every third round they are two processes of one, which share its lease.
                let installation =
                    if seed.is_multiple_of(3) { "one" } else { ["one", "two"][seat] };
                let mut daemon = Daemon { world, installation, store, told: told.clone(), dice };
                scope.spawn(move || daemon.live())
            })
            .collect();
        turnstile.run(&mut Dice::of(seed));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let mut told = std::mem::take(&mut *told.lock().unwrap());
    let there = base.list(&layout::snapshots(&resource())).unwrap().len();
    let counting = manifest::snapshots(&world.repository(&base), &resource()).unwrap().len();
    told.late = (there - counting) as u64;
    check(world, &base, &turnstile, &told, seed);
    told
}

fn check(world: &World, base: &Arc<dyn Store>, turnstile: &Arc<Turnstile>, told: &Told, seed: u64) {
    let repository = world.repository(base);
    let counting = manifest::snapshots(&repository, &resource()).unwrap();
    let ids: BTreeSet<&str> = counting.iter().map(|manifest| manifest.id.as_str()).collect();
    for id in &told.acknowledged {
        assert!(ids.contains(id.as_str()), "seed {seed}: {id} was acknowledged and does not count");
    }
    // What came after the beginning of a later generation does not count.
    for manifest in &counting {
        let key = layout::snapshot(&resource(), &manifest.id);
        let at = told.stored.iter().rposition(|(stored, _)| *stored == key);
        let late = at.is_some_and(|at| {
            let before = told.stored[..at].iter().map(|(_, generation)| *generation);
            before.max().is_some_and(|newest| newest > manifest.generation)
        });
        assert!(!late, "seed {seed}: {} was committed too late and counts", manifest.id);
    }
    restores(world, &repository, &counting, told, seed);
    // Whoever comes next finishes what was left, and still nothing is missing.
    let end = turnstile.now();
    for hours in [1, 14, 27] {
        let now = end.checked_add(Duration::from_secs(hours * 3_600)).unwrap();
        expiry(&repository, Arc::new(Still(now))).apply(true).unwrap();
    }
    let left = manifest::snapshots(&repository, &resource()).unwrap();
    let vault = vaults::open(&repository, &resource(), 1).unwrap();
    model::assert_undamaged(&vault);
    restores(world, &repository, &left, told, seed);
    assert_eq!(base.list(layout::PINS).unwrap(), [], "seed {seed}");
    let marked = vault.packs_marked().unwrap();
    assert!(marked.is_empty(), "seed {seed}: {marked:?}");
    let record = generation::newest(base.as_ref()).unwrap();
    assert_eq!(record.is_some(), told.takeovers > 0 || base.get(layout::LEASE).unwrap().is_some());
}

fn restores(
    world: &World,
    repository: &Repository,
    snapshots: &[SnapshotManifest],
    told: &Told,
    seed: u64,
) {
    let vault = vaults::open(repository, &resource(), 1).unwrap();
    let index = vault.load_index().unwrap();
    for manifest in snapshots {
        let number = manifest.start_lsn.0 / SEGMENT_BYTES;
        let tree = told.begun.get(&manifest.id).copied().unwrap_or(number as usize);
        let restic = manifest.vault.snapshot.parse().unwrap();
        let what = format!("seed {seed}: snapshot {}", manifest.id);
        let root = vault.snapshot(&restic).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let restored = model::restore(&vault, &index, &root.tree);
        let (restored, _) = restored.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        model::assert_same(&restored, &world.trees[tree]);
    }
}
