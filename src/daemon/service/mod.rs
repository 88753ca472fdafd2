//! The daemon: everything that is configured, looked after from its start to its end.
//!
//! Reading order: `run` (how it begins and ends), `post` (what the loops share), `scheduler` (the
//! loop that begins all work) with `message`, `runner`, `shown` and `watchdog`, `charge` (leases),
//! `shipping`, `measuring`, `tell`, `desk` (the control socket), `state` (what it tells of itself),
//! `reload`, `undo`. Each loop survives what goes wrong in the others; only the scheduler's end
//! ends the daemon.

mod charge;
mod desk;
mod measuring;
mod message;
mod news;
mod post;
mod reload;
mod run;
mod runner;
mod scheduler;
mod shipping;
mod shown;
mod state;
mod tell;
mod undo;
mod watchdog;

pub use run::{Beginning, run};
