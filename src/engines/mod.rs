//! Each protected kind of thing: snapshot, ship, restore, verify.

pub mod postgres;
pub mod progress;
