//! Finished packs on their way to the store: a bounded queue, emptied by threads, so that writing
//! and flushing overlap with compressing. The first failure stops everybody.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::pack::ClosedPack;
use crate::error::{Attempt, Error, Kind, Result, Retry};

/// The first failure of a run, told to everybody who asks.
#[derive(Default)]
pub struct Failure {
    failed: AtomicBool,
    first: Mutex<Option<First>>,
}

struct First {
    kind: Kind,
    retry: Retry,
    chain: String,
    hint: Option<String>,
}

impl Failure {
    /// Keeps `error` if it is the first.
    pub fn record(&self, error: &Error) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| First {
            kind: error.kind(),
            retry: error.retry(),
            chain: error.chain(),
            hint: error.hint_text().map(str::to_owned),
        });
        self.failed.store(true, Ordering::Release);
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The first failure, as often as asked for.
    pub fn check(&self) -> Result<()> {
        if !self.has_failed() {
            return Ok(());
        }
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = first.as_ref() else { return Ok(()) };
        let error = Error::new(first.kind, first.chain.clone());
        let error = match first.retry {
            Retry::Later => error.later(),
            Retry::Never => error,
        };
        Err(first.hint.iter().fold(error, |error, hint| error.hint(hint.clone())))
    }
}

/// What an uploader does with each pack.
pub type Upload = dyn Fn(ClosedPack) -> Result<()> + Send + Sync;

/// The threads that empty the queue.
pub struct Uploaders {
    threads: Vec<JoinHandle<()>>,
}

impl Uploaders {
    /// Starts `count` threads and the queue to them, which holds at most `queue_packs`. The
    /// threads end when every sender is dropped.
    pub fn start(
        count: usize,
        queue_packs: usize,
        failure: &Arc<Failure>,
        upload: Arc<Upload>,
    ) -> Result<(SyncSender<ClosedPack>, Uploaders)> {
        let (sender, receiver) = sync_channel(queue_packs);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut threads = Vec::with_capacity(count);
        for _ in 0..count {
            let (receiver, upload) = (Arc::clone(&receiver), Arc::clone(&upload));
            let failure = Arc::clone(failure);
            let thread = thread::Builder::new()
                .name("vault-upload".into())
                .spawn(move || drain(&receiver, &failure, upload.as_ref()))
                .attempt(|| "start a thread that uploads packs".into())?;
            threads.push(thread);
        }
        Ok((sender, Uploaders { threads }))
    }

    /// Waits until the queue is empty and the threads have ended; every sender must be gone.
    pub fn join(self, failure: &Failure) {
        for thread in self.threads {
            if thread.join().is_err() {
                failure.record(&Error::failed("a thread that uploads packs panicked"));
            }
        }
    }
}

/// Takes packs until every sender is gone. After a failure packs are dropped unread, so that no
/// sender waits for a queue that nobody empties.
fn drain(receiver: &Mutex<Receiver<ClosedPack>>, failure: &Failure, upload: &Upload) {
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(pack) = next else { return };
        if failure.has_failed() {
            continue;
        }
        match catch_unwind(AssertUnwindSafe(|| upload(pack))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failure.record(&error),
            Err(_) => failure.record(&Error::failed("the store panicked while it took a pack")),
        }
    }
}
