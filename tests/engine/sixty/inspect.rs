//! What must be true of a repository after each night: the points that are kept, that they are
//! whole, and that nothing outlives them but what a lock keeps, which is told.

use std::collections::{BTreeMap, BTreeSet};

use fenice::engines::postgres::vaults;
use fenice::model::{Extent, Lsn, WalInventory, WalObject};
use fenice::ports::Clock;
use fenice::repository::manifest::{self, SnapshotManifest};
use fenice::repository::vault::index::IndexPack;
use fenice::repository::vault::layout::ids_of;
use fenice::repository::vault::pack::PackedBlob;
use fenice::repository::vault::prune::Pruned;
use fenice::repository::vault::reach::Reached;
use fenice::repository::vault::{Id, Vault};
use fenice::repository::{Repository, layout};
use jiff::{SignedDuration, Timestamp};

use super::locked::{Locks, Night};
use super::promise::{self, ALL, DAILY, ERASURE, Leaving, Taken};
use super::site::Site;

/// A pack that left the index earlier than so long ago was to be deleted since.
const TRIED_AFTER: SignedDuration = SignedDuration::from_hours(12);

/// Which stretch of log is still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// Everything from the oldest point on, and what was written within the window.
    All,
    /// What makes each point consistent, and no more.
    EachPoint,
}

/// One repository, looked at night after night.
pub struct Inspector {
    name: &'static str,
    repository: Repository,
    log: Log,
    vault: Option<Vault>,
    /// What each snapshot ever seen led to, by our id.
    led_to: BTreeMap<String, Reached>,
    /// Where the store locks.
    locks: Option<Locks>,
}

/// The packs of a vault that are stored.
pub struct Packs {
    pub in_use: Vec<IndexPack>,
    /// They have left the index, and wait for their deletion.
    pub waiting: Vec<IndexPack>,
}

/// Whether `taken` leads to `blob`.
pub fn leads(led_to: &BTreeMap<String, Reached>, taken: &Taken, blob: &PackedBlob) -> bool {
    led_to[&taken.id].of_type(blob.blob_type).contains(&blob.id)
}

impl Inspector {
    pub fn new(name: &'static str, repository: &Repository, log: Log) -> Inspector {
        let locks = repository.store.locks().then(Locks::default);
        let (repository, led_to) = (repository.clone(), BTreeMap::new());
        Inspector { name, repository, log, vault: None, led_to, locks }
    }

    /// Everything, just after retention. `leaving` is what the promise says of each snapshot,
    /// `told` what retention said of the vault.
    #[track_caller]
    pub fn look(&mut self, site: &Site, leaving: &[Leaving<'_>], told: &Pruned) {
        let now = site.clock.now();
        let kept = promise::kept(leaving, now);
        let manifests = manifest::snapshots(&self.repository, &site.resource).unwrap();
        self.check_points(&kept, &manifests, now);
        if self.vault.is_none() {
            self.vault = vaults::open_if_there(&self.repository, &site.resource, 1).unwrap();
        }
        let vault = self.vault.clone().unwrap();
        self.check_vault(&vault, &manifests);
        let packs = self.packs(&vault, now);
        self.check_in_use(&packs, &kept, now);
        self.check_erasure(&vault, &packs, &promise::kept(leaving, now - ERASURE), told, now);
        let inventory = site.archive(&self.repository).inventory().unwrap();
        self.check_log(&inventory, &kept, now);
        if let Some(locks) = &mut self.locks {
            locks.look(&Night {
                name: self.name,
                now,
                resource: &site.resource,
                vault: &vault,
                packs: &packs,
                manifests: &manifests,
                inventory: &inventory,
                leaving,
                led_to: &self.led_to,
            });
        }
    }

    /// That nothing is left but what opened and explained it, and no lock on that.
    #[track_caller]
    pub fn check_gone(&self, site: &Site) {
        let (now, store) = (site.clock.now(), &self.repository.store);
        let vault = self.vault.as_ref().unwrap();
        for prefix in [
            layout::snapshots(&site.resource),
            layout::wals(&site.resource),
            vault.layout().snapshots(),
            vault.layout().packs(),
        ] {
            let listed = store.list(&prefix).unwrap();
            assert!(listed.is_empty(), "{} {now}: {listed:?}", self.name);
        }
        for entry in store.list("").unwrap() {
            let until = store.retained_until(&entry.key).unwrap();
            assert!(until <= Some(now), "{} {now}: {} until {until:?}", self.name, entry.key);
        }
    }

    /// The points are those of the promise, and none is too old.
    #[track_caller]
    fn check_points(&self, kept: &[&Taken], manifests: &[SnapshotManifest], now: Timestamp) {
        let promised: Vec<&str> = kept.iter().map(|taken| taken.id.as_str()).collect();
        let found: Vec<&str> = manifests.iter().map(|manifest| manifest.id.as_str()).collect();
        assert_eq!(found, promised, "{} {now}: what is kept is not what was promised", self.name);
        for manifest in manifests {
            let age = now.duration_since(manifest.stopped_at);
            assert!(age < ALL, "{} {now}: {} is older than 60 days", self.name, manifest.id);
        }
    }

    /// Every pack is read and opened, every file of every point is there, and nobody else's are.
    #[track_caller]
    fn check_vault(&mut self, vault: &Vault, manifests: &[SnapshotManifest]) {
        let findings = vault.check(true).unwrap();
        assert!(findings.is_empty(), "{}: {findings:?}", self.name);
        let named: BTreeSet<Id> =
            manifests.iter().map(|manifest| manifest.vault.snapshot.parse().unwrap()).collect();
        let listed = vault.store().list(&vault.layout().snapshots()).unwrap();
        let listed: BTreeSet<Id> = ids_of(&listed).map(|(id, _)| id).collect();
        assert_eq!(listed, named, "{}: snapshots of the vault", self.name);
        let index = vault.load_index().unwrap();
        let is_new = |manifest: &&SnapshotManifest| !self.led_to.contains_key(&manifest.id);
        let new: Vec<&SnapshotManifest> = manifests.iter().filter(is_new).collect();
        for manifest in new {
            let root = vault.snapshot(&manifest.vault.snapshot.parse().unwrap()).unwrap().tree;
            let mut reached = Reached::default();
            vault.reach(&index, root, &mut reached, &mut |_, _| Ok(())).unwrap();
            assert!(reached.missing_from(&index).is_none(), "{}: {}", self.name, manifest.id);
            self.led_to.insert(manifest.id.clone(), reached);
        }
    }

    /// Every pack that is stored; none is there that the index does not know.
    #[track_caller]
    fn packs(&self, vault: &Vault, now: Timestamp) -> Packs {
        let mut strange = vault.list_packs().unwrap();
        let stored: BTreeSet<Id> = strange.keys().copied().collect();
        let mut packs = Packs { in_use: Vec::new(), waiting: Vec::new() };
        let files = vault.store().list(&vault.layout().indexes()).unwrap();
        for (id, _) in ids_of(&files) {
            let file = vault.index_file(&id).unwrap();
            packs.in_use.extend(file.packs);
            packs.waiting.extend(file.packs_to_delete);
        }
        packs.waiting.retain(|pack| stored.contains(&pack.id));
        for pack in packs.in_use.iter().chain(&packs.waiting) {
            strange.remove(&pack.id);
        }
        assert!(strange.is_empty(), "{} {now}: packs of nobody: {strange:?}", self.name);
        packs
    }

    /// Everything in use leads from a kept point.
    #[track_caller]
    fn check_in_use(&self, packs: &Packs, kept: &[&Taken], now: Timestamp) {
        let is_dead = |blob: &&PackedBlob| !kept.iter().any(|own| leads(&self.led_to, own, blob));
        for pack in &packs.in_use {
            let dead = pack.blobs.iter().find(is_dead);
            assert!(dead.is_none(), "{} {now}: in use for nobody: {dead:?}", self.name);
        }
    }

    /// What waits for its deletion leads from one of `lately`, whose time was over less than 48
    /// hours ago; or it is locked, and was told.
    #[track_caller]
    fn check_erasure(
        &self,
        vault: &Vault,
        packs: &Packs,
        lately: &[&Taken],
        told: &Pruned,
        now: Timestamp,
    ) {
        let is_dead = |blob: &&PackedBlob| !lately.iter().any(|own| leads(&self.led_to, own, blob));
        let mut locked: BTreeMap<Id, Timestamp> = BTreeMap::new();
        for pack in &packs.waiting {
            let key = vault.layout().pack(&pack.id);
            let until = vault.store().retained_until(&key).unwrap().filter(|until| *until > now);
            // What left the index tonight is to be deleted tomorrow.
            let is_tried = pack.time.is_some_and(|marked_at| marked_at < now - TRIED_AFTER);
            locked.extend(until.filter(|_| is_tried).map(|until| (pack.id, until)));
            let dead = pack.blobs.iter().find(is_dead);
            let is_kept = dead.is_none() || locked.contains_key(&pack.id);
            assert!(is_kept, "{} {now}: after 48 hours: {dead:?}", self.name);
        }
        let last = locked.values().max().copied();
        let found = (locked.len() as u64, 0, last);
        let told = (told.packs_locked, told.snapshots_locked, told.locked_until);
        assert_eq!(told, found, "{} {now}: what locks keep", self.name);
    }

    /// No segment is there that no point needs, nor, for long, in two forms.
    #[track_caller]
    fn check_log(&self, inventory: &WalInventory, kept: &[&Taken], now: Timestamp) {
        assert!(inventory.others.is_empty() && inventory.histories.is_empty(), "{inventory:?}");
        let bytes = inventory.segment_size.bytes();
        let number = |lsn: Lsn| lsn.0 / bytes;
        let oldest = kept.first().map_or(0, |taken| number(taken.start));
        let is_of_point = |object: &WalObject| {
            let within = |taken: &&Taken| {
                (number(taken.start)..=number(Lsn(taken.stop.0 - 1))).contains(&object.segment)
            };
            kept.iter().any(within)
        };
        for object in &inventory.objects {
            let needed = match self.log {
                Log::All => object.segment >= oldest || object.stored_at > now - DAILY,
                Log::EachPoint => is_of_point(object),
            };
            assert!(needed, "{} {now}: {} is needed by no point", self.name, object.key);
            let first = &inventory.segment(object.timeline, object.segment)[0];
            let is_twice = object.extent != Extent::Whole && first.extent == Extent::Whole;
            let is_old = now.duration_since(first.stored_at) >= ERASURE;
            assert!(!(is_twice && is_old), "{} {now}: {} is there twice", self.name, object.key);
        }
    }
}
