//! Recovery to a chosen instant gives exactly the set of RULES 5, which `pg_waldump` computes
//! independently: everything before the first commit or abort, in the order of the log, that is
//! stamped later. None lost, none later.

use std::collections::BTreeSet;
use std::time::Duration;

use fenice::engines::postgres::restore::recover::Reached;
use fenice::model::{Lsn, TimelineHistory};
use fenice::plan::facts::Target;
use jiff::{SignedDuration, Timestamp};

use super::rig::Rig;
use crate::support::{Cluster, Dice, Stop, wait_for};

/// One end of a transaction, as `pg_waldump` prints it.
#[derive(Debug, Clone)]
struct Ended {
    xid: u32,
    lsn: Lsn,
    at: Timestamp,
    committed: bool,
}

/// Commits and aborts of one timeline between two positions, in the order of the log.
fn ends(cluster: &Cluster, timeline: u32, from: Lsn, to: Option<Lsn>) -> Vec<Ended> {
    let (path, timeline) = (cluster.data_dir().join("pg_wal"), timeline.to_string());
    let (from, to) = (from.to_string(), to.map(|lsn| lsn.to_string()));
    let path = path.display().to_string();
    let mut arguments = vec!["-p", &path, "-t", &timeline, "-s", &from, "-r", "Transaction"];
    if let Some(to) = &to {
        arguments.extend(["-e", to]);
    }
    // It always ends with a complaint about the first invalid record.
    let text = cluster.program("pg_waldump", &arguments).stdout;
    text.lines().filter_map(parse).collect()
}

/// `rmgr: Transaction … tx: 741, lsn: 0/015A1B88, … desc: COMMIT 2026-11-22 15:00:00.123456 UTC`
fn parse(line: &str) -> Option<Ended> {
    let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest);
    let xid = after("tx:")?.split(',').next()?.trim().parse().ok()?;
    let lsn: Lsn = after("lsn: ")?.split(',').next()?.trim().parse().ok()?;
    let desc = after("desc: ")?;
    let (kind, rest) = desc.split_once(' ')?;
    let committed = match kind {
        "COMMIT" => true,
        "ABORT" => false,
        _ => return None,
    };
    let mut words = rest.split_whitespace();
    let (date, time) = (words.next()?, words.next()?);
    let at = format!("{date}T{}Z", time.trim_end_matches([';', ','])).parse().ok()?;
    Some(Ended { xid, lsn, at, committed })
}

/// The transactions that recovery to `target` must show.
fn expected(log: &[Ended], target: Timestamp) -> BTreeSet<u32> {
    let before = log.iter().take_while(|end| end.at <= target);
    before.filter(|end| end.committed).map(|end| end.xid).collect()
}

const LOAD: &str = "insert into seen select pg_current_xact_id()::text::bigint;\n";

#[test]
fn ten_instants_give_exactly_what_the_log_says() {
    let mut dice = Dice::seeded();
    let primary = Cluster::builder()
        .version(15)
        .segment_size_mib(1)
        .setting("wal_keep_size", "4GB")
        .setting("timezone", "UTC")
        .start();
    primary.psql("postgres", "create table seen (xid bigint)");
    let standby = Cluster::standby_of(&primary);
    let rig = Rig::new();
    let source = rig.source(&[primary.conninfo(), standby.conninfo()]);
    let shipping = rig.ship(&source, Duration::from_millis(500));
    let script = rig.scratch.path().join("load.sql");
    let aborting = rig.scratch.path().join("abort.sql");
    std::fs::write(&script, LOAD).unwrap();
    std::fs::write(&aborting, format!("begin; {LOAD} rollback;\n")).unwrap();
    let (script, aborting) = (script.display().to_string(), aborting.display().to_string());
    let load = ["-n", "-T", "600", "-c", "4", "-f"];
    let weighted = [format!("{script}@9"), format!("{aborting}@1")];
    let arguments: Vec<&str> =
        load.iter().copied().chain([weighted[0].as_str(), "-f", weighted[1].as_str()]).collect();

    let writers = primary.pgbench(&arguments);
    std::thread::sleep(Duration::from_secs(1));
    let snapshot = rig.snapshot(&primary);
    std::thread::sleep(Duration::from_secs(2));
    writers.kill();
    let mut primary = primary;
    wait_for("the standby has everything", || {
        let sent = primary.psql("postgres", "select pg_current_wal_flush_lsn()");
        standby.psql("postgres", "select pg_last_wal_replay_lsn()") == sent
    });
    primary.stop(Stop::Immediate);
    standby.promote();
    let writers = standby.pgbench(&arguments);
    std::thread::sleep(Duration::from_secs(3));
    writers.kill();
    // Log after the last commit, so that an instant between the two lies within the log.
    std::thread::sleep(Duration::from_millis(1_500));
    standby.psql("postgres", "checkpoint");
    let end: Lsn = standby.psql("postgres", "select pg_current_wal_flush_lsn()").parse().unwrap();
    let state = shipping.state.clone();
    wait_for("everything is shipped", || state.borrow().stored >= end);
    std::thread::sleep(Duration::from_millis(700));
    shipping.stop(&rig).unwrap();

    let history = std::fs::read_to_string(standby.data_dir().join("pg_wal/00000002.history"));
    let two = fenice::model::Timeline(2);
    let history = TimelineHistory::parse(two, &history.unwrap()).unwrap();
    let switch = history.ancestors[0].switch;
    // Every transaction that left a row, in the end; which of them by when is the log's word.
    let all: BTreeSet<u32> = standby
        .psql("postgres", "select xid from seen")
        .lines()
        .map(|xid| xid.parse().unwrap())
        .collect();
    let mut log = ends(&standby, 1, snapshot.start_lsn, Some(switch));
    let first_of_two = log.len();
    log.extend(ends(&standby, 2, switch, None));
    assert!(log.len() > 500 && first_of_two > 100, "{} ends, {first_of_two}", log.len());

    for (number, target) in choose(&mut dice, &log, first_of_two, &snapshot.stopped_at, end) {
        check_instant(&rig, &standby, number, target, &log, &all);
    }
}

/// Recovers to `target` and compares what is there with what the log says.
fn check_instant(
    rig: &Rig,
    like: &Cluster,
    number: usize,
    target: Timestamp,
    log: &[Ended],
    all: &BTreeSet<u32>,
) {
    let restored = rig.restore(like, &format!("instant-{number}"), Target::At(target)).unwrap();
    let found = restored.query("postgres", "select xid from seen");
    let found: BTreeSet<u32> = found.iter().map(|xid| xid.parse().unwrap()).collect();
    let by_then = expected(log, target);
    let in_log: BTreeSet<u32> = log.iter().map(|end| end.xid).collect();
    let wanted: BTreeSet<u32> =
        all.iter().copied().filter(|x| by_then.contains(x) || !in_log.contains(x)).collect();
    let lost: Vec<_> = wanted.difference(&found).collect();
    let later: Vec<_> = found.difference(&wanted).collect();
    assert!(lost.is_empty() && later.is_empty(), "{target}: lost {lost:?}, later {later:?}");
    let reached = restored.recovered.reached;
    match log.iter().all(|end| end.at <= target) {
        true => assert_eq!(reached, Reached::EndOfLogBefore(target)),
        false => assert_eq!(reached, Reached::Target(target)),
    }
    println!("{target}: {} rows, exactly as pg_waldump says", found.len());
    drop(restored.stop());
}

/// Ten instants: nine by dice, of which one in the unfinished segment and one on each side of the
/// switch; the last one after the last commit.
fn choose(
    dice: &mut Dice,
    log: &[Ended],
    first_of_two: usize,
    earliest: &Timestamp,
    end: Lsn,
) -> Vec<(usize, Timestamp)> {
    let usable = |range: std::ops::Range<usize>, dice: &mut Dice| loop {
        let chosen = &log[range.start + dice.below(range.len())];
        if chosen.at > *earliest {
            return chosen.at + SignedDuration::from_micros(dice.below(300) as i64);
        }
    };
    let unfinished = end.0 / (1 << 20) * (1 << 20);
    let first_unfinished = log.iter().position(|e| e.lsn.0 >= unfinished).unwrap_or(log.len() - 1);
    let mut chosen = vec![
        usable(0..first_of_two, dice),
        usable(first_of_two..log.len(), dice),
        usable(first_unfinished.min(log.len() - 1)..log.len(), dice),
        log[log.len() - 1].at + SignedDuration::from_millis(700),
    ];
    while chosen.len() < 10 {
        chosen.push(usable(0..log.len(), dice));
    }
    chosen.into_iter().enumerate().collect()
}
