//! The only code that touches the outside: files, PostgreSQL, processes, clock.

pub mod folder;
pub mod launcher;
pub mod postgres;
pub mod system;
