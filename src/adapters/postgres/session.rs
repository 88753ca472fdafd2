//! A session for SQL: simple queries, rows in text form.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::adapters::postgres::certificate::ends_at;
use crate::adapters::postgres::message::{self, RawRow};
use crate::adapters::postgres::wire::{Reply, Wire};
use crate::error::{Error, Result};
use crate::ports::postgres::{Row, Session};

/// Last resort against waiting for ever; a spread checkpoint may rightly take hours. Set
/// `statement_timeout` where less is wanted. A host that vanished ends the wait by keepalive.
const LONGEST_STATEMENT: Duration = Duration::from_secs(24 * 3_600);
/// As much of a statement as a message shows.
const SHOWN_CHARS: usize = 60;

/// A connection that takes SQL.
pub(super) struct PgSession {
    pub wire: Wire,
}

#[async_trait]
impl Session for PgSession {
    async fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        let ran = self.run(sql).await;
        ran.map_err(|cause| {
            let peer = self.wire.peer();
            Error::failed(format!("cannot run {} at {peer}", shown(sql))).because(cause)
        })
    }

    fn certificate_until(&self) -> Result<Option<Timestamp>> {
        self.wire.certificate().map(ends_at).transpose()
    }
}

impl PgSession {
    async fn run(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.wire.command(sql).await?;
        match self.wire.reply(LONGEST_STATEMENT).await? {
            Reply::Done(sets) => {
                let last = sets.into_iter().rev().find(|rows| !rows.is_empty());
                last.unwrap_or_default().iter().map(text_row).collect()
            }
            Reply::CopyOut(_) | Reply::CopyBoth => {
                Err(Error::usage("a statement that copies data out cannot be run here"))
            }
        }
    }
}

fn text_row(row: &RawRow) -> Result<Row> {
    (0..row.len()).map(|at| Ok(message::column(row, at)?.map(str::to_owned))).collect()
}

/// The start of a statement, on one line; nothing of one that may hold a secret.
fn shown(sql: &str) -> String {
    if sql.to_ascii_lowercase().contains("password") {
        return "a statement".to_owned();
    }
    let mut text: String = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = text.char_indices().nth(SHOWN_CHARS) {
        text.truncate(at);
        text.push('…');
    }
    format!("`{text}`")
}
