//! What the machine tells that decides whether file times can be trusted (RULES 10), and whether
//! a data directory is the one a server runs on.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use jiff::Timestamp;

use crate::error::{Attempt, Error, Result};
use crate::model::SystemId;
use crate::ports::Clock;
use crate::repository::manifest::HostMark;

/// A server's start as it tells it and as `postmaster.pid` does may differ by its start-up.
const START_TOLERANCE_SECONDS: i64 = 5;

/// What to do about a file that may not be read.
pub const READABLE: &str = "Every file must be readable: run as the owner of the data directory, \
                            or with CAP_DAC_READ_SEARCH, as the daemon with own-user.conf does.";

/// The mark of this host now. What cannot be read stays empty, and empty marks never match.
pub fn mark(clock: &dyn Clock, data_dir: &Path) -> HostMark {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let monotonic_ms = clock.monotonic().as_millis() as i64;
    HostMark {
        machine: read("/etc/machine-id"),
        boot: read("/proc/sys/kernel/random/boot_id"),
        clock_offset_ms: clock.now().as_millisecond() - monotonic_ms,
        data_dir: data_dir.display().to_string(),
    }
}

/// Checks that the server, which started at `server_start`, runs on `data_dir`.
///
/// # Errors
/// Refused if `pg_control` names another cluster or `postmaster.pid` another start: the files
/// would not be those that `pg_backup_start` holds.
pub fn check_data_dir(data_dir: &Path, id: SystemId, server_start: Timestamp) -> Result<()> {
    let hint = "Set `data_dir` to what `show data_directory` answers on this host.";
    let control = data_dir.join("global/pg_control");
    let bytes = fs::read(&control).map_err(|cause| {
        let hint = match cause.kind() {
            ErrorKind::PermissionDenied => READABLE,
            _ => hint,
        };
        Error::failed(format!("cannot read {}", control.display())).because(cause).hint(hint)
    })?;
    // The system identifier is the first field (PostgreSQL, `catalog/pg_control.h`).
    let found = bytes.first_chunk::<8>().map(|bytes| SystemId(u64::from_ne_bytes(*bytes)));
    if found != Some(id) {
        return Err(
            Error::refused(format!("{} belongs to another cluster", data_dir.display())).hint(hint)
        );
    }
    let pid_file = data_dir.join("postmaster.pid");
    let text = fs::read_to_string(&pid_file).attempt(|| format!("read {}", pid_file.display()))?;
    let started: Option<i64> = text.lines().nth(2).and_then(|line| line.trim().parse().ok());
    let near = |started: i64| (started - server_start.as_second()).abs() <= START_TOLERANCE_SECONDS;
    match started.is_some_and(near) {
        true => Ok(()),
        false => Err(Error::refused(format!(
            "the server on {} is not the one that `connection` reaches",
            data_dir.display()
        ))
        .hint(hint)),
    }
}
