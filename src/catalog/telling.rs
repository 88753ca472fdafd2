//! What people were told, and what waits to be sent: one row, so that both change together.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::store::Catalog;
use crate::error::{Attempt, Result};

/// Texts that only whoever tells understands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TellingRow {
    /// What was told of each matter.
    pub told: String,
    /// What waits to be sent.
    pub outbox: String,
    /// The newest daily summary that was written.
    pub summary_at: Option<Timestamp>,
}

impl Catalog {
    /// What was kept; `None` the first time.
    pub fn telling(&self) -> Result<Option<TellingRow>> {
        let what = || "look up what was told".to_owned();
        let select = "select told, outbox, summary_at_us from telling";
        let connection = self.lock();
        let row = connection.query_row(select, [], |row| {
            let micros: Option<i64> = row.get(2)?;
            Ok((row.get(0)?, row.get(1)?, micros))
        });
        let Some((told, outbox, micros)) = row.optional().attempt(what)? else { return Ok(None) };
        // What is no instant costs one summary, and is no reason to tell nobody anything.
        let summary_at = micros.and_then(|micros| Timestamp::from_microsecond(micros).ok());
        Ok(Some(TellingRow { told, outbox, summary_at }))
    }

    /// Keeps it, in the place of what was kept before.
    pub fn keep_telling(&self, row: &TellingRow) -> Result<()> {
        let micros = row.summary_at.map(Timestamp::as_microsecond);
        let insert = "insert or replace into telling values (1, ?1, ?2, ?3)";
        let kept = self.lock().execute(insert, params![row.told, row.outbox, micros]);
        kept.map(drop).attempt(|| "note what was told".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_takes_the_place_of_the_other() {
        let catalog = Catalog::open(std::path::Path::new(":memory:")).unwrap();
        assert_eq!(catalog.telling().unwrap(), None);
        let row = |told: &str, summary_at| TellingRow {
            told: told.to_owned(),
            outbox: "[]".to_owned(),
            summary_at,
        };
        for row in [row("[1]", None), row("[2]", Some(Timestamp::UNIX_EPOCH)), row("[3]", None)] {
            catalog.keep_telling(&row).unwrap();
            assert_eq!(catalog.telling().unwrap(), Some(row));
        }
        let end_of_time = format!("update telling set summary_at_us = {}", i64::MAX);
        catalog.lock().execute_batch(&end_of_time).unwrap();
        assert_eq!(catalog.telling().unwrap(), Some(row("[3]", None)));
    }
}
