//! A store that fails as told: the Nth call of any kind, once or from then on, before or after it
//! took effect; reads that end early; panics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fenice::error::{Error, Result};
use fenice::ports::Store;
use fenice::ports::store::{Change, Entry, Lock, Put, Replaced, Retained};
use jiff::Timestamp;

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails and has done nothing; later calls work.
    Once,
    /// It fails, and so does every later call.
    ForEver,
    /// It is done, but answered with a failure; later calls work.
    DoneButFailed,
    /// Reads deliver less than was asked for: an error by contract. Other calls fail.
    Truncated,
    /// The adapter panics.
    Panic,
}

/// Of long runs of calls only each `usual`th fails, unless `FENICE_TEST_EVERY_CALL` is set.
pub fn step(usual: usize) -> usize {
    if std::env::var_os("FENICE_TEST_EVERY_CALL").is_some() { 1 } else { usual }
}

pub struct FaultyStore {
    inner: Arc<dyn Store>,
    fault: Fault,
    /// Number of the call that fails, from 1.
    at: u64,
    calls: AtomicU64,
}

impl FaultyStore {
    pub fn new(inner: &Arc<dyn Store>, fault: Fault, at: u64) -> FaultyStore {
        FaultyStore { inner: Arc::clone(inner), fault, at, calls: AtomicU64::new(0) }
    }

    /// Whether the fault was reached.
    pub fn was_hit(&self) -> bool {
        self.calls.load(Ordering::SeqCst) >= self.at
    }

    fn call<T>(&self, what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let hit = match self.fault {
            Fault::ForEver => number >= self.at,
            _ => number == self.at,
        };
        if !hit {
            return run();
        }
        match self.fault {
            Fault::Panic => panic!("injected panic in {what}"),
            Fault::DoneButFailed => {
                run()?;
            }
            _ => {}
        }
        Err(Error::failed(format!("injected fault {number} in {what}")).later())
    }
}

impl Store for FaultyStore {
    fn describe(&self) -> String {
        format!("faulty {}", self.inner.describe())
    }

    fn put_new(&self, key: &str, body: &[u8]) -> Result<Put> {
        self.call(&format!("put {key}"), || self.inner.put_new(key, body))
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let whole = self.call(&format!("get {key}"), || self.inner.get(key));
        match (whole, self.fault) {
            // A truncated body without an error: the vault itself must notice.
            (Err(error), Fault::Truncated) => {
                let mut body = self.inner.get(key)?.ok_or(error)?;
                body.truncate(body.len() / 2);
                Ok(Some(body))
            }
            (whole, _) => whole,
        }
    }

    fn read_range(&self, key: &str, offset: u64, into: &mut [u8]) -> Result<()> {
        let read = self.call(&format!("read {key}"), || self.inner.read_range(key, offset, into));
        read.inspect_err(|_| into.fill(0xee))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.call(&format!("list {prefix}"), || self.inner.list(prefix))
    }

    fn replace(&self, key: &str, change: Change<'_>) -> Result<Replaced> {
        self.call(&format!("replace {key}"), || self.inner.replace(key, change))
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.call(&format!("remove {key}"), || self.inner.remove(key))
    }

    fn locks(&self) -> bool {
        self.inner.locks()
    }

    fn retain(&self, key: &str, until: Timestamp) -> Result<Retained> {
        self.call(&format!("retain {key}"), || self.inner.retain(key, until))
    }

    fn retained_until(&self, key: &str) -> Result<Option<Timestamp>> {
        self.call(&format!("look up the lock of {key}"), || self.inner.retained_until(key))
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Lock>> {
        self.call(&format!("lock {name}"), || self.inner.lock(name))
    }
}

/// A store that stands for another one each time: a vault is opened once, which takes a while, and
/// then put before many of them.
pub struct Stage(Mutex<Arc<dyn Store>>);

impl Stage {
    pub fn with(store: &Arc<dyn Store>) -> Arc<Stage> {
        Arc::new(Stage(Mutex::new(Arc::clone(store))))
    }

    pub fn set(&self, store: &Arc<dyn Store>) {
        *self.0.lock().unwrap() = Arc::clone(store);
    }

    fn present(&self) -> Arc<dyn Store> {
        self.0.lock().unwrap().clone()
    }
}

impl Store for Stage {
    fn describe(&self) -> String {
        self.present().describe()
    }

    fn put_new(&self, key: &str, body: &[u8]) -> Result<Put> {
        self.present().put_new(key, body)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.present().get(key)
    }

    fn read_range(&self, key: &str, offset: u64, into: &mut [u8]) -> Result<()> {
        self.present().read_range(key, offset, into)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.present().list(prefix)
    }

    fn replace(&self, key: &str, change: Change<'_>) -> Result<Replaced> {
        self.present().replace(key, change)
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.present().remove(key)
    }

    fn locks(&self) -> bool {
        self.present().locks()
    }

    fn retain(&self, key: &str, until: Timestamp) -> Result<Retained> {
        self.present().retain(key, until)
    }

    fn retained_until(&self, key: &str) -> Result<Option<Timestamp>> {
        self.present().retained_until(key)
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Lock>> {
        self.present().lock(name)
    }
}
