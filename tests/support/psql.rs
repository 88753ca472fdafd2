//! Clients of a cluster: SQL, pgbench, connection strings.

use std::process::{Child, Command, Stdio};

use super::Cluster;
use super::command::{Finished, run};
use super::servers::clean;

impl Cluster {
    /// Runs `sql` (statements, also `\copy`) as the superuser; rows as lines, values separated
    /// by `|`. Panics with the server's log if any statement fails.
    #[track_caller]
    pub fn psql(&self, database: &str, sql: &str) -> String {
        match self.psql_try(database, sql) {
            Ok(rows) => rows,
            Err(message) => self.fail(&format!("psql: {message}\nin: {sql}")),
        }
    }

    /// As [`Cluster::psql`], but an error of a statement is its message.
    #[track_caller]
    pub fn psql_try(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = clean(&self.bin("psql"));
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d"]);
        command.arg(self.conninfo_to(database));
        let ended = run(&mut command, sql);
        match ended.success() {
            true => Ok(ended.stdout.trim_end_matches('\n').to_owned()),
            false => Err(ended.stderr),
        }
    }

    /// Starts pgbench on database `postgres` in the background; killed when dropped.
    /// Initialise first with `pgbench_init`.
    pub fn pgbench(&self, arguments: &[&str]) -> Background {
        let mut command = self.pgbench_command();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Background { child: command.spawn().expect("start pgbench") }
    }

    /// Creates and fills pgbench's tables in database `postgres`.
    #[track_caller]
    pub fn pgbench_init(&self, scale: u32) {
        let mut command = self.pgbench_command();
        command.args(["-i", "-q", "-s", &scale.to_string()]);
        run(&mut command, "").expect_success("pgbench -i");
    }

    fn pgbench_command(&self) -> Command {
        let mut command = clean(&self.bin("pgbench"));
        command.env("PGHOST", self.socket_dir()).env("PGPORT", self.port().to_string());
        command.env("PGUSER", "postgres").env("PGDATABASE", "postgres");
        command
    }

    /// Runs one of this version's client programs, such as `pg_waldump`, as the server's user.
    #[track_caller]
    pub fn program(&self, name: &str, arguments: &[&str]) -> Finished {
        run(self.runner().command(&self.bin(name)).args(arguments), "")
    }

    /// libpq key=value over the unix socket, as the superuser, to database `postgres`.
    pub fn conninfo(&self) -> String {
        self.conninfo_to("postgres")
    }

    /// libpq key=value over the unix socket, as the superuser.
    pub fn conninfo_to(&self, database: &str) -> String {
        let (socket, port) = (self.socket_dir(), self.port());
        format!("host={} port={port} user=postgres dbname={database}", socket.display())
    }

    /// libpq key=value over TCP (SCRAM); with TLS if the cluster has it.
    pub fn tcp_conninfo(&self, user: &str, password: &str) -> String {
        let tls = match self.ca_file() {
            Some(ca) => format!(" sslmode=verify-full sslrootcert={}", ca.display()),
            None => String::new(),
        };
        let port = self.port();
        format!("host=127.0.0.1 port={port} user={user} password={password} dbname=postgres{tls}")
    }
}

/// A program in the background, killed when dropped.
#[derive(Debug)]
pub struct Background {
    child: Child,
}

impl Background {
    /// Kills it and waits for its end.
    pub fn kill(mut self) {
        self.end();
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end();
    }
}
