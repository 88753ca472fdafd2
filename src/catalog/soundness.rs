//! When each stored object was last read and found as it was stored, and what that says of the
//! snapshots. Losing it costs reading all of it once more.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::params;

use crate::error::{Attempt, Result};
use crate::model::ResourceName;

use super::store::Catalog;

/// An object that was found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    pub key: String,
    /// As stored. Another size, or another instant of storing, is another object.
    pub bytes: u64,
    pub stored_at: Timestamp,
    pub at: Timestamp,
}

impl Catalog {
    /// What was found sound of a resource in one repository, by key.
    pub fn sound_objects(
        &self,
        repository_id: &str,
        resource: &ResourceName,
    ) -> Result<BTreeMap<String, Sound>> {
        let what = || format!("look up what was verified of {resource}");
        let connection = self.lock();
        let mut statement = connection
            .prepare(
                "select key, bytes, stored_at_us, sound_at_us from soundness \
                 where repository = ?1 and resource = ?2",
            )
            .attempt(what)?;
        let rows = statement
            .query_map(params![repository_id, resource.as_str()], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get(2)?, row.get(3)?))
            })
            .attempt(what)?;
        let mut sound = BTreeMap::new();
        for row in rows {
            let (key, bytes, stored_at, at): (String, i64, i64, i64) = row.attempt(what)?;
            let stored_at = Timestamp::from_microsecond(stored_at).attempt(what)?;
            let at = Timestamp::from_microsecond(at).attempt(what)?;
            sound.insert(key.clone(), Sound { key, bytes: bytes as u64, stored_at, at });
        }
        Ok(sound)
    }

    /// When anything of a resource in one repository was last found sound: every verification
    /// reads something.
    pub fn last_sound_at(
        &self,
        repository_id: &str,
        resource: &ResourceName,
    ) -> Result<Option<Timestamp>> {
        let what = || format!("look up what was verified of {resource}");
        let select =
            "select max(sound_at_us) from soundness where repository = ?1 and resource = ?2";
        let row = params![repository_id, resource.as_str()];
        let newest: Option<i64> =
            self.lock().query_row(select, row, |row| row.get(0)).attempt(what)?;
        newest.map(Timestamp::from_microsecond).transpose().attempt(what)
    }

    /// Notes objects that were found sound.
    pub fn note_sound(
        &self,
        repository_id: &str,
        resource: &ResourceName,
        sound: &[Sound],
    ) -> Result<()> {
        let insert = "insert or replace into soundness values (?1, ?2, ?3, ?4, ?5, ?6)";
        self.change(resource, insert, sound, |statement, one| {
            let (bytes, stored_at) = (one.bytes as i64, one.stored_at.as_microsecond());
            let at = one.at.as_microsecond();
            let name = resource.as_str();
            statement.execute(params![repository_id, name, one.key, bytes, stored_at, at])
        })
    }

    /// Forgets objects that are gone, or not sound any more.
    pub fn forget_sound(
        &self,
        repository_id: &str,
        resource: &ResourceName,
        keys: &[String],
    ) -> Result<()> {
        let delete = "delete from soundness where repository = ?1 and resource = ?2 and key = ?3";
        self.change(resource, delete, keys, |statement, key| {
            statement.execute(params![repository_id, resource.as_str(), key])
        })
    }

    /// Notes what the last verification found and did not put right, in the place of what the one
    /// before found.
    pub fn note_findings(
        &self,
        repository_id: &str,
        resource: &ResourceName,
        findings: &[(String, String)],
    ) -> Result<()> {
        let what = || format!("note what was found of {resource}");
        let mut connection = self.lock();
        let transaction = connection.transaction().attempt(what)?;
        let name = resource.as_str();
        let delete = "delete from finding where repository = ?1 and resource = ?2";
        transaction.execute(delete, params![repository_id, name]).attempt(what)?;
        for (found, because) in findings {
            let insert = "insert into finding values (?1, ?2, ?3, ?4)";
            let row = params![repository_id, name, found, because];
            transaction.execute(insert, row).attempt(what)?;
        }
        transaction.commit().attempt(what)
    }

    /// What the last verification of a resource found in each repository, with the reason.
    pub fn findings(&self, resource: &ResourceName) -> Result<Vec<(String, String)>> {
        let what = || format!("look up what was found of {resource}");
        let connection = self.lock();
        let select = "select what, because from finding where resource = ?1 order by rowid";
        let mut statement = connection.prepare(select).attempt(what)?;
        let rows = statement
            .query_map(params![resource.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .attempt(what)?;
        rows.collect::<rusqlite::Result<Vec<(String, String)>>>().attempt(what)
    }

    /// Notes which snapshots the last verification found sound, each with since when, in the place
    /// of what the one before found.
    pub fn note_verified(
        &self,
        repository_id: &str,
        resource: &ResourceName,
        verified: &BTreeMap<String, Timestamp>,
    ) -> Result<()> {
        let what = || format!("note which snapshots of {resource} were verified");
        let mut connection = self.lock();
        let transaction = connection.transaction().attempt(what)?;
        let name = resource.as_str();
        let delete = "delete from verified where repository = ?1 and resource = ?2";
        transaction.execute(delete, params![repository_id, name]).attempt(what)?;
        for (snapshot, since) in verified {
            let insert = "insert into verified values (?1, ?2, ?3, ?4)";
            let row = params![repository_id, name, snapshot, since.as_microsecond()];
            transaction.execute(insert, row).attempt(what)?;
        }
        transaction.commit().attempt(what)
    }

    /// The snapshots of a resource in one repository that the last verification found sound: all
    /// of each was read back since then.
    pub fn verified(
        &self,
        repository_id: &str,
        resource: &ResourceName,
    ) -> Result<BTreeMap<String, Timestamp>> {
        let what = || format!("look up which snapshots of {resource} were verified");
        let connection = self.lock();
        let select =
            "select snapshot, since_us from verified where repository = ?1 and resource = ?2";
        let mut statement = connection.prepare(select).attempt(what)?;
        let rows = statement
            .query_map(params![repository_id, resource.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .attempt(what)?;
        let mut verified = BTreeMap::new();
        for row in rows {
            let (snapshot, since_us): (String, i64) = row.attempt(what)?;
            verified.insert(snapshot, Timestamp::from_microsecond(since_us).attempt(what)?);
        }
        Ok(verified)
    }

    fn change<T>(
        &self,
        resource: &ResourceName,
        sql: &str,
        all: &[T],
        run: impl Fn(&mut rusqlite::Statement<'_>, &T) -> rusqlite::Result<usize>,
    ) -> Result<()> {
        let what = || format!("note what was verified of {resource}");
        let mut connection = self.lock();
        let transaction = connection.transaction().attempt(what)?;
        {
            let mut statement = transaction.prepare(sql).attempt(what)?;
            for one in all {
                run(&mut statement, one).attempt(what)?;
            }
        }
        transaction.commit().attempt(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_verification_is_when_something_was_last_found_sound() {
        let catalog = Catalog::open(std::path::Path::new(":memory:")).unwrap();
        let resource = "registro".parse().unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let last = |repository| catalog.last_sound_at(repository, &resource).unwrap();
        assert_eq!(last("main"), None);
        let sound = [("a", 5), ("b", 9), ("c", 7)].map(|(key, second)| Sound {
            key: key.to_owned(),
            bytes: 1,
            stored_at: at(1),
            at: at(second),
        });
        catalog.note_sound("main", &resource, &sound).unwrap();
        assert_eq!((last("main"), last("copies")), (Some(at(9)), None));
    }

    #[test]
    fn each_verification_of_a_repository_replaces_what_the_one_before_found() {
        let catalog = Catalog::open(std::path::Path::new(":memory:")).unwrap();
        let resource = "registro".parse().unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let found = |all: &[(&str, i64)]| -> BTreeMap<String, Timestamp> {
            all.iter().map(|(id, second)| ((*id).to_owned(), at(*second))).collect()
        };
        let noted = |repository| catalog.verified(repository, &resource).unwrap();
        assert_eq!(noted("main"), found(&[]));
        catalog.note_verified("main", &resource, &found(&[("a", 1), ("b", 1)])).unwrap();
        catalog.note_verified("copies", &resource, &found(&[("a", 2)])).unwrap();
        assert_eq!(noted("main"), found(&[("a", 1), ("b", 1)]));
        catalog.note_verified("main", &resource, &found(&[("b", 3)])).unwrap();
        assert_eq!(noted("main"), found(&[("b", 3)]));
        assert_eq!(noted("copies"), found(&[("a", 2)]));
    }
}
