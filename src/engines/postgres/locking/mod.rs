//! Object Lock: what is stored of a resource is locked in its store for as long as it was promised
//! to stay (RULES 18), so that nobody removes it before, whoever took over the host.
//!
//! `wanted` says until when each object is to be locked, all of it computed anew from the
//! repository; what is not locked so long is then. Run it as often as one likes: after a kill, or
//! once the catalog is lost, the next run does what is missing. It needs no lock of the vault:
//! where retention runs at the same time, what it removes is gone, and what it writes it locks.

mod wanted;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::engines::progress::Progress;
use crate::error::{Error, Result};
use crate::model::ResourceName;
use crate::plan::retention::Terms;
use crate::ports::Clock;
use crate::ports::store::Retained;
use crate::repository::{Repository, at_once};

use wanted::Wanted;

/// Requests at once: each of them is waiting.
const THREADS: usize = 8;
/// Objects locked between two notes in the catalog: what a killed run has to do again.
const BATCH: usize = 512;

const NEXT: &str = "All of it is stored, but could be removed. The next `fenice snapshot`, \
                    `fenice copy` or `fenice retention --apply` locks it.";

/// What locking of one resource in one repository works with.
pub struct Locking {
    pub repository: Repository,
    pub resource: ResourceName,
    /// What was promised for this repository.
    pub terms: Terms,
    pub clock: Arc<dyn Clock>,
    /// Remembers what is locked until when, to spare the asking.
    pub catalog: Arc<Catalog>,
    pub progress: Arc<Progress>,
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRun {
    /// Objects that are to be locked.
    pub objects: u64,
    /// Those of them that were locked now, or longer than before.
    pub locked: u64,
    /// Those that were removed meanwhile.
    pub gone: u64,
    /// When the last of all these locks ends.
    pub until: Option<Timestamp>,
}

/// Of each object, when its lock ends.
type Ends = Vec<(String, Timestamp)>;

impl Locking {
    /// Locks what is not locked long enough. `None` where the store has no locks: then nothing is
    /// even read.
    ///
    /// # Errors
    /// An object could not be locked, or it cannot be told what is to be. What was locked stays
    /// so, and the next run goes on.
    pub fn apply(&self) -> Result<Option<LockRun>> {
        if !self.repository.store.locks() {
            return Ok(None);
        }
        self.progress.enter("locking what is stored");
        self.lock_all().map(Some).map_err(|cause| {
            let place = self.repository.store.describe();
            let what = format!("not everything of {} is locked in {place}", self.resource);
            let has_hint = cause.hint_text().is_some();
            let error = Error::failed(what).because(cause);
            if has_hint { error } else { error.hint(NEXT) }
        })
    }

    fn lock_all(&self) -> Result<LockRun> {
        let now = self.clock.now();
        let (id, resource) = (&self.repository.id, &self.resource);
        // Retention may just have removed what was to be read: then it is not there any more.
        let wanted = wanted::read(self, now).or_else(|_| wanted::read(self, now))?;
        let known = self.catalog.retained(id, resource)?;
        let mut run = LockRun {
            objects: wanted.len() as u64,
            until: wanted.iter().map(|one| one.until).max(),
            ..LockRun::default()
        };
        // The catalog counts in microseconds.
        let is_due = |one: &&Wanted| {
            let until = one.until.as_microsecond();
            known.get(&one.key).is_none_or(|known| known.as_microsecond() < until)
        };
        let due: Vec<&Wanted> = wanted.iter().filter(is_due).collect();
        for batch in due.chunks(BATCH) {
            let (ends, failures) = self.lock_batch(batch);
            run.locked += ends.len() as u64;
            self.catalog.note_retained(id, resource, &ends)?;
            if let Some(error) = failures.into_iter().next() {
                return Err(error);
            }
            run.gone += (batch.len() - ends.len()) as u64;
        }
        self.catalog.forget_retained_before(id, resource, now)?;
        Ok(run)
    }

    /// Locks some objects, several at once: the end of each one's lock, and what failed. A store
    /// that fails is not asked any further.
    fn lock_batch(&self, batch: &[&Wanted]) -> (Ends, Vec<Error>) {
        let failed = AtomicBool::new(false);
        let locked = at_once::each(THREADS, batch, |one| {
            if failed.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let locked = self.lock_one(one);
            failed.fetch_or(locked.is_err(), Ordering::Relaxed);
            Ok(locked?.map(|until| (one.key.clone(), until)))
        });
        let (mut ends, mut failures) = (Vec::new(), Vec::new());
        for one in locked {
            match one {
                Ok(end) => ends.extend(end),
                Err(error) => failures.push(error),
            }
        }
        (ends, failures)
    }

    /// The end of the lock, as it is remembered; `None` if the object is gone.
    fn lock_one(&self, one: &Wanted) -> Result<Option<Timestamp>> {
        match self.repository.store.retain(&one.key, one.until)? {
            // Not before what was asked for: a store that counts in seconds would be asked again
            // for the rest of one each time.
            Retained::Until(until) => Ok(Some(until.max(one.until))),
            Retained::Absent => Ok(None),
            Retained::NotLocking => {
                Err(Error::failed(format!("{} locks nothing", self.repository.store.describe())))
            }
        }
    }
}
