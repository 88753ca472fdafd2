//! The vault against its oracles: restic and rustic_core, both ways.
