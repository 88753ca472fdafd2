//! Snapshots: a base backup of the cluster's files into the vault, committed by a manifest.
//!
//! `scan` lists what belongs to a base backup, `parent` says what need not be read again, `pages`
//! and `page_check` judge what is read, `files` and `stream` are the two ways to read (the latter
//! through `tar`, `receive` and `keep`; `again` asks for pages a second time), `job` publishes. The
//! order that survives a kill: blobs, index, restic snapshot, and last our manifest, once the log
//! from start to stop is stored. Anything before the manifest is garbage that harms nobody.

pub mod again;
pub mod config_files;
pub mod damage;
pub mod estimates;
pub mod exclusion;
pub mod files;
pub mod host;
pub mod job;
pub mod keep;
pub mod log;
pub mod page_check;
pub mod pages;
pub mod parent;
pub mod read;
pub mod receive;
pub mod scan;
pub mod stream;
pub mod take;
pub mod tar;

pub use job::SnapshotJob;
pub use log::LogKeeper;
