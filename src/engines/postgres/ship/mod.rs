//! Shipping: log from a walsender into the archive, whole segments as they complete and the
//! unfinished one in parts.
//!
//! `assembly` cuts the stream into what is stored (pure), `upload` stores in order and retries,
//! `position` finds where to go on (pure), `shipper` is the loop, `streaming` one connection's
//! work, `history` and `gap` what is noted on the way, `slots` holds the log on every host. What
//! survives a kill at any instant:
//! everything stored; the next run asks the source again from the start of the segment it was in,
//! and compares what comes with what is stored. The slot on the source is the only spool.

pub mod assembly;
mod gap;
mod history;
pub mod position;
pub mod shipper;
pub mod slots;
mod streaming;
pub mod upload;

pub use shipper::{ShipState, Shipper, Until};
