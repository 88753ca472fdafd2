//! How commands speak to the daemon of their installation: over a socket in its state directory, a
//! JSON value a line.
//!
//! The daemon greets; a command asks one thing; replies follow, the last one ends it. `wire` is
//! what is said, `server` and `client` say it. Only the daemon's own user and root may speak: the
//! directory lets nobody else in, and the kernel tells who is at the other end.

pub mod client;
pub mod server;
pub mod wire;

use std::path::PathBuf;

use crate::config::Config;

/// What speaks another protocol than this does not understand the other.
pub const PROTOCOL: u32 = 1;

/// Where the daemon of an installation listens.
pub fn path(config: &Config) -> PathBuf {
    config.daemon.state_dir.join("control.sock")
}
