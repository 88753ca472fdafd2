//! A daemon at work in a place of its own, and the stand-in for systemd that it speaks to.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub use crate::cli::rig::{Place, RESOURCE};
use crate::support::{Cluster, PATIENCE, wait_for};

/// What the daemon tells systemd, by sd_notify(3).
pub struct Systemd {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Systemd {
    fn in_place(place: &Place) -> Systemd {
        let path = place.path("notify");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Systemd { socket, path }
    }

    /// The next message, if one comes soon.
    pub fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Reads until a message has this line; what was told till then.
    #[track_caller]
    pub fn wait_for(&self, line: &str) -> Vec<String> {
        let (start, mut told) = (Instant::now(), Vec::new());
        loop {
            told.extend(self.next());
            let has = |message: &String| message.lines().any(|one| one.starts_with(line));
            if told.last().is_some_and(has) {
                return told;
            }
            assert!(start.elapsed() < PATIENCE, "no {line}: {told:?}");
        }
    }

    /// Forgets what was told so far.
    pub fn forget(&self) {
        while self.next().is_some() {}
    }
}

/// A daemon at work; killed when dropped.
pub struct Daemon<'p> {
    pub place: &'p Place,
    pub systemd: Systemd,
    child: Child,
    log: std::path::PathBuf,
}

impl<'p> Daemon<'p> {
    /// Starts one and waits until it says that it is ready.
    #[track_caller]
    pub fn start(place: &'p Place) -> Daemon<'p> {
        let daemon = Daemon::begin(place, &[], &[]);
        daemon.systemd.wait_for("READY=1");
        daemon
    }

    /// Starts one, with more arguments and settings of the environment, and does not wait.
    pub fn begin(place: &'p Place, more: &[&str], env: &[(&str, &str)]) -> Daemon<'p> {
        let systemd = Systemd::in_place(place);
        let log = place.path("daemon.log");
        let out = fs::File::create(&log).unwrap();
        let mut command = place.command(&["daemon"]);
        command.args(more).envs(env.iter().copied()).env("NOTIFY_SOCKET", &systemd.path);
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        Daemon { place, systemd, child: command.spawn().unwrap(), log }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How it ends by itself.
    #[track_caller]
    pub fn end(&mut self) -> Option<i32> {
        let mut ended = None;
        wait_for("the end of the daemon", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        let ended = ended.unwrap();
        assert!(ended.code().is_some(), "{ended}\n{}", self.log());
        ended.code()
    }

    /// Tells it to end, which must end well.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.end(), Some(0), "{}", self.log());
    }

    /// Kills it without a word.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `fenice jobs --json` shows what is wanted.
    #[track_caller]
    pub fn wait_for_jobs(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let (start, mut jobs) = (Instant::now(), Value::Null);
        while start.elapsed() < PATIENCE {
            jobs = self.place.json(0, &["jobs"]);
            if wanted(&jobs) {
                return jobs;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("waited in vain: {what}\n{jobs:#}\n{}", self.log());
    }

    /// Waits until a job of this work has ended so.
    #[track_caller]
    pub fn wait_for_end(&self, work: &str, result: &str) -> Value {
        let found = |jobs: &Value| ended(jobs, work).find(|job| job["result"] == result).cloned();
        let jobs =
            self.wait_for_jobs(&format!("a {work} that is {result}"), |jobs| found(jobs).is_some());
        found(&jobs).unwrap()
    }

    /// What it answers at `path`.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: fenice\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Where it listens, as its log tells.
    #[track_caller]
    pub fn address(&self) -> String {
        let found = || {
            let log = self.log();
            let line = log.lines().rev().find(|line| line.contains("answers /metrics"))?.to_owned();
            let at = line.split("address=").nth(1)?.split_whitespace().next()?.to_owned();
            Some(at)
        };
        wait_for("where the daemon listens", || found().is_some());
        found().unwrap()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// The ended jobs of one work.
pub fn ended<'j>(jobs: &'j Value, work: &str) -> impl Iterator<Item = &'j Value> {
    let all = jobs["last"].as_array().into_iter().flatten();
    let work = work.to_owned();
    all.filter(move |job| job["work"] == work.as_str())
}

/// A place whose daemon listens on a port of its own, with a prepared cluster.
pub fn protecting(cluster: &Cluster, terms: &str) -> Place {
    let place = Place::for_cluster(cluster);
    place.configure(&cluster.conninfo(), &cluster.data_dir(), terms);
    listen_anywhere(&place);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    place
}

pub fn listen_anywhere(place: &Place) {
    edit(&place.path("fenice.toml"), "[daemon]\n", "[daemon]\nlisten = \"127.0.0.1:0\"\n");
}

/// Replaces a text in a file, which must be there.
#[track_caller]
pub fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "no {from:?} in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}
