//! A store in memory, for simulations and tests. Same contract as every other; everything is
//! durable at once, and lost with the value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::adapters::system::SystemClock;
use crate::error::{Error, Kind, Result};
use crate::ports::Clock;
use crate::ports::store::{
    Change, Entry, Lock, Put, Replaced, Store, check_key, check_prefix, replaced_by_another,
};

/// Holds objects in memory.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    objects: Mutex<BTreeMap<String, Object>>,
    locks: Arc<Mutex<BTreeSet<String>>>,
}

struct Object {
    body: Arc<[u8]>,
    stored_at: Timestamp,
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
        MemoryStore { clock, objects: Mutex::default(), locks: Arc::default() }
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
        let object = Object { body: body.into(), stored_at: self.clock.now() };
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
                object.body = body.into();
                Ok(Replaced::Done)
            }
            Some(_) => Err(replaced_by_another(key)),
        }
    }

    fn remove(&self, key: &str) -> Result<()> {
        check_key(key)?;
        self.objects().remove(key);
        Ok(())
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
