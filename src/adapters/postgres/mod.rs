//! Our own PostgreSQL client: SQL and physical replication, against PostgreSQL 15 and newer.
//!
//! The framing is ours; messages to the server and SCRAM come from `postgres-protocol`. Absent on
//! purpose: connection pools, prepared statements, GSSAPI, the environment variables of libpq.

pub mod conninfo;
pub mod pairs;
pub mod passfile;

mod auth;
mod backup;
mod certificate;
mod connect;
mod error;
mod message;
mod session;
mod stream;
mod streaming;
mod tls;
mod walsender;
mod wire;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;

use crate::adapters::postgres::connect::{Purpose, connect};
use crate::adapters::postgres::conninfo::{Conninfo, Host};
use crate::adapters::postgres::session::PgSession;
use crate::adapters::postgres::walsender::PgWalsender;
use crate::error::Result;
use crate::ports::postgres::{Connector, Postgres, Session, Walsender};

/// One server of a connection string.
#[derive(Clone)]
pub struct PgHost {
    host: Host,
    conninfo: Conninfo,
}

/// The servers that `conninfo` lists, in its order; nothing is connected yet. `home` is where
/// `.pgpass` is looked for.
///
/// # Errors
/// Every problem of the string, in one error of kind `Config`.
pub fn hosts(conninfo: &str, home: Option<&Path>) -> Result<Vec<PgHost>> {
    let conninfo = Conninfo::parse(conninfo, home)?;
    let one = |host: &Host| PgHost { host: host.clone(), conninfo: conninfo.clone() };
    Ok(conninfo.hosts.iter().map(one).collect())
}

/// Connects to servers over sockets of this machine.
#[derive(Debug, Clone, Default)]
pub struct PgConnector {
    /// Where `.pgpass` is looked for.
    pub home: Option<PathBuf>,
}

impl Connector for PgConnector {
    fn hosts(&self, conninfo: &str) -> Result<Vec<Arc<dyn Postgres>>> {
        let hosts = hosts(conninfo, self.home.as_deref())?;
        Ok(hosts.into_iter().map(|host| Arc::new(host) as Arc<dyn Postgres>).collect())
    }
}

impl PgHost {
    /// The same server, with a password that came from elsewhere, such as a systemd credential.
    pub fn with_password(mut self, password: SecretString) -> PgHost {
        self.conninfo.password = Some(password);
        self
    }
}

impl fmt::Debug for PgHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PgHost({})", self.describe())
    }
}

#[async_trait]
impl Postgres for PgHost {
    fn describe(&self) -> String {
        format!("{} dbname={}", self.host, self.conninfo.dbname)
    }

    fn in_database(&self, database: &str) -> Arc<dyn Postgres> {
        let mut other = self.clone();
        other.conninfo.dbname = database.to_owned();
        Arc::new(other)
    }

    async fn session(&self, application: &str) -> Result<Box<dyn Session>> {
        let wire = connect(&self.host, &self.conninfo, application, Purpose::Sql).await?;
        Ok(Box::new(PgSession { wire }))
    }

    async fn walsender(&self, application: &str) -> Result<Box<dyn Walsender>> {
        let purpose = Purpose::PhysicalReplication;
        let wire = connect(&self.host, &self.conninfo, application, purpose).await?;
        Ok(Box::new(PgWalsender::new(wire)))
    }
}
