//! The log of real servers: every commit and abort as `pg_waldump` prints them, line by line.

use std::fs;
use std::path::PathBuf;

use fenice::model::wal_record::{EndOfLog, LogEvent, Progress, Recorded, Scanner};
use fenice::model::{Lsn, SegmentSize, SystemId, WalName};
use jiff::Timestamp;

use crate::support::{Cluster, Stop, available_versions};

/// One line of `pg_waldump`, as far as we compare it.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    start: Lsn,
    xid: u32,
    operation: &'static str,
    at: Timestamp,
}

fn ours(event: &LogEvent) -> Option<Line> {
    let (operation, xid, at) = match event.what {
        Recorded::Commit { xid, at, prepared: false } => ("COMMIT", xid, at),
        Recorded::Commit { xid, at, prepared: true } => ("COMMIT_PREPARED", xid, at),
        Recorded::Abort { xid, at, prepared: false } => ("ABORT", xid, at),
        Recorded::Abort { xid, at, prepared: true } => ("ABORT_PREPARED", xid, at),
        _ => return None,
    };
    Some(Line { start: event.start, xid, operation, at })
}

/// `rmgr: Transaction …, tx: 734, lsn: 0/0152A9F8, …, desc: COMMIT 2024-01-01 12:00:00.1 UTC; …`
fn theirs(line: &str) -> Option<Line> {
    let between = |from: &str, to: &str| {
        let rest = line.split_once(from)?.1;
        Some(rest.split_once(to).map_or(rest, |(head, _)| head).trim())
    };
    let what = line.split_once("desc: ")?.1;
    let (name, rest) = what.split_once(' ')?;
    let operation = ["COMMIT", "ABORT", "COMMIT_PREPARED", "ABORT_PREPARED"]
        .into_iter()
        .find(|operation| *operation == name)?;
    let (xid, rest) = match operation.ends_with("PREPARED") {
        true => rest.split_once(": ")?,
        false => (between("tx:", ",")?, rest),
    };
    let stamp = rest.split_once(" UTC")?.0.replacen(' ', "T", 1);
    Some(Line {
        start: between("lsn: ", ",")?.parse().unwrap(),
        xid: xid.parse().unwrap(),
        operation,
        at: format!("{stamp}Z").parse().unwrap(),
    })
}

/// Every kind of ending of a transaction, switches, and records longer than a segment.
fn load(cluster: &Cluster) {
    let space = cluster.subdirectory("space");
    let sql = |sql: &str| cluster.psql("postgres", sql);
    sql(&format!("CREATE TABLESPACE apart LOCATION '{}'", space.display()));
    sql("CREATE TABLE t (id bigserial PRIMARY KEY, body text) TABLESPACE apart;
         CREATE TABLE doomed (id int);");
    cluster.pgbench_init(1);
    pgbench(cluster, "400");
    sql("BEGIN; INSERT INTO t (body) VALUES ('undone'); SAVEPOINT a;
         INSERT INTO t (body) VALUES ('deeper'); ROLLBACK;
         BEGIN; INSERT INTO t (body) VALUES ('kept'); SAVEPOINT a;
         INSERT INTO t (body) VALUES ('kept'); COMMIT;
         BEGIN; DROP TABLE doomed; INSERT INTO t (body) VALUES ('two'); SAVEPOINT a;
         INSERT INTO t (body) VALUES ('two'); PREPARE TRANSACTION 'p1';
         BEGIN; INSERT INTO t (body) VALUES ('three'); PREPARE TRANSACTION 'p2';
         COMMIT PREPARED 'p1';
         ROLLBACK PREPARED 'p2';
         SELECT pg_switch_wal();
         CHECKPOINT;
         INSERT INTO t (body) SELECT repeat(md5(i::text), 40) FROM generate_series(1, 3000) i;
         SELECT pg_logical_emit_message(false, 'x', repeat('y', 3000000));
         CREATE INDEX ON t (body);
         VACUUM FULL t;
         SELECT pg_switch_wal();");
    pgbench(cluster, "100");
}

fn pgbench(cluster: &Cluster, transactions: &str) {
    let conninfo = cluster.conninfo();
    let ended = cluster.program("pgbench", &["-n", "-c", "4", "-t", transactions, &conninfo]);
    ended.expect_success("pgbench");
}

fn segments(cluster: &Cluster, size: SegmentSize) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(cluster.data_dir().join("pg_wal")).unwrap();
    let numbered =
        entries.map(|entry| entry.unwrap().path()).filter_map(|path| {
            match WalName::parse(path.file_name()?.to_str()?, size) {
                Ok(WalName::Segment(_, number)) => Some((number, path)),
                _ => None,
            }
        });
    let mut segments: Vec<(u64, PathBuf)> = numbered.collect();
    segments.sort();
    segments
}

fn scan(scanner: &mut Scanner, segments: &[(u64, PathBuf)]) -> (Vec<LogEvent>, Option<EndOfLog>) {
    let mut events = Vec::new();
    for (number, path) in segments {
        let image = fs::read(path).unwrap();
        let progress = scanner.feed(*number, &image, &mut |event| events.push(event)).unwrap();
        if let Progress::Ended(end) = progress {
            return (events, Some(end));
        }
    }
    (events, None)
}

fn compare(version: u32, segment_mib: u32) {
    let mut cluster = Cluster::builder()
        .version(version)
        .segment_size_mib(segment_mib)
        .setting("max_prepared_transactions", "5")
        .setting("wal_keep_size", "1GB")
        .setting("wal_compression", "on")
        .start();
    load(&cluster);
    cluster.stop(Stop::Fast);
    let size = SegmentSize::try_from(u64::from(segment_mib) << 20).unwrap();
    let segments = segments(&cluster, size);
    let (first, wal) = (size.start_of(segments[0].0).to_string(), cluster.data_dir());
    let wal = wal.join("pg_wal").display().to_string();
    // It always fails in the end: it looks for the record after the last one.
    let dumped = cluster.program("pg_waldump", &["-p", &wal, "-t", "1", "-s", &first]).stdout;
    let expected: Vec<Line> = dumped.lines().filter_map(theirs).collect();
    for operation in ["COMMIT", "ABORT", "COMMIT_PREPARED", "ABORT_PREPARED"] {
        assert!(expected.iter().any(|line| line.operation == operation), "no {operation}");
    }
    let last = dumped.lines().last().and_then(|line| line.split_once("lsn: ")).unwrap().1;
    let last: Lsn = last.split(',').next().unwrap().parse().unwrap();
    let data = cluster.data_dir().display().to_string();
    let control = cluster.program("pg_controldata", &["-D", &data]).stdout;
    let id = control.lines().find_map(|l| l.strip_prefix("Database system identifier:"));
    let id = SystemId(id.unwrap().trim().parse().unwrap());

    for skip in [0, 1, segments.len() / 2] {
        let mut scanner = Scanner::new(size);
        let (events, ended) = scan(&mut scanner, &segments[skip..]);
        let from = size.start_of(segments[skip].0);
        let found: Vec<Line> = events.iter().filter_map(ours).collect();
        let expected: Vec<&Line> = expected.iter().filter(|line| line.start >= from).collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "from segment {skip}");
        assert_eq!(scanner.system_id(), Some(id));
        let ended = ended.unwrap();
        assert!(ended.at > last && ended.at.since(last) < 256, "{ended:?}, last record at {last}");
        assert_eq!(events.last().map(|e| e.start), Some(last), "the shutdown checkpoint is last");
        let space = cluster.subdirectory("space").display().to_string();
        let created = |e: &LogEvent| match &e.what {
            Recorded::CreateTablespace { path, .. } => *path == space,
            _ => false,
        };
        assert!(skip > 0 || events.iter().any(created), "the tablespace is told");
    }
}

#[test]
fn every_commit_is_found_in_segments_of_1_mib() {
    for version in available_versions() {
        compare(version, 1);
    }
}

#[test]
fn every_commit_is_found_in_segments_of_16_mib() {
    for version in available_versions() {
        compare(version, 16);
    }
}
