//! The PostgreSQL client against real servers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helper functions too")]

mod backup; // base backups, whole or an error
mod conninfo; // connection strings, password files
mod fake; // servers that break the protocol
mod login; // passwords, TLS, certificates, sockets
mod sql; // sessions
mod streaming; // log, byte for byte
mod timelines; // promotion, switch points

use fenice::adapters::postgres::{PgHost, hosts};
use fenice::error::Error;
use fenice::ports::Clock;
use fenice::ports::postgres::{Postgres, ServerError, Session, Walsender};

use crate::support::Cluster;

/// The one server of `conninfo`.
fn host(conninfo: &str) -> PgHost {
    let mut all = hosts(conninfo, None).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

async fn session(cluster: &Cluster) -> Box<dyn Session> {
    host(&cluster.conninfo()).session("fenice_test").await.unwrap()
}

async fn walsender(cluster: &Cluster) -> Box<dyn Walsender> {
    host(&cluster.conninfo()).walsender("fenice_test").await.unwrap()
}

/// SQLSTATE of an error the server gave.
#[track_caller]
fn code(error: &Error) -> &str {
    match ServerError::of(error) {
        Some(server) => server.code(),
        None => panic!("not from the server: {error:?}"),
    }
}

fn now() -> jiff::Timestamp {
    fenice::adapters::system::SystemClock.now()
}
