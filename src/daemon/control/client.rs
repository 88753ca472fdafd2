//! A command's end of the control socket.

use std::io::ErrorKind;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::wire::{Greeting, Reply, Request};
use super::{PROTOCOL, path};
use crate::config::Config;
use crate::error::{Attempt, Error, Kind, Result};

/// A daemon that is alive greets within this long.
const GREET_WITHIN: Duration = Duration::from_secs(10);
/// A reply is no longer than that, bytes: retention plans are long.
const REPLY_BYTES: u64 = 64 * 1024 * 1024;

/// A connection to the daemon of this installation.
pub struct Client {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Client {
    /// The daemon of this installation, if one answers.
    ///
    /// # Errors
    /// Refused if there is one that this user may not speak to; `Kind::Busy` if it does not
    /// answer, or is of another version.
    pub async fn find(config: &Config) -> Result<Option<Client>> {
        let path = path(config);
        let what = || format!("speak to the daemon at {}", path.display());
        let stream = match UnixStream::connect(&path).await {
            Ok(stream) => stream,
            Err(cause) => match cause.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => return Ok(None),
                // No daemon listens where no socket can be.
                ErrorKind::InvalidInput => return Ok(None),
                ErrorKind::PermissionDenied => {
                    return Err(Error::refused(format!("cannot {}", what()))
                        .because(cause)
                        .hint("Run this as root, or as the user that runs the daemon."));
                }
                _ => return Err(cause).attempt(what),
            },
        };
        let (read, write) = stream.into_split();
        let mut client = Client { read: BufReader::new(read), write };
        let greeting = tokio::time::timeout(GREET_WITHIN, client.hear::<Greeting>()).await;
        let greeting = greeting.map_err(|_| {
            Error::new(Kind::Busy, "the daemon does not answer")
                .later()
                .hint("If it hangs, systemd's watchdog ends it; `systemctl restart fenice` too.")
        })?;
        let greeting = greeting.attempt(what)?;
        if greeting.protocol != PROTOCOL {
            let (theirs, ours) = (greeting.fenice, env!("CARGO_PKG_VERSION"));
            let told = format!("the daemon is of version {theirs}, and this program of {ours}");
            return Err(Error::new(Kind::Busy, told).hint("Restart the daemon."));
        }
        Ok(Some(client))
    }

    /// Asks, and returns the last reply; the others go to `on_reply` as they come.
    ///
    /// # Errors
    /// What the daemon says went wrong; the daemon ended meanwhile.
    pub async fn ask(
        mut self,
        request: &Request,
        on_reply: &mut dyn FnMut(&Reply),
    ) -> Result<Reply> {
        let what = || "ask the daemon".to_owned();
        let mut line = serde_json::to_vec(request).attempt(what)?;
        line.push(b'\n');
        self.write.write_all(&line).await.attempt(what)?;
        loop {
            match self.hear::<Reply>().await? {
                Reply::Failed(failure) => return Err(failure.into()),
                reply if reply.is_last() => return Ok(reply),
                reply => on_reply(&reply),
            }
        }
    }

    async fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        let mut limited = (&mut self.read).take(REPLY_BYTES);
        let read = limited.read_line(&mut line).await;
        read.attempt(|| "hear the daemon's answer".to_owned())?;
        if !line.ends_with('\n') {
            return Err(Error::failed("the daemon ended before it answered")
                .later()
                .hint("What it had begun is tried again when it is back; `fenice jobs` tells."));
        }
        let understood = serde_json::from_str(&line);
        understood.map_err(|cause| {
            Error::failed("the daemon's answer is not understood")
                .because(cause)
                .hint("Is it of another version than this program? Restart it.")
        })
    }
}
