//! What stays and what goes, and why (DESIGN.md section 6, RULES 17 to 19). Pure.
//!
//! `facts` is what is known, `rules` says which snapshots the promise keeps, `guards` what stays
//! beyond it, `log` which log those snapshots need, and `plan` puts a ruling on every single item.
//! `copies` says what the repository of copies lacks, `closing` what of a retired resource goes
//! last, `locks` until when the store itself is to keep what stays. `check` reads a plan without
//! trusting any of that.

pub mod check;
mod closing;
mod copies;
pub mod facts;
mod guards;
pub mod locks;
mod log;
pub mod plan;
mod rules;

pub use closing::{Closing, Leftover, LeftoverKind, Remaining, remaining};
pub use copies::{CopyDue, copies_due, log_due};
pub use facts::{
    Copied, Hold, LockedPack, Pin, Remains, RetentionFacts, Role, Scope, StoredSnapshot, Terms,
};
pub use guards::Guard;
pub use plan::{LogRuling, RetentionPlan, Ruling, Verdict, plan};
