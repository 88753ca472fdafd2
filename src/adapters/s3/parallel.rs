//! Several requests for one object at a time, within a bound.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::failure::Failure;

/// Does `work` for every number below `count`, four at a time. After a failure nothing is begun;
/// what is under way is awaited, so that nothing of it comes later than whatever follows.
pub(super) async fn each<F>(count: usize, work: impl Fn(usize) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let next = AtomicUsize::new(0);
    let lane = || {
        Box::pin(async {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(());
                }
                if let Err(failure) = work(number).await {
                    next.store(count, Ordering::Relaxed);
                    return Err(failure);
                }
            }
        })
    };
    let (one, two, three, four) = tokio::join!(lane(), lane(), lane(), lane());
    one.and(two).and(three).and(four)
}
