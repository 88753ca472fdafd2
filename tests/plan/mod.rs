//! Recovery, retention, schedules and log records: tables and properties.
#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it in test functions, not in what they share"
)]

mod admit; // what may begin now on a host
mod objective; // RTO and RPO
mod occurrences; // when schedules and windows come
mod recovery; // tables: switches, gaps, parts, refusals
mod recovery_random; // random histories and holes, against the checker
mod retention_locks; // until when what stays is locked
mod retention_random; // years of operators, against checker and model
mod schedule; // what is due, caught up, tried again, held back
mod schedule_random; // a clock on the wall, random lives
mod wal_pages; // hand-made pages, garbage
mod wal_real; // the log of real servers, against pg_waldump
