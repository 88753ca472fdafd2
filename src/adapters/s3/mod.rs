//! A store in an S3 bucket, of AWS or of anybody who speaks its protocol with conditional writes.
//!
//! Objects are created with `If-None-Match: *` and replaced with `If-Match`, so of several writers
//! one wins, and a retry after an answer that got lost finds its own object. An object is removed
//! with all its versions: a delete marker alone would keep the data. Locks (Object Lock) are set
//! on the newest version, and where one keeps a version, the newest stays as well. Retries are
//! ours and none the SDK's: only this side knows that a write whose answer was lost may have been
//! done. What is large is written in parts and read in ranges, several at a time.

mod connect;
mod failure;
mod lock;
mod multipart;
mod objects;
mod parallel;
mod ranges;
mod region;
mod replace;
mod retention;

use std::sync::Arc;

use jiff::Timestamp;

use crate::adapters::driver::Driver;
use crate::error::{Error, Result};
use crate::model::{BucketPlace, LockMode};
use crate::ports::store::{
    Change, Entry, Lock, Put, Replaced, Retained, Store, check_key, check_prefix,
};

pub use connect::Credentials;

use multipart::Sweeps;
use objects::Objects;

/// Threads that drive the requests; the work is waiting.
const THREADS: usize = 2;
/// Objects on their way at once: while one is hashed and answered, others are sent.
const PUTS: usize = 4;

/// Holds objects in a bucket, below a prefix.
pub struct S3Store {
    objects: Arc<Objects>,
    /// A lock keeps it too: it is renewed as long as it is held.
    driver: Arc<Driver>,
}

impl S3Store {
    /// Connects to the bucket, which must exist and let itself be listed.
    ///
    /// # Errors
    /// There is no such bucket, no access to it, or nobody answers. `Kind::Refused` if it lies
    /// outside the allowed regions of `place`, or nobody can tell.
    pub fn open(place: BucketPlace, credentials: Option<Credentials>) -> Result<S3Store> {
        S3Store::open_locking(place, credentials, None)
    }

    /// The same, which locks objects in that mode, if one is given.
    ///
    /// # Errors
    /// Of kind `Config` if the bucket has no Object Lock.
    pub fn open_locking(
        place: BucketPlace,
        credentials: Option<Credentials>,
        lock: Option<LockMode>,
    ) -> Result<S3Store> {
        let driver = Arc::new(Driver::start("the S3 client", "s3", THREADS)?);
        let client = driver.run(connect::client(place.clone(), credentials))?;
        let objects = Arc::new(Objects { client, place, sweeps: Sweeps::default(), lock });
        let store = S3Store { objects, driver };
        let objects = store.objects.clone();
        store.driver.run(async move {
            objects.probe().await?;
            objects.check_region().await?;
            match lock {
                Some(_) => objects.must_lock().await,
                None => Ok(()),
            }
        })?;
        Ok(store)
    }

    /// Aborts the unfinished uploads below the prefix that began more than a day before `now`: no
    /// process is still about them, and no listing of objects shows what they hold. Writing does
    /// this by itself once a day.
    ///
    /// # Errors
    /// They cannot be listed or aborted, as without the permission.
    pub fn abort_unfinished(&self, now: Timestamp) -> Result<usize> {
        let objects = self.objects.clone();
        self.driver.run(async move { objects.abort_unfinished(now).await })
    }
}

impl Store for S3Store {
    fn describe(&self) -> String {
        self.objects.describe()
    }

    fn puts_at_once(&self) -> usize {
        PUTS
    }

    fn put_new(&self, key: &str, body: &[u8]) -> Result<Put> {
        check_key(key)?;
        let (objects, key, body) = (self.objects.clone(), key.to_owned(), body.to_vec());
        self.driver.run(async move { objects.put_new(&key, body.into()).await })
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        let (objects, key) = (self.objects.clone(), key.to_owned());
        let found = self.driver.run(async move { objects.get(&key, None).await })?;
        Ok(found.map(|object| object.bytes.into()))
    }

    fn read_range(&self, key: &str, offset: u64, into: &mut [u8]) -> Result<()> {
        check_key(key)?;
        let (objects, wanted) = (self.objects.clone(), into.len() as u64);
        if wanted == 0 {
            return Ok(());
        }
        let owned = key.to_owned();
        let found =
            self.driver.run(async move { objects.get(&owned, Some((offset, wanted))).await })?;
        let what = || format!("cannot read {wanted} bytes at {offset} of {key}");
        match found {
            Some(object) if object.bytes.len() == into.len() => {
                into.copy_from_slice(&object.bytes);
                Ok(())
            }
            Some(object) => Err(Error::failed(format!("{}: {} came", what(), object.bytes.len()))),
            None => {
                Err(Error::failed(format!("{}: it is not in {}", what(), self.objects.describe())))
            }
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        check_prefix(prefix)?;
        let (objects, prefix) = (self.objects.clone(), prefix.to_owned());
        self.driver.run(async move { objects.list(&prefix).await })
    }

    fn replace(&self, key: &str, change: Change<'_>) -> Result<Replaced> {
        check_key(key)?;
        let (objects, owned) = (self.objects.clone(), key.to_owned());
        let found = self.driver.run(async move { objects.get(&owned, None).await })?;
        let Some(found) = found else { return Ok(Replaced::Absent) };
        let body = change(&found.bytes)?;
        let (objects, key) = (self.objects.clone(), key.to_owned());
        self.driver.run(async move { objects.replace(&key, &found, body.into()).await })
    }

    fn remove(&self, key: &str) -> Result<()> {
        check_key(key)?;
        let (objects, key) = (self.objects.clone(), key.to_owned());
        self.driver.run(async move { objects.remove(&key).await })
    }

    fn locks(&self) -> bool {
        self.objects.lock.is_some()
    }

    fn retain(&self, key: &str, until: Timestamp) -> Result<Retained> {
        check_key(key)?;
        let Some(mode) = self.objects.lock else { return Ok(Retained::NotLocking) };
        let (objects, key) = (self.objects.clone(), key.to_owned());
        self.driver.run(async move { objects.retain(&key, until, mode).await })
    }

    fn retained_until(&self, key: &str) -> Result<Option<Timestamp>> {
        check_key(key)?;
        if !self.locks() {
            return Ok(None);
        }
        let (objects, key) = (self.objects.clone(), key.to_owned());
        self.driver.run(async move { objects.retained_until(&key).await })
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Lock>> {
        check_key(name)?;
        let (objects, name, driver) = (self.objects.clone(), name.to_owned(), self.driver.clone());
        let held = self.driver.run(async move { lock::take(objects, driver, &name).await })?;
        Ok(Box::new(held))
    }
}
