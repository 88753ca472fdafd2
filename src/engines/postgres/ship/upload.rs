//! Stores pieces in order, a few at a time, and tries again while the repository is unreachable.
//!
//! Positions are reported durable in order only, although pieces may be stored out of order: the
//! slot on the source may let go of a byte only when it and all before it are stored.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::engines::blocking::blocking;
use crate::error::{Error, Result, Retry};
use crate::model::{Lsn, Timeline};
use crate::repository::wal::WalArchive;

use super::assembly::Piece;

/// Pieces being stored at once: bounds memory to this many segments, twice.
const IN_FLIGHT: usize = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The pieces on their way.
pub struct Uploads {
    archive: WalArchive,
    queue: VecDeque<JoinHandle<Result<Durable>>>,
    /// Tells the failures of attempts that will be repeated.
    trouble: tokio::sync::watch::Sender<Option<String>>,
}

/// Everything up to `end` of `timeline` is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable {
    pub timeline: Timeline,
    pub end: Lsn,
    pub complete_at: Option<jiff::Timestamp>,
}

impl Uploads {
    pub fn new(archive: WalArchive) -> Uploads {
        let (trouble, _) = tokio::sync::watch::channel(None);
        Uploads { archive, queue: VecDeque::new(), trouble }
    }

    /// Whether another piece may be given.
    pub fn has_room(&self) -> bool {
        self.queue.len() < IN_FLIGHT
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Why pieces are waiting, if they are.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Begins to store `piece`. More than [`IN_FLIGHT`] wait their turn within their tasks only
    /// if the caller ignores [`Uploads::has_room`].
    pub fn give(&mut self, piece: Piece) {
        let archive = self.archive.clone();
        let trouble = self.trouble.clone();
        self.queue.push_back(tokio::spawn(store_until_done(archive, piece, trouble)));
    }

    /// The oldest piece, if it is stored by now.
    pub async fn finished(&mut self) -> Result<Option<Durable>> {
        match self.queue.front().is_some_and(JoinHandle::is_finished) {
            true => self.next().await.map(Some),
            false => Ok(None),
        }
    }

    /// Waits for the oldest piece; pending for ever if there is none. Safe to cancel.
    pub async fn next(&mut self) -> Result<Durable> {
        let Some(oldest) = self.queue.front_mut() else { return std::future::pending().await };
        let ended = oldest.await;
        self.queue.pop_front();
        ended.map_err(|cause| Error::failed("storing a stretch of log panicked").because(cause))?
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.queue.iter().for_each(JoinHandle::abort);
    }
}

/// Stores one piece, however long the repository is away. Ends early only for failures that
/// another try cannot mend, or when the shipper is dropped.
async fn store_until_done(
    archive: WalArchive,
    piece: Piece,
    trouble: tokio::sync::watch::Sender<Option<String>>,
) -> Result<Durable> {
    let durable = Durable {
        timeline: piece.timeline,
        end: piece.end(archive.segment_size),
        complete_at: piece.complete_at,
    };
    tracing::debug!(until = %durable.end, bytes = piece.bytes.len(), "storing the log");
    let piece = std::sync::Arc::new(piece);
    let mut pause = FIRST_PAUSE;
    loop {
        let (archive, piece) = (archive.clone(), piece.clone());
        let outcome = blocking(move || {
            archive.repository.must_be_in_charge()?;
            let Piece { timeline, segment, from, bytes, complete_at } = piece.as_ref();
            archive.put(*timeline, *segment, *from, bytes, *complete_at)
        })
        .await;
        match outcome {
            Ok(_) => {
                trouble.send_if_modified(|known| known.take().is_some());
                tracing::debug!(until = %durable.end, "the log is stored");
                return Ok(durable);
            }
            Err(error) if error.retry() == Retry::Later => {
                tracing::warn!(error = %error.chain(), "log waits for the repository");
                trouble.send_replace(Some(error.chain()));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}
