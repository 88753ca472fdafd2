//! Snapshot, ship and restore against real clusters.

mod restoring;
mod rig;

mod first;
mod instants;
mod standby;
mod stream;
mod survival;
