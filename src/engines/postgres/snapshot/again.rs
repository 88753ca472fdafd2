//! Asks the server for a page again that looked damaged in a base backup: it may have been under
//! the server's pen. Through SQL, where the role may.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::error::Result;
use crate::ports::postgres::{Postgres, ServerError, Session};

/// A page that was being written is whole again within this.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(20);
/// After so many pages that stayed damaged nobody waits for more of them.
const HOPELESS: u32 = 100;

/// A second way to single pages, for threads that cannot wait for a session by themselves.
pub struct Again {
    runtime: Handle,
    host: Arc<dyn Postgres>,
    name: String,
    line: Mutex<Line>,
}

struct Line {
    /// Opened when first needed.
    session: Option<Box<dyn Session>>,
    /// Nobody is asked any more.
    closed: bool,
    hopeless: u32,
}

impl Again {
    /// Asks `host` within `runtime`, which must go on running elsewhere.
    pub fn new(runtime: Handle, host: Arc<dyn Postgres>, name: String) -> Again {
        let line = Mutex::new(Line { session: None, closed: false, hopeless: 0 });
        Again { runtime, host, name, line }
    }

    /// Looks again at `page_bytes` bytes at `offset` of the file at `path`, relative to the data
    /// directory, until `is_sound` likes what it sees or the tries are used up; returns what was
    /// liked: fewer bytes if the file was cut meanwhile, none if it was dropped, of which the log
    /// tells. Must not be called on a thread of the runtime.
    pub fn look(
        &self,
        path: &str,
        offset: u64,
        page_bytes: usize,
        is_sound: impl Fn(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            if line.closed {
                return None;
            }
            std::thread::sleep(PAUSE);
            match self.runtime.block_on(self.ask(&mut line, path, offset, page_bytes)) {
                Ok(bytes) if bytes.len() < page_bytes || is_sound(&bytes) => return Some(bytes),
                Ok(_) => {}
                Err(error) => {
                    line.closed = true;
                    line.session = None;
                    let may_not = ServerError::of(&error).is_some_and(|e| e.code() == "42501");
                    let why =
                        if may_not { "the role may not" } else { "the server did not answer" };
                    tracing::warn!(error = %error.chain(), why, "pages are not read a second time");
                }
            }
        }
        line.hopeless += 1;
        line.closed |= line.hopeless >= HOPELESS;
        None
    }

    async fn ask(&self, line: &mut Line, path: &str, at: u64, bytes: usize) -> Result<Vec<u8>> {
        let session = match &mut line.session {
            Some(session) => session,
            none => none.insert(self.host.session(&self.name).await?),
        };
        let path = path.replace('\'', "''");
        let sql =
            format!("select encode(pg_read_binary_file('{path}', {at}, {bytes}, true), 'hex')");
        let rows = session.query(&sql).await?;
        let hex = rows.into_iter().next().and_then(|mut row| row.pop().flatten());
        hex::decode(hex.unwrap_or_default())
            .map_err(|cause| crate::error::Error::failed("cannot read a page").because(cause))
    }
}
