//! systemd's watchdog (sd_watchdog_enabled(3)): fed by the scheduler's loop, and only while the
//! threads that do everything else are alive too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::adapters::systemd;
use crate::ports::Clock;

/// How often the other threads show that they are alive.
const PULSE_EVERY: Duration = Duration::from_secs(1);
/// Without a pulse for so long, it is not fed any more.
const PULSE_WITHIN: Duration = Duration::from_secs(20);

pub(super) struct Watchdog {
    /// `None` where nobody watches.
    patience: Option<Duration>,
    clock: Arc<dyn Clock>,
    /// When the runtime last came around, milliseconds of the clock that never steps.
    pulse: Arc<AtomicU64>,
    fed: Option<Duration>,
}

impl Watchdog {
    /// As systemd asks for it.
    pub fn find(runtime: &Handle, clock: Arc<dyn Clock>) -> Watchdog {
        let (patience, pulse) = (systemd::watchdog(), Arc::new(AtomicU64::new(0)));
        if patience.is_some() {
            runtime.spawn(beat(clock.clone(), pulse.clone()));
        }
        Watchdog { patience, clock, pulse, fed: None }
    }

    /// How often to feed it.
    pub fn every(&self) -> Duration {
        self.patience.map_or(Duration::MAX, |patience| patience / 4)
    }

    /// Feeds it, if it is time to, and if all is alive.
    pub fn feed(&mut self) {
        let now = self.clock.monotonic();
        let due = self.fed.is_none_or(|fed| now.saturating_sub(fed) >= self.every());
        if self.patience.is_none() || !due {
            return;
        }
        let pulse = Duration::from_millis(self.pulse.load(Ordering::Relaxed));
        let silent = now.saturating_sub(pulse);
        if pulse > Duration::ZERO && silent > PULSE_WITHIN {
            return tracing::error!(?silent, "the threads that do the work do not answer");
        }
        match systemd::notify("WATCHDOG=1") {
            Ok(()) => self.fed = Some(now),
            Err(error) => tracing::error!(error = %error.chain(), "cannot feed the watchdog"),
        }
    }
}

async fn beat(clock: Arc<dyn Clock>, pulse: Arc<AtomicU64>) {
    loop {
        let now = u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        pulse.store(now, Ordering::Relaxed);
        tokio::time::sleep(PULSE_EVERY).await;
    }
}
