//! Replacing an object, and when its content came: a bucket knows only when a version was written.
//!
//! Before the first replacement a mark is written whose key tells the instant, so that a listing
//! alone reads it: `.stored/KEY/SECONDS.NANOS`. It begins with a dot, so that it is no object.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::ports::store::{Entry, Replaced, check_key, replaced_by_another};

use super::objects::{Condition, Found, Objects};

const MARKS: &str = ".stored";

impl Objects {
    /// Every object below `prefix`, by key, each as old as its content.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let mut entries = self.list_raw(prefix).await?;
        entries.retain(|entry| check_key(&entry.key).is_ok());
        // Afterwards: of what was found replaced, the mark had been there before.
        let marked = self.marks(&format!("{MARKS}/{prefix}")).await?;
        let mut since: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for mark in &marked {
            since.entry(&mark.of).and_modify(|at| *at = mark.at.min(*at)).or_insert(mark.at);
        }
        for entry in &mut entries {
            if let Some(at) = since.get(entry.key.as_str()) {
                entry.stored_at = entry.stored_at.min(*at);
            }
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    /// Puts `bytes` in the place of what was found, if that is still there.
    pub async fn replace(&self, key: &str, found: &Found, bytes: Bytes) -> Result<Replaced> {
        let what = format!("cannot replace the object {key} in the {}", self.describe());
        let (Some(written_at), false) = (found.written_at, found.etag.is_empty()) else {
            return Err(Error::failed(what).because("no ETag or no date came with it"));
        };
        self.mark(key, written_at).await?;
        let condition = Condition::Unchanged(&found.etag);
        if let Some(etag) = self.put_if(key, bytes, condition).await? {
            let left = self.remove_superseded(key, &etag).await?;
            return self.lock_as_before(key, left).await;
        }
        if self.get(key, None).await?.is_some() {
            return Err(replaced_by_another(key));
        }
        self.unmark(key).await?;
        Ok(Replaced::Absent)
    }

    /// Removes an object with its marks.
    pub async fn remove(&self, key: &str) -> Result<()> {
        self.remove_object(key).await?;
        self.unmark(key).await
    }

    /// Notes when the content of `key` came, unless that was noted before.
    async fn mark(&self, key: &str, at: Timestamp) -> Result<()> {
        if !self.marks(&format!("{MARKS}/{key}/")).await?.is_empty() {
            return Ok(());
        }
        let instant = format!("{}.{:09}", at.as_second(), at.subsec_nanosecond());
        let mark = format!("{MARKS}/{key}/{instant}");
        self.put_new(&mark, Bytes::from(instant)).await.map(drop)
    }

    async fn unmark(&self, key: &str) -> Result<()> {
        for mark in self.marks(&format!("{MARKS}/{key}/")).await? {
            self.remove_object(&mark.key).await?;
        }
        Ok(())
    }

    async fn marks(&self, prefix: &str) -> Result<Vec<Mark>> {
        let listed = self.list_raw(prefix).await?;
        Ok(listed.into_iter().filter_map(|entry| Mark::read(entry.key)).collect())
    }
}

/// A mark: its own key, and what it says of which object.
struct Mark {
    key: String,
    of: String,
    at: Timestamp,
}

impl Mark {
    /// `None` for what is no mark of ours.
    fn read(key: String) -> Option<Mark> {
        let (of, instant) = key.strip_prefix(MARKS)?.strip_prefix('/')?.rsplit_once('/')?;
        let (seconds, nanos) = instant.split_once('.')?;
        let at = Timestamp::new(seconds.parse().ok()?, nanos.parse().ok()?).ok()?;
        let of = of.to_owned();
        Some(Mark { key, of, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_of_which_object_it_is_and_when_that_came() {
        let mark = Mark::read(".stored/postgres/x/a.age/1700000000.000000005".to_owned()).unwrap();
        assert_eq!(mark.of, "postgres/x/a.age");
        assert_eq!(mark.at, Timestamp::new(1_700_000_000, 5).unwrap());
        for strange in ["postgres/x/1.0", ".stored/x", ".stored/x/soon", ".stores/x/1.0"] {
            assert!(Mark::read(strange.to_owned()).is_none(), "{strange}");
        }
    }
}
