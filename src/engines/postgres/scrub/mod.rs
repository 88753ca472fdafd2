//! Verification: what is stored is read again and compared with what was stored; damage is named,
//! with the recovery points it concerns, and put right from the other repository where that has
//! what is missing (DESIGN.md section 5, Verify; RULES 20).
//!
//! `stored` says what each object is, `examine` reads one, `missing` finds what only the other
//! repository has, `points` tells what can still be recovered, `heal` puts right. Deliberately
//! absent: any change without being told to heal.

mod examine;
mod heal;
mod missing;
mod points;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::catalog::soundness::Sound;
use crate::config::Replicate;
use crate::engines::progress::Progress;
use crate::error::Result;
use crate::model::{ResourceName, Span};
use crate::plan::retention::Terms;
use crate::plan::scrub::{Known, Looked, to_read, verified};
use crate::ports::store::Entry;
use crate::ports::{Clock, Entropy};
use crate::repository::pin::{self, PinFile};
use crate::repository::vault::WriteSettings;
use crate::repository::{Repository, at_once, layout};

use examine::Finding;
pub use points::Affected;
use points::Points;
use stored::Stored;

/// Objects read between two notes in the catalog: what a killed run has to read again.
const BATCH: usize = 256;
/// Damaged objects that are remembered by name until the next run.
const FINDINGS: usize = 20;

/// What verification of one resource in one repository works with.
pub struct Scrub {
    pub repository: Repository,
    /// The other repository that holds the resource, if there is one.
    pub other: Option<Repository>,
    pub resource: ResourceName,
    /// What was promised for this repository; its role says which of the two it is.
    pub terms: Terms,
    pub replicate: Replicate,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub progress: Arc<Progress>,
    pub workers: usize,
    pub write: WriteSettings,
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// Reads everything, not only what is new or has its turn.
    pub all: bool,
    /// Puts right what can be.
    pub heal: bool,
    /// So long may an object stay unread.
    pub within: Span,
}

/// An object that is not as it was stored, or not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    pub key: String,
    pub problem: String,
    /// Whether it was put right.
    pub healed: bool,
    /// Why it was not, if that was tried.
    pub unhealed_because: Option<String>,
}

/// What a run found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScrubRun {
    pub at: Timestamp,
    pub objects: u64,
    pub bytes: u64,
    pub read_objects: u64,
    pub read_bytes: u64,
    /// Everything was read and found sound since then; `None` if something never was.
    pub all_sound_since: Option<Timestamp>,
    /// Objects that could not be read at all, with the reason: nothing is known of them.
    pub unread: Vec<(String, String)>,
    pub damage: Vec<Damage>,
    /// Recovery points that damage, healed or not, leaves unusable now.
    pub affected: Vec<Affected>,
    /// The snapshots that can be recovered from.
    pub sound: Vec<String>,
    /// Of these, those that healing made so.
    pub recovered: Vec<String>,
    /// Spans of instants that could be recovered to if nothing were damaged.
    pub lost_instants: Vec<(Timestamp, Timestamp)>,
}

/// What reading and looking around gave.
#[derive(Default)]
struct Found {
    read_objects: u64,
    read_bytes: u64,
    unread: Vec<(String, String)>,
    damage: Vec<Damage>,
    points: Points,
}

impl ScrubRun {
    /// What is wrong and was not put right, each with the reason: snapshots that are lost, and the
    /// first damaged objects.
    fn findings(&self) -> Vec<(String, String)> {
        let lost = self.affected.iter().map(|affected| {
            let what = format!("snapshot {} cannot be recovered from", affected.snapshot);
            (what, affected.because.clone())
        });
        let damage = self.damage.iter().filter(|one| !one.healed).take(FINDINGS);
        let damage = damage.map(|one| (format!("{} is damaged", one.key), one.problem.clone()));
        lost.chain(damage).collect()
    }

    /// Whether all that is stored is as it should be, as far as it was read.
    pub fn is_well(&self) -> bool {
        let healed = self.damage.iter().all(|damage| damage.healed);
        healed
            && self.unread.is_empty()
            && self.affected.is_empty()
            && self.lost_instants.is_empty()
    }
}

impl Scrub {
    /// Verifies, and heals if told so.
    ///
    /// # Errors
    /// The repository cannot be listed. That a snapshot, a copy or retention is at work, so that
    /// nothing can be healed, is told with the damage.
    pub fn run(&self, catalog: &Catalog, order: &Order) -> Result<ScrubRun> {
        let now = self.clock.now();
        // Keeps retention from removing what is being read.
        let _pin = self.pin(now)?;
        // Listed first: whatever these need is in the listing that follows.
        let committed = self.committed()?;
        let stored = self.list()?;
        let mut found = self.find(&stored, catalog, order, now)?;
        let mut recovered = Vec::new();
        if order.heal && !(found.damage.is_empty() && found.points.affected.is_empty()) {
            self.progress.enter("healing");
            recovered = self.put_right(&mut found, order, now)?;
            // What was put in the place of something else is not locked yet.
            let (id, all) = (&self.repository.id, Timestamp::MAX);
            catalog.forget_retained_before(id, &self.resource, all)?;
        }
        let sound = catalog.sound_objects(&self.repository.id, &self.resource)?;
        let verified = self.verified(&committed, &stored, &sound, &found, &recovered);
        let run = ScrubRun {
            at: now,
            objects: stored.entries.len() as u64,
            bytes: stored.entries.iter().map(|entry| entry.bytes).sum(),
            read_objects: found.read_objects,
            read_bytes: found.read_bytes,
            all_sound_since: self.all_sound_since(&sound)?,
            unread: found.unread,
            damage: found.damage,
            affected: found.points.affected,
            sound: found.points.sound,
            recovered,
            lost_instants: found.points.lost_instants,
        };
        catalog.note_verified(&self.repository.id, &self.resource, &verified)?;
        catalog.note_findings(&self.repository.id, &self.resource, &run.findings())?;
        Ok(run)
    }

    fn find(
        &self,
        stored: &Stored,
        catalog: &Catalog,
        order: &Order,
        now: Timestamp,
    ) -> Result<Found> {
        let mut found = self.read_due(stored, catalog, order, now)?;
        found.damage.extend(self.missing(stored, order, now)?);
        found.points = self.points(&found.damage, now)?;
        for one in found.points.damage.drain(..) {
            if !names(&found.damage, &one.key) {
                found.damage.push(one);
            }
        }
        Ok(found)
    }

    /// Heals; returns the ids of snapshots that can be recovered from again.
    fn put_right(&self, found: &mut Found, order: &Order, now: Timestamp) -> Result<Vec<String>> {
        let (repository, entropy) = (&self.repository, self.entropy.as_ref());
        let lock = match super::vaults::write(repository, &self.resource, now, entropy) {
            Ok(lock) => lock,
            Err(error) => {
                found.damage.iter_mut().for_each(|one| one.not_healed(&error));
                return Ok(Vec::new());
            }
        };
        // Retention may have removed some of it before the lock was ours.
        let (stored, missing) = (self.list()?, self.missing(&self.list()?, order, now)?);
        let (there, lost) = (stored.keys(), self.points(&found.damage, now)?.damage);
        found.damage.retain(|one| {
            there.contains(one.key.as_str()) || names(&missing, &one.key) || names(&lost, &one.key)
        });
        let before = std::mem::take(&mut found.points.affected);
        self.heal(&mut found.damage, &before, &lock);
        self.look_again(&mut found.damage, order, now)?;
        let left: Vec<Damage> = found.damage.iter().filter(|d| !d.healed).cloned().collect();
        found.points = self.points(&left, now)?;
        let ids = before.into_iter().map(|affected| affected.snapshot);
        Ok(ids.filter(|id| found.points.sound.contains(id)).collect())
    }

    fn pin(&self, now: Timestamp) -> Result<pin::OwnPin> {
        let id = format!("verify-{}-{}", layout::instant(now), std::process::id());
        // No snapshot has this name: it pins nothing but the vault and the log as they are.
        let (resource, snapshot) = (self.resource.clone(), "verification".to_owned());
        pin::put(&self.repository, &id, &PinFile::reader(resource, snapshot))
    }

    /// Reads what is due.
    fn read_due(
        &self,
        stored: &Stored,
        catalog: &Catalog,
        order: &Order,
        now: Timestamp,
    ) -> Result<Found> {
        self.progress.enter("reading what is stored");
        let known = catalog.sound_objects(&self.repository.id, &self.resource)?;
        let due: Vec<&Entry> = match order.all {
            true => stored.entries.iter().collect(),
            false => {
                let objects: Vec<Known> =
                    stored.entries.iter().map(|entry| stored.known(entry, &known)).collect();
                let due = to_read(&objects, order.within, now).into_iter();
                due.map(|at| &stored.entries[at]).collect()
            }
        };
        let read_bytes = due.iter().map(|entry| entry.bytes).sum();
        self.progress.expect(read_bytes);
        let read_objects = due.len() as u64;
        let mut found = Found { read_objects, read_bytes, ..Found::default() };
        for batch in due.chunks(BATCH) {
            self.progress.checked()?;
            let findings = self.examine_all(stored, batch);
            self.note(catalog, batch, &findings, now)?;
            for (key, finding) in findings {
                match finding {
                    Finding::Damaged(problem) => found.damage.push(Damage::new(key, problem)),
                    Finding::Unread(reason) => found.unread.push((key, reason)),
                    // Removed since it was listed.
                    Finding::Gone => {}
                }
            }
        }
        self.forget_gone(catalog, stored, &known)?;
        Ok(found)
    }

    /// Reads some objects with several threads. What is sound is not in the result.
    fn examine_all(&self, stored: &Stored, batch: &[&Entry]) -> Vec<(String, Finding)> {
        let examined = at_once::each(self.workers, batch, |entry| {
            let finding = self.examine(stored, entry);
            self.progress.add(entry.bytes);
            finding.map(|finding| (entry.key.clone(), finding))
        });
        let mut found: Vec<(String, Finding)> = examined.into_iter().flatten().collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    fn note(
        &self,
        catalog: &Catalog,
        batch: &[&Entry],
        found: &[(String, Finding)],
        now: Timestamp,
    ) -> Result<()> {
        let mut sound = Vec::new();
        for entry in batch.iter().filter(|entry| !found.iter().any(|(key, _)| *key == entry.key)) {
            let (key, bytes) = (entry.key.clone(), entry.bytes);
            sound.push(Sound { key, bytes, stored_at: entry.stored_at, at: now });
        }
        catalog.note_sound(&self.repository.id, &self.resource, &sound)?;
        let keys: Vec<String> = found.iter().map(|(key, _)| key.clone()).collect();
        catalog.forget_sound(&self.repository.id, &self.resource, &keys)
    }

    fn forget_gone(
        &self,
        catalog: &Catalog,
        stored: &Stored,
        known: &BTreeMap<String, Sound>,
    ) -> Result<()> {
        let there = stored.keys();
        let gone: Vec<String> =
            known.keys().filter(|key| !there.contains(key.as_str())).cloned().collect();
        catalog.forget_sound(&self.repository.id, &self.resource, &gone)
    }

    /// Whether each damaged object is sound by now. One that is gone is put right if what replaces
    /// it is told by the recovery points; what was missing must be there.
    fn look_again(&self, damage: &mut [Damage], order: &Order, now: Timestamp) -> Result<()> {
        let stored = self.list()?;
        let there: BTreeMap<&str, &Entry> =
            stored.entries.iter().map(|entry| (entry.key.as_str(), entry)).collect();
        let missing = self.missing(&stored, order, now)?;
        for one in damage.iter_mut() {
            one.healed = match there.get(one.key.as_str()) {
                Some(entry) => self.examine(&stored, entry).is_none(),
                None => {
                    let whole = one.unhealed_because.is_none();
                    whole && stored.is_replaceable(&one.key) && !names(&missing, &one.key)
                }
            };
            if one.healed {
                one.unhealed_because = None;
            }
        }
        Ok(())
    }

    fn all_sound_since(&self, sound: &BTreeMap<String, Sound>) -> Result<Option<Timestamp>> {
        let stored = self.list()?;
        let at = stored.entries.iter().map(|entry| stored.known(entry, sound).sound_at);
        Ok(at.min().flatten())
    }

    /// Ids of the snapshots whose manifests are there.
    fn committed(&self) -> Result<BTreeSet<String>> {
        let listed = self.repository.store.list(&layout::snapshots(&self.resource))?;
        let ids = listed.iter().filter_map(|entry| layout::manifest_id(&entry.key).ok());
        Ok(ids.map(str::to_owned).collect())
    }

    /// The snapshots that were read back, of those that were committed when the run began.
    fn verified(
        &self,
        committed: &BTreeSet<String>,
        stored: &Stored,
        sound: &BTreeMap<String, Sound>,
        found: &Found,
        recovered: &[String],
    ) -> BTreeMap<String, Timestamp> {
        let damaged: BTreeSet<&str> = found.damage.iter().map(|one| one.key.as_str()).collect();
        let looked = stored.entries.iter().map(|entry| {
            match (damaged.contains(entry.key.as_str()), stored.known(entry, sound).sound_at) {
                (true, _) => Looked::Damaged,
                (false, Some(at)) => Looked::Sound(at),
                (false, None) => Looked::Unread,
            }
        });
        verified(looked, committed, &found.points.sound, recovered)
    }
}

fn names(damage: &[Damage], key: &str) -> bool {
    damage.iter().any(|one| one.key == key)
}

impl Damage {
    fn new(key: impl Into<String>, problem: impl Into<String>) -> Damage {
        let (key, problem) = (key.into(), problem.into());
        Damage { key, problem, healed: false, unhealed_because: None }
    }
}
