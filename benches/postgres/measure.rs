//! Runs programs and tells what they took: wall clock, processor time and memory, children
//! included, as Linux accounts them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(15);
/// `sysconf(_SC_CLK_TCK)` is this on every Linux that runs PostgreSQL.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a run took.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    pub seconds: f64,
    /// User and system, of all its processes.
    pub cpu_seconds: f64,
    /// The largest sum of the resident memory of its processes.
    pub peak_bytes: u64,
    pub stdout: String,
}

/// Runs `command` to its successful end.
#[track_caller]
pub fn run(command: &mut Command) -> Taken {
    let what = format!("{command:?}");
    let cpu_before = children_cpu_seconds();
    let begun = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
    let pid = child.id();
    let ended = AtomicBool::new(false);
    let (output, seconds, peak_bytes) = thread::scope(|scope| {
        let watch = scope.spawn(|| watch_memory(pid, &ended));
        let output = child.wait_with_output().expect("wait for a child");
        let seconds = begun.elapsed().as_secs_f64();
        ended.store(true, Ordering::Relaxed);
        (output, seconds, watch.join().expect("the watching thread"))
    });
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{stdout}\n{stderr}", output.status);
    Taken { seconds, cpu_seconds: children_cpu_seconds() - cpu_before, peak_bytes, stdout }
}

fn watch_memory(pid: u32, ended: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !ended.load(Ordering::Relaxed) {
        peak = peak.max(memory_bytes(pid));
        thread::sleep(POLL);
    }
    peak
}

/// Peak of the process and of those below it, `VmHWM` of `proc(5)`.
pub fn memory_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let own: u64 = line.and_then(|l| l.trim().split(' ').next()?.parse().ok()).unwrap_or(0);
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let below = children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(memory_bytes);
    own * 1024 + below.sum::<u64>()
}

/// Processor time of all children waited for so far, fields 16 and 17 of `proc(5)`'s `stat`.
fn children_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("read /proc/self/stat");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(13).take(2);
    fields.map(|ticks| ticks.parse::<f64>().unwrap_or(0.0)).sum::<f64>() / TICKS_PER_SECOND
}

/// Forgets what is cached of files, so that everybody reads from the disk; false if not allowed.
pub fn drop_caches() -> bool {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// Bytes of the files below `dir`.
pub fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(facts) if facts.is_dir() => disk_bytes(&entry.path()),
        Ok(facts) => facts.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}

/// The middle of `values`, which are not empty.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

/// As many runs as there are names, taken together.
pub fn each(names: &[String], mut fetch: impl FnMut(&str) -> Taken) -> Taken {
    names.iter().fold(Taken::default(), |all, name| {
        let one = fetch(name);
        Taken {
            seconds: all.seconds + one.seconds,
            cpu_seconds: all.cpu_seconds + one.cpu_seconds,
            peak_bytes: all.peak_bytes.max(one.peak_bytes),
            stdout: String::new(),
        }
    })
}
