//! A store at which somebody else does something, just before a chosen call takes effect.

use std::sync::{Arc, Mutex};

use fenice::error::Result;
use fenice::ports::Store;
use fenice::ports::store::{Change, Entry, Lock, Put, Replaced};

/// What the other one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Get,
    Replace,
    Remove,
}

type Action = Box<dyn FnOnce() + Send>;

pub struct Meanwhile {
    inner: Arc<dyn Store>,
    call: Call,
    below: String,
    /// How many such calls are still to come, the last of them being the one; then what is done.
    waiting: Mutex<Option<(usize, Action)>>,
}

impl Meanwhile {
    /// Before the `number`th call of that sort, from 1, for a key below `below`.
    pub fn before(
        number: usize,
        call: Call,
        below: &str,
        inner: &Arc<dyn Store>,
        action: impl FnOnce() + Send + 'static,
    ) -> Arc<Meanwhile> {
        let waiting = Mutex::new(Some((number, Box::new(action) as Action)));
        Arc::new(Meanwhile { inner: Arc::clone(inner), call, below: below.to_owned(), waiting })
    }

    /// Whether it has come to pass.
    pub fn was_done(&self) -> bool {
        self.waiting.lock().unwrap().is_none()
    }

    fn comes(&self, call: Call, key: &str) {
        if call != self.call || !key.starts_with(&self.below) {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap();
        match waiting.take() {
            Some((1, action)) => {
                drop(waiting);
                action();
            }
            Some((more, action)) => *waiting = Some((more - 1, action)),
            None => {}
        }
    }
}

impl Store for Meanwhile {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn put_new(&self, key: &str, body: &[u8]) -> Result<Put> {
        self.inner.put_new(key, body)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.comes(Call::Get, key);
        self.inner.get(key)
    }

    fn read_range(&self, key: &str, offset: u64, into: &mut [u8]) -> Result<()> {
        self.inner.read_range(key, offset, into)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.inner.list(prefix)
    }

    fn replace(&self, key: &str, change: Change<'_>) -> Result<Replaced> {
        self.comes(Call::Replace, key);
        self.inner.replace(key, change)
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.comes(Call::Remove, key);
        self.inner.remove(key)
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Lock>> {
        self.inner.lock(name)
    }
}
