//! What is to be done when, and what may begin now (DESIGN.md section 1, principle 4). Pure.
//!
//! `occurrence` maps schedules to instants, `opening` windows of the day; `standing` is the order
//! a policy gives and what became of it, `due` decides for one work of one resource, and `admit`
//! for the whole host. A daemon asks [`decide`] for each, lets [`admit()`] choose among those that
//! are to run, tells [`Past`] how they ended, and sleeps until the first [`Next::Wait`].

mod admit;
mod due;
mod occurrence;
mod opening;
mod standing;

pub use admit::{Limits, Ruling, Running, Waiting, admit};
pub use due::{Next, decide};
pub use occurrence::{Occurrence, last_until, next_after};
pub use opening::{Opening, opening};
pub use standing::{ATTEMPTS_MOST, Failure, Past, Pause, Standing, Work, standing_of};
