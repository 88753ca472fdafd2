//! Starts PostgreSQL servers and tools as processes, never as root.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::error::{Attempt, Error, Result};
use crate::ports::server::{Launcher, Server, ServerSpec, StopMode, ToolOutput};

/// Users a server may run as where this process is root, in order of preference.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];
const POLL: Duration = Duration::from_millis(20);

/// Starts processes on this machine.
pub struct ProcessLauncher {
    runs_as: Option<(u32, u32)>,
    /// This program, as `restore_command` calls it.
    program: PathBuf,
}

impl ProcessLauncher {
    /// Finds out whom to run servers as.
    ///
    /// # Errors
    /// This process is root and the machine has none of the unprivileged users.
    pub fn new() -> Result<ProcessLauncher> {
        let own = std::env::current_exe().attempt(|| "find this program's own file".to_owned())?;
        ProcessLauncher::with_program(own)
    }

    /// The same, where another file than the present one is `fenice`.
    pub fn with_program(program: PathBuf) -> Result<ProcessLauncher> {
        if !rustix::process::geteuid().is_root() {
            return Ok(ProcessLauncher { runs_as: None, program });
        }
        let passwd = fs::read_to_string("/etc/passwd").attempt(|| "read /etc/passwd".to_owned())?;
        let found = UNPRIVILEGED.iter().find_map(|name| user_in(&passwd, name));
        match found {
            Some(user) => Ok(ProcessLauncher { runs_as: Some(user), program }),
            None => Err(Error::failed("there is no user to run PostgreSQL as").hint(
                "PostgreSQL refuses to run as root: run Fenice as another user, or make a \
                     user `postgres`.",
            )),
        }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).process_group(0).current_dir("/");
        // Messages are read by people and by tests: one language. The environment of the caller
        // (PGDATA, PGPORT, PGHOST …) must not reach a restored server.
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").env("PATH", "/usr/bin:/bin");
        if let Some((uid, gid)) = self.runs_as {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// Ids of the user `name` in the text of `/etc/passwd`.
fn user_in(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

impl Launcher for ProcessLauncher {
    fn start(&self, spec: &ServerSpec) -> Result<Box<dyn Server>> {
        let program = spec.bin_dir.join("postgres");
        let what = || format!("start {} on {}", program.display(), spec.data_dir.display());
        let log = OpenOptions::new().create(true).append(true).mode(0o640).open(&spec.log_file);
        let log = log.attempt(|| format!("open {}", spec.log_file.display()))?;
        let mut command = self.command(&program);
        command.arg("-D").arg(&spec.data_dir);
        for (name, value) in &spec.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(log.try_clone().attempt(what)?).stderr(log);
        let child = command.spawn().map_err(|cause| {
            Error::failed(format!("cannot {}", what()))
                .because(cause)
                .hint("Set `bin_dir` of the resource to the folder that holds `postgres`.")
        })?;
        Ok(Box::new(ProcessServer { child: Some(child) }))
    }

    fn run_tool(
        &self,
        program: &Path,
        arguments: &[String],
        limit: Duration,
    ) -> Result<ToolOutput> {
        let what = || format!("run {}", program.display());
        let mut command = self.command(program);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().attempt(what)?;
        let stdout = read_in_background(child.stdout.take());
        let stderr = read_in_background(child.stderr.take());
        let ended = wait(&mut child, limit).attempt(what)?;
        if ended.is_none() {
            signal_group(&child, Signal::KILL);
            child.wait().attempt(what)?;
        }
        let (stdout, stderr) = (join(stdout), join(stderr));
        match ended {
            Some(status) => Ok(ToolOutput { success: status.success(), stdout, stderr }),
            None => Err(Error::failed(format!(
                "{} was still running after {} s and was killed",
                program.display(),
                limit.as_secs()
            ))),
        }
    }

    fn runs_as(&self) -> Option<(u32, u32)> {
        self.runs_as
    }

    fn own_program(&self, dir: &Path) -> Result<PathBuf> {
        let own = &self.program;
        let Some((uid, gid)) = self.runs_as else { return Ok(own.clone()) };
        // As root this program may lie where the unprivileged user cannot reach it.
        let copy = dir.join("fenice");
        let what = || format!("copy {} to {}", own.display(), copy.display());
        fs::copy(own, &copy).attempt(what)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).attempt(what)?;
        chown(&copy, Some(uid), Some(gid)).attempt(what)?;
        Ok(copy)
    }
}

fn read_in_background(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A tool that writes more than this is cut; its exit status is what counts.
        let read = pipe.map(|pipe| pipe.take(16 << 20).read_to_end(&mut bytes));
        drop(read);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn join(reader: std::thread::JoinHandle<String>) -> String {
    reader.join().unwrap_or_default()
}

fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(child.id() as i32)
}

fn signal_group(child: &Child, signal: Signal) {
    if let Some(pid) = pid_of(child) {
        // It may have ended meanwhile; waiting for it tells.
        let _ = kill_process_group(pid, signal);
    }
}

/// The processes that `pid` started, as far as the kernel tells.
fn children_of(pid: u32) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids = list.split_whitespace().filter_map(|word| word.parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}

struct ProcessServer {
    /// `None` once it was left to itself.
    child: Option<Child>,
}

impl Server for ProcessServer {
    fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    fn ended(&mut self) -> Result<Option<String>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.try_wait().attempt(|| "look after the server".to_owned())?;
        Ok(status.map(describe))
    }

    fn stop(&mut self, mode: StopMode, limit: Duration) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let what = || "stop the server".to_owned();
        let signal = match mode {
            StopMode::Fast => Signal::INT,
            StopMode::Immediate => Signal::QUIT,
        };
        if let Some(pid) = pid_of(child) {
            let _ = kill_process(pid, signal);
        }
        if wait(child, limit).attempt(what)?.is_none() {
            signal_group(child, Signal::KILL);
            child.wait().attempt(what)?;
        }
        Ok(())
    }

    fn kill(mut self: Box<Self>) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        // PostgreSQL's processes each lead a group of their own.
        let others = children_of(child.id());
        signal_group(&child, Signal::KILL);
        for other in others {
            let _ = kill_process(other, Signal::KILL);
        }
        child.wait().attempt(|| "kill the server".to_owned()).map(drop)
    }

    fn leave(mut self: Box<Self>) {
        self.child = None;
    }
}

impl Drop for ProcessServer {
    fn drop(&mut self) {
        if let Err(error) = self.stop(StopMode::Immediate, Duration::from_secs(10)) {
            tracing::error!(error = %error.chain(), "a server could not be stopped");
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => format!("it was killed by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}
