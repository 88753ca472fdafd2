//! Requests for objects: each complete or an error, tried again while that can help.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types;
use bytes::Bytes;
use jiff::Timestamp;

use crate::error::{Attempt, Error, Result};
use crate::model::{BucketPlace, LockMode, ServerSideEncryption};
use crate::ports::store::{Entry, Put, locked};

use super::failure::{Failure, retried};
use super::multipart::{self, Sweeps};
use super::retention::Left;

/// A bucket with its client.
pub(super) struct Objects {
    pub client: Client,
    pub place: BucketPlace,
    pub sweeps: Sweeps,
    /// How objects are locked, if they are.
    pub lock: Option<LockMode>,
}

/// An object, or the part of it that was asked for.
pub(super) struct Found {
    pub bytes: Bytes,
    pub etag: String,
    /// When the store took this version, to the second; `None` if it does not say.
    pub written_at: Option<Timestamp>,
}

/// On what condition an object is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition<'a> {
    /// There is none.
    Absent,
    /// It is still the one with this ETag.
    Unchanged(&'a str),
}

impl Objects {
    pub fn describe(&self) -> String {
        let path = self.place.path();
        match &self.place.endpoint {
            Some(endpoint) => format!("bucket {path} at {endpoint}"),
            None => format!("bucket {path}"),
        }
    }

    pub fn full_key(&self, key: &str) -> String {
        match self.place.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    /// How the store shall encrypt what is written.
    pub fn encryption(&self) -> Option<types::ServerSideEncryption> {
        self.place.sse.map(|sse| match sse {
            ServerSideEncryption::Aes256 => types::ServerSideEncryption::Aes256,
            ServerSideEncryption::Kms => types::ServerSideEncryption::AwsKms,
        })
    }

    /// Asks for nothing but shows whether the bucket is there and listing allowed.
    pub async fn probe(&self) -> Result<()> {
        let what = format!("open the {}", self.describe());
        let bucket = &self.place.bucket;
        let asked = retried(|| async {
            let request = self.client.list_objects_v2().bucket(bucket).max_keys(1);
            request.prefix(self.full_key("")).send().await.map_err(|e| Failure::of(&what, &e))
        });
        asked.await.map(drop).map_err(|failure| failure.error)
    }

    /// Creates the object if there is none; a large one in parts.
    pub async fn put_new(&self, key: &str, bytes: Bytes) -> Result<Put> {
        if bytes.len() > multipart::ABOVE_BYTES {
            return Box::pin(self.put_in_parts(key, &bytes)).await;
        }
        Ok(match self.put_if(key, bytes, Condition::Absent).await? {
            Some(_) => Put::Created,
            None => Put::Exists,
        })
    }

    /// Writes if the condition holds: the ETag of what was written, or `None` if it does not, as
    /// where nothing is there to be unchanged. After an answer that got lost, what is there is
    /// compared: it may be ours.
    pub async fn put_if(
        &self,
        key: &str,
        bytes: Bytes,
        condition: Condition<'_>,
    ) -> Result<Option<String>> {
        let unsure = AtomicBool::new(false);
        let written = retried(|| async {
            let written = self.put(key, &bytes, condition).await;
            // What is tried again may have been done.
            if written.as_ref().is_err_and(|failure| failure.again) {
                unsure.store(true, Ordering::Relaxed);
            }
            written
        });
        match written.await {
            Ok(etag) => Ok(Some(etag)),
            Err(failure) if failure.is_condition() || failure.is_absent() => {
                if !unsure.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let there = self.get(key, None).await?;
                Ok(there.filter(|there| there.bytes == bytes).map(|there| there.etag))
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// Writes once; the ETag of what was written.
    async fn put(
        &self,
        key: &str,
        bytes: &Bytes,
        condition: Condition<'_>,
    ) -> Result<String, Failure> {
        let what = format!("write the object {key} to the {}", self.describe());
        let request = self
            .client
            .put_object()
            .bucket(&self.place.bucket)
            .key(self.full_key(key))
            .content_length(bytes.len() as i64)
            .body(ByteStream::from(bytes.clone()))
            .set_server_side_encryption(self.encryption());
        let request = match condition {
            Condition::Absent => request.if_none_match("*"),
            Condition::Unchanged(etag) => request.if_match(etag),
        };
        // Its checksum is signed, and it is encrypted: hashing it once more shows nothing new.
        let answer = match self.place.sends_checksums_safely() {
            true => request.customize().disable_payload_signing().send().await,
            false => request.send().await,
        };
        let answer = answer.map_err(|e| Failure::of(&what, &e))?;
        answer.e_tag.ok_or_else(|| Failure::of_answer(format!("cannot {what}: no ETag came")))
    }

    /// Every object whose key begins with `prefix`, page after page, as the store knows them: with
    /// what is not one of our keys (a lock, a stranger's folder mark), and in its order.
    pub async fn list_raw(&self, prefix: &str) -> Result<Vec<Entry>> {
        let what = format!("list {prefix} in the {}", self.describe());
        let root = self.full_key("");
        let mut entries = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page = retried(|| async {
                let request = self.client.list_objects_v2().bucket(&self.place.bucket);
                let request = request.prefix(self.full_key(prefix));
                let request = request.set_continuation_token(token.clone());
                request.send().await.map_err(|e| Failure::of(&what, &e))
            });
            let page = page.await.map_err(|failure| failure.error)?;
            for object in page.contents.unwrap_or_default() {
                let (Some(key), Some(bytes), Some(at)) =
                    (object.key, object.size, object.last_modified)
                else {
                    return Err(Error::failed(format!("cannot {what}: an entry is incomplete")));
                };
                let Some(key) = key.strip_prefix(&root) else { continue };
                let stored_at = timestamp(&at).attempt(|| what.clone())?;
                entries.push(Entry { key: key.to_owned(), bytes: bytes as u64, stored_at });
            }
            match (page.is_truncated.unwrap_or(false), page.next_continuation_token) {
                (false, _) => break,
                (true, Some(next)) if token.as_ref() != Some(&next) => token = Some(next),
                (true, _) => {
                    let what =
                        format!("cannot {what}: it goes on, and the store does not say where");
                    return Err(Error::failed(what).later());
                }
            }
        }
        Ok(entries)
    }

    /// Removes every version of the object, the oldest first, so that none comes to light again.
    /// It ends at the first that is locked: the newest is still there then.
    pub async fn remove_object(&self, key: &str) -> Result<()> {
        let what = format!("remove the object {key} from the {}", self.describe());
        let full = self.full_key(key);
        for version in self.versions(&full, &what).await? {
            if let Some(until) = self.remove_version(&full, &what, &version).await? {
                return Err(locked(key, until));
            }
        }
        Ok(())
    }

    /// Removes the versions that were there before the one with this ETag, but for those that are
    /// locked. Each write has a content, and so an ETag, of its own.
    pub async fn remove_superseded(&self, key: &str, etag: &str) -> Result<Option<Left>> {
        let what = format!("remove what {key} was in the {}", self.describe());
        let full = self.full_key(key);
        let mut versions = self.versions(&full, &what).await?;
        let ours = etag.trim_matches('"');
        let is_other = |etag: &str| etag.trim_matches('"') != ours;
        versions.retain(|one| !one.is_latest && one.etag.as_deref().is_some_and(is_other));
        let mut left = None;
        for version in &versions {
            if let Some(until) = self.remove_version(&full, &what, version).await? {
                left = Some(Left::and(left, until));
            }
        }
        Ok(left)
    }

    /// Removes one version; tells until when it is locked, if that is why it is still there.
    async fn remove_version(
        &self,
        full: &str,
        what: &str,
        version: &Version,
    ) -> Result<Option<Timestamp>> {
        let removed = retried(|| async {
            let request = self.client.delete_object().bucket(&self.place.bucket);
            let request = request.key(full).version_id(&version.id);
            request.send().await.map_err(|e| Failure::of(what, &e))
        });
        match removed.await {
            Ok(_) => Ok(None),
            Err(failure) if failure.is_absent() => Ok(None),
            Err(failure) if failure.is_refusal() => {
                let until = self.lock_in_force(full, &version.id).await;
                until.map(Some).ok_or(failure.error)
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// All versions and delete markers of exactly this key, the oldest first.
    async fn versions(&self, full: &str, what: &str) -> Result<Vec<Version>> {
        let mut found = Vec::new();
        let mut after: (Option<String>, Option<String>) = (None, None);
        loop {
            let page = retried(|| async {
                let request = self.client.list_object_versions().bucket(&self.place.bucket);
                let request = request.prefix(full).set_key_marker(after.0.clone());
                let request = request.set_version_id_marker(after.1.clone());
                request.send().await.map_err(|e| Failure::of(what, &e))
            });
            let page = page.await.map_err(|failure| failure.error)?;
            found.extend(versions_of(&page, full));
            // Longer keys with this beginning follow all versions of this one.
            let passed = page.next_key_marker.as_ref().is_some_and(|next| next.as_str() > full);
            if !page.is_truncated.unwrap_or(false) || passed {
                break;
            }
            let next = (page.next_key_marker, page.next_version_id_marker);
            if next.0.is_none() || next == after {
                let what = format!("cannot {what}: its versions go on, and nobody says where");
                return Err(Error::failed(what).later());
            }
            after = next;
        }
        found.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        Ok(found)
    }
}

/// A version of an object, or a delete marker, which has no ETag.
struct Version {
    /// When it came, in nanoseconds.
    at: i128,
    id: String,
    etag: Option<String>,
    is_latest: bool,
}

pub(super) fn timestamp(at: &DateTime) -> Result<Timestamp, jiff::Error> {
    Timestamp::new(at.secs(), at.subsec_nanos() as i32)
}

fn versions_of(page: &ListObjectVersionsOutput, full: &str) -> Vec<Version> {
    let at = |at: Option<&DateTime>| at.map_or(0, |at| at.as_nanos());
    let id = |id: Option<&str>| id.unwrap_or("null").to_owned();
    let versions = page.versions().iter().filter(|version| version.key() == Some(full));
    let versions = versions.map(|version| Version {
        at: at(version.last_modified()),
        id: id(version.version_id()),
        etag: version.e_tag().map(str::to_owned),
        is_latest: version.is_latest().unwrap_or(false),
    });
    let markers = page.delete_markers().iter().filter(|marker| marker.key() == Some(full));
    let markers = markers.map(|marker| Version {
        at: at(marker.last_modified()),
        id: id(marker.version_id()),
        etag: None,
        is_latest: marker.is_latest().unwrap_or(false),
    });
    versions.chain(markers).collect()
}
