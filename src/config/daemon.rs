//! `[daemon]`: where it keeps its state, its time zone, where it answers, how much it does at once.

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::section::Section;
use super::section::default;

/// What concerns the daemon itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Daemon {
    /// The catalog and the control socket: all of it can be rebuilt.
    pub state_dir: PathBuf,
    /// Schedules and deadlines are meant in this zone.
    pub timezone: TimeZone,
    /// Where metrics and the console are served.
    pub listen: SocketAddr,
    /// How many jobs may run at once, 1 to 64; shipping and emergency restores do not count.
    pub jobs: u32,
}

/// Reads `[daemon]`, which may be absent.
pub(super) fn read(section: Option<&Section<'_>>) -> Daemon {
    let Some(section) = section else {
        return Daemon {
            state_dir: default("daemon", "state_dir"),
            timezone: default("daemon", "timezone"),
            listen: default("daemon", "listen"),
            jobs: default("daemon", "jobs"),
        };
    };
    section.refuse_unknown();
    let daemon = Daemon {
        state_dir: section.value("state_dir"),
        timezone: section.value("timezone"),
        listen: section.value("listen"),
        jobs: section.value("jobs"),
    };
    section.demand(
        "jobs",
        (1..=64).contains(&daemon.jobs),
        || format!("`jobs` is {}", daemon.jobs),
        "Write how many may run at once, from 1 to 64.",
    );
    daemon
}
