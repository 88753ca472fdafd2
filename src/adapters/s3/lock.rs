//! An exclusive lock in a bucket: an object that its holder renews, changed only on condition that
//! it is unchanged (`If-Match`).
//!
//! Whoever finds it held takes it over only from a process of this machine that has ended, or
//! after watching it unchanged for [`TTL`] by its own monotonic clock; other machines' clocks are
//! never compared (RULES 21). A holder that could not renew for so long says so in
//! [`Lock::check`]; a store across a network cannot stop it by itself.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::adapters::system::{SystemClock, SystemEntropy};
use crate::error::{Attempt, Error, Kind, Result};
use crate::ports::store::Lock;
use crate::ports::{Clock, Entropy};

use super::Driver;
use super::objects::{Condition, Objects};

/// Unrenewed for so long, a lock belongs to nobody.
const TTL: Duration = Duration::from_secs(45);
/// Unrenewed for so long, its holder lets go of it: what it then has under way still ends before
/// another may come.
const LOST_AFTER: Duration = Duration::from_secs(35);
const RENEW_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(5);
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);
/// Begins with a dot: no key of an object does, and no listing shows it.
const LOCKS: &str = ".locks";

/// What the object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    v: u32,
    /// Drawn by each holder.
    token: String,
    /// Counts renewals, so that each has another content.
    renewal: u64,
    /// Of the machine since it was started (`/proc/sys/kernel/random/boot_id`).
    boot: String,
    process: u32,
    /// When the process began, in clock ticks since the boot: tells it from a later one with its
    /// number (`/proc/PID/stat`, field 22).
    began: u64,
    released: bool,
}

/// A lock that is held; dropping it releases it.
pub(super) struct S3Lock {
    name: String,
    hold: Arc<Hold>,
    /// Dropped to end the renewing, which then releases the lock and says so.
    end: Option<oneshot::Sender<()>>,
    released: Receiver<()>,
    /// What renews it, which may outlive the store it was taken from.
    _driver: Arc<Driver>,
}

impl Lock for S3Lock {
    fn check(&self) -> Result<()> {
        match self.hold.is_ours() {
            true => Ok(()),
            false => Err(Error::new(Kind::Busy, format!("the lock {} was lost", self.name)).hint(
                "The bucket could not be reached for too long, and another process may have \
                 taken over. Nothing was committed; run it again.",
            )),
        }
    }
}

/// What holder and renewing share.
struct Hold {
    lost: AtomicBool,
    /// When the last renewal that succeeded was asked for, in milliseconds since the boot.
    renewed_ms: AtomicU64,
}

impl Hold {
    fn from(asked_ms: u64) -> Hold {
        Hold { lost: AtomicBool::new(false), renewed_ms: AtomicU64::new(asked_ms) }
    }

    /// By the clock too: after a pause of the whole process nobody has noticed yet.
    fn is_ours(&self) -> bool {
        !self.lost.load(Ordering::SeqCst) && self.left() > Duration::ZERO
    }

    /// How long the last renewal still holds.
    fn left(&self) -> Duration {
        let since = now_ms().saturating_sub(self.renewed_ms.load(Ordering::SeqCst));
        LOST_AFTER.saturating_sub(Duration::from_millis(since))
    }
}

/// Counts a suspended machine's time too.
fn now_ms() -> u64 {
    u64::try_from(SystemClock.monotonic().as_millis()).unwrap_or(u64::MAX)
}

impl Drop for S3Lock {
    fn drop(&mut self) {
        drop(self.end.take());
        // Not released, it frees itself.
        let _ = self.released.recv_timeout(RELEASE_PATIENCE);
    }
}

/// Takes the lock `name`, and renews it on `driver` until it is dropped.
pub(super) async fn take(objects: Arc<Objects>, driver: Arc<Driver>, name: &str) -> Result<S3Lock> {
    let key = format!("{LOCKS}/{name}.json");
    let claim = Claim::ours()?;
    let mut watched: Option<(String, Instant)> = None;
    // One look more than a lock can go unchanged.
    for _ in 0..=TTL.as_secs() / LOOK_EVERY.as_secs() + 1 {
        let (condition, found);
        match objects.get(&key, None).await? {
            None => condition = Condition::Absent,
            Some(object) => {
                let holder: Claim = serde_json::from_slice(&object.bytes)
                    .attempt(|| format!("read the lock {name} of the {}", objects.describe()))?;
                found = object.etag;
                let unchanged = match &watched {
                    Some((etag, _)) if *etag != found => return Err(busy(name, &holder)),
                    Some((_, since)) => since.elapsed() >= TTL,
                    None => false,
                };
                if !(holder.released || holder.has_ended(&claim)? || unchanged) {
                    if holder.is_here(&claim) {
                        return Err(busy(name, &holder));
                    }
                    watched.get_or_insert((found, Instant::now()));
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                }
                condition = Condition::Unchanged(&found);
            }
        }
        let asked_ms = now_ms();
        return match objects.put_if(&key, claim.bytes()?, condition).await? {
            Some(etag) => {
                let hold = Arc::new(Hold::from(asked_ms));
                Ok(Holding { objects, key, claim, etag, hold }.begin(name, driver))
            }
            None => Err(Error::new(Kind::Busy, format!("{name} was locked by another just now"))),
        };
    }
    Err(Error::new(Kind::Busy, format!("{name} is locked")))
}

fn busy(name: &str, holder: &Claim) -> Error {
    Error::new(Kind::Busy, format!("{name} is locked by process {}", holder.process)).hint(format!(
        "Wait for that process to end, which may run on another machine; unrenewed, the lock \
         frees itself after {} s.",
        TTL.as_secs()
    ))
}

struct Holding {
    objects: Arc<Objects>,
    key: String,
    claim: Claim,
    /// Of the claim as it was last written.
    etag: String,
    hold: Arc<Hold>,
}

impl Holding {
    fn begin(self, name: &str, driver: Arc<Driver>) -> S3Lock {
        let hold = self.hold.clone();
        let (end, ending) = oneshot::channel();
        let (done, released) = sync_channel(1);
        tokio::spawn(self.run(ending, done));
        S3Lock { name: name.to_owned(), hold, end: Some(end), released, _driver: driver }
    }

    async fn run(mut self, mut ending: oneshot::Receiver<()>, done: SyncSender<()>) {
        while self.hold.is_ours() {
            let pause = tokio::time::timeout(RENEW_EVERY, &mut ending).await;
            let ends = pause.is_ok();
            self.claim.renewal += 1;
            self.claim.released = ends;
            // From before the request on: that is when others began to see it unchanged.
            let asked_ms = now_ms();
            match tokio::time::timeout(self.hold.left(), self.renew()).await {
                Ok(Ok(true)) => self.hold.renewed_ms.store(asked_ms, Ordering::SeqCst),
                Ok(Ok(false)) => self.lose("another process took it over"),
                // Tried again as long as the last renewal holds.
                Ok(Err(error)) => {
                    tracing::warn!(error = %error.chain(), "a lock could not be renewed");
                }
                Err(_) => self.lose("it could not be renewed in time"),
            }
            if ends {
                break;
            }
        }
        // Whoever waits for it may be gone.
        let _ = done.send(());
    }

    async fn renew(&mut self) -> Result<bool> {
        let condition = Condition::Unchanged(&self.etag);
        let written = self.objects.put_if(&self.key, self.claim.bytes()?, condition).await?;
        let still = written.is_some();
        self.etag = written.unwrap_or_default();
        if still && let Err(error) = self.objects.remove_superseded(&self.key, &self.etag).await {
            // Whether it is held does not depend on it; the next renewal removes these as well.
            tracing::debug!(error = %error.chain(), "versions of a lock were left");
        }
        Ok(still)
    }

    fn lose(&self, why: &str) {
        tracing::error!(lock = self.key, why, "a lock is lost");
        self.hold.lost.store(true, Ordering::SeqCst);
    }
}

impl Claim {
    fn ours() -> Result<Claim> {
        let mut token = [0; 16];
        SystemEntropy.fill(&mut token);
        let process = std::process::id();
        let began = began_at(process).attempt(|| "read when this process began".to_owned())?;
        let began = began.ok_or_else(|| Error::failed("this process is not in /proc"))?;
        Ok(Claim {
            v: 1,
            token: hex::encode(token),
            renewal: 0,
            boot: boot_id().attempt(|| "read the id of this boot".to_owned())?,
            process,
            began,
            released: false,
        })
    }

    fn bytes(&self) -> Result<Bytes> {
        let json = serde_json::to_vec(self);
        json.map(Bytes::from).attempt(|| "write a lock".to_owned())
    }

    /// Whether it is of the machine, and the run of it, that `other` is of.
    fn is_here(&self, other: &Claim) -> bool {
        self.boot == other.boot
    }

    /// Whether it is of a process of this machine, which `ours` is of, that provably ended.
    fn has_ended(&self, ours: &Claim) -> Result<bool> {
        let what = || format!("find out about process {}", self.process);
        Ok(self.is_here(ours) && began_at(self.process).attempt(what)? != Some(self.began))
    }
}

fn boot_id() -> std::io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// When a process began, in clock ticks since the boot (proc(5)); `None` if there is none.
fn began_at(process: u32) -> std::io::Result<Option<u64>> {
    let stat = match fs::read_to_string(format!("/proc/{process}/stat")) {
        Ok(stat) => stat,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // The name in parentheses may hold anything; state and what follows come after the last one.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let began = after.split_whitespace().nth(19).and_then(|field| field.parse().ok());
    began.map(Some).ok_or_else(|| std::io::Error::other("an unexpected /proc/PID/stat"))
}
