//! The only code that touches the outside: files, PostgreSQL, buckets, mail and web servers,
//! processes, secrets, clock.

pub mod capabilities;
pub mod disk;
pub mod folder;
pub mod http;
pub mod launcher;
pub mod left_behind;
pub mod memory;
pub mod postgres;
pub mod private;
pub mod programs;
pub mod s3;
pub mod secrets;
pub mod smtp;
pub mod system;
pub mod systemd;
pub mod typed;

mod driver;
mod tls;
