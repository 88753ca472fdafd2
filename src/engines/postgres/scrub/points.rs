//! What can be recovered in spite of damage, and what cannot.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::{Extent, WalInventory};
use crate::plan::facts::{RecoveryFacts, Request, SnapshotFact, Target};
use crate::plan::scrub::lost_spans;
use crate::plan::windows::{Window, windows};
use crate::ports::store::Entry;
use crate::repository::generation;
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::vault::layout::Part;
use crate::repository::vault::mend::{Losses, Survey};
use crate::repository::vault::{Id, Vault};
use crate::repository::wal::WalArchive;

use super::super::restore::facts::snapshot_fact;
use super::super::restore::recover::checked_plan;
use super::super::vaults;
use super::stored::{Stored, What};
use super::{Damage, Scrub};

/// A snapshot that nothing can be recovered from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affected {
    pub snapshot: String,
    pub because: String,
}

/// What is left.
#[derive(Default)]
pub(super) struct Points {
    pub affected: Vec<Affected>,
    /// Ids of the snapshots that can be recovered from.
    pub sound: Vec<String>,
    pub lost_instants: Vec<(Timestamp, Timestamp)>,
    /// Damage of the vault that reading single objects does not show.
    pub damage: Vec<Damage>,
}

/// The vaults that snapshots lie in, by epoch.
struct Files(BTreeMap<u32, VaultFiles>);

/// One vault, or why it cannot be opened. What another one has lost says nothing about this.
struct VaultFiles {
    opened: std::result::Result<(Vault, Survey), String>,
    losses: Losses,
}

impl Scrub {
    /// Looks at every snapshot, and at the instants between them.
    pub(super) fn points(&self, damage: &[Damage], now: Timestamp) -> Result<Points> {
        self.progress.enter("finding what can be recovered");
        let stored = self.list()?;
        let bad: BTreeSet<&str> = damage.iter().map(|one| one.key.as_str()).collect();
        let mut files = self.files(&stored, &bad)?;
        let mut points = Points { damage: files.damage(), ..Points::default() };
        let (mut all, mut whole): (Vec<SnapshotFact>, Vec<SnapshotManifest>) = Default::default();
        let known = stored.keys();
        let record = generation::newest(self.repository.store.as_ref())?;
        for key in known.union(&bad) {
            let What::Snapshot(id) = stored.what(key) else { continue };
            let flaw = match manifest::read::<SnapshotManifest>(&self.repository, key) {
                Err(error) => Some(error.chain()),
                Ok(manifest) if record.as_ref().is_some_and(|r| !r.counts(&manifest)) => continue,
                Ok(manifest) => {
                    all.push(snapshot_fact(&manifest));
                    let flaw = files.flaw(&manifest).or_else(|| {
                        let is_known = stored.archives.contains_key(&manifest.cluster.system_id);
                        (!is_known).then(|| "the record of its cluster is lost".to_owned())
                    });
                    if flaw.is_none() {
                        whole.push(manifest);
                    }
                    flaw
                }
            };
            if let Some(because) = flaw {
                points.affected.push(Affected { snapshot: id.to_owned(), because });
            }
        }
        for archive in stored.archives.values() {
            self.log_points(archive, &stored, &bad, (&all, &whole), now, &mut points)?;
        }
        points.affected.sort_by(|a, b| a.snapshot.cmp(&b.snapshot));
        points.sound.sort();
        Ok(points)
    }

    /// What the log of one cluster allows, of all of its snapshots and of those that are whole.
    fn log_points(
        &self,
        archive: &WalArchive,
        stored: &Stored,
        bad: &BTreeSet<&str>,
        (all, whole): (&[SnapshotFact], &[SnapshotManifest]),
        now: Timestamp,
        points: &mut Points,
    ) -> Result<()> {
        let missing: BTreeSet<&str> = bad.difference(&stored.keys()).copied().collect();
        let histories = histories_in(bad, stored);
        let listed = stored.inventory(archive, &histories, true)?;
        let after = readable_log(&listed, bad);
        let of = |fact: &&SnapshotFact| fact.system_id == archive.system_id;
        let mut usable = facts(Vec::new(), after.clone());
        for manifest in whole.iter().filter(|m| m.cluster.system_id == archive.system_id) {
            let alone = facts(vec![snapshot_fact(manifest)], listed.clone());
            let request = Request {
                target: Target::Consistent { snapshot: manifest.id.clone() },
                timeline: Some(manifest.timeline),
                allow_damaged: true,
            };
            let flaw = match checked_plan(&alone, &request, now) {
                Ok(plan) => {
                    let mut read = plan.segments.iter().flat_map(|segment| &segment.objects);
                    let lost = read.find(|object| bad.contains(object.key.as_str()));
                    lost.map(|object| format!("its log in {} is damaged", object.key))
                }
                Err(error) => Some(error.chain()),
            };
            // One that is there and cannot be read stops every recovery: it may say where to go.
            let unread = histories.difference(&missing).next();
            let flaw = flaw.or_else(|| unread.map(|key| format!("{key} cannot be read")));
            let snapshot = manifest.id.clone();
            match flaw {
                None => {
                    usable.snapshots.push(snapshot_fact(manifest));
                    points.sound.push(snapshot);
                }
                Some(because) => points.affected.push(Affected { snapshot, because }),
            }
        }
        let before = with_lost(archive, listed, stored, &missing, now)?;
        let before = facts(all.iter().filter(of).cloned().collect(), before);
        points.lost_instants.extend(lost_spans(&reach(&before), &reach(&usable)));
        Ok(())
    }

    fn files(&self, stored: &Stored, bad: &BTreeSet<&str>) -> Result<Files> {
        let files = stored.epochs.iter().map(|epoch| {
            let files = self.files_of(*epoch, stored, bad);
            files.map(|files| (*epoch, files))
        });
        files.collect::<Result<BTreeMap<_, _>>>().map(Files)
    }

    fn files_of(&self, epoch: u32, stored: &Stored, bad: &BTreeSet<&str>) -> Result<VaultFiles> {
        let mut losses = Losses::default();
        let opened = match vaults::open(&self.repository, &self.resource, epoch) {
            Err(error) => Err(error.chain()),
            Ok(vault) => {
                let survey = vault.survey()?;
                for key in bad {
                    let What::Vault { epoch: of, part: Part::Pack(id) } = stored.what(key) else {
                        continue;
                    };
                    let Some(pack) = survey.packs.get(&id).filter(|_| of == epoch) else {
                        continue;
                    };
                    if let Some((_, lost)) = vault.examine_pack(pack)? {
                        losses.blobs.extend(lost);
                    }
                }
                Ok((vault, survey))
            }
        };
        Ok(VaultFiles { opened, losses })
    }
}

impl Files {
    /// What is wrong with the vaults themselves.
    fn damage(&self) -> Vec<Damage> {
        self.0.values().flat_map(VaultFiles::damage).collect()
    }

    /// Why a snapshot's files cannot be had, if so.
    fn flaw(&mut self, of: &SnapshotManifest) -> Option<String> {
        let epoch = of.vault.epoch;
        match self.0.get_mut(&epoch) {
            Some(files) => files.flaw(of),
            None => Some(format!("the vault of epoch {epoch}, in which it lies, is not there")),
        }
    }
}

impl VaultFiles {
    /// Packs that the index names and that are not there in full, and unreadable index files.
    fn damage(&self) -> Vec<Damage> {
        let Ok((vault, survey)) = &self.opened else { return Vec::new() };
        let index_files = survey.bad_index_files.iter();
        let index_files =
            index_files.map(|(id, problem)| Damage::new(vault.layout().index(id), problem));
        let packs = survey.index.lost_packs().map(|pack| {
            let problem = match pack.stored_bytes {
                None => "the index names it, and it is not there".to_owned(),
                Some(bytes) => format!("it has {bytes} bytes, the index says {}", pack.bytes),
            };
            Damage::new(vault.layout().pack(&pack.id), problem)
        });
        index_files.chain(packs).collect()
    }

    fn flaw(&mut self, of: &SnapshotManifest) -> Option<String> {
        match (&self.opened, of.vault.snapshot.parse::<Id>()) {
            (Err(error), _) => Some(error.clone()),
            (Ok(_), Err(error)) => Some(error.chain()),
            (Ok((vault, survey)), Ok(id)) => vault.flaw(&survey.index, &mut self.losses, &id),
        }
    }
}

/// The log counts as reaching to when its last object was stored: the same with and without damage
/// before it.
fn facts(snapshots: Vec<SnapshotFact>, wal: WalInventory) -> RecoveryFacts {
    let log_stored_until = wal.objects.last().map(|last| last.stored_at);
    RecoveryFacts { snapshots, wal, log_stored_until, speeds: None }
}

/// Where the way to the newest timeline is not known, nothing is reached.
fn reach(facts: &RecoveryFacts) -> Vec<Window> {
    windows(facts).map(|reach| reach.windows).unwrap_or_default()
}

/// Histories and labels among what is damaged or missing.
fn histories_in<'k>(bad: &BTreeSet<&'k str>, stored: &Stored) -> BTreeSet<&'k str> {
    let is_one = |key: &&&str| matches!(stored.what(key), What::Log { exact_bytes: None, .. });
    bad.iter().filter(is_one).copied().collect()
}

/// The log of segments that a recovery can read: it takes the whole one, or else every part, and a
/// damaged one among those stops it.
fn readable_log(listed: &WalInventory, bad: &BTreeSet<&str>) -> WalInventory {
    let mut log = listed.clone();
    log.objects.retain(|object| {
        let segment = listed.segment(object.timeline, object.segment);
        let whole = segment.first().filter(|first| first.extent == Extent::Whole);
        match whole {
            Some(whole) => !bad.contains(whole.key.as_str()),
            None => !segment.iter().any(|part| bad.contains(part.key.as_str())),
        }
    });
    log
}

/// The log with what is missing of it.
fn with_lost(
    archive: &WalArchive,
    left: WalInventory,
    stored: &Stored,
    missing: &BTreeSet<&str>,
    now: Timestamp,
) -> Result<WalInventory> {
    let is_log = |key: &&&str| match stored.what(key) {
        What::Log { system_id, exact_bytes, .. } => {
            system_id == archive.system_id && exact_bytes.is_some()
        }
        _ => false,
    };
    let entry = |key: &&str| Entry { key: (*key).to_owned(), bytes: 0, stored_at: now };
    let lost: Vec<Entry> = missing.iter().filter(is_log).map(entry).collect();
    let mut objects = archive.inventory_of(&lost)?.objects;
    objects.extend(left.objects);
    objects.sort_by_key(|object| (object.timeline, object.segment, object.extent));
    Ok(WalInventory { objects, ..left })
}
