//! The real binary against real clusters: what is printed, what is stored, how it ends.

pub mod rig; // a cluster, a configuration, the binary; a second repository

mod badinput; // what is wrong with it, and how that ends
mod bare_host; // many clusters, five weeks of history, and a host that has nothing
mod copy; // into a second repository, and back when the first is lost
mod drill; // rehearsals that pass, and that must not
mod keys; // who opens a repository, and whether the kit on paper would
mod lost_main; // what it costs, as told before and as it is
mod measured; // what the daemon finds of what the commands left
mod protect; // init, prepare, ship, snapshot, list, status
mod refuse; // what must not be done, and the exit codes that say so
mod retention; // what goes and why, and orders to keep it
mod retire; // out of use, and back
mod takeover; // in charge after a host that was killed, or paused
mod verify; // damage named, and healed
mod wal; // push and fetch, and every way a fetch ends
