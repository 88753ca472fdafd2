//! One PostgreSQL server: started for a test, stopped, killed, restarted, promoted, removed.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::command::run;
use super::scratch::Scratch;
use super::servers::{Runner, bin_dir};
use super::wait::{happens, wait_for};

/// Tries for a free port: another process may take it between our look and the server's bind.
const PORT_TRIES: u32 = 8;
/// How much of a server's log a failed test shows.
const LOG_LINES: usize = 60;

/// How to stop a server (PostgreSQL manual, "Shutting Down the Server").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Disconnects clients, writes a checkpoint, ships what is left.
    Fast,
    /// Ends at once; recovery at the next start.
    Immediate,
}

/// A running (or stopped) server with everything it owns. Removed when dropped.
#[derive(Debug)]
pub struct Cluster {
    pub(super) version: u32,
    pub(super) runner: Runner,
    scratch: Scratch,
    port: u16,
    pub(super) ca_file: Option<PathBuf>,
    /// Of the server alone, besides what every program gets.
    pub(super) environment: Vec<(String, String)>,
    server: Option<Child>,
}

impl Cluster {
    /// A streaming standby of `primary`, on a physical slot of its own named `standby_<port>`.
    #[track_caller]
    pub fn standby_of(primary: &Cluster) -> Cluster {
        let mut cluster = Cluster::lay_out(primary.version);
        let slot = format!("standby_{}", cluster.port);
        let mut command = cluster.runner.command(&cluster.bin("pg_basebackup"));
        command.arg("--pgdata").arg(cluster.data_dir()).arg("--dbname").arg(primary.conninfo());
        command.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast"]);
        command.args(["--no-sync", "--create-slot", "--slot", &slot]);
        let ended = run(&mut command, "");
        if !ended.success() {
            primary.fail(&format!("pg_basebackup: {}", ended.stderr));
        }
        cluster.ca_file.clone_from(&primary.ca_file);
        cluster.environment.clone_from(&primary.environment);
        cluster.begin();
        cluster
    }

    /// Directories and a port; no server yet. Below the scratch directory: `data`, `s` (the
    /// socket; short, see there), `log`, `tls`.
    pub(super) fn lay_out(version: u32) -> Cluster {
        let (runner, scratch) = (Runner::find(), Scratch::new());
        bin_dir(version);
        runner.own(scratch.path());
        let cluster = Cluster {
            version,
            runner,
            scratch,
            port: free_port(),
            ca_file: None,
            environment: Vec::new(),
            server: None,
        };
        cluster.subdirectory("s");
        cluster
    }

    /// A directory beside the data directory, owned by the server's user: for an archive, a
    /// tablespace, a second data directory.
    pub fn subdirectory(&self, name: &str) -> PathBuf {
        let path = self.scratch.path().join(name);
        fs::create_dir_all(&path).expect("create a directory");
        self.runner.own(&path);
        path
    }

    /// Starts the server, on another port if ours was taken meanwhile.
    #[track_caller]
    pub(super) fn begin(&mut self) {
        for _ in 0..PORT_TRIES {
            if self.spawn() {
                return;
            }
            self.port = free_port();
        }
        self.fail("no free port");
    }

    /// Starts the server and waits until it accepts connections; false if the port was taken.
    #[track_caller]
    fn spawn(&mut self) -> bool {
        let log = File::create(self.log_file()).expect("create the log");
        let mut command = self.runner.command(&self.bin("postgres"));
        command.arg("-D").arg(self.data_dir()).arg("-k").arg(self.socket_dir());
        command.arg("-p").arg(self.port.to_string());
        command.envs(self.environment.iter().cloned());
        let outside = self.outside_config().join("postgresql.conf");
        if outside.exists() {
            command.arg("-c").arg(format!("config_file={}", outside.display()));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        // Out of reach of the interrupt that a terminal sends us: our end stops it, in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let server = self.server.insert(command.spawn().expect("start postgres"));
        let pid_file = self.scratch.path().join("data/postmaster.pid");
        let pid = server.id().to_string();
        let mut ended = false;
        let came = happens(|| {
            ended = !matches!(server.try_wait(), Ok(None));
            ended || accepts_connections(&pid_file, &pid)
        });
        if ended {
            self.server = None;
            if self.log().contains("Address already in use") {
                return false;
            }
            self.fail("the server ended while starting");
        }
        if !came {
            self.fail("the server does not accept connections");
        }
        true
    }

    /// Stops the server and waits for its end.
    #[track_caller]
    pub fn stop(&mut self, how: Stop) {
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        if !self.end(signal) {
            self.fail("the server does not stop");
        }
    }

    /// Kills the postmaster as a crash would; its processes follow by themselves.
    #[track_caller]
    pub fn kill_9(&mut self) {
        let backends = self.backends();
        if !self.end(Signal::KILL) {
            self.fail("the server cannot be killed");
        }
        // A new server refuses to start while one of them holds the shared memory.
        let gone = |pid: &String| !Path::new("/proc").join(pid).exists();
        if !happens(|| backends.iter().all(gone)) {
            self.fail("processes of the killed server stay");
        }
    }

    /// Starts the server again, on the same port, stopping it first if it runs.
    #[track_caller]
    pub fn restart(&mut self) {
        if self.server.is_some() {
            self.stop(Stop::Fast);
        }
        // Whoever took the port meanwhile may give it back.
        if !happens(|| self.spawn()) {
            self.fail("our port was taken");
        }
    }

    /// Promotes a standby; it accepts writes when this returns.
    #[track_caller]
    pub fn promote(&self) {
        // Not waited for within the statement: its own snapshot can hold up the replay of what is
        // left, which then cancels it.
        self.psql("postgres", "select pg_promote(false)");
        wait_for("the standby is promoted", || {
            self.psql("postgres", "select pg_is_in_recovery()") == "f"
        });
    }

    /// Sends the signal and waits; false if the server outlived it.
    fn end(&mut self, signal: Signal) -> bool {
        let Some(mut server) = self.server.take() else { return true };
        let pid = Pid::from_child(&server);
        let _ = kill_process(pid, signal);
        let ended = happens(|| !matches!(server.try_wait(), Ok(None)));
        if !ended {
            self.server = Some(server);
        }
        ended
    }

    /// The pids of the server's own processes, without the postmaster.
    fn backends(&self) -> Vec<String> {
        let Some(server) = &self.server else { return Vec::new() };
        let pid = server.id();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        children.split_whitespace().map(str::to_owned).collect()
    }

    /// Removes the shared memory that a killed server left, and with it the last trace of it.
    fn free_shared_memory(&self) {
        let Ok(file) = fs::read_to_string(self.data_dir().join("postmaster.pid")) else { return };
        // Line 7: key and id of the System V segment (src/include/utils/pidfile.h).
        let Some(id) = file.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) else {
            return;
        };
        let _ = run(std::process::Command::new("ipcrm").args(["-m", id]), "");
    }

    /// Panics with `message` and the end of the server's log.
    #[track_caller]
    pub fn fail(&self, message: &str) -> ! {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        panic!("PostgreSQL {}: {message}\n--- log ---\n{end}", self.version);
    }

    /// What the server logged since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.scratch.path().join("log")
    }

    pub fn version(&self) -> u32 {
        self.version
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn data_dir(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Where a test puts files of configuration, as Debian does, that shall not lie in the data
    /// directory: a `postgresql.conf` there is what the server starts with.
    pub fn outside_config(&self) -> PathBuf {
        self.scratch.path().join("etc")
    }

    /// The directory of the unix socket.
    pub fn socket_dir(&self) -> PathBuf {
        self.scratch.path().join("s")
    }

    /// A program of this version's.
    pub fn bin(&self, name: &str) -> PathBuf {
        self.bin_dir().join(name)
    }

    pub fn bin_dir(&self) -> PathBuf {
        bin_dir(self.version)
    }

    /// The certificate of the authority that signed the server's, if it has TLS.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The pid of the postmaster, if the server runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    pub(super) fn runner(&self) -> Runner {
        self.runner
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.end(Signal::QUIT) {
            self.end(Signal::KILL);
        }
        self.free_shared_memory();
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind a port");
    listener.local_addr().expect("an address").port()
}

/// Line 8 of `postmaster.pid` tells (src/include/utils/pidfile.h), without a connection.
fn accepts_connections(pid_file: &Path, pid: &str) -> bool {
    let file = fs::read_to_string(pid_file).unwrap_or_default();
    let lines: Vec<&str> = file.lines().map(str::trim).collect();
    // An older file of a killed server bears another pid.
    lines.first() == Some(&pid) && matches!(lines.get(7), Some(&"ready" | &"standby"))
}
