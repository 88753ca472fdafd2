//! What jobs left behind that were cut short: undone before anything begins.

use super::post::Post;
use super::state::State;
use crate::daemon::work::drill;
use crate::error::Result;

/// Undoes the steps of every job that has not ended. What cannot be undone is told, and does not
/// keep the daemon from its work.
///
/// # Errors
/// The catalog's.
pub(super) fn undo_open_steps(post: &Post, state: &State) -> Result<()> {
    for step in post.catalog.open_steps()? {
        let (job, detail) = (step.job, &step.detail);
        match drill::undo(&step.what, &step.detail, post.parts.clock.as_ref()) {
            Ok(()) => tracing::info!(job, detail, "what a job left behind is gone"),
            Err(error) => {
                tracing::error!(job, error = %error.chain(), "a job left something behind");
                state.trouble("leftovers", Some(error.chain()));
            }
        }
    }
    Ok(())
}
