//! Time, in two kinds: instants for records, a monotonic reading for durations.

use std::time::Duration;

use jiff::Timestamp;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The present instant, UTC. May step; never subtract two of these for a duration.
    fn now(&self) -> Timestamp;

    /// Time since some fixed start, including sleep of the machine; never steps.
    fn monotonic(&self) -> Duration;
}
