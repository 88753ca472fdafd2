//! The servers of one resource, and what a session tells about the one it reached.

use std::sync::Arc;

use jiff::Timestamp;

use crate::error::{Attempt, Error, Result};
use crate::model::{Lsn, ResourceName, SegmentSize, SystemId, Timeline};
use crate::ports::postgres::{Postgres, Row, Session};
use crate::repository::manifest::ClusterFacts;

/// The oldest server whose protocol is spoken: 15 changed `BASE_BACKUP` and `pg_backup_start`.
const OLDEST_VERSION_NUM: u32 = 150_000;

/// Where a resource's data comes from. Several hosts are one cluster: a primary and its standbys.
#[derive(Clone)]
pub struct Source {
    pub resource: ResourceName,
    /// The replication slot; the same name on every host.
    pub slot: String,
    /// In order of preference. Never empty.
    pub hosts: Vec<Arc<dyn Postgres>>,
    /// Where the primary is, if `hosts` names standbys only.
    pub primary_hosts: Vec<Arc<dyn Postgres>>,
}

/// What a server is at this moment.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    pub cluster: ClusterFacts,
    pub in_recovery: bool,
    pub timeline: Timeline,
    pub data_directory: String,
    /// `config_file`, `hba_file`, `ident_file`.
    pub config_files: Vec<String>,
    pub synchronous_standby_names: String,
}

/// A server that answered.
pub struct Reached {
    pub host: Arc<dyn Postgres>,
    pub session: Box<dyn Session>,
    pub facts: ServerFacts,
}

impl Source {
    /// The name of connections (`application_name`).
    pub fn name(&self) -> String {
        self.resource.slot_name()
    }

    /// A session on the first host that answers, with what that host is.
    pub async fn session(&self) -> Result<Reached> {
        first_that_answers(&self.hosts, &self.name(), |_| true).await
    }

    /// A session on the primary: the first host not in recovery.
    pub async fn primary_session(&self) -> Result<Reached> {
        let all: Vec<_> = self.primary_hosts.iter().chain(&self.hosts).cloned().collect();
        let primary = first_that_answers(&all, &self.name(), |facts| !facts.in_recovery).await;
        primary.attempt(|| format!("reach the primary of {}", self.resource))
    }
}

/// Tries `hosts` in turn; every failure is reported if none fits.
async fn first_that_answers(
    hosts: &[Arc<dyn Postgres>],
    name: &str,
    fits: impl Fn(&ServerFacts) -> bool,
) -> Result<Reached> {
    let mut failures = Vec::new();
    for host in hosts {
        let tried = async {
            let mut session = host.session(name).await?;
            let facts = read_facts(session.as_mut()).await?;
            Ok::<_, Error>((session, facts))
        };
        match tried.await {
            Ok((session, facts)) if fits(&facts) => {
                return Ok(Reached { host: host.clone(), session, facts });
            }
            Ok(_) => failures.push(Error::failed(format!("{} is a standby", host.describe()))),
            Err(error) => failures.push(error),
        }
    }
    let reasons: Vec<String> = failures.iter().map(Error::chain).collect();
    let hint = failures.iter().find_map(Error::hint_text).unwrap_or(
        "Check `connection` in the configuration, and that the server runs and lets this user in.",
    );
    Err(Error::failed("no server answers as needed").later().because(reasons.join("; ")).hint(hint))
}

/// What the server at the other end of `session` is.
pub async fn read_facts(session: &mut dyn Session) -> Result<ServerFacts> {
    let sql = "select s.system_identifier, current_setting('server_version_num'), \
               i.bytes_per_wal_segment, i.database_block_size, i.data_page_checksum_version, \
               pg_is_in_recovery(), c.timeline_id, \
               current_setting('data_directory', true), current_setting('config_file', true), \
               current_setting('hba_file', true), current_setting('ident_file', true), \
               current_setting('synchronous_standby_names'), i.blocks_per_segment \
               from pg_control_system() s, pg_control_init() i, pg_control_checkpoint() c";
    let rows = session.query(sql).await.attempt(|| "ask the server what it is".to_owned())?;
    let row = rows.first().ok_or_else(|| Error::failed("the server answered nothing"))?;
    let version_num = field(row, 1)?;
    if version_num < OLDEST_VERSION_NUM {
        return Err(Error::refused(format!("the server has version number {version_num}"))
            .hint("Fenice protects PostgreSQL 15 and newer."));
    }
    let text = |index: usize| row.get(index).cloned().flatten().unwrap_or_default();
    Ok(ServerFacts {
        cluster: ClusterFacts {
            system_id: field::<SystemId>(row, 0)?,
            version_num,
            wal_segment_size: SegmentSize::try_from(field::<u64>(row, 2)?)?,
            block_size: field(row, 3)?,
            blocks_per_segment: field(row, 12)?,
            data_checksums: field::<u32>(row, 4)? != 0,
        },
        in_recovery: field::<String>(row, 5)? == "t",
        timeline: Timeline(field(row, 6)?),
        data_directory: text(7),
        config_files: (8..=10).map(text).filter(|path| !path.is_empty()).collect(),
        synchronous_standby_names: text(11),
    })
}

/// The value in column `index` of `row`, which must not be NULL.
pub fn field<T: std::str::FromStr>(row: &Row, index: usize) -> Result<T> {
    let text = row.get(index).and_then(Option::as_deref);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Error::failed(format!("column {index} of the server's answer is {text:?}, not as expected"))
    })
}

/// The present end of the log on disk: flushed on a primary, replayed on a standby.
pub async fn flushed_lsn(session: &mut dyn Session) -> Result<Lsn> {
    let sql = "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() \
               else pg_current_wal_flush_lsn() end";
    let rows = session.query(sql).await?;
    field(rows.first().ok_or_else(|| Error::failed("the server answered nothing"))?, 0)
}

/// The server's clock.
pub async fn server_time(session: &mut dyn Session) -> Result<Timestamp> {
    let rows = session.query("select extract(epoch from clock_timestamp())::text").await?;
    let seconds: f64 = field(rows.first().unwrap_or(&Vec::new()), 0)?;
    Timestamp::from_microsecond((seconds * 1e6) as i64)
        .attempt(|| "read the server's clock".to_owned())
}

/// A stretch of the source's log is gone for ever; the archive says so and status turns red.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub timeline: Timeline,
    pub from: Lsn,
    pub to: Lsn,
}
