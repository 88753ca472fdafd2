//! The daemon, as it runs under systemd: from its start to its end, through kills, reloads, wrong
//! surroundings, and in turn with another host.

pub mod rig; // a daemon at work, and the stand-in for systemd

mod begin; // what it cannot begin with, and what it begins in spite of
mod by_hand; // commands that ask it, pauses, cancelling
mod hosts; // two of them, and one that is killed
mod life; // start, work, reload, watchdog, end
mod telling; // who hears of it, once

use rig::{Daemon, RESOURCE, protecting};

use crate::support::{Builder, Cluster};

fn small() -> Builder {
    Cluster::builder().version(15).segment_size_mib(1)
}
