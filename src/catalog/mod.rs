//! What we know locally, in SQLite; always rebuildable from the repository.
//!
//! It holds what the repository cannot tell cheaply: where each heartbeat's commit lies in the log,
//! how far shipping has come, when each object was last verified, until when it is locked, and what
//! each day's worst exposure was. Losing it costs nothing but the exposure shown until the next
//! heartbeat is shipped, that of the days before, reading everything once more and locking it once
//! more. What the repository tells at once is filled in by `engines::postgres::rebuild`.
//! Deliberately absent: anything a restore needs.

pub mod exposure;
pub mod heartbeats;
pub mod journal;
pub mod retained;
pub mod soundness;
pub mod store;
pub mod telling;

pub use store::Catalog;
