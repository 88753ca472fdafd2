//! Threads for clients that do not block, below ports that do.

use std::future::Future;
use std::sync::mpsc::sync_channel;

use tokio::runtime::Runtime;

use crate::error::{Attempt, Error, Result};

/// The runtime of a client: its own, because callers block.
pub(super) struct Driver {
    /// For messages: "the S3 client".
    of: &'static str,
    /// There until dropped.
    runtime: Option<Runtime>,
}

impl Driver {
    /// Starts so many threads, which take the name `thread`.
    pub(super) fn start(of: &'static str, thread: &str, threads: usize) -> Result<Driver> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(thread)
            .enable_all()
            .build()
            .attempt(|| format!("start the threads of {of}"))?;
        Ok(Driver { of, runtime: Some(runtime) })
    }

    /// Runs `work` there while this thread waits, which may itself belong to another runtime.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let ended = || Error::failed(format!("{} has ended", self.of));
        let runtime = self.runtime.as_ref().ok_or_else(ended)?;
        let (sender, receiver) = sync_channel(1);
        runtime.spawn(async move {
            // Whoever asked waits below.
            let _ = sender.send(work.await);
        });
        receiver.recv().map_err(|_| Error::failed(format!("{} panicked", self.of)))?
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Plain dropping would wait, which panics on a thread that must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
