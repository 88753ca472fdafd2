//! Notices tablespaces that the newest snapshot does not know, and takes a snapshot that does:
//! until then no instant after their creation can be recovered to (see `restore::guard`).

use std::collections::BTreeSet;

use crate::engines::blocking::blocking;
use crate::error::{Attempt, Result};
use crate::repository::manifest;

use super::protect::Protection;
use super::snapshot::take::take;
use super::source::field;

/// Those made within the data directory have no place of their own, and no link.
const SQL: &str = "select oid from pg_tablespace where pg_tablespace_location(oid) <> '' \
    and pg_tablespace_location(oid) not like 'pg_tblspc/%'";

/// What is known to be in a snapshot.
#[derive(Debug, Default)]
pub struct Known {
    oids: BTreeSet<u32>,
}

impl Protection {
    /// Takes a snapshot if the source has a tablespace that no snapshot has. Without any snapshot
    /// nothing is done: the first one is the operator's.
    pub async fn answer_tablespaces(&self, known: &mut Known) -> Result<()> {
        let present = self.tablespaces().await?;
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

    async fn tablespaces(&self) -> Result<BTreeSet<u32>> {
        let what = || "list the source's tablespaces".to_owned();
        let mut reached = self.shipper.source.session().await?;
        let rows = reached.session.query(SQL).await.attempt(what)?;
        rows.iter().map(|row| field(row, 0)).collect::<Result<_>>().attempt(what)
    }
}
