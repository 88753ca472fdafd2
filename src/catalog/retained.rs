//! Until when each stored object is locked in its store. Losing it costs locking all of them once
//! more, which changes nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::params;

use crate::error::{Attempt, Result};
use crate::model::ResourceName;

use super::store::Catalog;

impl Catalog {
    /// The ends of the locks that were set for a resource in one repository, by key; to the
    /// microsecond.
    pub fn retained(
        &self,
        repository_id: &str,
        resource: &ResourceName,
    ) -> Result<BTreeMap<String, Timestamp>> {
        let what = || format!("look up what is locked of {resource}");
        let connection = self.lock();
        let select = "select key, until_us from retained where repository = ?1 and resource = ?2";
        let mut statement = connection.prepare(select).attempt(what)?;
        let rows = statement
            .query_map(params![repository_id, resource.as_str()], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
            })
            .attempt(what)?;
        let mut retained = BTreeMap::new();
        for row in rows {
            let (key, until) = row.attempt(what)?;
            retained.insert(key, Timestamp::from_microsecond(until).attempt(what)?);
        }
        Ok(retained)
    }

    /// Notes locks that were set, each with its end.
    pub fn note_retained(
        &self,
        repository_id: &str,
        resource: &ResourceName,
        ends: &[(String, Timestamp)],
    ) -> Result<()> {
        let what = || format!("note what is locked of {resource}");
        let mut connection = self.lock();
        let transaction = connection.transaction().attempt(what)?;
        {
            let insert = "insert or replace into retained values (?1, ?2, ?3, ?4)";
            let mut statement = transaction.prepare(insert).attempt(what)?;
            for (key, until) in ends {
                let (name, until) = (resource.as_str(), until.as_microsecond());
                statement.execute(params![repository_id, name, key, until]).attempt(what)?;
            }
        }
        transaction.commit().attempt(what)
    }

    /// Forgets the locks that end before then: those of `now` have ended, and where objects were
    /// put in the place of others, [`Timestamp::MAX`] forgets all.
    pub fn forget_retained_before(
        &self,
        repository_id: &str,
        resource: &ResourceName,
        end: Timestamp,
    ) -> Result<()> {
        let delete =
            "delete from retained where repository = ?1 and resource = ?2 and until_us < ?3";
        let (name, end) = (resource.as_str(), end.as_microsecond());
        let deleted = self.lock().execute(delete, params![repository_id, name, end]);
        deleted.map(drop).attempt(|| format!("forget what was locked of {resource}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_known_until_it_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("catalog")).unwrap();
        let (of, other): (ResourceName, ResourceName) =
            ("registro".parse().unwrap(), "other".parse().unwrap());
        let at = |second| Timestamp::from_second(second).unwrap();
        let ends = |pairs: &[(&str, i64)]| -> Vec<(String, Timestamp)> {
            pairs.iter().map(|(key, second)| ((*key).to_owned(), at(*second))).collect()
        };
        catalog.note_retained("main", &of, &ends(&[("a", 5), ("b", 9)])).unwrap();
        catalog.note_retained("main", &of, &ends(&[("a", 7)])).unwrap();
        catalog.note_retained("copies", &of, &ends(&[("a", 1)])).unwrap();
        catalog.note_retained("main", &other, &ends(&[("a", 1)])).unwrap();
        let known = || Vec::from_iter(catalog.retained("main", &of).unwrap());
        assert_eq!(known(), ends(&[("a", 7), ("b", 9)]));
        catalog.forget_retained_before("main", &of, at(9)).unwrap();
        assert_eq!(known(), ends(&[("b", 9)]));
        catalog.forget_retained_before("main", &of, Timestamp::MAX).unwrap();
        assert!(known().is_empty());
        assert_eq!(catalog.retained("copies", &of).unwrap().len(), 1);
        assert_eq!(catalog.retained("main", &other).unwrap().len(), 1);
    }
}
