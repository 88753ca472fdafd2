//! Slots on the hosts that nobody streams from: kept, and moved on as the log is stored, so that
//! shipping goes on from any of them without a gap after a failover (RULES 12).

use std::time::Duration;

use crate::error::{Attempt, Result};
use crate::model::Lsn;
use crate::ports::postgres::{Postgres, Slot, Walsender};

use super::super::source::{Source, field};

/// A host that takes longer is passed over until the next turn.
const LIMIT: Duration = Duration::from_secs(30);
/// Makes the slot on the server to stream from if it is not there, or again if the server let go
/// of what it held (`max_slot_wal_keep_size`): then it reserves nothing and cannot be used.
pub(super) async fn keep(
    host: &dyn Postgres,
    server: &mut dyn Walsender,
    source: &Source,
) -> Result<()> {
    let name = source.slot.as_str();
    match server.read_slot(name).await? {
        Some(Slot { restart: Some(_) }) => return Ok(()),
        Some(Slot { restart: None }) => {
            let drop = format!("select pg_drop_replication_slot('{name}')");
            let mut session = host.session(&source.name()).await?;
            session.query(&drop).await.attempt(|| format!("drop the lost slot {name}"))?;
        }
        None => {}
    }
    tracing::info!(slot = name, "making the replication slot");
    server.create_slot(name).await
}

/// Looks after the slot on every host. `durable` is how far the log is stored; a host that lags
/// behind it keeps what it has yet to be passed. Returns the hosts where that failed.
pub async fn keep_others(source: &Source, durable: Lsn) -> Vec<String> {
    let mut failures = Vec::new();
    for host in &source.hosts {
        let kept = tokio::time::timeout(LIMIT, keep_one(host.as_ref(), source, durable)).await;
        match kept {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failures.push(error.chain()),
            Err(_) => failures.push(format!("{} does not answer", host.describe())),
        }
    }
    failures
}

async fn keep_one(host: &dyn Postgres, source: &Source, durable: Lsn) -> Result<()> {
    let slot = source.slot.as_str();
    let what = || format!("keep the slot {slot} on {}", host.describe());
    let mut session = host.session(&source.name()).await.attempt(what)?;
    let look = format!(
        "select active, coalesce(restart_lsn::text, '') from pg_replication_slots \
         where slot_name = '{slot}'"
    );
    let rows = session.query(&look).await.attempt(what)?;
    let create = format!("select pg_create_physical_replication_slot('{slot}', true)");
    let Some(row) = rows.first() else {
        return session.query(&create).await.attempt(what).map(drop);
    };
    let (active, restart): (String, String) = (field(row, 0)?, field(row, 1)?);
    if active == "t" {
        // The one we stream from: feedback moves it.
        return Ok(());
    }
    if restart.is_empty() {
        // The server let go of its log; a new one holds it from here on.
        let again = format!("select pg_drop_replication_slot('{slot}'); {create}");
        return session.query(&again).await.attempt(what).map(drop);
    }
    // The server bounds the move by its own position; it refuses to move back.
    if restart.parse::<Lsn>().attempt(what)? < durable {
        let advance = format!("select pg_replication_slot_advance('{slot}', '{durable}')");
        session.query(&advance).await.attempt(what)?;
    }
    Ok(())
}
