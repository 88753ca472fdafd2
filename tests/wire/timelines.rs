//! A promoted standby: where its timeline ends, how the next one begins.

use std::time::{Duration, Instant};

use fenice::model::{Lsn, Timeline, TimelineHistory};
use fenice::ports::postgres::{Streamed, Walsender};

use super::{now, walsender};
use crate::support::{Cluster, PATIENCE, available_versions, wait_for};

/// Follows until the timeline ends; where it reached, and what was said.
async fn until_the_end(walsender: &mut dyn Walsender, from: Lsn) -> (Lsn, Streamed) {
    let (start, mut reached) = (Instant::now(), from);
    loop {
        assert!(start.elapsed() < PATIENCE, "no end of the timeline");
        match walsender.next(Duration::from_millis(100)).await.unwrap() {
            Streamed::Data { start, bytes, .. } => {
                assert_eq!(start, reached);
                reached = start.plus(bytes.len() as u64);
            }
            Streamed::Keepalive { .. } | Streamed::Quiet => {
                walsender.status(reached, reached, now()).await.unwrap();
            }
            end => return (reached, end),
        }
    }
}

#[tokio::test]
async fn a_promotion_ends_the_timeline_at_its_switch() {
    for version in available_versions() {
        let primary = Cluster::builder().version(version).start();
        let standby = Cluster::standby_of(&primary);
        let mut walsender = walsender(&standby).await;
        let from = walsender.identify().await.unwrap().flushed;
        let from = Lsn(from.0 & !0x1FFF);
        walsender.start(None, from, Timeline(1)).await.unwrap();
        primary.psql("postgres", "create table t as select 1 as a");
        wait_for("the row on the standby", || {
            standby.psql_try("postgres", "select a from t").is_ok_and(|rows| rows == "1")
        });
        standby.promote();
        let (reached, end) = until_the_end(walsender.as_mut(), from).await;
        let text = walsender.timeline_history(Timeline(2)).await.unwrap();
        let history =
            TimelineHistory::parse(Timeline(2), &String::from_utf8(text).unwrap()).unwrap();
        let switch = history.end_of(Timeline(1)).unwrap();
        assert_eq!(end, Streamed::TimelineEnded { next: Timeline(2), switch });
        assert_eq!(reached, switch, "all of the old timeline came");

        // Whoever comes late gets all of the old timeline too, and the same end.
        walsender.start(None, from, Timeline(1)).await.unwrap();
        assert_eq!(until_the_end(walsender.as_mut(), from).await, (switch, end.clone()));

        // Asked for what lies after its end, the old timeline says the same at once.
        walsender.start(None, switch, Timeline(1)).await.unwrap();
        let (_, again) = until_the_end(walsender.as_mut(), switch).await;
        assert_eq!(again, end);
        walsender.start(None, switch, Timeline(1)).await.unwrap();
        walsender.stop().await.unwrap();

        assert_eq!(walsender.identify().await.unwrap().timeline, Timeline(2));
        walsender.start(None, switch, Timeline(2)).await.unwrap();
        standby.psql("postgres", "insert into t values (2)");
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE);
            match walsender.next(Duration::from_millis(100)).await.unwrap() {
                Streamed::Data { start, .. } => break assert_eq!(start, switch),
                Streamed::Keepalive { .. } | Streamed::Quiet => {}
                other => panic!("{other:?}"),
            }
        }
        walsender.stop().await.unwrap();
    }
}
