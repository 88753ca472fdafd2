//! The only code that touches the outside: files, PostgreSQL, processes, secrets, clock.

pub mod folder;
pub mod launcher;
pub mod memory;
pub mod postgres;
pub mod secrets;
pub mod system;
