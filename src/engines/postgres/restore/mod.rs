//! Restore: files from the vault, log on a socket, a server that cannot touch production.
//!
//! `place` decides where things go, `files` writes them, `harmless` disarms them, `settings` is the
//! configuration they are started with (pure), `serve` answers for the log, `guard` reads it first,
//! `originals` are the places that the log may make, `spool` holds what is fetched ahead, `fetch`
//! is the client, `recover` is the whole.

pub mod direct;
pub mod facts;
pub mod fetch;
pub mod files;
pub mod guard;
pub mod harmless;
pub mod later;
pub mod originals;
pub mod owner;
pub mod place;
pub mod recover;
pub mod serve;
pub mod settings;
pub mod sources;
pub mod spool;
pub mod teardown;
