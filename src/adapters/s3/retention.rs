//! Object Lock: a version of an object that the store itself keeps until a date, whoever asks.
//!
//! Dates count in whole seconds, rounded down: a lock must not outlive what was promised. None is
//! ever shortened: that takes a header that is never sent, so that the store refuses.

use std::time::Duration;

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockEnabled, ObjectLockRetention, ObjectLockRetentionMode};
use jiff::Timestamp;

use crate::adapters::system::SystemClock;
use crate::error::{Error, Kind, Result};
use crate::model::LockMode;
use crate::ports::Clock;
use crate::ports::store::{Replaced, Retained};

use super::failure::{Failure, retried};
use super::objects::{Objects, timestamp};

/// So far may this machine's clock be ahead of the store's: beyond that no request is served
/// (`RequestTimeTooSkewed`).
const SKEW: Duration = Duration::from_secs(900);

/// Versions that stay although others are in their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    versions: u64,
    /// When the last of their locks ends.
    until: Timestamp,
}

impl Left {
    /// One more than `before`.
    pub fn and(before: Option<Left>, until: Timestamp) -> Left {
        match before {
            None => Left { versions: 1, until },
            Some(before) => Left { versions: before.versions + 1, until: before.until.max(until) },
        }
    }
}

impl Objects {
    /// Checks that the bucket has Object Lock.
    pub async fn must_lock(&self) -> Result<()> {
        let what = format!("look up the Object Lock of the {}", self.describe());
        let asked = retried(|| async {
            let request = self.client.get_object_lock_configuration().bucket(&self.place.bucket);
            request.send().await.map_err(|e| Failure::of(&what, &e))
        });
        let enabled = match asked.await {
            Ok(answer) => answer
                .object_lock_configuration
                .and_then(|set| set.object_lock_enabled)
                .is_some_and(|enabled| enabled == ObjectLockEnabled::Enabled),
            Err(failure) if failure.tells_of_no_lock() => false,
            Err(failure) => return Err(failure.error),
        };
        match enabled {
            true => Ok(()),
            false => {
                let what = format!("the {} has no Object Lock", self.describe());
                Err(Error::new(Kind::Config, what).hint(
                    "Enable Object Lock for the bucket, which keeps versions then, without a \
                     default retention; or set `object_lock = \"none\"`.",
                ))
            }
        }
    }

    /// Locks the newest version of the object, or extends its lock.
    pub async fn retain(&self, key: &str, until: Timestamp, mode: LockMode) -> Result<Retained> {
        let what = format!("lock the object {key} in the {}", self.describe());
        let second = until.as_second();
        let retention = ObjectLockRetention::builder()
            .mode(match mode {
                LockMode::Governance => ObjectLockRetentionMode::Governance,
                LockMode::Compliance => ObjectLockRetentionMode::Compliance,
            })
            .retain_until_date(DateTime::from_secs(second))
            .build();
        let set = retried(|| async {
            let request = self.client.put_object_retention().bucket(&self.place.bucket);
            let request = request.key(self.full_key(key)).retention(retention.clone());
            request.send().await.map_err(|e| Failure::of(&what, &e))
        });
        let failure = match set.await {
            Ok(_) => {
                return Ok(Retained::Until(Timestamp::from_second(second).unwrap_or(until)));
            }
            Err(failure) if failure.is_absent() => return Ok(Retained::Absent),
            Err(failure) => failure,
        };
        // To set an earlier end than there is, is refused: then all is done already.
        if failure.is_refusal()
            && let Ok(Some(there)) = self.retention_of(&self.full_key(key), None).await
            && there.as_second() >= second
        {
            return Ok(Retained::Until(there));
        }
        Err(failure.error)
    }

    /// Until when the newest version is locked.
    pub async fn retained_until(&self, key: &str) -> Result<Option<Timestamp>> {
        let full = self.full_key(key);
        self.retention_of(&full, None).await.map_err(|failure| failure.error)
    }

    /// Until when a version is locked that the store has just refused to remove. `None` if that
    /// is not the reason, or cannot be told.
    pub async fn lock_in_force(&self, full: &str, version: &str) -> Option<Timestamp> {
        let until = self.retention_of(full, Some(version)).await.ok()??;
        let latest = until.checked_add(SKEW).unwrap_or(until);
        (latest > SystemClock.now()).then_some(until)
    }

    /// Locks what has just been written as long as what it replaced. Killed before, it is left to
    /// whoever replaces it again: the versions that are locked are then found once more.
    pub async fn lock_as_before(&self, key: &str, left: Option<Left>) -> Result<Replaced> {
        let Some(Left { versions, until }) = left else { return Ok(Replaced::Done) };
        // Else the locks are the bucket's own, which every version gets.
        if let Some(mode) = self.lock {
            match self.retain(key, until, mode).await {
                // A lock that has ended by now is not to be set.
                Err(error) if until > SystemClock.now() => return Err(error),
                _ => {}
            }
        }
        Ok(Replaced::Kept { versions, until })
    }

    /// The lock of a version, or of the newest one.
    async fn retention_of(
        &self,
        full: &str,
        version: Option<&str>,
    ) -> Result<Option<Timestamp>, Failure> {
        let what = format!("look up the lock of {full} in the {}", self.describe());
        let asked = retried(|| async {
            let request = self.client.get_object_retention().bucket(&self.place.bucket);
            let request = request.key(full).set_version_id(version.map(str::to_owned));
            request.send().await.map_err(|e| Failure::of(&what, &e))
        });
        match asked.await {
            Ok(answer) => {
                let until = answer.retention.and_then(|retention| retention.retain_until_date);
                let read = until.map(|until| timestamp(&until)).transpose();
                read.map_err(|e| Failure::of_answer(format!("cannot {what}: {e}")))
            }
            Err(failure) if failure.is_absent() || failure.tells_of_no_lock() => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

impl Failure {
    /// The object has no lock, or the bucket none at all; each store says so in its own words.
    fn tells_of_no_lock(&self) -> bool {
        matches!(
            self.code.as_deref(),
            Some(
                "NoSuchObjectLockConfiguration"
                    | "ObjectLockConfigurationNotFoundError"
                    | "InvalidRequest"
            )
        )
    }
}
