//! Recovery plans and log records: tables and properties.

mod wal_pages; // hand-made pages, garbage
mod wal_real; // the log of real servers, against pg_waldump
