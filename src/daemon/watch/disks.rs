//! The file systems that must not fill up, and how much room each has.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::postgres_of;
use crate::adapters::disk;
use crate::config::{Config, Location, Method};
use crate::web::{Disk, Room};

/// What is known of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rooms {
    pub rooms: BTreeMap<Disk, Room>,
    /// Those of which it cannot be told, each with the reason.
    pub untold: BTreeMap<Disk, String>,
}

/// Looks at that of the state directory, of each repository that is a folder, and of each data
/// directory on this host. Blocks for as long as one of them does.
pub fn rooms(config: &Config) -> Rooms {
    let mut found = Rooms::default();
    for (of, path) in watched(config) {
        match disk::of(path) {
            Ok(system) => {
                let (free_bytes, size_bytes) = (system.free_bytes, system.size_bytes);
                found.rooms.insert(of, Room { free_bytes, size_bytes });
            }
            Err(error) => {
                found.untold.insert(of, error.chain());
            }
        }
    }
    found
}

fn watched(config: &Config) -> Vec<(Disk, &Path)> {
    let mut all = vec![(Disk::State, config.daemon.state_dir.as_path())];
    for (name, repository) in &config.repositories {
        if let Location::Folder(path) = &repository.location {
            all.push((Disk::Repository(name.clone()), path.as_path()));
        }
    }
    for resource in &config.resources {
        if let Method::Files { data_dir } = &postgres_of(resource).method {
            all.push((Disk::Source(resource.name.clone()), data_dir.as_path()));
        }
    }
    all
}
