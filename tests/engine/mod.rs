//! Snapshot, ship and restore against real clusters.

mod rig;

mod first;
mod standby;
mod stream;
mod survival;
