//! PostgreSQL 15 and newer: base backups into the vault, log into the archive, and back again.
//!
//! Reading order: `source` (which servers), `cluster` (which cluster, and is it still the same),
//! `prepare` (what it needs), `ship` (log), `heartbeat` (what dates restored data), `protect` (both
//! together, all the time), `tablespaces` (new ones call for a snapshot), `push` (log that the
//! server hands over), `snapshot` (files), `restore`, `overview` (what came of it),
//! `rebuild` (the same on a host that knows nothing), `copy` (a second repository), `scrub` (is it
//! still what was stored), `expire` (what has no place left), `locking` (what nobody may remove
//! before), `retire` (out of use, and back).

pub mod cluster;
pub mod copy;
pub mod expire;
pub mod heartbeat;
pub mod locking;
pub mod overview;
pub mod prepare;
pub mod protect;
pub mod push;
pub mod rebuild;
pub mod restore;
pub mod retire;
pub mod scrub;
pub mod ship;
pub mod snapshot;
pub mod source;
pub mod tablespaces;
pub mod vaults;
pub mod verify;
