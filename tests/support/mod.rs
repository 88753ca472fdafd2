//! Real servers for tests: clusters of several PostgreSQL versions, free ports, clean-up.
//!
//! A [`Cluster`] is a whole PostgreSQL in a directory of its own, stopped and removed when
//! dropped, also by a panic. Every wait is bounded and a failure shows the server's log.
#![allow(dead_code, unused_imports, reason = "a tool box: no single test uses all of it")]

mod bucket; // buckets of an S3 server
mod builder; // what a cluster shall be
mod certificates; // a CA and a server certificate, by openssl
mod clock; // a date of the test's own, for servers too
mod cluster; // start, stop, kill, restart, promote
mod command; // programs with a deadline
mod damage; // objects that are bad for a while
mod dice; // seeded choices
pub mod gateway; // a server that fails single requests
mod home; // a folder or a bucket
mod mail; // an SMTP server
mod processes; // who still runs
pub mod proxy; // a network that misbehaves
mod psql; // SQL, pgbench, connection strings
mod scratch; // directories that vanish
mod seaweed; // an S3 server
mod servers; // which versions there are, and who runs them
mod textbooks; // real data
mod wait; // bounded polls

mod tests;

pub use bucket::Bucket;
pub use builder::Builder;
pub use clock::MovedClock;
pub use cluster::{Cluster, Stop};
pub use command::{Finished, run};
pub use damage::{cut, damaged, flip};
pub use dice::Dice;
pub use home::Home;
pub use mail::{MAIL_PASSWORD, MAIL_USER, MailServer};
pub use processes::{has_ended, naming, stop_by_pid, stop_postmaster};
pub use psql::Background;
pub use scratch::Scratch;
pub use servers::{available_versions, has_tls, promtool};
pub use textbooks::{load_textbooks, textbooks};
pub use wait::{PATIENCE, wait_for};
