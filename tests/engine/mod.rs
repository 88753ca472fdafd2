//! Snapshot, ship and restore against real clusters.

mod compare;
mod restoring;
mod rig;

mod everything;
mod first;
mod instants;
mod isolation;
mod real_data;
