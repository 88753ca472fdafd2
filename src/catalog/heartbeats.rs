//! Where heartbeats lie in the log, and how far the log is stored: together the RPO exposure.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use crate::error::{Attempt, Result};
use crate::model::{Lsn, ResourceName, SystemId, Timeline};

use super::store::Catalog;

/// Heartbeats are remembered this long; exposure beyond it is red whatever its number.
const KEPT_US: i64 = 7 * 86_400 * 1_000_000;

/// How far the log of a cluster is stored, as the last shipper noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipping {
    pub timeline: Timeline,
    pub stored_until: Lsn,
    /// The source's log ended there at this instant of its clock.
    pub complete_at: Option<Timestamp>,
    pub noted_at: Timestamp,
    pub trouble: Option<String>,
}

impl Catalog {
    /// Notes a beat whose commit lies before `committed_before`.
    pub fn note_heartbeat(
        &self,
        resource: &ResourceName,
        system_id: SystemId,
        seq: u64,
        at: Timestamp,
        committed_before: Lsn,
    ) -> Result<()> {
        let what = || format!("note a heartbeat of {resource}");
        let connection = self.lock();
        let at_us = at.as_microsecond();
        let (name, id) = (resource.as_str(), system_id.to_string());
        connection
            .execute(
                "insert or replace into heartbeat values (?1, ?2, ?3, ?4, ?5)",
                params![name, id, seq as i64, at_us, committed_before.0 as i64],
            )
            .attempt(what)?;
        connection
            .execute(
                "delete from heartbeat where resource = ?1 and at_us < ?2",
                params![name, at_us - KEPT_US],
            )
            .attempt(what)?;
        Ok(())
    }

    /// The newest beat whose commit lies before `stored_until`, so that it is in the repository.
    pub fn newest_stored_heartbeat(
        &self,
        resource: &ResourceName,
        system_id: SystemId,
        stored_until: Lsn,
    ) -> Result<Option<Timestamp>> {
        let what = || format!("look up the heartbeats of {resource}");
        let connection = self.lock();
        let found: Option<i64> = connection
            .query_row(
                "select at_us from heartbeat where resource = ?1 and system_id = ?2 \
                 and committed_before <= ?3 order by at_us desc limit 1",
                params![resource.as_str(), system_id.to_string(), stored_until.0 as i64],
                |row| row.get(0),
            )
            .optional()
            .attempt(what)?;
        found.map(Timestamp::from_microsecond).transpose().attempt(what)
    }

    /// The newest beat after number `seq` whose commit lies before `stored_until`, with its number.
    /// Whoever asks again and again with the last one looks at few rows.
    pub fn newer_stored_heartbeat(
        &self,
        resource: &ResourceName,
        system_id: SystemId,
        seq: u64,
        stored_until: Lsn,
    ) -> Result<Option<(u64, Timestamp)>> {
        let what = || format!("look up the heartbeats of {resource}");
        let connection = self.lock();
        let select = "select seq, at_us from heartbeat where resource = ?1 and system_id = ?2 \
                      and seq > ?3 and committed_before <= ?4 order by at_us desc limit 1";
        let mut statement = connection.prepare_cached(select).attempt(what)?;
        let (id, seq, until) = (system_id.to_string(), seq as i64, stored_until.0 as i64);
        let found: Option<(i64, i64)> = statement
            .query_row(params![resource.as_str(), id, seq, until], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
            .attempt(what)?;
        let Some((seq, at_us)) = found else { return Ok(None) };
        Ok(Some((seq as u64, Timestamp::from_microsecond(at_us).attempt(what)?)))
    }

    /// Notes how far shipping has come.
    pub fn note_shipping(
        &self,
        resource: &ResourceName,
        system_id: SystemId,
        shipping: &Shipping,
    ) -> Result<()> {
        let sql = "insert or replace into shipping values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.note(sql, resource, system_id, shipping)
    }

    /// Notes how far the log was found to be stored, as of `noted_at`. What a shipper noted since
    /// then stays, and so does its complaint.
    pub fn note_found(
        &self,
        resource: &ResourceName,
        system_id: SystemId,
        found: &Shipping,
    ) -> Result<()> {
        let sql = "insert into shipping values (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                   on conflict (resource, system_id) do update set timeline = excluded.timeline, \
                   stored_until = excluded.stored_until, complete_at_us = excluded.complete_at_us, \
                   noted_at_us = excluded.noted_at_us \
                   where shipping.noted_at_us < excluded.noted_at_us";
        self.note(sql, resource, system_id, found)
    }

    fn note(
        &self,
        sql: &str,
        resource: &ResourceName,
        system_id: SystemId,
        shipping: &Shipping,
    ) -> Result<()> {
        let row = params![
            resource.as_str(),
            system_id.to_string(),
            shipping.timeline.0,
            shipping.stored_until.0 as i64,
            shipping.complete_at.map(Timestamp::as_microsecond),
            shipping.noted_at.as_microsecond(),
            shipping.trouble,
        ];
        let noted = self.lock().execute(sql, row).map(drop);
        noted.attempt(|| format!("note how far the log of {resource} is stored"))
    }

    /// What the last shipper noted.
    pub fn shipping(&self, resource: &ResourceName, id: SystemId) -> Result<Option<Shipping>> {
        let what = || format!("look up the shipping of {resource}");
        let connection = self.lock();
        let row = connection.query_row(
            "select timeline, stored_until, complete_at_us, noted_at_us, trouble from shipping \
             where resource = ?1 and system_id = ?2",
            params![resource.as_str(), id.to_string()],
            |row| {
                Ok((
                    row.get::<_, u32>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, Option<i64>>(2)?,
                    row.get::<_, i64>(3)?,
                    row.get::<_, Option<String>>(4)?,
                ))
            },
        );
        let Some((timeline, stored, complete_us, noted_us, trouble)) =
            row.optional().attempt(what)?
        else {
            return Ok(None);
        };
        Ok(Some(Shipping {
            timeline: Timeline(timeline),
            stored_until: Lsn(stored as u64),
            complete_at: complete_us.map(Timestamp::from_microsecond).transpose().attempt(what)?,
            noted_at: Timestamp::from_microsecond(noted_us).attempt(what)?,
            trouble,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stored_heartbeats_count() {
        let catalog = Catalog::open(std::path::Path::new(":memory:")).unwrap();
        let (resource, id) = ("registro".parse().unwrap(), SystemId(u64::MAX));
        let at = |second| Timestamp::from_second(second).unwrap();
        for (seq, lsn) in [(1, 100), (2, 200), (3, 300)] {
            catalog.note_heartbeat(&resource, id, seq, at(seq as i64 * 60), Lsn(lsn)).unwrap();
        }
        let newest = |lsn| catalog.newest_stored_heartbeat(&resource, id, Lsn(lsn)).unwrap();
        assert_eq!(newest(99), None);
        assert_eq!(newest(299), Some(at(120)));
        assert_eq!(newest(300), Some(at(180)));
        let newer = |seq, lsn| {
            let found = catalog.newer_stored_heartbeat(&resource, id, seq, Lsn(lsn));
            found.unwrap()
        };
        assert_eq!(newer(0, 99), None);
        assert_eq!(newer(0, 299), Some((2, at(120))));
        assert_eq!(newer(2, 299), None);
        assert_eq!(newer(2, 300), Some((3, at(180))));
        assert_eq!(catalog.shipping(&resource, id).unwrap(), None);
        let shipping = Shipping {
            timeline: Timeline(2),
            stored_until: Lsn(u64::MAX / 3),
            complete_at: Some(at(7)),
            noted_at: at(9),
            trouble: None,
        };
        catalog.note_shipping(&resource, id, &shipping).unwrap();
        assert_eq!(catalog.shipping(&resource, id).unwrap(), Some(shipping));
    }

    #[test]
    fn what_was_found_gives_way_to_what_a_shipper_noted_since() {
        let catalog = Catalog::open(std::path::Path::new(":memory:")).unwrap();
        let (resource, id) = ("registro".parse().unwrap(), SystemId(7));
        let at = |second| Timestamp::from_second(second).unwrap();
        let shipping = |stored, noted, trouble: Option<&str>| Shipping {
            timeline: Timeline(1),
            stored_until: Lsn(stored),
            complete_at: None,
            noted_at: at(noted),
            trouble: trouble.map(str::to_owned),
        };
        let known = || catalog.shipping(&resource, id).unwrap().unwrap();
        catalog.note_found(&resource, id, &shipping(10, 5, None)).unwrap();
        assert_eq!(known(), shipping(10, 5, None));
        catalog.note_shipping(&resource, id, &shipping(30, 7, Some("full"))).unwrap();
        catalog.note_found(&resource, id, &shipping(20, 6, None)).unwrap();
        assert_eq!(known(), shipping(30, 7, Some("full")));
        // Less is stored than was noted: the repository is right, and the complaint stays.
        catalog.note_found(&resource, id, &shipping(20, 8, None)).unwrap();
        assert_eq!(known(), shipping(20, 8, Some("full")));
    }
}
