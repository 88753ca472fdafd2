//! Takes a restored server and everything made for it away again, and proves it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::ports::Clock;
use crate::ports::server::{Server, StopMode};

use super::place::Place;

const STOP_LIMIT: Duration = Duration::from_secs(30);

/// One thing that was made, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    pub what: String,
    /// When it was found to be gone.
    pub gone_at: Option<Timestamp>,
    /// How that was seen, or why it is still there.
    pub seen_by: String,
}

/// Stops the server, if there is one, and removes the files. Goes on after a failure, so that as
/// little as possible is left; what is left is told.
pub fn tear_down(
    server: Option<Box<dyn Server>>,
    place: &Place,
    extra: &[PathBuf],
    clock: &dyn Clock,
) -> Vec<Removed> {
    let mut removed = Vec::new();
    if let Some(mut server) = server {
        let pid = server.pid();
        let stopped = server.stop(StopMode::Immediate, STOP_LIMIT);
        let there = Path::new("/proc").join(pid.to_string()).exists();
        let (gone_at, seen_by) = match (stopped, there) {
            (Ok(()), false) => (Some(clock.now()), "no such process".to_owned()),
            (Ok(()), true) => (None, "the process is still there".to_owned()),
            (Err(error), _) => (None, error.chain()),
        };
        removed.push(Removed { what: format!("server process {pid}"), gone_at, seen_by });
    }
    let mut dirs: Vec<PathBuf> = vec![place.target.clone()];
    dirs.extend(place.tablespaces.values().cloned());
    dirs.push(place.side.clone());
    dirs.extend(place.socket_dir().ok());
    dirs.extend(extra.iter().cloned());
    dirs.dedup();
    removed.extend(dirs.iter().map(|dir| remove(dir, clock)));
    removed
}

fn remove(dir: &Path, clock: &dyn Clock) -> Removed {
    let outcome = match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
        _ => match fs::symlink_metadata(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(clock.now()),
            Err(error) => Err(error.to_string()),
            Ok(_) => Err("it is still there".to_owned()),
        },
    };
    Removed {
        what: dir.display().to_string(),
        gone_at: outcome.as_ref().ok().copied(),
        seen_by: outcome.err().unwrap_or_else(|| "no such file or directory".to_owned()),
    }
}
