//! Snapshot, ship and restore against real clusters.

mod badinput;
mod compare;
mod forked;
mod restoring;
mod rig;
mod scrub; // verification: what is lost, what comes back
mod turnstile; // two daemons at one store, a call at a time
mod witness; // what is true of a repository at any instant
mod world; // a small repository in memory

mod copy; // into a second repository, and back from either
mod copy_faults; // the same with every call failing in turn
mod epochs; // the key of a vault rotated: the old one goes with its snapshots
mod everything;
mod expire; // what has no place left goes, on a calendar of the test
mod expire_faults; // the same with every call failing in turn
mod expire_meanwhile; // readers and holds that come while it runs
mod expire_others; // what lies among the log and no recovery reads
mod expire_overdue; // what the vault holds for nobody
mod first;
mod instants;
mod isolation;
mod keys; // recipients that come and go, with every call failing in turn
mod kills; // the real binary, killed at seeded instants
mod locking; // what nobody removes before its time, over months
mod real_data;
mod retire; // a retired resource leaves nothing but the evidence
mod sixty; // days, through both changes of the clocks
mod standby;
mod stream;
mod survival;
mod timelines;
mod two_daemons; // who is deposed commits and destroys nothing
mod without_us;
