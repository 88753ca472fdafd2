//! How far long work has come: written by the workers, read by whoever shows it, who may also ask
//! them to end.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// Shared by the threads of one piece of work. Counts only ever grow.
#[derive(Debug, Default)]
pub struct Progress {
    phase: Mutex<Cow<'static, str>>,
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Names what is being done now; with `-v` it is a line of its own on standard error.
    pub fn enter(&self, phase: &'static str) {
        tracing::debug!("phase: {phase}");
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = Cow::Borrowed(phase);
    }

    pub fn phase(&self) -> String {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).to_string()
    }

    pub fn expect(&self, bytes: u64) {
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn add(&self, bytes: u64) {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The same for who goes on only if nobody wants it to end.
    ///
    /// # Errors
    /// Those of [`Progress::checked`].
    pub fn moved(&self, bytes: u64) -> Result<()> {
        self.add(bytes);
        self.checked()
    }

    /// Bytes done, and bytes expected in all.
    pub fn bytes(&self) -> (u64, u64) {
        (self.done_bytes.load(Ordering::Relaxed), self.total_bytes.load(Ordering::Relaxed))
    }

    /// Takes over what another process tells of work that it does.
    pub fn show(&self, phase: &str, done_bytes: u64, expected_bytes: Option<u64>) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = Cow::Owned(phase.to_owned());
        self.done_bytes.store(done_bytes, Ordering::Relaxed);
        self.total_bytes.store(expected_bytes.unwrap_or(0), Ordering::Relaxed);
    }

    /// Asks the work to end at the next piece. What was begun is left as a crash would leave it.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Asked by the workers before each piece.
    ///
    /// # Errors
    /// It was cancelled.
    pub fn checked(&self) -> Result<()> {
        match self.is_cancelled() {
            false => Ok(()),
            true => Err(Error::failed("it was cancelled")),
        }
    }
}
