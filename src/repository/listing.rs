//! Reading all that a listing names: several objects at once, while retention removes some.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result, Retry};
use crate::ports::store::Entry;
use crate::repository::at_once::{self, READERS};

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

/// Reads each of `wanted` once, with several threads. What was read comes in the order of `wanted`.
///
/// # Errors
/// One that tells every failure. After a failure that may pass, such as a store that cannot be
/// reached, nothing more is begun: each of the others would wait as long for the same.
pub fn read_each<W: Sync, T: Send>(
    wanted: &[W],
    read: impl Fn(&W) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let in_vain = AtomicBool::new(false);
    let ended = at_once::each(READERS, wanted, |one| {
        if in_vain.load(Ordering::Relaxed) {
            return None;
        }
        let result = read(one);
        if result.as_ref().is_err_and(|error| error.retry() == Retry::Later) {
            in_vain.store(true, Ordering::Relaxed);
        }
        Some(result)
    });
    let (mut read, mut failures) = (Vec::with_capacity(wanted.len()), Vec::new());
    for result in ended.into_iter().flatten() {
        match result {
            Ok(one) => read.push(one),
            Err(error) => failures.push(error),
        }
    }
    together(failures).map_or(Ok(read), Err)
}

/// One error that tells of all; a single one stays as it is.
fn together(failures: Vec<Error>) -> Option<Error> {
    let told: Vec<String> = failures.iter().map(Error::chain).collect();
    let all_may_pass = failures.iter().all(|error| error.retry() == Retry::Later);
    let first = failures.into_iter().next()?;
    if told.len() == 1 {
        return Some(first);
    }
    let what = format!("{} objects cannot be read", told.len());
    let mut error = Error::new(first.kind(), what).because(told.join("; "));
    if let Some(hint) = first.hint_text() {
        error = error.hint(hint);
    }
    Some(if all_may_pass { error.later() } else { error })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    use super::*;

    #[test]
    fn everything_is_read_once_and_comes_in_order() {
        for count in [0, 1, 2, READERS, 100] {
            let wanted: Vec<usize> = (0..count).collect();
            let calls = AtomicUsize::new(0);
            let read = read_each(&wanted, |one| {
                calls.fetch_add(1, Ordering::Relaxed);
                Ok(one * 2)
            });
            assert_eq!(read.unwrap(), (0..count).map(|one| one * 2).collect::<Vec<_>>());
            assert_eq!(calls.into_inner(), count);
        }
    }

    #[test]
    fn as_many_are_read_at_once_as_there_are_readers_and_no_more() {
        let wanted = [(); 5 * READERS];
        let (inside, all_in) = (Mutex::new((0, 0)), Condvar::new());
        let read = read_each(&wanted, |()| {
            let mut counts = inside.lock().unwrap();
            counts.0 += 1;
            counts.1 = counts.0.max(counts.1);
            all_in.notify_all();
            // Everybody waits for the others, once; in vain only if they never come.
            let patience = Duration::from_secs(60);
            let some_lack = |counts: &mut (usize, usize)| counts.1 < READERS;
            let (mut counts, waited) =
                all_in.wait_timeout_while(counts, patience, some_lack).unwrap();
            counts.0 -= 1;
            assert!(!waited.timed_out(), "only {} at once", counts.1);
            Ok(())
        });
        assert_eq!(read.unwrap().len(), wanted.len());
        assert_eq!(inside.into_inner().unwrap(), (0, READERS));
    }

    #[test]
    fn every_failure_is_told_and_a_single_one_stays_as_it_is() {
        let damaged = |one: &u32| Error::failed(format!("{one} is damaged")).hint("Take a copy.");
        let wanted: Vec<u32> = (0..40).collect();
        let three = [3, 17, 39];
        let read = |one: &u32| if three.contains(one) { Err(damaged(one)) } else { Ok(*one) };
        let error = read_each(&wanted, read).unwrap_err();
        assert_eq!(
            error.chain(),
            "3 objects cannot be read: 3 is damaged; 17 is damaged; 39 is damaged"
        );
        assert_eq!((error.hint_text(), error.retry()), (Some("Take a copy."), Retry::Never));
        let error = read_each(&wanted[..10], read).unwrap_err();
        assert_eq!(error.chain(), "3 is damaged");
    }

    #[test]
    fn a_store_that_cannot_be_reached_is_not_asked_for_all_the_rest() {
        let wanted = [(); 1_000];
        let calls = AtomicUsize::new(0);
        let read = read_each(&wanted, |()| -> Result<()> {
            calls.fetch_add(1, Ordering::Relaxed);
            Err(Error::failed("nobody answers").later())
        });
        assert_eq!(read.unwrap_err().retry(), Retry::Later);
        assert!((1..=READERS).contains(&calls.into_inner()));
    }
}
