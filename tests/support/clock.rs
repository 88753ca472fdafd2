//! A clock of the test's own, by which servers live too: `libfaketime` asks a file how far it is
//! ahead of the machine's, whenever a server asks for the time. So a date is moved under a running
//! server, and both read the same time, to the microsecond.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fenice::adapters::system::SystemClock;
use fenice::ports::Clock;
use jiff::{SignedDuration, Timestamp};

use super::scratch::Scratch;

/// The machine's clock, so many whole seconds ahead of it or behind. It goes on by itself.
#[derive(Debug)]
pub struct MovedClock {
    ahead_seconds: AtomicI64,
    scratch: Scratch,
}

impl MovedClock {
    /// It is `at`, or within the second after.
    pub fn at(at: Timestamp) -> MovedClock {
        let clock = MovedClock { ahead_seconds: AtomicI64::new(0), scratch: Scratch::new() };
        clock.set(ahead_seconds(at));
        clock
    }

    /// Makes it `at`, or within the second after. Never back: servers expect that least of all.
    #[track_caller]
    pub fn move_to(&self, at: Timestamp) {
        let now = self.now();
        assert!(at >= now, "the clock would go back from {now} to {at}");
        self.set(ahead_seconds(at));
    }

    /// Renamed into place: a server reads the old offset or the new one.
    fn set(&self, ahead_seconds: i64) {
        let new = self.scratch.path().join("new");
        fs::write(&new, format!("{ahead_seconds:+}\n")).expect("write the clock");
        fs::set_permissions(&new, Permissions::from_mode(0o644)).expect("show the clock");
        fs::rename(&new, self.file()).expect("set the clock");
        self.ahead_seconds.store(ahead_seconds, Ordering::SeqCst);
    }

    fn file(&self) -> PathBuf {
        self.scratch.path().join("ahead")
    }

    /// What makes a server live by it. Durations stay real, or nothing that waits would end; and
    /// files keep their times.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let set = |name: &str, value: String| (name.to_owned(), value);
        vec![
            set("LD_PRELOAD", library().display().to_string()),
            set("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            set("FAKETIME_NO_CACHE", "1".to_owned()),
            set("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            set("NO_FAKE_STAT", "1".to_owned()),
        ]
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_secs(self.ahead_seconds.load(Ordering::SeqCst));
        Timestamp::now() + ahead
    }

    /// The real one: a host whose clock is set shows it by the two going apart.
    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }
}

fn ahead_seconds(at: Timestamp) -> i64 {
    at.as_second() - Timestamp::now().as_second()
}

/// Where Debian puts it, for whatever machine.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("list /usr/lib").flatten();
    let mut paths = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    let found = paths.find(|path| path.exists());
    found.expect("libfaketime is not installed: run `scripts/install test`")
}
