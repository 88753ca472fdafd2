//! Each protected kind of thing: snapshot, ship, restore, verify.

pub mod blocking;
pub mod keys;
pub mod postgres;
pub mod progress;
