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

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::catalog::Catalog;
use crate::catalog::soundness::Sound;
use crate::config::Replicate;
use crate::engines::progress::Progress;
use crate::error::{Error, Result};
use crate::model::{ResourceName, Span};
use crate::plan::retention::Terms;
use crate::plan::scrub::{Known, to_read};
use crate::ports::store::Entry;
use crate::ports::{Clock, Entropy};
use crate::repository::pin::{self, PinFile};
use crate::repository::vault::WriteSettings;
use crate::repository::{Repository, layout};

use examine::Finding;
pub use points::Affected;
use stored::Stored;

/// Objects read between two notes in the catalog: what a killed run has to read again.
const BATCH: usize = 256;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    pub key: String,
    pub problem: String,
    /// Whether it was put right.
    pub healed: bool,
    /// Why it was not, if that was tried.
    pub unhealed_because: Option<String>,
}

/// What a run found.
#[derive(Debug, Clone, Serialize)]
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

impl ScrubRun {
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
    /// The repository cannot be listed; `Busy` if healing is asked for while a snapshot, a copy or
    /// retention is at work.
    pub fn run(&self, catalog: &Catalog, order: &Order) -> Result<ScrubRun> {
        let lock = match order.heal {
            true => Some(super::vaults::lock(&self.repository, &self.resource)?),
            false => None,
        };
        let now = self.clock.now();
        // Keeps retention from removing what is being read.
        let _pin = self.pin(now)?;
        let stored = self.list()?;
        let (read, mut findings) = self.read_due(&stored, catalog, order, now)?;
        let mut unread = Vec::new();
        findings.retain(|(key, finding)| match finding {
            Finding::Unread(reason) => {
                unread.push((key.clone(), reason.clone()));
                false
            }
            _ => true,
        });
        let mut damage: Vec<Damage> = findings.into_iter().filter_map(damage_of).collect();
        damage.extend(self.missing(&stored, order, now)?);
        let mut points = self.points(&damage, now)?;
        let mut recovered = Vec::new();
        damage.extend(
            points.damage.iter().filter(|d| !names(&damage, &d.key)).cloned().collect::<Vec<_>>(),
        );
        if let (Some(lock), false) = (&lock, damage.is_empty() && points.affected.is_empty()) {
            self.progress.enter("healing");
            let before: Vec<String> =
                points.affected.iter().map(|affected| affected.snapshot.clone()).collect();
            self.heal(&mut damage, &points, lock.as_ref());
            self.look_again(&mut damage, order, now)?;
            let left: Vec<Damage> = damage.iter().filter(|d| !d.healed).cloned().collect();
            points = self.points(&left, now)?;
            recovered = before.into_iter().filter(|id| points.sound.contains(id)).collect();
        }
        let all_sound_since = self.all_sound_since(catalog)?;
        Ok(ScrubRun {
            at: now,
            objects: stored.entries.len() as u64,
            bytes: stored.entries.iter().map(|entry| entry.bytes).sum(),
            read_objects: read.0,
            read_bytes: read.1,
            all_sound_since,
            unread,
            damage,
            affected: points.affected,
            sound: points.sound,
            recovered,
            lost_instants: points.lost_instants,
        })
    }

    fn pin(&self, now: Timestamp) -> Result<pin::OwnPin> {
        let id = format!("verify-{}-{}", layout::instant(now), std::process::id());
        // No snapshot has this name: it pins nothing but the vault and the log as they are.
        let (resource, snapshot) = (self.resource.clone(), "verification".to_owned());
        pin::put(&self.repository, &id, &PinFile { version: 1, resource, snapshot })
    }

    /// Reads what is due; returns how many objects and bytes, and what was found.
    #[allow(clippy::type_complexity)]
    fn read_due(
        &self,
        stored: &Stored,
        catalog: &Catalog,
        order: &Order,
        now: Timestamp,
    ) -> Result<((u64, u64), Vec<(String, Finding)>)> {
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
        let bytes = due.iter().map(|entry| entry.bytes).sum();
        self.progress.expect(bytes);
        let mut findings = Vec::new();
        for batch in due.chunks(BATCH) {
            let found = self.examine_all(stored, batch)?;
            self.note(catalog, batch, &found, now)?;
            findings.extend(found);
        }
        self.forget_gone(catalog, stored, &known)?;
        Ok(((due.len() as u64, bytes), findings))
    }

    /// Reads some objects with several threads. What is sound is not in the result.
    fn examine_all(&self, stored: &Stored, batch: &[&Entry]) -> Result<Vec<(String, Finding)>> {
        let (waiting, found) = (Mutex::new(batch.iter()), Mutex::new(Vec::new()));
        let work = || {
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(entry) = next else { return };
                let finding = self.examine(stored, entry);
                self.progress.add(entry.bytes);
                if let Some(finding) = finding {
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.push((entry.key.clone(), finding));
                }
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.workers.max(1)).map(|_| scope.spawn(work)).collect();
            let panicked = threads.into_iter().filter_map(|thread| thread.join().err()).count();
            match panicked {
                0 => Ok(()),
                _ => Err(Error::failed("a thread that verified panicked")),
            }
        })?;
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
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
                None => stored.is_replaceable(&one.key) && !names(&missing, &one.key),
            };
            if one.healed {
                one.unhealed_because = None;
            }
        }
        Ok(())
    }

    fn all_sound_since(&self, catalog: &Catalog) -> Result<Option<Timestamp>> {
        let sound = catalog.sound_objects(&self.repository.id, &self.resource)?;
        let stored = self.list()?;
        let at = stored.entries.iter().map(|entry| stored.known(entry, &sound).sound_at);
        Ok(at.min().flatten())
    }
}

fn names(damage: &[Damage], key: &str) -> bool {
    damage.iter().any(|one| one.key == key)
}

fn damage_of((key, finding): (String, Finding)) -> Option<Damage> {
    match finding {
        Finding::Damaged(problem) => Some(Damage::new(key, problem)),
        // Removed since it was listed, or nothing is known of it.
        Finding::Gone | Finding::Unread(_) => None,
    }
}

impl Damage {
    fn new(key: impl Into<String>, problem: impl Into<String>) -> Damage {
        let (key, problem) = (key.into(), problem.into());
        Damage { key, problem, healed: false, unhealed_because: None }
    }
}
