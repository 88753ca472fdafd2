//! Bounded polls: the only way tests wait.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that should take a moment. Far beyond what a slow machine needs.
pub const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(10);

/// Polls until `condition` holds; whether it did within [`PATIENCE`].
pub fn happens(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > PATIENCE {
            return false;
        }
        thread::sleep(STEP);
    }
}

/// Polls until `condition` holds, or panics saying that `what` did not come.
#[track_caller]
pub fn wait_for(what: &str, condition: impl FnMut() -> bool) {
    assert!(happens(condition), "waited {} s in vain: {what}", PATIENCE.as_secs());
}
