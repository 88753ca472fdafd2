//! Decisions: (facts, policy, now) to a plan in which every item carries its reason. Pure.

pub mod answer;
pub mod check;
pub mod condition;
pub mod facts;
pub mod objective;
pub mod path;
pub mod recovery;
pub mod refusal;
pub mod retention;
pub mod schedule;
pub mod scrub;
pub mod windows;
