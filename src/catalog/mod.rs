//! What we know locally, in SQLite; always rebuildable from the repository.
//!
//! It holds what the repository cannot tell cheaply: where each heartbeat's commit lies in the log,
//! and how far shipping has come. Losing it costs nothing but the exposure shown until the next
//! heartbeat is shipped. Deliberately absent: anything a restore needs.

pub mod heartbeats;
pub mod store;

pub use store::Catalog;
