//! Directories that vanish: when dropped, when the test run is killed, and at the latest when
//! the next run starts.
//!
//! All of a test process lies below one directory named after its pid. A guard, a small shell
//! reading a pipe that only we hold, outlives us: when the pipe closes, by whatever end, it stops
//! every server that works below that directory and removes it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Short: the path of a unix socket holds at most 107 bytes.
const PARENT: &str = "/tmp";
const PREFIX: &str = "fenice-test-";

/// `$1` is the directory. A server, and what `initdb` starts, works in its data directory.
const GUARD: &str = r#"
cat >/dev/null
inside() { find /proc -maxdepth 2 -name cwd -lname "$1/*" -printf '%h\n' 2>/dev/null; }
stop() { inside "$2" | while IFS=/ read -r _ _ pid; do kill "$1" "$pid"; done; }
stop -QUIT "$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -z "$(inside "$1")" ] && break; sleep 0.5; done
stop -KILL "$1"
rm -rf "$1"
"#;

/// A directory for one test, removed with all it holds when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new empty directory that every user may enter.
    pub fn new() -> Scratch {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = base().join(number.to_string());
        fs::create_dir(&path).expect("create a test directory");
        open_to_all(&path);
        Scratch { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The directory of this process, with its guard.
fn base() -> &'static Path {
    static BASE: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (path, _guard) = BASE.get_or_init(|| {
        sweep();
        let path = Path::new(PARENT).join(format!("{PREFIX}{}", std::process::id()));
        let _ = fs::remove_dir_all(&path); // of a former process with our pid
        fs::create_dir(&path).expect("create the directory of this test run");
        open_to_all(&path);
        let guard = guard(&path, Stdio::piped());
        (path, guard)
    });
    path
}

/// Starts the clean-up of `path` for when `pipe` closes. Its own process group keeps it from
/// the interrupt that a terminal sends to us.
fn guard(path: &Path, pipe: Stdio) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, "guard"]).arg(path).current_dir("/");
    command.stdin(pipe).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().expect("start the guard")
}

/// Removes what runs left whose guard was killed too.
fn sweep() {
    for entry in fs::read_dir(PARENT).expect("list temporary files").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(owner) = name.strip_prefix(PREFIX).and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new(&format!("/proc/{owner}")).exists() {
            let _ = guard(&entry.path(), Stdio::null()).wait();
        }
    }
}

/// Writes a file that only we can read.
pub fn write_private(path: &Path, text: &str) {
    fs::write(path, text).expect("write a private file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("make a file private");
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("open a directory");
}
