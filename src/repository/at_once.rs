//! The same work on many things, several at once: most of it is waiting for the store.

use std::sync::{Mutex, PoisonError};

/// So many requests wait at once where many small objects are read: enough to hide the way to a
/// bucket, and few for any store.
pub const READERS: usize = 8;

/// Does `work` on each of `all`, on at most `threads` threads; what came of it, in their order.
/// One thing alone is done by the caller's own thread.
pub fn each<T: Sync, R: Send>(threads: usize, all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if all.len() < 2 || threads < 2 {
        return all.iter().map(work).collect();
    }
    let (waiting, done) = (Mutex::new(all.iter().enumerate()), Mutex::new(Vec::new()));
    let take_turns = || {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((place, one)) = next else { return };
            let came = work(one);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((place, came));
        }
    };
    // A thread that panics lets the caller panic too, once the others are done.
    std::thread::scope(|scope| {
        for _ in 0..threads.min(all.len()) {
            scope.spawn(take_turns);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, came)| came).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn everything_is_done_once_in_order_and_not_too_much_at_once() {
        for (threads, count) in [(1, 5), (8, 0), (8, 1), (3, 100), (8, 4)] {
            let all: Vec<usize> = (0..count).collect();
            let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let squares = each(threads, &all, |number| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
                number * number
            });
            assert!(most.into_inner() <= threads);
            assert_eq!(squares, all.iter().map(|number| number * number).collect::<Vec<_>>());
        }
    }
}
