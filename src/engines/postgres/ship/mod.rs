//! Shipping: log from a walsender into the archive, whole segments as they complete and the
//! unfinished one in parts.
//!
//! `assembly` cuts the stream into what is stored (pure), `upload` stores in order and retries,
//! `position` finds where to go on, `shipper` is the loop, `slots` keeps the other hosts ready.
//! What survives a kill at any instant: everything stored; the next run asks the source again from
//! the start of the segment it was in, and compares what comes with what is stored. The slot on the
//! source is the only spool.

pub mod assembly;
pub mod position;
pub mod shipper;
pub mod slots;
pub mod upload;

pub use shipper::{ShipState, Shipper, Until};
