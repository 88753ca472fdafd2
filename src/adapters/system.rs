//! The machine's own clock and generator of random bytes.

use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::ports::{Clock, Entropy};

/// The system's clocks: `CLOCK_REALTIME`, and `CLOCK_BOOTTIME`, which counts sleep too.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        let reading = clock_gettime(ClockId::Boottime);
        Duration::new(reading.tv_sec.unsigned_abs(), reading.tv_nsec.unsigned_abs() as u32)
    }
}

/// What this machine calls itself.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The system's cryptographic generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        if SystemRandom::new().fill(bytes).is_err() {
            // Anything predictable in a key or nonce would be worse than ending here.
            eprintln!("error: the system has no random bytes to give");
            std::process::abort();
        }
    }
}
