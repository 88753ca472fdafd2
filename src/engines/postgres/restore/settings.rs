//! What a restored server is started with. Pure.
//!
//! Everything that could reach production is overruled on the command line, where it beats the
//! restored `postgresql.auto.conf` and every include (RULES 4). Limits come from `pg_control`:
//! recovery refuses smaller ones than the source had (RULES 6).

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::Timeline;
use crate::plan::facts::Target;

/// How far to recover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// To the end of the log that is served.
    EndOfLog,
    /// Everything before the first commit or abort stamped later (RULES 5).
    After(Timestamp),
    /// As soon as the files are consistent.
    Consistent,
}

impl Stop {
    /// Where a recovery to `target` stops.
    pub fn at(target: &Target) -> Stop {
        match target {
            Target::Latest => Stop::EndOfLog,
            Target::At(at) => Stop::After(*at),
            Target::Consistent { .. } => Stop::Consistent,
        }
    }
}

/// Limits that must be at least the source's (PostgreSQL manual, "Hot Standby").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub max_connections: u32,
    pub max_worker_processes: u32,
    pub max_wal_senders: u32,
    pub max_prepared_transactions: u32,
    pub max_locks_per_transaction: u32,
}

impl Limits {
    /// Reads the output of `pg_controldata` (in the C locale).
    pub fn parse(controldata: &str) -> Option<Limits> {
        let value = |label: &str| -> Option<u32> {
            let line = controldata.lines().find(|line| line.starts_with(label))?;
            line.split_once(':')?.1.trim().parse().ok()
        };
        Some(Limits {
            max_connections: value("max_connections setting")?,
            max_worker_processes: value("max_worker_processes setting")?,
            max_wal_senders: value("max_wal_senders setting")?,
            max_prepared_transactions: value("max_prepared_xacts setting")?,
            max_locks_per_transaction: value("max_locks_per_xact setting")?,
        })
    }
}

/// A server to start on restored files.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// Holds the generated files of configuration.
    pub config_dir: &'a Path,
    /// Where its socket is made.
    pub socket_dir: &'a Path,
    pub port: u16,
    /// Whether it listens on 127.0.0.1 as well.
    pub tcp: bool,
    pub limits: Limits,
    /// What restores a file of log, with `%f` and `%p`.
    pub restore_command: &'a str,
    pub timeline: Timeline,
    pub stop: Stop,
}

impl Start<'_> {
    /// The settings, for the command line.
    pub fn settings(&self) -> Vec<(String, String)> {
        let path = |name: &str| self.config_dir.join(name).display().to_string();
        let limits = self.limits;
        let settings: [(&str, String); 32] = [
            ("config_file", path("postgresql.conf")),
            ("hba_file", path("pg_hba.conf")),
            ("ident_file", path("pg_ident.conf")),
            // Who may reach it.
            ("listen_addresses", if self.tcp { "127.0.0.1" } else { "" }.to_owned()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", self.socket_dir.display().to_string()),
            ("unix_socket_permissions", "0700".to_owned()),
            ("ssl", "off".to_owned()),
            ("logging_collector", "off".to_owned()),
            ("log_destination", "stderr".to_owned()),
            ("event_source", "fenice".to_owned()),
            // What it may reach: nothing of production.
            ("archive_mode", "off".to_owned()),
            ("archive_command", String::new()),
            ("archive_library", String::new()),
            ("archive_cleanup_command", String::new()),
            ("recovery_end_command", String::new()),
            ("primary_conninfo", String::new()),
            ("primary_slot_name", String::new()),
            ("synchronous_standby_names", String::new()),
            ("shared_preload_libraries", String::new()),
            ("session_preload_libraries", String::new()),
            ("local_preload_libraries", String::new()),
            ("max_logical_replication_workers", "0".to_owned()),
            // Limits of the source.
            ("max_connections", limits.max_connections.to_string()),
            ("max_worker_processes", limits.max_worker_processes.to_string()),
            ("max_wal_senders", limits.max_wal_senders.to_string()),
            ("max_prepared_transactions", limits.max_prepared_transactions.to_string()),
            ("max_locks_per_transaction", limits.max_locks_per_transaction.to_string()),
            // How far to recover. A connection before that would show what is not yet right.
            ("hot_standby", "off".to_owned()),
            ("restore_command", self.restore_command.to_owned()),
            ("recovery_target_inclusive", "on".to_owned()),
            ("recovery_target_timeline", self.timeline.to_string()),
        ];
        let mut all: Vec<_> = settings.map(|(name, value)| (name.to_owned(), value)).into();
        all.push(("recovery_target_action".to_owned(), "promote".to_owned()));
        all.extend(self.targets());
        all
    }

    /// The one that is meant comes last: PostgreSQL refuses to set another after it, even to
    /// nothing ("multiple recovery targets specified").
    fn targets(&self) -> Vec<(String, String)> {
        let (meant, value) = match self.stop {
            Stop::EndOfLog => ("recovery_target", String::new()),
            Stop::Consistent => ("recovery_target", "immediate".to_owned()),
            Stop::After(at) => ("recovery_target_time", instant(at)),
        };
        let none = TARGETS.iter().filter(|name| **name != meant);
        let none = none.map(|name| ((*name).to_owned(), String::new()));
        none.chain([(meant.to_owned(), value)]).collect()
    }
}

/// Settings that each name a recovery target (PostgreSQL manual, "Recovery Target").
const TARGETS: [&str; 5] = [
    "recovery_target",
    "recovery_target_name",
    "recovery_target_lsn",
    "recovery_target_xid",
    "recovery_target_time",
];

/// The generated `pg_hba.conf`: whoever reaches the private socket directory may connect, and
/// 127.0.0.1 as the restored roles' own passwords allow.
pub const HBA: &str = "\
# Written by Fenice for a restored server.
local all all trust
host all all 127.0.0.1/32 scram-sha-256
";

/// The generated `postgresql.conf`: everything that matters is on the command line.
pub const CONF: &str = "\
# Written by Fenice for a restored server; the settings are on its command line.
shared_buffers = 128MB
max_wal_size = 4GB
checkpoint_timeout = 30min
lc_messages = 'C'
log_line_prefix = '%m [%p] '
jit = off
";

/// An instant as PostgreSQL reads it whatever its zone is.
pub fn instant(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string()
}

/// A word for `restore_command`, in single quotes for the shell, with `%` doubled for PostgreSQL.
pub fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_from_pg_controldata() {
        let text = "\
pg_control version number:            1300
max_connections setting:              100
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           0
max_locks_per_xact setting:           64
";
        let limits = Limits::parse(text).unwrap();
        assert_eq!((limits.max_connections, limits.max_locks_per_transaction), (100, 64));
        assert_eq!(Limits::parse("nothing"), None);
    }

    #[test]
    fn instants_keep_microseconds_and_say_utc() {
        let at: Timestamp = "2026-11-22T14:53:07.123456Z".parse().unwrap();
        assert_eq!(instant(at), "2026-11-22 14:53:07.123456+00");
    }

    #[test]
    fn words_survive_the_shell_and_postgresql() {
        assert_eq!(shell_word("/a b/it's 5%"), r"'/a b/it'\''s 5%%'");
    }
}
