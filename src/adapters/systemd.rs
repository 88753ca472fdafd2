//! What systemd is told (sd_notify(3)), a datagram to the socket it names, and what it asks for.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::error::{Attempt, Result};

/// Sends `state`, such as `READY=1`, if `$NOTIFY_SOCKET` names a socket; else nothing.
pub fn notify(state: &str) -> Result<()> {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let what = || "notify systemd".to_owned();
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&socket),
    };
    let datagram = UnixDatagram::unbound().attempt(what)?;
    datagram.send_to_addr(state.as_bytes(), &address.attempt(what)?).attempt(what)?;
    Ok(())
}

/// That a new configuration is being read (sd_notify(3), `RELOADING=1`).
pub fn notify_reloading() -> Result<()> {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"))
}

/// How long systemd waits for a `WATCHDOG=1` before it ends this process (sd_watchdog_enabled(3));
/// `None` if it does not.
pub fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let micros = number("WATCHDOG_USEC").filter(|micros| *micros > 0)?;
    let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    meant.then(|| Duration::from_micros(micros))
}
