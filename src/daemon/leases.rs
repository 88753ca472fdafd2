//! The leases of this process: one for each repository that it writes to, renewed as long as it
//! runs, and let go when it ends in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Attempt, Result};
use crate::repository::lease::{Lease, RENEW_EVERY};

/// Letting go may wait for a repository that cannot be reached; not renewed, a lease ends anyway.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);

/// Whoever waits looks so often whether he is to go on.
const STEP: Duration = Duration::from_millis(100);

/// Of those who wait for a lease, until it ends.
#[derive(Default)]
pub struct Patience {
    ended: AtomicBool,
}

impl Patience {
    /// Waits that long; `false` once nobody is to wait any more.
    pub fn wait(&self, pause: Duration) -> bool {
        let mut waited = Duration::ZERO;
        while waited < pause && !self.ended.load(Ordering::Relaxed) {
            let step = STEP.min(pause - waited);
            std::thread::sleep(step);
            waited += step;
        }
        !self.ended.load(Ordering::Relaxed)
    }

    /// Lets all of them give up.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Those taken so far, by the repository's name.
#[derive(Default)]
pub struct Leases {
    kept: Mutex<BTreeMap<String, Slot>>,
}

/// Of one repository: waiting for its lease holds up nobody who wants another.
type Slot = Arc<Mutex<Option<Kept>>>;

/// A lease that is renewed until this is dropped.
struct Kept {
    lease: Arc<Lease>,
    /// Dropped to end the renewing.
    end: Option<SyncSender<()>>,
    left: Receiver<()>,
}

impl Leases {
    /// The lease of a repository, taken the first time it is asked for.
    pub fn obtain(&self, name: &str, take: impl FnOnce() -> Result<Lease>) -> Result<Arc<Lease>> {
        let slot = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.entry(name.to_owned()).or_default().clone()
        };
        let mut kept = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.as_ref().filter(|known| !known.lease.is_deposed()) {
            return Ok(known.lease.clone());
        }
        let lease = Arc::new(take()?);
        *kept = Some(Kept::keep(lease.clone())?);
        Ok(lease)
    }

    /// Lets the lease of a repository go, once nobody uses it any more.
    pub fn forget(&self, name: &str) {
        let slot = self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        drop(slot);
    }

    /// Lets all of them go that nobody uses any more.
    pub fn forget_all(&self) {
        let all = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        drop(all);
    }

    /// Lets none of them go when this process ends: they stay this installation's until they were
    /// unchanged for [`crate::repository::lease::TTL`], and whoever of it comes before that goes
    /// on with them.
    pub fn outlive_this_process(self: &Arc<Leases>) {
        std::mem::forget(Arc::clone(self));
    }
}

impl Kept {
    fn keep(lease: Arc<Lease>) -> Result<Kept> {
        let (end, ending) = sync_channel(0);
        let (done, left) = sync_channel(1);
        let renewed = lease.clone();
        let renewing = std::thread::Builder::new().name("lease".to_owned()).spawn(move || {
            renew_until(&renewed, &ending);
            // Whoever waits for it may be gone.
            let _ = done.send(());
        });
        renewing.attempt(|| "start the thread that renews the lease".to_owned())?;
        Ok(Kept { lease, end: Some(end), left })
    }
}

fn renew_until(lease: &Lease, ending: &Receiver<()>) {
    while ending.recv_timeout(RENEW_EVERY) == Err(RecvTimeoutError::Timeout) {
        let Err(error) = lease.renew() else { continue };
        let error = error.chain();
        match lease.is_deposed() {
            true => return tracing::error!(%error, "this installation writes no more"),
            // Tried again: as long as nobody else comes, it stays ours.
            false => tracing::warn!(%error, "the lease could not be renewed"),
        }
    }
    lease.leave();
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.end.take());
        // Not let go, it ends by itself.
        let _ = self.left.recv_timeout(LEAVE_PATIENCE);
    }
}
