//! Reading all that a listing names, while retention removes some of it.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::ports::store::Entry;

/// So many listings are read at most: retention that is at work at each of them is no usual day.
const ROUNDS: usize = 3;

/// What was listed at one moment, of one store or several.
pub trait Listed {
    /// Whether a later listing still names everything that this one does.
    fn is_whole_in(&self, later: &Self) -> bool;
}

impl Listed for Vec<Entry> {
    fn is_whole_in(&self, later: &Self) -> bool {
        let keys: BTreeSet<&str> = later.iter().map(|entry| entry.key.as_str()).collect();
        self.iter().all(|entry| keys.contains(entry.key.as_str()))
    }
}

/// Lists and reads. If that fails, and something listed is gone by then, its absence may be all
/// that went wrong: then everything is listed and read anew, because what replaces it may be new
/// as well. What is listed and yet cannot be read is an error.
///
/// Not for a listing that was pinned: what that names must be there.
pub fn read_listed<L: Listed, T>(
    list: impl Fn() -> Result<L>,
    read: impl Fn(&L) -> Result<T>,
) -> Result<T> {
    let mut listed = list()?;
    for _ in 1..ROUNDS {
        let error = match read(&listed) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let Ok(again) = list() else { return Err(error) };
        if listed.is_whole_in(&again) {
            return Err(error);
        }
        listed = again;
    }
    read(&listed)
}
