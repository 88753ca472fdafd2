//! The cluster that is backed up: PostgreSQL 15 with checksums, filled once.

use std::fs;
use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use super::rows::{DOCUMENTS_PER_GB, KEYS, MARKS_PER_GB, MESSAGES_PER_GB, Rows, TABLES};

const BIN: &str = "/usr/lib/postgresql/15/bin";
const PORT: u16 = 54_329;
/// Rows handed to `COPY` at a time.
const BATCH_BYTES: usize = 1 << 20;

/// A cluster in `dir`, running until dropped.
pub struct Cluster {
    dir: PathBuf,
}

/// User `postgres`, if we are root: PostgreSQL refuses root.
fn server_ids() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("user postgres");
    let mut ids = line.split(':').skip(2).map(|id| id.parse().expect("an id"));
    Some((ids.next()?, ids.next()?))
}

/// A program as the server's user, with nothing of our environment.
pub fn as_server(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").current_dir("/");
    if let Some((uid, gid)) = server_ids() {
        command.uid(uid).gid(gid);
    }
    command
}

/// Makes a directory that belongs to the server's user.
pub fn own_dir(dir: &Path) {
    fs::create_dir_all(dir).expect("make a directory");
    if let Some((uid, gid)) = server_ids() {
        chown(dir, Some(uid), Some(gid)).expect("give a directory away");
    }
}

fn bin(name: &str) -> PathBuf {
    Path::new(BIN).join(name)
}

#[track_caller]
fn must(command: &mut Command) -> String {
    let ended = command.stdin(Stdio::null()).output().expect("start a program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(ended.status.success(), "{command:?}: {}", text(&ended.stderr));
    text(&ended.stdout)
}

impl Cluster {
    /// Starts the cluster in `dir`, making and filling it with `gigabytes` if it is not there.
    pub fn start(dir: &Path, gigabytes: f64) -> Cluster {
        let cluster = Cluster { dir: dir.to_owned() };
        let filled = dir.join("filled");
        if !filled.exists() {
            own_dir(dir);
            let data = cluster.data_dir();
            must(as_server(bin("initdb")).arg("-D").arg(&data).args(["-k", "-A", "trust"]));
            cluster.configure("fsync = off\nwal_level = minimal\nmax_wal_senders = 0\n");
            cluster.control("start");
            cluster.fill(gigabytes);
            cluster.psql("checkpoint");
            cluster.control("stop");
            fs::write(&filled, "").expect("note that it is filled");
        }
        cluster
            .configure("wal_level = replica\narchive_mode = on\narchive_command = '/bin/true'\n");
        cluster.control("start");
        cluster
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn conninfo(&self) -> String {
        format!("host={} port={PORT} user=postgres dbname=postgres", self.dir.display())
    }

    pub fn port(&self) -> u16 {
        PORT
    }

    fn configure(&self, extra: &str) {
        let settings = format!(
            "listen_addresses = ''\nport = {PORT}\nunix_socket_directories = '{}'\n\
             shared_buffers = '512MB'\nmax_wal_size = '16GB'\ncheckpoint_timeout = '30min'\n\
             maintenance_work_mem = '512MB'\nautovacuum = off\nwal_compression = off\n{extra}",
            self.dir.display()
        );
        fs::write(self.data_dir().join("postgresql.conf"), settings).expect("write settings");
    }

    /// Archives with `command` from now on.
    pub fn archive_with(&self, command: &str) {
        let command = command.replace('\'', "''");
        self.psql(&format!("alter system set archive_command = '{command}'"));
        self.psql("select pg_reload_conf()");
    }

    fn control(&self, verb: &str) {
        let mut command = as_server(bin("pg_ctl"));
        command.arg("-D").arg(self.data_dir()).arg("-l").arg(self.dir.join("log"));
        must(
            command.args(
                ["-w", "-t", "300", "-s", "-m", "fast", verb]
                    .iter()
                    .filter(|word| verb == "stop" || !["-m", "fast"].contains(*word)),
            ),
        );
    }

    /// The answer to one statement, columns joined with `|`.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        must(self.psql_command().args(["-c", sql]))
    }

    fn psql_command(&self) -> Command {
        let mut command = as_server("/usr/bin/psql");
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d"]).arg(self.conninfo());
        command
    }

    /// A base backup into `to` by PostgreSQL's own means, durable.
    pub fn base_backup(&self, to: &Path) -> Command {
        let mut command = as_server(bin("pg_basebackup"));
        command.arg("-D").arg(to).args(["-c", "fast", "-X", "none", "--no-manifest"]);
        command.arg("-d").arg(self.conninfo());
        command
    }

    fn fill(&self, gigabytes: f64) {
        self.psql(TABLES);
        let rows = |per_gb: u64| (per_gb as f64 * gigabytes) as u64;
        thread::scope(|scope| {
            scope.spawn(|| self.copy("messages", 0..rows(MESSAGES_PER_GB), |_| true));
            self.copy("marks", 0..rows(MARKS_PER_GB), |_| true);
            self.copy("documents", 0..rows(DOCUMENTS_PER_GB), |_| true);
        });
        for key in KEYS {
            self.psql(key);
        }
        self.psql("vacuum analyze");
    }

    /// Writes rows with these numbers; `go_on` is asked before each batch, with the bytes so far.
    pub fn copy(
        &self,
        table: &str,
        numbers: std::ops::Range<u64>,
        go_on: impl Fn(u64) -> bool,
    ) -> u64 {
        let mut command = self.psql_command();
        command.arg("-c").arg(format!("copy {table} from stdin"));
        let mut child = command.stdin(Stdio::piped()).spawn().expect("start psql");
        let mut input = child.stdin.take().expect("a pipe");
        let rows = Rows::new();
        let (mut batch, mut bytes) = (Vec::with_capacity(2 * BATCH_BYTES), 0);
        for number in numbers {
            rows.row(table, number, &mut batch).expect("write to memory");
            if batch.len() >= BATCH_BYTES {
                bytes += batch.len() as u64;
                input.write_all(&batch).expect("write to psql");
                batch.clear();
                if !go_on(bytes) {
                    break;
                }
            }
        }
        input.write_all(&batch).expect("write to psql");
        drop(input);
        assert!(child.wait().expect("wait for psql").success(), "COPY failed");
        bytes
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut command = as_server(bin("pg_ctl"));
        command.arg("-D").arg(self.data_dir()).args(["-w", "-s", "-m", "immediate", "stop"]);
        // Whatever is left is removed with its directory.
        drop(command.stdin(Stdio::null()).status());
    }
}
