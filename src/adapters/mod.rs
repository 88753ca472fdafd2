//! The only code that touches the outside: files, PostgreSQL, processes, secrets, clock.

pub mod folder;
pub mod launcher;
pub mod memory;
pub mod postgres;
pub mod private;
pub mod programs;
pub mod s3;
pub mod secrets;
pub mod system;
pub mod systemd;
pub mod typed;
