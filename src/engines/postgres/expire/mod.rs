//! Retention carried out: what is known of a resource's repository is read, `plan::retention` rules
//! on it, its checker agrees, and what has no place left is removed.
//!
//! The order that survives a kill: a snapshot's manifest first, then log, then what the vault holds
//! for nobody. Whatever is left half done, the next run finds from the repository alone.

mod apply;
pub(super) mod facts;

pub use apply::{Applied, Expiry};
pub use facts::{Known, read};
