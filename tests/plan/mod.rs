//! Recovery plans and log records: tables and properties.
#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it in test functions, not in what they share"
)]

mod objective; // RTO and RPO
mod recovery; // tables: switches, gaps, parts, refusals
mod recovery_random; // random histories and holes, against the checker
mod retention_locks; // until when what stays is locked
mod retention_random; // years of operators, against checker and model
mod wal_pages; // hand-made pages, garbage
mod wal_real; // the log of real servers, against pg_waldump
