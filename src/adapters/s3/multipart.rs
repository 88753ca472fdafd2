//! Writing a large object in parts, several at a time.
//!
//! Nothing of it is visible before the upload is completed, which happens on condition that no
//! object has the key. An upload has a token of its own, which the object keeps: by that it is
//! recognised after an answer that got lost. A store that is not AWS may look and complete in two
//! steps (SeaweedFS 4.48 does: of several that complete at the same instant more than one is told
//! that it won); there, whose object lies there afterwards has won. That leaves two that complete
//! in turn within the time of one request; large objects are written by whoever holds the lease or
//! a lock, and what commits them is small and written at once.
//!
//! An upload that fails is aborted. What a killed process leaves, or a lost answer to the very
//! beginning, is aborted a day later, before the next upload.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, MultipartUpload,
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::adapters::system::{SystemClock, SystemEntropy};
use crate::error::{Error, Result};
use crate::model::Checksums;
use crate::ports::store::Put;
use crate::ports::{Clock, Entropy};

use super::failure::{Failure, retried};
use super::objects::{Objects, timestamp};
use super::parallel;

/// What is larger is written in parts. A pack of the usual size, which is closed once it holds
/// 16 MiB and so is larger, takes one request instead of five.
pub(super) const ABOVE_BYTES: usize = 32 * 1024 * 1024;
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Of one upload (S3 user guide, "multipart upload limits").
const MOST_PARTS: usize = 10_000;
/// The metadata of an object that names its upload.
const TOKEN: &str = "fenice-upload";
/// What cannot be aborted by then is left for another day.
const ABORT_PATIENCE: Duration = Duration::from_secs(30);
/// No upload takes as long.
const LEFT_AFTER: SignedDuration = SignedDuration::from_hours(24);
const SWEEP_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// When this process last looked for uploads that others left.
#[derive(Default)]
pub(super) struct Sweeps(Mutex<Option<Instant>>);

impl Sweeps {
    /// Whether it is time to look; if so, another is not told the same.
    fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= SWEEP_EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

/// An upload under way.
struct Upload {
    /// For messages.
    key: String,
    full: String,
    id: String,
    token: String,
}

/// What lies under a key.
struct Seen {
    token: Option<String>,
    bytes: Option<i64>,
}

impl Objects {
    /// Creates the object if there is none.
    pub async fn put_in_parts(&self, key: &str, bytes: &Bytes) -> Result<Put> {
        if self.sweeps.is_due() {
            self.sweep().await;
        }
        // Not to send in vain what could not be completed.
        if self.look(key).await?.is_some() {
            return Ok(Put::Exists);
        }
        let upload = self.begin(key).await?;
        let put = match self.send_parts(&upload, bytes).await {
            Ok(parts) => self.complete(&upload, parts, bytes.len()).await,
            Err(failure) => Err(failure.error),
        };
        if !matches!(put, Ok(Put::Created)) {
            self.abort(&upload).await;
        }
        put
    }

    async fn begin(&self, key: &str) -> Result<Upload> {
        let what = format!("begin to write the object {key} to the {}", self.describe());
        let mut token = [0; 16];
        SystemEntropy.fill(&mut token);
        let (token, full) = (hex::encode(token), self.full_key(key));
        // Named at the beginning, so that each part's checksum counts at the end.
        let checksum = match self.place.checksums {
            Checksums::WhenSupported => Some(ChecksumAlgorithm::Crc32),
            Checksums::WhenRequired => None,
        };
        let begun = retried(|| async {
            let request = self.client.create_multipart_upload().bucket(&self.place.bucket);
            let request = request.key(&full).metadata(TOKEN, &token);
            let request = request.set_server_side_encryption(self.encryption());
            let request = request.set_checksum_algorithm(checksum.clone());
            request.send().await.map_err(|e| Failure::of(&what, &e))
        });
        let begun = begun.await.map_err(|failure| failure.error)?;
        let no_id = || Error::failed(format!("cannot {what}: no id of an upload came")).later();
        let id = begun.upload_id.ok_or_else(no_id)?;
        Ok(Upload { key: key.to_owned(), full, id, token })
    }

    /// Sends all parts; what came of each, in their order.
    async fn send_parts(
        &self,
        upload: &Upload,
        bytes: &Bytes,
    ) -> Result<Vec<CompletedPart>, Failure> {
        let part_bytes = part_bytes(bytes.len());
        let done = &Mutex::new(Vec::new());
        parallel::each(bytes.len().div_ceil(part_bytes), |number| async move {
            let from = number * part_bytes;
            let part = bytes.slice(from..bytes.len().min(from + part_bytes));
            let sent = retried(|| self.send_part(upload, number as i32 + 1, &part)).await?;
            done.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
            Ok::<(), Failure>(())
        })
        .await?;
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts = std::mem::take(&mut *done);
        parts.sort_by_key(|part| part.part_number());
        Ok(parts)
    }

    /// Sends one part, once. To send it again is to put it in its own place.
    async fn send_part(
        &self,
        upload: &Upload,
        number: i32,
        part: &Bytes,
    ) -> Result<CompletedPart, Failure> {
        let Upload { key, full, id, .. } = upload;
        let what = format!("write part {number} of the object {key} to the {}", self.describe());
        let request = self.client.upload_part().bucket(&self.place.bucket).key(full).upload_id(id);
        let request = request.part_number(number).content_length(part.len() as i64);
        let request = request.body(part.clone().into());
        let sent = match self.place.sends_checksums_safely() {
            true => request.customize().disable_payload_signing().send().await,
            false => request.send().await,
        };
        let sent = sent.map_err(|e| Failure::of(&what, &e))?;
        let no_etag = || Failure::of_answer(format!("cannot {what}: no ETag came"));
        let etag = sent.e_tag.ok_or_else(no_etag)?;
        let part = CompletedPart::builder().part_number(number).e_tag(etag);
        Ok(part.set_checksum_crc32(sent.checksum_crc32).build())
    }

    /// Makes an object of the parts if there is none by now.
    async fn complete(
        &self,
        upload: &Upload,
        parts: Vec<CompletedPart>,
        bytes: usize,
    ) -> Result<Put> {
        let Upload { key, full, id, .. } = upload;
        let what = format!("finish the object {key} in the {}", self.describe());
        let unsure = AtomicBool::new(false);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let completed = retried(|| async {
            let request = self.client.complete_multipart_upload().bucket(&self.place.bucket);
            let request = request.key(full).upload_id(id).multipart_upload(parts.clone());
            let completed = request.if_none_match("*").send().await;
            let completed = completed.map_err(|e| Failure::of(&what, &e));
            // What is tried again may have been done.
            if completed.as_ref().is_err_and(|failure| failure.again) {
                unsure.store(true, Ordering::Relaxed);
            }
            completed
        });
        let failure = match completed.await {
            Ok(_) if self.place.endpoint.is_none() => return Ok(Put::Created),
            Ok(_) => Failure::for_good(format!("cannot {what}: it was removed at once")),
            Err(failure) if unsure.load(Ordering::Relaxed) => failure,
            Err(failure) if failure.is_condition() => return Ok(Put::Exists),
            Err(failure) => return Err(failure.error),
        };
        match self.look(key).await {
            Ok(Some(seen)) if seen.token.as_ref() != Some(&upload.token) => Ok(Put::Exists),
            Ok(Some(seen)) if seen.bytes != Some(bytes as i64) => {
                let found = seen.bytes.unwrap_or_default();
                Err(Error::failed(format!("cannot {what}: {found} of {bytes} bytes are there")))
            }
            Ok(Some(_)) => Ok(Put::Created),
            Ok(None) => Err(failure.error),
            Err(error) => {
                tracing::debug!(error = %error.chain(), "an object may be there or not");
                Err(failure.error)
            }
        }
    }

    /// What lies there, if anything does.
    async fn look(&self, key: &str) -> Result<Option<Seen>> {
        let what = format!("look for the object {key} in the {}", self.describe());
        let seen = retried(|| async {
            let request = self.client.head_object().bucket(&self.place.bucket);
            request.key(self.full_key(key)).send().await.map_err(|e| Failure::of(&what, &e))
        });
        match seen.await {
            Ok(seen) => {
                let token = seen.metadata().and_then(|metadata| metadata.get(TOKEN)).cloned();
                Ok(Some(Seen { token, bytes: seen.content_length() }))
            }
            // The answer has no body and says no more; the bucket was there before.
            Err(failure) if failure.status == Some(404) => Ok(None),
            Err(failure) => Err(failure.error),
        }
    }

    /// Ends an upload that failed; whoever asked for it is told why that was.
    async fn abort(&self, upload: &Upload) {
        let aborting = self.abort_by_id(&upload.full, &upload.id);
        match tokio::time::timeout(ABORT_PATIENCE, aborting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %error.chain(), "an unfinished upload stays for a day");
            }
            Err(_) => tracing::warn!(key = upload.key, "an unfinished upload stays for a day"),
        }
    }

    async fn abort_by_id(&self, full: &str, id: &str) -> Result<()> {
        let what = format!("abort the upload of {full} to the {}", self.describe());
        let aborted = retried(|| async {
            let request = self.client.abort_multipart_upload().bucket(&self.place.bucket);
            request.key(full).upload_id(id).send().await.map_err(|e| Failure::of(&what, &e))
        });
        match aborted.await {
            Ok(_) => Ok(()),
            Err(failure) if failure.code.as_deref() == Some("NoSuchUpload") => Ok(()),
            Err(failure) => Err(failure.error),
        }
    }

    /// Aborts what others left behind, as far as that is quickly done: it is not what was asked
    /// for, and may not be permitted.
    async fn sweep(&self) {
        let aborting = self.abort_unfinished(SystemClock.now());
        match tokio::time::timeout(ABORT_PATIENCE, aborting).await {
            Ok(Ok(0)) => {}
            Ok(Ok(count)) => tracing::info!(count, "unfinished uploads of before were aborted"),
            Ok(Err(error)) => {
                tracing::debug!(error = %error.chain(), "unfinished uploads may be left");
            }
            Err(_) => tracing::debug!("unfinished uploads may be left: that took too long"),
        }
    }

    /// Aborts the uploads below our prefix that began more than a day before `now`, of the first
    /// page that the store lists; how many those were.
    pub async fn abort_unfinished(&self, now: Timestamp) -> Result<usize> {
        let what = format!("list the unfinished uploads to the {}", self.describe());
        let listed = retried(|| async {
            let request = self.client.list_multipart_uploads().bucket(&self.place.bucket);
            let request = request.prefix(self.full_key(""));
            request.send().await.map_err(|e| Failure::of(&what, &e))
        });
        let listed = listed.await.map_err(|failure| failure.error)?;
        let left = listed.uploads().iter().filter_map(|upload| left_by(upload, now));
        let left: Vec<(&str, &str)> = left.collect();
        for (full, id) in &left {
            self.abort_by_id(full, id).await?;
        }
        Ok(left.len())
    }
}

/// Key and id of an upload nobody is about any more.
fn left_by(upload: &MultipartUpload, now: Timestamp) -> Option<(&str, &str)> {
    let began = timestamp(upload.initiated()?).ok()?;
    let is_left = now.duration_since(began) > LEFT_AFTER;
    upload.key().zip(upload.upload_id()).filter(|_| is_left)
}

/// The size of all parts but the last: larger only where there would be too many.
fn part_bytes(total_bytes: usize) -> usize {
    PART_BYTES.max(total_bytes.div_ceil(MOST_PARTS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::primitives::DateTime;

    #[test]
    fn parts_are_never_too_many() {
        const MIB: usize = 1024 * 1024;
        for (total, size, count) in [
            (16 * MIB + 1, PART_BYTES, 3),
            (40 * MIB, PART_BYTES, 5),
            (1024 * MIB, PART_BYTES, 128),
            (10_000 * PART_BYTES, PART_BYTES, 10_000),
            (10_000 * PART_BYTES + 1, PART_BYTES + 1, 10_000),
        ] {
            assert_eq!(part_bytes(total), size, "{total}");
            assert_eq!(total.div_ceil(size), count, "{total}");
        }
    }

    #[test]
    fn only_an_upload_of_yesterday_is_left_behind() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let began = |hours: i64| DateTime::from_secs(1_700_000_000 - hours * 3_600);
        let upload = MultipartUpload::builder().key("a").upload_id("1");
        let at = |hours| upload.clone().initiated(began(hours)).build();
        assert_eq!(left_by(&at(25), now), Some(("a", "1")));
        assert_eq!(left_by(&at(23), now), None);
        assert_eq!(left_by(&at(-25), now), None, "begun by a clock ahead of ours");
        assert_eq!(left_by(&upload.clone().build(), now), None, "no date");
    }
}
