//! Capabilities of this process (capabilities(7)) that are its own, and nobody's below it.

use rustix::io::Errno;
use rustix::thread::clear_ambient_capability_set;

use crate::error::{Attempt, Result};

/// Keeps what systemd gave by `AmbientCapabilities=` from every program that is started from now
/// on by this thread and those it begins; this process keeps it. So a server restored for a drill,
/// which runs what the data holds, cannot read this host's files.
///
/// # Errors
/// The kernel refuses. One that knows no such capabilities has none to pass on.
pub fn keep_from_children() -> Result<()> {
    match clear_ambient_capability_set() {
        Err(Errno::INVAL) => Ok(()),
        ended => ended.attempt(|| "keep capabilities from other programs".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CapabilitySet, capability_is_in_ambient_set};

    use super::*;

    #[test]
    fn nothing_is_passed_on() {
        keep_from_children().unwrap();
        let passed = capability_is_in_ambient_set(CapabilitySet::DAC_READ_SEARCH);
        assert!(!passed.unwrap_or(false));
    }
}
