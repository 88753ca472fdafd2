//! Snapshot, ship and restore against real clusters.
