//! What the source's statistics say of its tables, noted with a snapshot for drills to compare.

use crate::error::Result;
use crate::ports::postgres::{Postgres, Session};
use crate::repository::manifest::TableEstimate;

use super::super::source::field;

/// A cluster with more is protected all the same; the first are compared.
const TABLES_LIMIT: usize = 20_000;

/// Permanent tables of every database that this role may connect to.
pub async fn read(host: &dyn Postgres, session: &mut dyn Session) -> Result<Vec<TableEstimate>> {
    let sql = "select datname from pg_database where datallowconn and not datistemplate \
               and has_database_privilege(datname, 'CONNECT') order by datname";
    let mut tables = Vec::new();
    for row in session.query(sql).await? {
        let database: String = field(&row, 0)?;
        let other = host.in_database(&database);
        // Dropped or closed meanwhile: then there is nothing to compare.
        let Ok(mut session) = other.session("fenice").await else { continue };
        let sql = format!(
            "select format('%I.%I', n.nspname, c.relname), c.reltuples \
             from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             where c.relkind = 'r' and c.relpersistence = 'p' \
             and n.nspname not in ('pg_catalog', 'information_schema') \
             and n.nspname !~ '^pg_toast' order by 1 limit {TABLES_LIMIT}"
        );
        for row in session.query(&sql).await? {
            let (table, rows) = (field(&row, 0)?, field(&row, 1)?);
            tables.push(TableEstimate { database: database.clone(), table, rows });
        }
    }
    tables.truncate(TABLES_LIMIT);
    Ok(tables)
}
