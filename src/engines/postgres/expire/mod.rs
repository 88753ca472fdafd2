//! Retention carried out: what is known of a resource's repository is read, `plan::retention` rules
//! on it, its checker agrees, and what has no place left is removed.
//!
//! The order that survives a kill: a snapshot's manifest first, then log, then what the vault holds
//! for nobody. Whatever is left half done, the next run finds from the repository alone. Between
//! the manifests and the rest, readers and holds that came meanwhile are asked for: who saw a
//! snapshot that leaves has pinned it by then, or will not find it any more. What else lies there
//! of a retired resource goes last, once no data is left (`leftovers`); what is left of an epoch of
//! the vault likewise, once no snapshot of it is (`ended`). What the store itself locks waits for
//! the end of its lock (`locked`).

mod apply;
mod arrived;
mod ended;
pub(super) mod facts;
mod leftovers;
mod locked;
mod outlook;

pub use apply::{Applied, Expiry};
pub use facts::{Known, read};
pub use locked::Locked;
pub use outlook::{Outlook, outlook};
