//! Locks of single objects (S3 Object Lock): until when the store itself refuses to remove them.

use std::error::Error as StdError;
use std::fmt;

use jiff::Timestamp;

use crate::error::Error;

/// How a retention ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retained {
    /// Nobody removes the object before then: the instant asked for, to the precision of the
    /// store, or a later one that was set before.
    Until(Timestamp),
    /// This store has no locks; nothing was done.
    NotLocking,
    /// There is no such object.
    Absent,
}

/// Why an object was not removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Locked {
    until: Timestamp,
}

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store locks it until {}", self.until)
    }
}

impl StdError for Locked {}

/// The refusal to remove an object that is locked.
pub fn locked(key: &str, until: Timestamp) -> Error {
    Error::refused(format!("the object {key} cannot be removed"))
        .because(Locked { until })
        .hint("Nothing is wrong: it goes once its lock has ended.")
}

/// Until when the object is locked whose removal `error` refused; `None` if it failed for another
/// reason.
pub fn locked_until(error: &Error) -> Option<Timestamp> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(Locked { until }) = cause.downcast_ref() {
            return Some(*until);
        }
        next = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Attempt, Kind};

    #[test]
    fn the_end_of_a_lock_is_found_below_whatever_was_attempted() {
        let until: Timestamp = "2027-01-22T02:00:00Z".parse().unwrap();
        let refused = locked("a/b", until);
        assert_eq!(locked_until(&refused), Some(until));
        let outer = Err::<(), _>(refused).attempt(|| "prune".to_owned()).unwrap_err();
        assert_eq!((locked_until(&outer), outer.kind()), (Some(until), Kind::Refused));
        assert!(outer.chain().contains("until 2027-01-22T02:00:00Z"), "{outer:?}");
        assert_eq!(locked_until(&Error::refused("not that")), None);
    }
}
