//! What lies in the repository: key layout, vault, log archive, manifests, secrets.
//!
//! Everything here works through `ports::Store`. Two rules hold for all of it: data first and the
//! manifest that speaks of it last; nothing is ever overwritten in place, but to seal the same
//! content to other recipients.

pub mod at_once;
pub mod commit;
pub mod format;
pub mod generation;
pub mod hold;
pub mod kit;
pub mod layout;
pub mod lease;
pub mod listing;
pub mod manifest;
pub mod pin;
pub mod reseal;
pub mod retirement;
pub mod seal;
pub mod secrets;
pub mod vault;
pub mod wal;
pub mod wal_codec;
mod wal_copy;

pub use format::Repository;
