//! The stream of log: what comes is what the server wrote, feedback counts, every end is told.

use std::fs;
use std::time::{Duration, Instant};

use fenice::error::Retry;
use fenice::model::wal_name::segment_name;
use fenice::model::{Lsn, SegmentSize, Timeline};
use fenice::ports::postgres::{Streamed, Walsender};

use super::{code, now, walsender};
use crate::support::{Cluster, PATIENCE, Stop, available_versions};

const TICK: Duration = Duration::from_millis(100);

/// Streams into `into` (which starts at `from`) until it reaches `goal`.
async fn stream_to(walsender: &mut dyn Walsender, from: Lsn, goal: Lsn, into: &mut Vec<u8>) {
    let start = Instant::now();
    while from.plus(into.len() as u64) < goal {
        assert!(start.elapsed() < PATIENCE, "stuck at {}", from.plus(into.len() as u64));
        match walsender.next(TICK).await.unwrap() {
            Streamed::Data { start, bytes, server_end, .. } => {
                assert_eq!(start, from.plus(into.len() as u64), "without holes");
                assert!(server_end >= start.plus(bytes.len() as u64));
                into.extend_from_slice(&bytes);
            }
            Streamed::Keepalive { .. } | Streamed::Quiet => {}
            other => panic!("{other:?}"),
        }
    }
}

fn flushed(cluster: &Cluster) -> Lsn {
    cluster.psql("postgres", "select pg_current_wal_flush_lsn()").parse().unwrap()
}

#[tokio::test]
async fn what_comes_is_what_the_server_wrote() {
    for (version, mib) in available_versions().into_iter().zip([1, 16, 4]) {
        let cluster = Cluster::builder().version(version).segment_size_mib(mib).start();
        cluster.pgbench_init(1);
        let size = SegmentSize::try_from(u64::from(mib) << 20).unwrap();
        let mut walsender = walsender(&cluster).await;
        let identity = walsender.identify().await.unwrap();
        let id = cluster.psql("postgres", "select system_identifier from pg_control_system()");
        assert_eq!((identity.system_id.to_string(), identity.timeline), (id, Timeline(1)));
        let shown = walsender.show("wal_segment_size").await.unwrap();
        assert_eq!(shown, format!("{mib}MB"));
        assert!(walsender.read_slot("ship").await.unwrap().is_none());
        walsender.create_slot("ship").await.unwrap();
        let error = walsender.create_slot("ship").await.unwrap_err();
        assert_eq!(code(&error), "42710");
        assert!(walsender.create_slot("Ship; x").await.is_err());
        let restart = walsender.read_slot("ship").await.unwrap().unwrap().restart.unwrap();

        let from = size.start_of(size.number_of(restart));
        let bench = cluster.pgbench(&["-c", "4", "-j", "2", "-T", "60"]);
        walsender.start(Some("ship"), from, Timeline(1)).await.unwrap();
        assert!(walsender.identify().await.is_err(), "one activity at a time");
        let mut bytes = Vec::new();
        let goal = from.plus(6 << 20);
        stream_to(walsender.as_mut(), from, goal, &mut bytes).await;
        let reached = from.plus(bytes.len() as u64);

        // Feedback moves the slot.
        walsender.status(reached, goal, now()).await.unwrap();
        walsender.stop().await.unwrap();
        let moved = walsender.read_slot("ship").await.unwrap().unwrap().restart.unwrap();
        assert_eq!(moved, goal);
        // The same session goes on from where it was.
        walsender.start(Some("ship"), reached, Timeline(1)).await.unwrap();
        stream_to(walsender.as_mut(), from, from.plus(10 << 20), &mut bytes).await;
        drop(bench);
        let end = flushed(&cluster);
        stream_to(walsender.as_mut(), from, end, &mut bytes).await;
        walsender.status(end, end, now()).await.unwrap();
        walsender.stop().await.unwrap();
        walsender.stop().await.unwrap();

        let until = from.plus(bytes.len() as u64);
        let mut on_disk = Vec::new();
        for number in size.number_of(from)..=size.number_of(until) {
            let name = segment_name(Timeline(1), number, size);
            // The last may not exist yet if the log ends with a segment.
            on_disk
                .extend(fs::read(cluster.data_dir().join("pg_wal").join(name)).unwrap_or_default());
        }
        assert!(bytes.len() > 10 << 20);
        assert!(on_disk[..bytes.len()] == bytes[..], "version {version} differs");
    }
}

#[tokio::test]
async fn waits_are_kept_and_keepalives_come() {
    let cluster = Cluster::builder().setting("wal_sender_timeout", "2s").start();
    let mut walsender = walsender(&cluster).await;
    let from = walsender.identify().await.unwrap().flushed;
    walsender.start(None, from, Timeline(1)).await.unwrap();
    let (mut quiet, mut asked) = (0, 0);
    let start = Instant::now();
    // Longer than the server would wait for a client that does not answer.
    while start.elapsed() < Duration::from_secs(5) {
        match walsender.next(TICK).await.unwrap() {
            Streamed::Quiet => quiet += 1,
            Streamed::Keepalive { server_end, reply, sent_at } => {
                assert!(server_end >= from);
                assert!(sent_at.duration_since(now()).abs().as_secs() < 600);
                asked += u32::from(reply);
                walsender.status(server_end, server_end, now()).await.unwrap();
            }
            Streamed::Data { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(quiet > 0 && asked > 0, "{quiet} {asked}");
    // Many short waits lose nothing of what comes meanwhile.
    cluster.pgbench_init(1);
    let end = flushed(&cluster);
    let mut at = None;
    let start = Instant::now();
    while at.is_none_or(|at| at < end) {
        assert!(start.elapsed() < PATIENCE);
        match walsender.next(Duration::from_micros(50)).await.unwrap() {
            Streamed::Data { start, bytes, .. } => {
                assert!(at.is_none_or(|at| at == start));
                at = Some(start.plus(bytes.len() as u64));
            }
            Streamed::Keepalive { server_end, .. } => {
                walsender.status(server_end, server_end, now()).await.unwrap();
            }
            _ => {}
        }
    }
    let shown = cluster
        .psql("postgres", "select application_name, replay_lsn is null from pg_stat_replication");
    assert_eq!(shown, "fenice_test|t", "nothing is ever reported as applied");
}

/// The first `next` that is more than waiting.
async fn outcome(walsender: &mut dyn Walsender) -> fenice::error::Result<Streamed> {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE);
        match walsender.next(TICK).await {
            Ok(Streamed::Quiet | Streamed::Data { .. }) => {}
            Ok(Streamed::Keepalive { server_end, .. }) => {
                walsender.status(server_end, server_end, now()).await.unwrap();
            }
            other => return other,
        }
    }
}

#[tokio::test]
async fn a_removed_segment_is_told_by_its_code() {
    for version in available_versions() {
        let cluster = Cluster::builder()
            .version(version)
            .segment_size_mib(1)
            .setting("min_wal_size", "2MB")
            .setting("max_wal_size", "2MB")
            .start();
        let mut walsender = walsender(&cluster).await;
        let from = walsender.identify().await.unwrap().flushed;
        let start = Lsn(from.0 & !((1 << 20) - 1));
        for _ in 0..8 {
            cluster.psql(
                "postgres",
                "create table t (a int); drop table t; \
                 select pg_switch_wal(); checkpoint",
            );
        }
        walsender.start(None, start, Timeline(1)).await.unwrap();
        let error = outcome(walsender.as_mut()).await.unwrap_err();
        assert_eq!((code(&error), error.retry()), ("58P01", Retry::Never), "{error:?}");
        // The session survives its stream.
        assert!(walsender.next(TICK).await.is_err());
        let flushed = walsender.identify().await.unwrap().flushed;
        walsender.start(None, flushed, Timeline(1)).await.unwrap();
        walsender.stop().await.unwrap();
        let error = walsender.start(Some("absent"), flushed, Timeline(1)).await.unwrap_err();
        assert_eq!(code(&error), "42704");
        // A start in the future, too, is refused only once the stream has begun.
        walsender.start(None, flushed.plus(1 << 40), Timeline(1)).await.unwrap();
        assert!(outcome(walsender.as_mut()).await.is_err());
        assert!(walsender.timeline_history(Timeline(9)).await.is_err());
        assert!(walsender.show("absent").await.is_err());
        assert!(walsender.identify().await.is_ok());
    }
}

#[tokio::test]
async fn the_end_of_the_server_ends_the_stream() {
    for version in available_versions() {
        let mut cluster = Cluster::builder().version(version).start();
        let mut streaming = walsender(&cluster).await;
        let from = streaming.identify().await.unwrap().flushed;
        streaming.start(None, from, Timeline(1)).await.unwrap();
        let follow = tokio::spawn(async move {
            let ended = outcome(streaming.as_mut()).await;
            (ended, streaming)
        });
        let cluster_stops = tokio::task::spawn_blocking(move || {
            cluster.stop(Stop::Fast);
            cluster
        });
        let (ended, mut streaming) = follow.await.unwrap();
        assert_eq!(ended.unwrap(), Streamed::Ended, "version {version}");
        let error = streaming.identify().await.unwrap_err();
        assert_eq!(error.retry(), Retry::Later, "{error:?}");
        cluster = cluster_stops.await.unwrap();

        cluster.restart();
        let mut streaming = walsender(&cluster).await;
        let from = streaming.identify().await.unwrap().flushed;
        streaming.start(None, from, Timeline(1)).await.unwrap();
        cluster.kill_9();
        let error = outcome(streaming.as_mut()).await.unwrap_err();
        assert_eq!(error.retry(), Retry::Later, "{error:?}");
        assert!(streaming.next(TICK).await.is_err());
        assert!(streaming.stop().await.is_ok(), "there is nothing left to stop");
    }
}
