//! The keys of a repository: to whom it is sealed, and whether a key on paper opens it.

pub mod change;
pub mod check;

pub use change::{Change, Changed, KeyChange};
pub use check::{Finding, KitCheck, check_kit};
