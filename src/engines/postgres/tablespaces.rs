//! Notices tablespaces that the newest snapshot does not know, and takes a snapshot that does:
//! until then no instant after their creation can be recovered to (see `restore::guard`).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engines::blocking::blocking;
use crate::error::{Attempt, Error, Result};
use crate::ports::postgres::Session;
use crate::repository::manifest;

use super::protect::Protection;
use super::snapshot::take::take;
use super::source::field;

/// Those made within the data directory have no place of their own, and no link.
const SQL: &str = "select oid from pg_tablespace where pg_tablespace_location(oid) <> '' \
    and pg_tablespace_location(oid) not like 'pg_tblspc/%'";

/// An answer that takes longer is given up, with its session: the server may be gone silently.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What is known to be in a snapshot, and the session on which the source is asked.
#[derive(Default)]
pub struct Known {
    oids: BTreeSet<u32>,
    session: Option<Box<dyn Session>>,
}

impl Protection {
    /// Takes a snapshot if the source has a tablespace that no snapshot has. Without any snapshot
    /// nothing is done: the first one is the operator's.
    pub async fn answer_tablespaces(&self, known: &mut Known) -> Result<()> {
        let present = self.tablespaces(&mut known.session).await?;
        if present.is_subset(&known.oids) {
            return Ok(());
        }
        let archive = &self.shipper.archive;
        let (repository, resource) = (archive.repository.clone(), archive.resource.clone());
        let newest = blocking(move || Ok(manifest::snapshots(&repository, &resource)?.pop()));
        let Some(newest) = newest.await? else { return Ok(()) };
        known.oids.extend(newest.tablespaces.iter().map(|tablespace| tablespace.oid));
        let new: Vec<u32> = present.difference(&known.oids).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        tracing::warn!(oids = ?new, "taking a snapshot, because it lacks a new tablespace");
        let taken = Box::pin(take(&self.snapshot, &self.method)).await?;
        tracing::info!(id = %taken.id, "the snapshot with the new tablespace is taken");
        known.oids.extend(taken.tablespaces.iter().map(|tablespace| tablespace.oid));
        Ok(())
    }

    /// Asks on the session of the last time, if it still holds.
    async fn tablespaces(&self, session: &mut Option<Box<dyn Session>>) -> Result<BTreeSet<u32>> {
        let what = || "list the source's tablespaces".to_owned();
        let asked = async {
            let mut open = match session.take() {
                Some(open) => open,
                None => self.shipper.source.session().await?.session,
            };
            let rows = open.query(SQL).await?;
            *session = Some(open);
            rows.iter().map(|row| field(row, 0)).collect::<Result<_>>()
        };
        let answered = tokio::time::timeout(ANSWER_LIMIT, asked).await;
        answered.unwrap_or_else(|_| Err(Error::failed("no answer").later())).attempt(what)
    }
}
