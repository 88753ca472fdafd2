//! Listens, and serves each connection within bounds: how many there are, how large a header is,
//! how long anything may take. Ends in order: nothing new is taken, what was asked is answered.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::routes::{Watched, router};
use crate::error::{Attempt, Error, Kind, Result};

/// After it could not take a connection, such as for lack of file descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// What is borne of those who connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; whoever comes after them waits for one to end.
    pub connections: usize,
    /// Of a request: its first line and its headers, at least 8 KiB.
    pub header_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// How long these may take to come.
    pub header_time: Duration,
    /// How long a connection may live; one request is answered on each.
    pub connection_time: Duration,
    /// For how long the scheduler's loop may stand still before it is called stuck.
    pub turn_within: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 32,
            header_bytes: 16 * 1024,
            headers: 64,
            header_time: Duration::from_secs(10),
            connection_time: Duration::from_secs(30),
            turn_within: Duration::from_secs(60),
        }
    }
}

/// A listening socket that nobody answers on yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
}

impl Server {
    /// Listens on `listen`, which is `[daemon] listen` of the configuration.
    ///
    /// # Errors
    /// `Kind::Busy` if somebody else listens there, which may pass; `Kind::Config` if the address
    /// is not one of this host, or may not be used.
    pub async fn bind(listen: SocketAddr, limits: Limits) -> Result<Server> {
        let listener = TcpListener::bind(listen).await;
        let listener = listener.map_err(|cause| cannot_listen(listen, cause))?;
        let address = listener.local_addr().attempt(|| format!("listen on {listen}"))?;
        Ok(Server { listener, address, limits })
    }

    /// Where it listens: the port that was found, if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is set, or its sender is gone; then ends once every request under way
    /// is answered, which takes at most [`Limits::connection_time`].
    pub async fn run(self, watched: Arc<dyn Watched>, mut stop: watch::Receiver<bool>) {
        let Server { listener, limits, .. } = self;
        let router = router(watched, limits.turn_within);
        let mut connections = JoinSet::new();
        loop {
            let has_room = connections.len() < limits.connections;
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept(), if has_room => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, router.clone(), limits, stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

/// Serves one connection to its end. What goes wrong on it is the client's matter.
async fn serve(stream: TcpStream, router: Router, limits: Limits, mut stop: watch::Receiver<bool>) {
    let mut settings = http1::Builder::new();
    settings.timer(TokioTimer::new()).header_read_timeout(limits.header_time);
    settings.max_buf_size(limits.header_bytes).max_headers(limits.headers).keep_alive(false);
    let service = TowerToHyperService::new(router);
    let served = async move {
        let mut connection = pin!(settings.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => return ended,
            _ = stop.wait_for(|stop| *stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    match tokio::time::timeout(limits.connection_time, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        Err(_) => tracing::debug!("a connection took too long and was cut off"),
    }
}

fn cannot_listen(listen: SocketAddr, cause: std::io::Error) -> Error {
    let (kind, hint) = match cause.kind() {
        ErrorKind::AddrInUse => (
            Kind::Busy,
            "Another process listens there, perhaps another daemon of Fenice; `ss -ltnp` names it. \
             End it, or give `listen` in [daemon] another port.",
        ),
        ErrorKind::AddrNotAvailable => {
            (Kind::Config, "`listen` in [daemon] must be an address of this host.")
        }
        ErrorKind::PermissionDenied => {
            (Kind::Config, "Ports below 1024 are root's: give `listen` in [daemon] a higher one.")
        }
        _ => (Kind::Failed, "`listen` in [daemon] says where metrics are served."),
    };
    let error = Error::new(kind, format!("cannot listen on {listen}")).because(cause).hint(hint);
    match kind {
        Kind::Config => error,
        _ => error.later(),
    }
}
