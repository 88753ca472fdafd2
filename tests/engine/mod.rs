//! Snapshot, ship and restore against real clusters.

mod badinput;
mod compare;
mod forked;
mod restoring;
mod rig;

mod everything;
mod first;
mod instants;
mod isolation;
mod real_data;
mod standby;
mod stream;
mod survival;
mod timelines;
mod without_us;
