//! Recovery plans and log records: tables and properties.

mod objective; // RTO and RPO
mod recovery; // tables: switches, gaps, parts, refusals
mod recovery_random; // random histories and holes, against the checker
mod wal_pages; // hand-made pages, garbage
mod wal_real; // the log of real servers, against pg_waldump
