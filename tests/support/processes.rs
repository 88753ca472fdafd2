//! Processes that a command left behind: found by what their command line names, ended by pid.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::wait_for;

/// Pids of the processes whose command line names `path` or something below it.
pub fn naming(path: &Path) -> Vec<u32> {
    let wanted = path.to_str().expect("a path of ours");
    let pids = fs::read_dir("/proc").expect("list processes").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| command_line(*pid).contains(wanted)).collect()
}

/// Whether the process is gone, or waits only for its parent to notice.
pub fn has_ended(pid: u32) -> bool {
    command_line(pid).is_empty()
}

/// Stops a PostgreSQL server that is nobody's child any more, in order.
#[track_caller]
pub fn stop_by_pid(pid: u32) {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    // It may have ended by itself.
    let _ = kill_process(raw, Signal::INT);
    wait_for("a left server stops", || has_ended(pid));
}

/// Stops the server that a restore left in `target`.
#[track_caller]
pub fn stop_postmaster(target: &Path) {
    let file = fs::read_to_string(target.join("postmaster.pid")).expect("a server at work");
    let pid = file.lines().next().and_then(|line| line.trim().parse().ok());
    stop_by_pid(pid.expect("a pid"));
}

/// Empty for a process that has ended.
fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
