//! Which thread does what: each begins at a place of its own and goes on from there, so that
//! threads seldom meet in one file (Linux lets one thread write to a file at a time). Who is done
//! takes half of what the busiest has left. Pure.

use std::ops::Range;

/// The numbers `0..count`, shared out among threads.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<Range<usize>>,
}

impl Lanes {
    /// A lane for each of `threads`, at least one, of about the same length.
    pub fn new(count: usize, threads: usize) -> Lanes {
        let threads = threads.max(1);
        let bound = |thread: usize| count * thread / threads;
        Lanes { lanes: (0..threads).map(|thread| bound(thread)..bound(thread + 1)).collect() }
    }

    /// What `thread` does next: it says with `take` how much of the stretch it is offered, at
    /// least one. `None` when nothing is left anywhere.
    pub fn next(
        &mut self,
        thread: usize,
        take: impl FnOnce(&Range<usize>) -> usize,
    ) -> Option<Range<usize>> {
        if self.lanes[thread].is_empty() {
            let busiest = (0..self.lanes.len()).max_by_key(|lane| self.lanes[*lane].len())?;
            let left = self.lanes[busiest].clone();
            let middle = left.start + left.len() / 2;
            self.lanes[busiest] = left.start..middle;
            self.lanes[thread] = middle..left.end;
        }
        let offered = self.lanes[thread].clone();
        if offered.is_empty() {
            return None;
        }
        let end = offered.start + take(&offered).clamp(1, offered.len());
        self.lanes[thread].start = end;
        Some(offered.start..end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everything_is_done_once(
            count in 0usize..500,
            threads in 1usize..9,
            turns in proptest::collection::vec((0usize..9, 1usize..20), 0..600),
        ) {
            let mut lanes = Lanes::new(count, threads);
            let mut done = vec![0; count];
            let mut take = |thread: usize, most: usize| {
                let run = lanes.next(thread % threads, |_| most);
                run.is_some_and(|run| {
                    run.for_each(|number| done[number] += 1);
                    true
                })
            };
            for (thread, most) in turns {
                take(thread, most);
            }
            while take(0, 7) {}
            prop_assert!(done.iter().all(|times| *times == 1));
        }
    }

    #[test]
    fn threads_begin_apart_and_then_help() {
        let mut lanes = Lanes::new(8, 2);
        let mut next = |thread| lanes.next(thread, |_| 2);
        assert_eq!((next(0), next(1)), (Some(0..2), Some(4..6)));
        assert_eq!((next(1), next(1)), (Some(6..8), Some(3..4)));
        assert_eq!((next(1), next(0), next(0)), (Some(2..3), None, None));
    }
}
