//! What must be true of a repository after each night: the points that are kept, that they are
//! whole, and that nothing outlives them.

use std::collections::{BTreeMap, BTreeSet};

use fenice::engines::postgres::vaults;
use fenice::model::{Extent, Lsn, WalInventory, WalObject};
use fenice::ports::Clock;
use fenice::repository::Repository;
use fenice::repository::manifest::{self, SnapshotManifest};
use fenice::repository::vault::layout::ids_of;
use fenice::repository::vault::pack::PackedBlob;
use fenice::repository::vault::reach::Reached;
use fenice::repository::vault::{Id, Vault};
use jiff::Timestamp;

use super::promise::{self, ALL, DAILY, ERASURE, Leaving, Taken};
use super::site::Site;

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
}

impl Inspector {
    pub fn new(name: &'static str, repository: &Repository, log: Log) -> Inspector {
        let (repository, led_to) = (repository.clone(), BTreeMap::new());
        Inspector { name, repository, log, vault: None, led_to }
    }

    /// Everything, just after retention. `leaving` is what the promise says of each snapshot.
    #[track_caller]
    pub fn look(&mut self, site: &Site, leaving: &[Leaving<'_>]) {
        let now = site.clock.now();
        let kept = promise::kept(leaving, now);
        let manifests = manifest::snapshots(&self.repository, &site.resource).unwrap();
        self.check_points(&kept, &manifests, now);
        if self.vault.is_none() {
            self.vault = vaults::open_if_there(&self.repository, &site.resource, 1).unwrap();
        }
        if let Some(vault) = self.vault.clone() {
            self.check_vault(&vault, &manifests);
            self.check_erasure(&vault, &kept, leaving, now);
        }
        let inventory = site.archive(&self.repository).inventory().unwrap();
        self.check_log(&inventory, &kept, now);
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

    /// What is in use leads from a kept point; what waits for its deletion, from one whose time was
    /// over less than 48 hours ago; there is nothing else.
    #[track_caller]
    fn check_erasure(
        &self,
        vault: &Vault,
        kept: &[&Taken],
        leaving: &[Leaving<'_>],
        now: Timestamp,
    ) {
        let leads = |from: &[&Taken], blob: &PackedBlob| {
            let mut reached = from.iter().map(|taken| &self.led_to[&taken.id]);
            reached.any(|reached| reached.of_type(blob.blob_type).contains(&blob.id))
        };
        let lately = promise::kept(leaving, now - ERASURE);
        let stored = vault.list_packs().unwrap();
        let mut known = BTreeSet::new();
        let files = vault.store().list(&vault.layout().indexes()).unwrap();
        for (id, _) in ids_of(&files) {
            let file = vault.index_file(&id).unwrap();
            for pack in &file.packs {
                let dead = pack.blobs.iter().find(|blob| !leads(kept, blob));
                assert!(dead.is_none(), "{} {now}: in use for nobody: {dead:?}", self.name);
                known.insert(pack.id);
            }
            for pack in file.packs_to_delete.iter().filter(|pack| stored.contains_key(&pack.id)) {
                let dead = pack.blobs.iter().find(|blob| !leads(&lately, blob));
                assert!(dead.is_none(), "{} {now}: after 48 hours: {dead:?}", self.name);
                known.insert(pack.id);
            }
        }
        let strange: Vec<&Id> = stored.keys().filter(|id| !known.contains(*id)).collect();
        assert!(strange.is_empty(), "{} {now}: packs of nobody: {strange:?}", self.name);
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
