//! A store in memory, for simulations and tests. Same contract as every other; everything is
//! durable at once, and lost with the value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::adapters::system::SystemClock;
use crate::error::{Error, Kind, Result};
use crate::ports::Clock;
use crate::ports::store::{
    Change, Entry, Lock, Put, Replaced, Retained, Store, check_key, check_prefix, locked,
    replaced_by_another,
};

/// Holds objects in memory.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    /// Whether objects can be locked.
    is_locking: bool,
    objects: Mutex<BTreeMap<String, Object>>,
    locks: Arc<Mutex<BTreeSet<String>>>,
}

struct Object {
    body: Arc<[u8]>,
    stored_at: Timestamp,
    retained_until: Option<Timestamp>,
    /// When the locks end of what it was before.
    older: Vec<Timestamp>,
}

impl Object {
    fn locked_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.older.iter().copied().chain(self.retained_until).filter(|until| *until > now).max()
    }

    /// Puts `body` in the place of what it is.
    fn supersede(&mut self, body: Vec<u8>, now: Timestamp) -> Replaced {
        self.body = body.into();
        self.older.extend(self.retained_until);
        self.older.retain(|until| *until > now);
        self.retained_until = self.older.iter().copied().max();
        match self.retained_until {
            None => Replaced::Done,
            Some(until) => Replaced::Kept { versions: self.older.len() as u64, until },
        }
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::with_clock(Arc::new(SystemClock))
    }
}

impl MemoryStore {
    /// An empty store by the system's clock.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// An empty store whose listings tell the time of `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> MemoryStore {
        MemoryStore { clock, is_locking: false, objects: Mutex::default(), locks: Arc::default() }
    }

    /// The same, which locks objects by that clock.
    pub fn with_locks(clock: Arc<dyn Clock>) -> MemoryStore {
        MemoryStore { is_locking: true, ..MemoryStore::with_clock(clock) }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        guard(&self.objects)
    }

    fn body(&self, key: &str) -> Result<Option<Arc<[u8]>>> {
        check_key(key)?;
        Ok(self.objects().get(key).map(|object| Arc::clone(&object.body)))
    }
}

/// Every change under these locks is a single one, so a panic leaves nothing half done.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for MemoryStore {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn put_new(&self, key: &str, body: &[u8]) -> Result<Put> {
        check_key(key)?;
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Ok(Put::Exists);
        }
        let (body, stored_at) = (body.into(), self.clock.now());
        let object = Object { body, stored_at, retained_until: None, older: Vec::new() };
        objects.insert(key.to_owned(), object);
        Ok(Put::Created)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.body(key)?.map(|body| body.to_vec()))
    }

    fn read_range(&self, key: &str, offset: u64, into: &mut [u8]) -> Result<()> {
        let what = || format!("cannot read {} bytes at {offset} of {key} in memory", into.len());
        let Some(body) = self.body(key)? else {
            return Err(Error::failed(what() + ": it is not there"));
        };
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| body.get(start..start.checked_add(into.len())?));
        match range {
            Some(range) => into.copy_from_slice(range),
            None => return Err(Error::failed(what() + &format!(": it has {}", body.len()))),
        }
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        check_prefix(prefix)?;
        let objects = self.objects();
        let below =
            objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        let entry = |(key, object): (&String, &Object)| Entry {
            key: key.clone(),
            bytes: object.body.len() as u64,
            stored_at: object.stored_at,
        };
        Ok(below.map(entry).collect())
    }

    fn replace(&self, key: &str, change: Change<'_>) -> Result<Replaced> {
        let Some(was) = self.body(key)? else { return Ok(Replaced::Absent) };
        let body = change(&was)?;
        match self.objects().get_mut(key) {
            None => Ok(Replaced::Absent),
            Some(object) if Arc::ptr_eq(&object.body, &was) => {
                Ok(object.supersede(body, self.clock.now()))
            }
            Some(_) => Err(replaced_by_another(key)),
        }
    }

    fn remove(&self, key: &str) -> Result<()> {
        check_key(key)?;
        let mut objects = self.objects();
        let until = objects.get(key).and_then(|object| object.locked_at(self.clock.now()));
        if let Some(until) = until {
            return Err(locked(key, until));
        }
        objects.remove(key);
        Ok(())
    }

    fn locks(&self) -> bool {
        self.is_locking
    }

    fn retain(&self, key: &str, until: Timestamp) -> Result<Retained> {
        check_key(key)?;
        if !self.is_locking {
            return Ok(Retained::NotLocking);
        }
        let mut objects = self.objects();
        let Some(object) = objects.get_mut(key) else { return Ok(Retained::Absent) };
        let until = object.retained_until.map_or(until, |before| before.max(until));
        object.retained_until = Some(until);
        Ok(Retained::Until(until))
    }

    fn retained_until(&self, key: &str) -> Result<Option<Timestamp>> {
        check_key(key)?;
        Ok(self.objects().get(key).and_then(|object| object.retained_until))
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Lock>> {
        check_key(name)?;
        if !guard(&self.locks).insert(name.to_owned()) {
            return Err(Error::new(Kind::Busy, format!("{name} is locked"))
                .hint("Wait for its holder to end."));
        }
        Ok(Box::new(MemoryLock { name: name.to_owned(), locks: Arc::clone(&self.locks) }))
    }
}

struct MemoryLock {
    name: String,
    locks: Arc<Mutex<BTreeSet<String>>>,
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        guard(&self.locks).remove(&self.name);
    }
}
