//! Object Lock, night after night: what is kept is locked for as long as it is known to be needed,
//! nothing went before its lock had ended, and no lock outlives the time of what it keeps.

use std::collections::{BTreeMap, BTreeSet};

use fenice::engines::postgres::vaults::FIRST_EPOCH;
use fenice::model::{Extent, Lsn, ResourceName, WalInventory};
use fenice::repository::manifest::SnapshotManifest;
use fenice::repository::vault::index::IndexPack;
use fenice::repository::vault::pack::PackedBlob;
use fenice::repository::vault::reach::Reached;
use fenice::repository::vault::{Id, Vault};
use fenice::repository::{layout, secrets};
use jiff::{SignedDuration, Timestamp};

use super::inspect::{Packs, leads};
use super::promise::{ALL, DAILY, Leaving};

/// What ends so soon after a night need not be locked any more.
const SOON: SignedDuration = SignedDuration::from_mins(30);

/// Every object with the end of its lock.
type Ends = BTreeMap<String, Option<Timestamp>>;

/// The locks of one repository, as they were when it was last looked at.
#[derive(Default)]
pub struct Locks {
    ends: Ends,
    /// Packs that waited for their deletion.
    waiting: BTreeSet<String>,
}

/// One repository after a night.
pub struct Night<'n> {
    pub name: &'static str,
    pub now: Timestamp,
    pub resource: &'n ResourceName,
    pub vault: &'n Vault,
    pub packs: &'n Packs,
    pub manifests: &'n [SnapshotManifest],
    pub inventory: &'n WalInventory,
    /// Every snapshot that was ever here, oldest first.
    pub leaving: &'n [Leaving<'n>],
    pub led_to: &'n BTreeMap<String, Reached>,
}

impl Locks {
    #[track_caller]
    pub fn look(&mut self, night: &Night<'_>) {
        let ends = night.ends();
        self.check_since(night, &ends);
        night.check_points(&ends);
        night.check_packs(&ends);
        night.check_log(&ends);
        night.check_rest(&ends);
        let key = |pack: &IndexPack| night.vault.layout().pack(&pack.id);
        self.waiting = night.packs.waiting.iter().map(key).collect();
        self.ends = ends;
    }

    /// What is gone was not locked any more. No lock became shorter, nor one longer of what waited
    /// for its deletion already.
    #[track_caller]
    fn check_since(&self, night: &Night<'_>, ends: &Ends) {
        let (name, now) = (night.name, night.now);
        for (key, before) in &self.ends {
            let told = format!("{name} {now}: {key} was locked until {before:?}");
            match ends.get(key) {
                None => assert!(*before <= Some(now), "{told}, and is gone"),
                Some(until) if self.waiting.contains(key) => assert_eq!(until, before, "{told}"),
                Some(until) => assert!(until >= before, "{told}, now until {until:?}"),
            }
        }
    }
}

impl<'n> Night<'n> {
    fn ends(&self) -> Ends {
        let store = self.vault.store();
        let end = |key: String| {
            let until = store.retained_until(&key).unwrap();
            (key, until)
        };
        store.list("").unwrap().into_iter().map(|entry| end(entry.key)).collect()
    }

    fn kept(&self) -> Vec<Leaving<'n>> {
        let kept = self.leaving.iter().filter(|(_, over_at)| *over_at > self.now);
        kept.copied().collect()
    }

    /// Until when a snapshot is surely needed: of the newest one, what takes its place is still to
    /// come, and its lock grows with that.
    fn least(&self, (own, over_at): Leaving<'_>) -> Timestamp {
        let newest = self.leaving.last().map(|(newest, _)| newest.id.as_str());
        match newest == Some(own.id.as_str()) {
            true => over_at.min(own.ended_at + DAILY),
            false => over_at,
        }
    }

    /// Manifest and snapshot of each point: as long as the promise, and no longer.
    #[track_caller]
    fn check_points(&self, ends: &Ends) {
        for (own, over_at) in self.kept() {
            let manifest = self.manifests.iter().find(|manifest| manifest.id == own.id).unwrap();
            let snapshot: Id = manifest.vault.snapshot.parse().unwrap();
            let owed = self.least((own, over_at)).max(self.now)..=over_at;
            let keys =
                [layout::snapshot(self.resource, &own.id), self.vault.layout().snapshot(&snapshot)];
            for key in keys {
                let until = ends[&key];
                let is_owed = until.is_some_and(|until| owed.contains(&until));
                assert!(is_owed, "{} {}: {key} until {until:?}, {owed:?}", self.name, self.now);
            }
        }
    }

    /// A pack stays as long as any of its snapshots needs it; but whatever is in it can go sixty
    /// days after the last one that led to it.
    #[track_caller]
    fn check_packs(&self, ends: &Ends) {
        let (name, now, kept) = (self.name, self.now, self.kept());
        let end = |pack: &IndexPack| ends[&self.vault.layout().pack(&pack.id)];
        for pack in self.packs.in_use.iter().chain(&self.packs.waiting) {
            let (until, horizon) = (end(pack), self.horizon(pack, self.leaving));
            assert!(until <= horizon, "{name} {now}: {} {until:?}, not {horizon:?}", pack.id);
        }
        for pack in &self.packs.in_use {
            let leads_here = |(own, _): &&Leaving<'_>| {
                pack.blobs.iter().any(|blob| leads(self.led_to, own, blob))
            };
            let asked = kept.iter().filter(leads_here).map(|one| self.least(*one)).max();
            let (until, owed) = (end(pack), asked.min(self.horizon(pack, &kept)));
            let is_owed = owed > Some(now + SOON);
            assert!(!is_owed || until >= owed, "{name} {now}: {} {until:?}, {owed:?}", pack.id);
        }
    }

    /// When the first of what is in a pack is sixty days old, each dated by the last of `from` that
    /// leads to it; none if nobody leads to some of it.
    fn horizon(&self, pack: &IndexPack, from: &[Leaving<'_>]) -> Option<Timestamp> {
        let of_blob = |blob: &PackedBlob| {
            let last = from.iter().rev().find(|(own, _)| leads(self.led_to, own, blob));
            last.map(|(own, _)| own.ended_at + ALL)
        };
        pack.blobs.iter().map(of_blob).min().flatten()
    }

    /// Whole segments: while they are within the window, and as long as a point needs them.
    #[track_caller]
    fn check_log(&self, ends: &Ends) {
        let bytes = self.inventory.segment_size.bytes();
        let number = |lsn: Lsn| lsn.0 / bytes;
        let kept = self.kept();
        for object in &self.inventory.objects {
            let until = ends[&object.key];
            let told = format!("{} {}: {} until {until:?}", self.name, self.now, object.key);
            if object.extent != Extent::Whole {
                assert_eq!(until, None, "{told}");
                continue;
            }
            let is_within = |(own, _): &&Leaving<'_>| {
                (number(own.start)..=number(Lsn(own.stop.0 - 1))).contains(&object.segment)
            };
            let points: Vec<&Leaving<'_>> = kept.iter().filter(is_within).collect();
            let needed = points.iter().map(|one| self.least(**one));
            let owed = needed.fold(object.stored_at + DAILY, Timestamp::max);
            let horizons = points.iter().map(|(own, _)| own.ended_at + ALL);
            let horizon = horizons.fold(object.stored_at + ALL, Timestamp::max);
            let is_owed = owed > self.now + SOON;
            assert!(!is_owed || until >= Some(owed), "{told}, owed until {owed}");
            assert!(until <= Some(horizon), "{told}, not beyond {horizon}");
        }
    }

    /// What opens and explains everything else is locked as long as that; nothing beyond the
    /// horizon of the newest.
    #[track_caller]
    fn check_rest(&self, ends: &Ends) {
        let (store, layout_here) = (self.vault.store(), self.vault.layout());
        let password = layout::secret(&secrets::vault_password(self.resource, FIRST_EPOCH));
        let mut openers = vec![layout::FORMAT.to_owned(), layout_here.config(), password];
        for prefix in [layout_here.keys(), layout::clusters(self.resource)] {
            let listed = store.list(&prefix).unwrap();
            assert!(!listed.is_empty(), "{prefix}");
            openers.extend(listed.into_iter().map(|entry| entry.key));
        }
        let latest = self.kept().into_iter().map(|one| self.least(one)).max();
        for key in openers {
            assert!(ends[&key] >= latest, "{} {}: {key} {:?}", self.name, self.now, ends[&key]);
        }
        let horizon = self.leaving.last().map(|(newest, _)| newest.ended_at + ALL);
        for (key, until) in ends {
            assert!(*until <= horizon, "{} {}: {key} {until:?}", self.name, self.now);
        }
    }
}
