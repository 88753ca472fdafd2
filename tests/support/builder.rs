//! What a cluster shall be: version, segment size, checksums, TLS, settings.

use std::fs::{self, OpenOptions};
use std::io::Write;

use super::Cluster;
use super::certificates;
use super::clock::MovedClock;
use super::command::run;
use super::servers::has_tls;

/// Small and quick; `fsync` is off because no test takes the machine's power away.
const SETTINGS: &str = "\
listen_addresses = '127.0.0.1'
max_connections = 50
shared_buffers = '32MB'
fsync = off
wal_level = replica
max_wal_senders = 10
max_replication_slots = 10
log_checkpoints = on
log_line_prefix = '%m [%p] '
timezone = 'UTC'
log_timezone = 'UTC'
";

/// Access: anybody on the (private) socket, passwords over TCP.
const ACCESS: &str = "\
local all,replication all trust
host all,replication all 127.0.0.1/32 scram-sha-256
";

/// What a cluster shall be.
#[derive(Debug, Clone)]
pub struct Builder {
    version: u32,
    segment_size_mib: u32,
    data_checksums: bool,
    tls: bool,
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl Builder {
    /// Major version, default 15.
    pub fn version(mut self, version: u32) -> Builder {
        self.version = version;
        self
    }

    /// Size of a WAL segment, a power of two, default 16.
    pub fn segment_size_mib(mut self, mib: u32) -> Builder {
        self.segment_size_mib = mib;
        self
    }

    /// Page checksums, default on.
    pub fn data_checksums(mut self, on: bool) -> Builder {
        self.data_checksums = on;
        self
    }

    /// TLS beside plain TCP, default off; see [`Cluster::ca_file`].
    pub fn tls(mut self, on: bool) -> Builder {
        self.tls = on;
        self
    }

    /// A line of `postgresql.conf`; the last one for a name wins.
    pub fn setting(mut self, name: &str, value: &str) -> Builder {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The server lives by this clock, wherever it is moved; default by the machine's.
    pub fn clock(mut self, clock: &MovedClock) -> Builder {
        self.environment = clock.environment();
        self
    }

    /// Creates and starts the cluster; it accepts connections when this returns.
    #[track_caller]
    pub fn start(self) -> Cluster {
        assert!(!self.tls || has_tls(self.version), "PostgreSQL {} has no TLS", self.version);
        let mut cluster = Cluster::lay_out(self.version);
        cluster.initialise(&self);
        if self.tls {
            let dir = cluster.subdirectory("tls");
            certificates::make(&dir, cluster.runner);
            cluster.ca_file = Some(dir.join("ca.crt"));
        }
        cluster.configure(&self.settings);
        cluster.environment.clone_from(&self.environment);
        cluster.begin();
        cluster
    }
}

impl Cluster {
    pub fn builder() -> Builder {
        Builder {
            version: 15,
            segment_size_mib: 16,
            data_checksums: true,
            tls: false,
            settings: Vec::new(),
            environment: Vec::new(),
        }
    }

    fn initialise(&self, wanted: &Builder) {
        let mut command = self.runner.command(&self.bin("initdb"));
        command.arg("--pgdata").arg(self.data_dir());
        command.args(["--username=postgres", "--auth=trust", "--no-sync", "--no-instructions"]);
        command.args(["--locale=C", "--encoding=UTF8"]);
        command.arg(format!("--wal-segsize={}", wanted.segment_size_mib));
        match (wanted.data_checksums, self.version >= 18) {
            (true, false) => command.arg("--data-checksums"),
            (false, true) => command.arg("--no-data-checksums"),
            _ => &mut command, // what that version does by itself
        };
        run(&mut command, "").expect_success("initdb");
    }

    fn configure(&self, settings: &[(String, String)]) {
        let mut lines = SETTINGS.to_owned();
        if let Some(ca) = &self.ca_file {
            let dir = ca.parent().expect("the file lies in a directory").display();
            lines += &format!(
                "ssl = on\nssl_cert_file = '{dir}/server.crt'\nssl_key_file = '{dir}/server.key'\n"
            );
        }
        for (name, value) in settings {
            lines += &format!("{name} = '{}'\n", value.replace('\'', "''"));
        }
        let path = self.data_dir().join("postgresql.conf");
        let mut file = OpenOptions::new().append(true).open(path).expect("open postgresql.conf");
        file.write_all(lines.as_bytes()).expect("write postgresql.conf");
        fs::write(self.data_dir().join("pg_hba.conf"), ACCESS).expect("write pg_hba.conf");
    }
}
