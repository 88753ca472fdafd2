//! A snapshot by whichever method the configuration names.

use crate::config::Method;
use crate::error::Result;
use crate::repository::manifest::SnapshotManifest;

use super::job::SnapshotJob;
use super::{files, stream};

/// Takes a snapshot. It is committed when this returns; damaged pages are told in the manifest.
pub async fn take(job: &SnapshotJob, method: &Method) -> Result<SnapshotManifest> {
    match method {
        Method::Files { data_dir } => Box::pin(files::take(job, data_dir)).await,
        Method::Stream => Box::pin(stream::take(job)).await,
    }
}
