//! Work that blocks, away from the threads that serve everything else.

use crate::error::{Error, Result};

/// Runs `work` on a thread of its own and waits for it.
///
/// # Errors
/// Those of `work`; a panic in it is an error as well.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|cause| Error::failed("work on a thread of its own panicked").because(cause))?
}
