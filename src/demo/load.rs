//! Users at work: clients that write without pause, and their own log of what the server
//! acknowledged. The log is the independent witness of what a loss costs.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{Attempt, Result};
use crate::ports::Clock;
use crate::ports::postgres::Postgres;

use super::data::DataSize;
use super::writer::write_sql;

/// Between two writes of one client: people type.
const PAUSE: Duration = Duration::from_millis(5);

/// One acknowledged commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    pub client: u32,
    pub serial: u64,
    /// When the acknowledgement came.
    pub at: Timestamp,
}

/// Writers at work.
pub struct Load {
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<()>>,
    log: Arc<Mutex<Vec<Acknowledged>>>,
}

impl Load {
    /// Starts `clients` writers.
    pub fn start(
        host: &Arc<dyn Postgres>,
        clients: u32,
        size: &DataSize,
        clock: &Arc<dyn Clock>,
    ) -> Load {
        let (stop, stopped) = watch::channel(false);
        let log = Arc::new(Mutex::new(Vec::new()));
        let clients = (1..=clients).map(|client| {
            let (host, size, clock) = (host.clone(), *size, clock.clone());
            let (log, stopped) = (log.clone(), stopped.clone());
            tokio::spawn(async move {
                // The server is going to be killed: a client ends with its connection.
                let _ = write(client, host.as_ref(), &size, clock.as_ref(), &log, stopped).await;
            })
        });
        Load { stop, clients: clients.collect(), log }
    }

    /// How many commits were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits for the clients to end and returns their log; it is written to `file` as well.
    pub async fn end(self, file: &Path) -> Result<Vec<Acknowledged>> {
        self.stop.send_replace(true);
        for client in self.clients {
            client.await.attempt(|| "wait for the demo's writers".to_owned())?;
        }
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let write = || -> std::io::Result<()> {
            let mut out = std::io::BufWriter::new(File::create(file)?);
            writeln!(out, "client,serial,acknowledged_at")?;
            for Acknowledged { client, serial, at } in &log {
                writeln!(out, "{client},{serial},{at}")?;
            }
            out.flush()
        };
        write().attempt(|| format!("write {}", file.display()))?;
        Ok(log)
    }
}

async fn write(
    client: u32,
    host: &dyn Postgres,
    size: &DataSize,
    clock: &dyn Clock,
    log: &Mutex<Vec<Acknowledged>>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let mut session = host.session("fenice_demo").await?;
    let mut serial = 0;
    while !*stopped.borrow() {
        serial += 1;
        session.query(&write_sql(client, serial, size)).await?;
        let at = clock.now();
        log.lock().unwrap_or_else(PoisonError::into_inner).push(Acknowledged {
            client,
            serial,
            at,
        });
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
