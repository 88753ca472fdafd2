//! The vault against its oracles: restic and rustic_core, both ways; against damage, crashes and
//! faults of the store.

pub mod model; // trees of files, made from seeds, and how they get in and out of a vault

pub mod faults; // a store that fails as told
pub mod meanwhile; // a store at which somebody else is at work
mod restic; // what the program restic makes of ours, and we of its
mod rustic; // the same with rustic_core

mod commit; // what a snapshot is refused for
mod crash; // every call of the store failing in turn; panics
mod damage; // every kind of damage is an error by name
mod open; // init, passwords
mod prune; // nothing of use goes, nothing else stays
mod speed; // measured on request
mod while_pruned; // readers, while what they listed goes
