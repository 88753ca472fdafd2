//! The life of a job: what is due is noted, begun when there is room, ended, and tried again.
//!
//! `order` carries out the plans of `plan::schedule` for one host and keeps in the catalog what
//! became of them, so that a daemon that was killed goes on where it was. It starts nothing by
//! itself: whoever calls it runs the jobs it gives, and tells how they ended.

mod keeping;
pub mod order;

pub use order::{Interrupted, Job, Order, Outcome};
