//! The daemon's end of the control socket, with bounds on whoever speaks.

use std::fs::{File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::PROTOCOL;
use super::wire::{Greeting, Reply, Request};
use crate::error::{Attempt, Error, Kind, Result};

/// Connections at once; whoever comes after them waits for one to end.
const CONNECTIONS: usize = 32;
/// A request is no longer than that, bytes.
const REQUEST_BYTES: u64 = 64 * 1024;
/// Whoever connects asks within this long.
const ASK_WITHIN: Duration = Duration::from_secs(10);
/// Whoever asked reads a reply within this long.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// Replies that are not written yet.
const REPLIES: usize = 64;
/// After a connection could not be taken.
const PAUSE: Duration = Duration::from_secs(1);
/// `sun_path` of unix(7), less its end.
const PATH_BYTES: usize = 107;

/// Answers what is asked.
#[async_trait]
pub trait Desk: Send + Sync {
    /// Carries a request out; every reply but the last goes through `say`. Its receiver is dropped
    /// when whoever asked is gone.
    async fn serve(&self, request: Request, say: mpsc::Sender<Reply>) -> Reply;
}

/// A socket that nobody answers on yet; while it lives, no other daemon of this installation can
/// begin.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Held as long as this daemon lives: the kernel lets it go with the process.
    _only: File,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A socket that is left is replaced by the next daemon.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl ControlSocket {
    /// Listens at `path`, in the place of what a daemon left there that is gone.
    ///
    /// # Errors
    /// `Kind::Busy` while another daemon lives there; `Kind::Config` if the path is too long for
    /// a socket.
    pub fn bind(path: &Path) -> Result<ControlSocket> {
        let what = || format!("listen at {}", path.display());
        if path.as_os_str().len() > PATH_BYTES {
            return Err(Error::new(Kind::Config, format!("cannot {}", what()))
                .because(format!("the path of a socket has at most {PATH_BYTES} bytes"))
                .hint("Give `state_dir` in [daemon] a shorter path."));
        }
        let lock = path.with_extension("lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let only = options.open(&lock).attempt(|| format!("open {}", lock.display()))?;
        if flock(&only, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::new(Kind::Busy, "another daemon runs with this state directory")
                .because(format!("it holds {}", lock.display()))
                .hint(
                    "`fenice jobs` speaks to it. For another instance, name another `state_dir`.",
                ));
        }
        // Whoever made it is gone: we have the lock.
        match std::fs::remove_file(path) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(cause).attempt(what),
            _ => {}
        }
        let listener = StdListener::bind(path).attempt(what)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).attempt(what)?;
        listener.set_nonblocking(true).attempt(what)?;
        let listener = UnixListener::from_std(listener).attempt(what)?;
        Ok(ControlSocket { listener, path: path.to_owned(), _only: only })
    }

    /// Answers until `stop` is set; whoever is being answered then has a moment to read it.
    pub async fn run(self, desk: Arc<dyn Desk>, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            let has_room = connections.len() < CONNECTIONS;
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept(), if has_room => accepted,
            };
            match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, desk.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "a command could not be heard");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        let all = async { while connections.join_next().await.is_some() {} };
        // Those that are left learn it from the end of the connection.
        let _ = tokio::time::timeout(PAUSE, all).await;
    }
}

/// Serves one connection to its end. What goes wrong on it is the other's matter.
async fn serve(stream: UnixStream, desk: Arc<dyn Desk>) {
    if let Err(error) = converse(stream, desk).await {
        tracing::debug!(error = %error.chain(), "a command was not answered");
    }
}

async fn converse(stream: UnixStream, desk: Arc<dyn Desk>) -> Result<()> {
    let peer = stream.peer_cred().attempt(|| "tell who speaks".to_owned())?;
    let (read, mut write) = stream.into_split();
    if !may_speak(peer.uid(), rustix::process::geteuid().as_raw()) {
        let error = Error::refused("only the daemon's own user and root may ask it");
        return say(&mut write, &Reply::Failed((&error).into())).await;
    }
    let greeting = Greeting { fenice: env!("CARGO_PKG_VERSION").to_owned(), protocol: PROTOCOL };
    say(&mut write, &greeting).await?;
    let mut read = BufReader::new(read);
    let request = match tokio::time::timeout(ASK_WITHIN, hear(&mut read)).await {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => return say(&mut write, &Reply::Failed((&error).into())).await,
        Err(_) => return Err(Error::failed("nothing was asked in time")),
    };
    let (told, mut replies) = mpsc::channel(REPLIES);
    let mut serving = pin!(desk.serve(request, told));
    let last = loop {
        tokio::select! {
            biased;
            Some(reply) = replies.recv() => say(&mut write, &reply).await?,
            last = &mut serving => break last,
            () = is_gone(&mut read) => {
                // The desk sees that nobody listens, and comes to an end.
                drop(replies);
                serving.await;
                return Ok(());
            }
        }
    };
    while let Ok(reply) = replies.try_recv() {
        say(&mut write, &reply).await?;
    }
    say(&mut write, &last).await
}

/// Who may have things done that this daemon may do.
fn may_speak(uid: u32, own: u32) -> bool {
    uid == own || uid == 0
}

async fn hear(read: &mut BufReader<OwnedReadHalf>) -> Result<Request> {
    let mut line = String::new();
    let mut limited = read.take(REQUEST_BYTES);
    limited.read_line(&mut line).await.attempt(|| "read what was asked".to_owned())?;
    if !line.ends_with('\n') {
        return Err(Error::usage("what was asked is too long, or not a line"));
    }
    serde_json::from_str(&line).map_err(|cause| {
        Error::usage("what was asked is not understood")
            .because(cause)
            .hint("Is the daemon of another version than this program? Restart it.")
    })
}

/// Returns once the other end is closed. More than one request is nobody's right: it is not read.
async fn is_gone(read: &mut BufReader<OwnedReadHalf>) {
    let mut rest = [0; 64];
    while matches!(read.read(&mut rest).await, Ok(count) if count > 0) {}
}

async fn say(write: &mut OwnedWriteHalf, what: &impl Serialize) -> Result<()> {
    let told = || "answer a command".to_owned();
    let mut line = serde_json::to_vec(what).attempt(told)?;
    line.push(b'\n');
    let written = tokio::time::timeout(READ_WITHIN, write.write_all(&line)).await;
    written.map_err(|_| Error::failed("nobody reads the answer"))?.attempt(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::work::Failure;

    #[test]
    fn only_the_daemons_user_and_root_may_speak() {
        for (uid, own, may) in [(26, 26, true), (0, 26, true), (1000, 26, false), (26, 0, false)] {
            assert_eq!(may_speak(uid, own), may, "{uid} {own}");
        }
        let failure = Failure::from(&Error::refused("no"));
        assert!(Reply::Failed(failure).is_last());
    }
}
