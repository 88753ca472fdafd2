//! Ends a PostgreSQL server that nobody looks after any more: that of a restore whose process was
//! killed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result};

/// After an immediate shutdown was asked for, and again after it was killed.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// Stops the server of `data_dir`, if one runs: at once, as its data is of no use to anybody.
///
/// # Errors
/// It does not end.
pub fn stop(data_dir: &Path) -> Result<()> {
    let Some(pid) = server_of(data_dir) else { return Ok(()) };
    for signal in [Signal::QUIT, Signal::KILL] {
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if !works_in(pid, data_dir) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }
    let pid = pid.as_raw_nonzero();
    Err(Error::failed(format!("the server process {pid} of {} does not end", data_dir.display())))
}

/// The server that the first line of `postmaster.pid` names, if that process is one of this
/// directory: numbers of processes are used again.
fn server_of(data_dir: &Path) -> Option<Pid> {
    let file = fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
    let pid = Pid::from_raw(file.lines().next()?.trim().parse().ok()?)?;
    works_in(pid, data_dir).then_some(pid)
}

/// A server works in its data directory. Of a process that has ended, nothing is told.
fn works_in(pid: Pid, data_dir: &Path) -> bool {
    let pid = pid.as_raw_nonzero();
    let place = fs::read_link(format!("/proc/{pid}/cwd"));
    let data_dir = fs::canonicalize(data_dir);
    matches!((place, data_dir), (Ok(place), Ok(data_dir)) if place == data_dir)
}
