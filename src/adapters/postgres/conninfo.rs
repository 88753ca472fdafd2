//! What a connection string means (PostgreSQL manual, "Parameter Key Words"). Unlike libpq: no
//! service files, no environment, `user` must be given, and a wait without end cannot be asked
//! for. A key that is not supported is an error.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use crate::adapters::postgres::pairs::parse_pairs;
use crate::error::{Error, Kind, Result};

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_CONNECT_TIMEOUT_SECONDS: u64 = 600;

/// Where one server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The usual socket directories, in turn.
    DefaultSocket,
    /// A directory that holds the Unix socket.
    Socket(PathBuf),
    /// A host name, or an address as `host` gives it; `address` (`hostaddr`) spares the look-up.
    Tcp { name: String, address: Option<IpAddr> },
}

/// One server of the connection string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub place: Place,
    pub port: u16,
}

/// `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// `sslrootcert`: who may vouch for the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SslRoot {
    /// Not given: the system's store where the mode verifies, else nobody is asked.
    Unset,
    /// The system's store; needs `verify-full`, as in libpq.
    System,
    /// Certificates in PEM; with them every mode verifies at least the chain, as in libpq.
    File(PathBuf),
}

/// `channel_binding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

/// `target_session_attrs`. With one host at a time `prefer-standby` means `any`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
}

/// A checked connection string. `Debug` never shows the password.
#[derive(Debug, Clone)]
pub struct Conninfo {
    /// At least one, in the order given.
    pub hosts: Vec<Host>,
    pub user: String,
    pub dbname: String,
    pub password: Option<SecretString>,
    pub passfile: Option<PathBuf>,
    pub ssl_mode: SslMode,
    pub ssl_root: SslRoot,
    /// Certificate chain and key of the client, in PEM.
    pub ssl_client: Option<(PathBuf, PathBuf)>,
    pub connect_timeout: Duration,
    pub application_name: Option<String>,
    pub options: Option<String>,
    pub target: Target,
    pub channel_binding: ChannelBinding,
}

impl Conninfo {
    /// Reads `text`; `home` is where `~/.pgpass` is looked for when `passfile` is not given.
    ///
    /// # Errors
    /// Every problem found, in one error of kind `Config`.
    pub fn parse(text: &str, home: Option<&Path>) -> Result<Conninfo> {
        let pairs = parse_pairs(text).map_err(|problem| bad(&[problem]))?;
        let mut settings = Settings::default();
        let mut problems = Vec::new();
        for (key, value) in pairs {
            match settings.slot(&key) {
                Some(slot) => *slot = Some(value).filter(|value| !value.is_empty()),
                None if key == "service" || key == "client_encoding" => {
                    problems.push(format!("`{key}` is libpq's but has no use here"));
                }
                None => problems.push(format!("`{key}` is not a known key")),
            }
        }
        let conninfo = settings.check(home, &mut problems);
        match conninfo {
            Some(conninfo) if problems.is_empty() => Ok(conninfo),
            _ => Err(bad(&problems)),
        }
    }
}

fn bad(problems: &[String]) -> Error {
    let list = problems.join("; ");
    Error::new(Kind::Config, format!("the connection string cannot be used: {list}"))
        .hint("Write it as libpq does: host=db.example.org port=5432 user=fenice dbname=postgres.")
}

/// The values as written, before any is checked.
#[derive(Default)]
struct Settings {
    host: Option<String>,
    hostaddr: Option<String>,
    port: Option<String>,
    user: Option<String>,
    dbname: Option<String>,
    password: Option<String>,
    passfile: Option<String>,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    sslcert: Option<String>,
    sslkey: Option<String>,
    connect_timeout: Option<String>,
    application_name: Option<String>,
    options: Option<String>,
    target_session_attrs: Option<String>,
    channel_binding: Option<String>,
}

impl Settings {
    fn slot(&mut self, key: &str) -> Option<&mut Option<String>> {
        Some(match key {
            "host" => &mut self.host,
            "hostaddr" => &mut self.hostaddr,
            "port" => &mut self.port,
            "user" => &mut self.user,
            "dbname" => &mut self.dbname,
            "password" => &mut self.password,
            "passfile" => &mut self.passfile,
            "sslmode" => &mut self.sslmode,
            "sslrootcert" => &mut self.sslrootcert,
            "sslcert" => &mut self.sslcert,
            "sslkey" => &mut self.sslkey,
            "connect_timeout" => &mut self.connect_timeout,
            "application_name" => &mut self.application_name,
            "options" => &mut self.options,
            "target_session_attrs" => &mut self.target_session_attrs,
            "channel_binding" => &mut self.channel_binding,
            _ => return None,
        })
    }

    /// `None` only if a problem was added.
    fn check(self, home: Option<&Path>, problems: &mut Vec<String>) -> Option<Conninfo> {
        let ssl_root = match self.sslrootcert.as_deref() {
            None => SslRoot::Unset,
            Some("system") => SslRoot::System,
            Some(file) => SslRoot::File(file.into()),
        };
        let weakest = match ssl_root {
            SslRoot::System => SslMode::VerifyFull,
            _ => SslMode::Prefer,
        };
        let ssl_mode = choose("sslmode", self.sslmode.as_deref(), &SSL_MODES, weakest, problems);
        if ssl_root == SslRoot::System && ssl_mode != SslMode::VerifyFull {
            problems.push("`sslrootcert=system` needs `sslmode=verify-full`".to_owned());
        }
        let ssl_client = match (self.sslcert, self.sslkey) {
            (Some(cert), Some(key)) => Some((cert.into(), key.into())),
            (None, None) => None,
            _ => {
                problems.push("`sslcert` and `sslkey` must be given together".to_owned());
                None
            }
        };
        let target = self.target_session_attrs.as_deref();
        let target = choose("target_session_attrs", target, &TARGETS, Target::Any, problems);
        let binding = self.channel_binding.as_deref();
        let preferred = ChannelBinding::Prefer;
        let channel_binding = choose("channel_binding", binding, &BINDINGS, preferred, problems);
        let hosts = hosts(self.host.as_deref(), self.hostaddr.as_deref(), self.port.as_deref());
        let hosts = hosts.map_err(|problem| problems.push(problem)).ok();
        let connect_timeout = connect_timeout(self.connect_timeout.as_deref(), problems);
        if self.user.is_none() {
            problems.push("`user` is missing".to_owned());
        }
        let user = self.user?;
        Some(Conninfo {
            hosts: hosts?,
            dbname: self.dbname.unwrap_or_else(|| user.clone()),
            user,
            password: self.password.map(SecretString::from),
            passfile: self.passfile.map(PathBuf::from).or(home.map(|home| home.join(".pgpass"))),
            ssl_mode,
            ssl_root,
            ssl_client,
            connect_timeout,
            application_name: self.application_name,
            options: self.options,
            target,
            channel_binding,
        })
    }
}

const SSL_MODES: [(&str, SslMode); 6] = [
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

const TARGETS: [(&str, Target); 6] = [
    ("any", Target::Any),
    ("read-write", Target::ReadWrite),
    ("read-only", Target::ReadOnly),
    ("primary", Target::Primary),
    ("standby", Target::Standby),
    ("prefer-standby", Target::Any),
];

const BINDINGS: [(&str, ChannelBinding); 3] = [
    ("disable", ChannelBinding::Disable),
    ("prefer", ChannelBinding::Prefer),
    ("require", ChannelBinding::Require),
];

fn choose<T: Copy>(
    key: &str,
    value: Option<&str>,
    choices: &[(&str, T)],
    default: T,
    problems: &mut Vec<String>,
) -> T {
    let Some(value) = value else { return default };
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == value) {
        return *choice;
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    problems.push(format!("`{key}` is none of {}", names.join(", ")));
    default
}

fn connect_timeout(value: Option<&str>, problems: &mut Vec<String>) -> Duration {
    let Some(value) = value else { return DEFAULT_CONNECT_TIMEOUT };
    match value.trim().parse::<u64>() {
        Ok(seconds @ 1..=LONGEST_CONNECT_TIMEOUT_SECONDS) => Duration::from_secs(seconds),
        _ => {
            let most = LONGEST_CONNECT_TIMEOUT_SECONDS;
            problems.push(format!("`connect_timeout` is not between 1 and {most} seconds"));
            DEFAULT_CONNECT_TIMEOUT
        }
    }
}

/// Pairs the comma lists: as many `hostaddr` as `host`, one `port` or as many.
fn hosts(
    names: Option<&str>,
    addresses: Option<&str>,
    ports: Option<&str>,
) -> std::result::Result<Vec<Host>, String> {
    let names: Vec<&str> = names.map_or(Vec::new(), |list| list.split(',').collect());
    let addresses: Vec<&str> = addresses.map_or(Vec::new(), |list| list.split(',').collect());
    let ports: Vec<&str> = ports.map_or(Vec::new(), |list| list.split(',').collect());
    let count = names.len().max(addresses.len()).max(1);
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err("`host` and `hostaddr` have lists of different length".to_owned());
    }
    if ports.len() > 1 && ports.len() != count {
        return Err("`port` has neither one entry nor as many as there are hosts".to_owned());
    }
    let one = |at: usize| {
        let port = ports.get(at).or(ports.first()).map_or("", |port| port.trim());
        let port = match port {
            "" => DEFAULT_PORT,
            digits => digits
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| format!("`port` {digits} is not a number from 1 to 65535"))?,
        };
        let name = names.get(at).map_or("", |name| name.trim());
        let address = addresses.get(at).map_or("", |address| address.trim());
        Ok(Host { place: place(name, address)?, port })
    };
    (0..count).map(one).collect()
}

fn place(name: &str, address: &str) -> std::result::Result<Place, String> {
    if name.starts_with('@') {
        return Err("abstract sockets (`host=@…`) are not supported".to_owned());
    }
    let address: Option<IpAddr> = match address {
        "" => None,
        text => Some(text.parse().map_err(|_| format!("`hostaddr` {text} is not an address"))?),
    };
    Ok(match (name, address) {
        ("", None) => Place::DefaultSocket,
        ("", Some(address)) => Place::Tcp { name: address.to_string(), address: Some(address) },
        (dir, None) if dir.starts_with('/') => Place::Socket(dir.into()),
        (name, address) => Place::Tcp { name: name.to_owned(), address },
    })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::DefaultSocket => write!(f, "port={}", self.port),
            Place::Socket(dir) => write!(f, "host={} port={}", dir.display(), self.port),
            Place::Tcp { name, .. } => write!(f, "host={name} port={}", self.port),
        }
    }
}
