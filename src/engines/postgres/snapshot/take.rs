//! A snapshot by whichever method the configuration names.

use crate::config::Method;
use crate::error::{Error, Result};
use crate::repository::manifest::SnapshotManifest;

use super::files;
use super::job::SnapshotJob;

/// Takes a snapshot. It is committed when this returns; damaged pages are told in the manifest.
pub async fn take(job: &SnapshotJob, method: &Method) -> Result<SnapshotManifest> {
    match method {
        Method::Files { data_dir } => Box::pin(files::take(job, data_dir)).await,
        Method::Stream => Err(Error::failed("cannot take a snapshot by method `stream`")
            .because("it is not supported by this version yet")
            .hint("Use method `files` on the database host.")),
    }
}
