//! From a host of the connection string to a session that is ready: stream, TLS, login.

use std::io;
use std::sync::Arc;

use postgres_protocol::message::frontend;
use rustls::ClientConfig;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::adapters::postgres::auth::{Channel, Login, log_in};
use crate::adapters::postgres::certificate::server_end_point;
use crate::adapters::postgres::conninfo::{ChannelBinding, Conninfo, Host, Place, SslMode, Target};
use crate::adapters::postgres::message::violation;
use crate::adapters::postgres::passfile::{self, Wanted};
use crate::adapters::postgres::stream::{self, Stream};
use crate::adapters::postgres::tls;
use crate::adapters::postgres::wire::Wire;
use crate::error::{Error, Result};
use crate::ports::postgres::ServerError;

/// What the session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Sql,
    PhysicalReplication,
}

/// `pg_hba.conf` and password files call physical replication so.
const REPLICATION: &str = "replication";
/// SQLSTATE: `pg_hba.conf` has no entry, perhaps only for this kind of connection.
const INVALID_AUTHORIZATION: &str = "28000";

/// Connects within `connect_timeout`.
pub(super) async fn connect(
    host: &Host,
    conninfo: &Conninfo,
    application: &str,
    purpose: Purpose,
) -> Result<Wire> {
    let deadline = Instant::now() + conninfo.connect_timeout;
    let attempt = Attempted { host, conninfo, application, purpose, deadline };
    let connected = match timeout_at(deadline, attempt.in_some_way()).await {
        Ok(connected) => connected,
        Err(_) => {
            let seconds = conninfo.connect_timeout.as_secs();
            Err(Error::failed(format!("no answer within {seconds} s")).later())
        }
    };
    connected.map_err(|cause| {
        Error::failed(format!("cannot connect to PostgreSQL at {host} as {}", conninfo.user))
            .because(cause)
    })
}

/// Whether to ask for TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    No,
    /// Go on without if the server has none.
    Try,
    Must,
}

/// What can be tried, in order (PostgreSQL manual, "SSL Mode Descriptions"). Unix sockets never
/// use TLS.
fn ways(host: &Host, conninfo: &Conninfo) -> &'static [Ask] {
    let bound = conninfo.channel_binding == ChannelBinding::Require;
    match (&host.place, conninfo.ssl_mode) {
        (Place::DefaultSocket | Place::Socket(_), _) => &[Ask::No],
        (_, SslMode::Disable) => &[Ask::No],
        (_, SslMode::Allow | SslMode::Prefer) if bound => &[Ask::Must],
        (_, SslMode::Allow) => &[Ask::No, Ask::Must],
        (_, SslMode::Prefer) => &[Ask::Try, Ask::No],
        (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[Ask::Must],
    }
}

struct Attempted<'a> {
    host: &'a Host,
    conninfo: &'a Conninfo,
    application: &'a str,
    purpose: Purpose,
    deadline: Instant,
}

impl Attempted<'_> {
    async fn in_some_way(&self) -> Result<Wire> {
        let config = self.tls_config().await?;
        let ways = ways(self.host, self.conninfo);
        let mut failure: Option<Error> = None;
        for ask in ways {
            match self.once(*ask, config.clone()).await {
                Ok(wire) => return self.check_target(wire),
                Err(other) if !other.try_another => return Err(other.error),
                // Of two failures, the one over TLS tells more.
                Err(_) if *ask == Ask::No && failure.is_some() => {}
                Err(other) => failure = Some(other.error),
            }
        }
        Err(failure.unwrap_or_else(|| Error::failed("there is no way to try")))
    }

    async fn tls_config(&self) -> Result<Option<Arc<ClientConfig>>> {
        if ways(self.host, self.conninfo) == [Ask::No] {
            return Ok(None);
        }
        let conninfo = self.conninfo.clone();
        // Reads files, and with the system's store many.
        match tokio::task::spawn_blocking(move || tls::configure(&conninfo)).await {
            Ok(config) => config.map(Some),
            Err(cause) => Err(Error::failed("cannot set up TLS").because(cause)),
        }
    }

    async fn once(
        &self,
        ask: Ask,
        config: Option<Arc<ClientConfig>>,
    ) -> std::result::Result<Wire, Failure> {
        let opened = stream::open(self.host, self.deadline).await.map_err(|cause| {
            let hint = hint_for(&cause, self.host);
            Error::failed("cannot reach it").because(cause).later().hint(hint)
        })?;
        let (stream, channel) = match (opened, ask, config) {
            (Stream::Tcp(tcp), Ask::Try | Ask::Must, Some(config)) => {
                self.encrypt(tcp, ask, config).await?
            }
            (unix @ Stream::Unix(_), ..) => (unix, Channel::Local),
            (open, ..) => (open, Channel::Open),
        };
        let certificate = stream.certificate().cloned();
        let mut wire = Wire::new(stream, self.host.to_string()).showing(certificate);
        let parameters = self.startup_parameters();
        wire.send(|buffer| frontend::startup_message(parameters, buffer)).await?;
        let login = Login {
            user: &self.conninfo.user,
            password: self.password(),
            channel_binding: self.conninfo.channel_binding,
            channel,
        };
        log_in(&mut wire, &login).await?;
        wire.until_ready().await?;
        Ok(wire)
    }

    async fn encrypt(
        &self,
        mut tcp: tokio::net::TcpStream,
        ask: Ask,
        config: Arc<ClientConfig>,
    ) -> std::result::Result<(Stream, Channel), Failure> {
        let mut request = bytes::BytesMut::new();
        frontend::ssl_request(&mut request);
        let asked = async {
            tcp.write_all(&request).await?;
            // One byte and no more: what follows belongs to TLS, never to us in clear.
            tcp.read_u8().await
        };
        let lost = |cause: io::Error| {
            Error::failed("the server closed the connection").because(cause).later()
        };
        match asked.await.map_err(lost)? {
            b'S' => {}
            b'N' if ask == Ask::Try => return Ok((Stream::Tcp(tcp), Channel::Open)),
            b'N' => {
                let error = Error::refused("the server does not offer TLS").hint(
                    "Turn on `ssl` in postgresql.conf; sslmode=disable goes without, in clear.",
                );
                return Err(error.into());
            }
            other => {
                let other = other.escape_ascii();
                let what = format!("it answers `{other}` to the request for TLS");
                return Err(violation(what).into());
            }
        }
        let name = match &self.host.place {
            Place::Tcp { name, .. } => name.as_str(),
            Place::DefaultSocket | Place::Socket(_) => "localhost",
        };
        let shaken = tls::shake_hands(config, name, tcp).await;
        let tls = shaken.map_err(|error| Failure { error, try_another: ask == Ask::Try })?;
        let tls = Stream::Tls(Box::new(tls));
        let end_point = tls.certificate().and_then(server_end_point);
        Ok((tls, Channel::Encrypted { end_point }))
    }

    fn startup_parameters(&self) -> Vec<(&str, &str)> {
        let conninfo = self.conninfo;
        let mut parameters = vec![("user", conninfo.user.as_str())];
        match self.purpose {
            Purpose::Sql => parameters.push(("database", &conninfo.dbname)),
            Purpose::PhysicalReplication => {
                parameters.push(("database", REPLICATION));
                parameters.push(("replication", "true"));
            }
        }
        let application = match self.application {
            "" => conninfo.application_name.as_deref().unwrap_or("fenice"),
            named => named,
        };
        parameters.push(("application_name", application));
        parameters.push(("client_encoding", "UTF8"));
        // Times in one form, whatever the role's or the server's taste.
        parameters.push(("DateStyle", "ISO"));
        if let Some(options) = &conninfo.options {
            parameters.push(("options", options));
        }
        parameters
    }

    /// The password given, else that of the password file, else why there is none.
    fn password(&self) -> std::result::Result<SecretString, String> {
        if let Some(password) = &self.conninfo.password {
            return Ok(password.clone());
        }
        let Some(path) = &self.conninfo.passfile else {
            return Err("neither `password` nor `passfile` is given".to_owned());
        };
        let (user, dbname) = (self.conninfo.user.as_str(), self.conninfo.dbname.as_str());
        let look = |dbname| passfile::read(path, Wanted { host: self.host, dbname, user });
        match self.purpose {
            Purpose::PhysicalReplication => look(REPLICATION).or_else(|_| look(dbname)),
            Purpose::Sql => look(dbname),
        }
    }

    /// `target_session_attrs`, by what servers since PostgreSQL 14 report of themselves.
    fn check_target(&self, wire: Wire) -> Result<Wire> {
        let standby = wire.parameter("in_hot_standby") == Some("on");
        let read_only = standby || wire.parameter("default_transaction_read_only") == Some("on");
        let (fits, wanted) = match self.conninfo.target {
            Target::Any => (true, "any"),
            Target::ReadWrite => (!read_only, "read-write"),
            Target::ReadOnly => (read_only, "read-only"),
            Target::Primary => (!standby, "a primary"),
            Target::Standby => (standby, "a standby"),
        };
        match fits {
            true => Ok(wire),
            // Roles change by failover.
            false => Err(Error::failed(format!("the server is not {wanted}")).later()),
        }
    }
}

/// Why one way did not work.
struct Failure {
    error: Error,
    /// Whether the other way of the mode may still work.
    try_another: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = ServerError::of(&error).map(ServerError::code);
        Failure { try_another: code == Some(INVALID_AUTHORIZATION), error }
    }
}

fn hint_for(cause: &io::Error, host: &Host) -> &'static str {
    match (cause.kind(), &host.place) {
        (io::ErrorKind::PermissionDenied, _) => "Give the user that runs Fenice access to it.",
        (_, Place::Tcp { .. }) => "Is it running, and does listen_addresses include this address?",
        _ => "Is it running, and is this its port and unix_socket_directories?",
    }
}
