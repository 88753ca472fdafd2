//! Base backups: the whole of it in its order, or an error; never a part of it as if it were all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use fenice::model::Timeline;
use fenice::ports::postgres::{BackupEvent, BackupRequest, Postgres, Walsender};

use super::{host, walsender};
use crate::support::proxy::{Fault, Proxy};
use crate::support::{Cluster, Scratch, available_versions, run};

fn request() -> BackupRequest {
    BackupRequest { label: "it's a 'test' é".to_owned(), fast_checkpoint: true }
}

/// A cluster with a tablespace that holds a table; and the tablespace's number.
fn with_tablespace(version: u32) -> (Cluster, u32) {
    let cluster = Cluster::builder().version(version).start();
    let dir = cluster.subdirectory("ts");
    cluster.psql("postgres", &format!("create tablespace ts location '{}'", dir.display()));
    cluster.psql(
        "postgres",
        "create table t tablespace ts as select g from \
         generate_series(1, 100000) g",
    );
    let oid = cluster.psql("postgres", "select oid from pg_tablespace where spcname = 'ts'");
    (cluster, oid.parse().unwrap())
}

/// The archives by tablespace, in the order they came, and the other events.
type Archives = Vec<(Option<u32>, Vec<u8>)>;

async fn take(
    walsender: &mut dyn Walsender,
) -> fenice::error::Result<(Archives, Vec<BackupEvent>)> {
    let (mut archives, mut others): (Archives, _) = (Vec::new(), Vec::new());
    while let Some(event) = walsender.next_of_backup().await? {
        match event {
            BackupEvent::Archive { tablespace } => archives.push((tablespace, Vec::new())),
            BackupEvent::Data(bytes) => archives.last_mut().unwrap().1.extend_from_slice(&bytes),
            other => others.push(other),
        }
    }
    Ok((archives, others))
}

/// Names in a tar, in its order, by the program `tar`.
fn names(tar: &[u8], dir: &Path) -> Vec<String> {
    let path = dir.join("x.tar");
    fs::write(&path, tar).unwrap();
    let listed = run(Command::new("tar").arg("-tf").arg(&path), "").expect_success("tar");
    listed.lines().map(|line| line.trim_end_matches('/').to_owned()).collect()
}

/// Names that a moment later may be others: log, statistics, relation caches.
fn lasting(names: &[String]) -> Vec<&str> {
    let passing = [
        "pg_wal",
        "pg_stat",
        "pg_internal.init",
        "backup_manifest",
        "pg_xact",
        "pg_subtrans",
        "pg_multixact",
        "pg_logical",
    ];
    let mut kept: Vec<&str> = names
        .iter()
        .map(|name| name.trim_start_matches("./"))
        .filter(|name| !name.is_empty() && !passing.iter().any(|part| name.contains(part)))
        .collect();
    kept.sort_unstable();
    kept
}

#[tokio::test]
async fn a_backup_comes_whole_and_in_order() {
    for version in available_versions() {
        let (cluster, oid) = with_tablespace(version);
        let mut walsender = walsender(&cluster).await;
        walsender.start_backup(&request()).await.unwrap();
        assert!(walsender.identify().await.is_err(), "one activity at a time");
        let (archives, events) = take(walsender.as_mut()).await.unwrap();
        let [started, finished] = events.as_slice() else { panic!("{events:?}") };
        let BackupEvent::Started { start, timeline, tablespaces } = started else {
            panic!("{started:?}")
        };
        let BackupEvent::Finished { stop, timeline: last } = finished else {
            panic!("{finished:?}")
        };
        assert!(stop > start);
        assert_eq!((*timeline, *last), (Timeline(1), Timeline(1)));
        let place = cluster.subdirectory("ts").display().to_string();
        let listed: Vec<(u32, &str)> =
            tablespaces.iter().map(|t| (t.oid, t.location.as_str())).collect();
        assert_eq!(listed, [(oid, place.as_str())]);
        let order: Vec<Option<u32>> = archives.iter().map(|(tablespace, _)| *tablespace).collect();
        assert_eq!(order, [Some(oid), None], "the data directory last");
        assert!(walsender.next_of_backup().await.unwrap().is_none());

        let scratch = Scratch::new();
        let base = names(&archives[1].1, scratch.path());
        assert_eq!(base.last().map(String::as_str), Some("global/pg_control"));
        for name in ["PG_VERSION", "backup_label", "tablespace_map", "postgresql.conf"] {
            assert!(base.iter().any(|found| found == name), "{name}");
        }
        let unpacked = scratch.path().join("x.tar");
        let mut command = Command::new("tar");
        command.arg("-xOf").arg(&unpacked).arg("backup_label");
        let label = run(&mut command, "").expect_success("tar");
        assert!(label.contains(&request().label) && label.contains(&start.to_string()), "{label}");

        // The same files as PostgreSQL's own tool takes.
        let dir = cluster.subdirectory("pg_basebackup");
        let conninfo = cluster.conninfo();
        let arguments = ["-Ft", "-X", "none", "-c", "fast", "-d", &conninfo, "-D"];
        let path = dir.display().to_string();
        cluster
            .program("pg_basebackup", &[&arguments[..], &[&path]].concat())
            .expect_success("pg_basebackup");
        let theirs: BTreeMap<Option<u32>, Vec<u8>> =
            [(Some(oid), format!("{oid}.tar")), (None, "base.tar".to_owned())]
                .into_iter()
                .map(|(key, name)| (key, fs::read(dir.join(name)).unwrap()))
                .collect();
        for (tablespace, ours) in &archives {
            let ours = names(ours, scratch.path());
            let theirs = names(&theirs[tablespace], scratch.path());
            assert_eq!(lasting(&ours), lasting(&theirs), "version {version} {tablespace:?}");
        }
        // The session serves on, for another backup too.
        assert!(walsender.identify().await.is_ok());
        walsender.start_backup(&request()).await.unwrap();
        assert_eq!(take(walsender.as_mut()).await.unwrap().1.len(), 2);
    }
}

#[tokio::test]
async fn a_backup_that_breaks_off_is_an_error() {
    let (cluster, _) = with_tablespace(15);
    let mut walsender = walsender(&cluster).await;
    let bad = BackupRequest { label: "two\nlines".to_owned(), fast_checkpoint: true };
    assert!(walsender.start_backup(&bad).await.is_err());
    assert!(walsender.next_of_backup().await.is_err());

    walsender.start_backup(&request()).await.unwrap();
    while !matches!(walsender.next_of_backup().await.unwrap(), Some(BackupEvent::Data(_))) {}
    cluster.psql("postgres", "select pg_terminate_backend(pid) from pg_stat_replication");
    let error = loop {
        match walsender.next_of_backup().await {
            Ok(event) => assert!(event.is_some(), "never an end in order"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.retry(), fenice::error::Retry::Later, "{error:?}");
    assert!(walsender.next_of_backup().await.is_err(), "nor does asking again end well");
    assert!(walsender.identify().await.is_err());
}

#[tokio::test]
async fn a_connection_cut_anywhere_is_never_a_success() {
    let (cluster, _) = with_tablespace(15);
    let port = cluster.port();
    cluster.psql("postgres", "create role ops login replication password 'pw'");
    // Known first: how much a whole backup is.
    let whole = Proxy::to(port);
    let conninfo =
        |port: u16| format!("host=127.0.0.1 port={port} user=ops password=pw sslmode=disable");
    let mut walsender = host(&conninfo(whole.port())).walsender("x").await.unwrap();
    walsender.start_backup(&request()).await.unwrap();
    take(walsender.as_mut()).await.unwrap();
    drop(walsender);
    let total = whole.passed_bytes();
    assert!(total > 20 << 20);
    for cut in [total / 10, total / 2, total - 20_000, total - 5_000] {
        let line = Proxy::to(port);
        line.set(Fault::CutAfterBytes(cut));
        let mut walsender = host(&conninfo(line.port())).walsender("x").await.unwrap();
        walsender.start_backup(&request()).await.unwrap();
        let error = take(walsender.as_mut()).await.unwrap_err();
        assert_eq!(error.retry(), fenice::error::Retry::Later, "{error:?}");
    }
}
