//! Programs run to their end within a deadline, with what they said.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may run before it is killed and the test fails.
const DEADLINE: Duration = Duration::from_secs(180);

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output, or a panic that shows standard error.
    #[track_caller]
    pub fn expect_success(self, what: &str) -> String {
        assert!(self.success(), "{what} failed ({:?}):\n{}", self.code, self.stderr);
        self.stdout
    }
}

/// Runs `command` with `input`; panics if it cannot start or outlives the deadline.
#[track_caller]
pub fn run(command: &mut Command, input: &str) -> Finished {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    let stdout = child.stdout.take().expect("piped");
    let stderr = child.stderr.take().expect("piped");
    let input = input.to_owned();
    // A program may stop reading early; what it did not want is not an error.
    thread::spawn(move || stdin.write_all(input.as_bytes()));
    let (stdout, stderr) = (reader(stdout), reader(stderr));
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            break status;
        }
        if start.elapsed() > DEADLINE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("ran for more than {} s: {command:?}", DEADLINE.as_secs());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    // A server started by the program and keeping its output open would never end it.
    let text = |from: Receiver<String>| match from.recv_timeout(DEADLINE) {
        Ok(text) => text,
        Err(_) => panic!("ended, but something keeps its output open: {command:?}"),
    };
    Finished { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

fn reader(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        sender.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    receiver
}
