//! The life of a job: what is due is noted, begun when there is room, ended, and tried again.
//!
//! `order` carries out the plans of `plan::schedule` for one host and keeps in the catalog what
//! became of them, so that a daemon that was killed goes on where it was; `asked` is what somebody
//! wants besides, `adopt` a new configuration, `outlook` what comes next for whoever only looks.
//! It starts nothing by itself: whoever calls it runs the jobs it gives, and tells how they ended.

mod adopt;
pub mod asked;
pub mod job;
mod keeping;
pub mod order;
pub mod outlook;

pub use asked::Asked;
pub use job::{Job, Outcome};
pub use order::{Interrupted, Order};
pub use outlook::{NextDue, next_of};
