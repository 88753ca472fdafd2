//! What systemd is told (sd_notify(3)): a datagram to the socket it names.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

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
