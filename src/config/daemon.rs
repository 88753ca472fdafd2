//! `[daemon]`: where it keeps its state, its time zone, where it answers.

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
}

/// Reads `[daemon]`, which may be absent.
pub(super) fn read(section: Option<&Section<'_>>) -> Daemon {
    if let Some(section) = section {
        section.refuse_unknown();
    }
    match section {
        Some(section) => Daemon {
            state_dir: section.value("state_dir"),
            timezone: section.value("timezone"),
            listen: section.value("listen"),
        },
        None => Daemon {
            state_dir: default("daemon", "state_dir"),
            timezone: default("daemon", "timezone"),
            listen: default("daemon", "listen"),
        },
    }
}
