//! The keys of a repository: to whom it is sealed, whether a key on paper opens it, and new keys
//! for the vaults in it.

pub mod change;
pub mod check;
pub mod rotate;

pub use change::{Change, Changed, KeyChange};
pub use check::{Finding, KitCheck, check_kit};
pub use rotate::{OldEpoch, Rotated, rotate};
