//! `fenice demo` as a newcomer runs it, and its figures computed again from what it left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use serde_json::Value;

use crate::support::{Finished, Scratch, naming, run, stop_by_pid};

/// Of `heartbeat_every` in the demo's configuration.
const HEARTBEAT_SECONDS: f64 = 1.0;

/// One demo with all it made.
struct Demo {
    scratch: Scratch,
    value: Value,
}

/// A line of `acknowledged.csv`.
struct Acknowledged {
    write: (u32, u64),
    at: Timestamp,
}

impl Demo {
    #[track_caller]
    fn run(code: i32, extra: &[&str]) -> Demo {
        let scratch = Scratch::new();
        let dir = scratch.path().join("demo");
        let mut command = fenice(&scratch);
        command.args(["demo", "--keep", "--json", "--dir"]).arg(&dir).args(extra);
        let Finished { code: ended, stdout, stderr } = run(&mut command, "");
        assert_eq!(ended, Some(code), "{stdout}\n{stderr}");
        let left = naming(&dir);
        assert!(left.is_empty(), "still running: {left:?}");
        let value = serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}"));
        Demo { scratch, value }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join("demo").join(name)
    }

    /// The one report that the demo's drill left.
    fn report(&self) -> Value {
        let entries = fs::read_dir(self.path("state/reports")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let json: Vec<_> = paths.filter(|path| path.extension().unwrap() == "json").collect();
        assert_eq!(json.len(), 1, "{json:?}");
        serde_json::from_slice(&fs::read(&json[0]).unwrap()).unwrap()
    }

    fn acknowledged(&self) -> Vec<Acknowledged> {
        let text = fs::read_to_string(self.path("acknowledged.csv")).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("client,serial,acknowledged_at"));
        let read = |line: &str| {
            let fields: Vec<&str> = line.split(',').collect();
            let [client, serial, at] = fields[..] else { panic!("not a commit: {line}") };
            let write = (client.parse().unwrap(), serial.parse().unwrap());
            Acknowledged { write, at: at.parse().unwrap() }
        };
        lines.map(read).collect()
    }

    /// The writes that a second recovery brings back.
    fn recovered(&self) -> BTreeSet<(u32, u64)> {
        let target = self.scratch.path().join("again");
        let mut command = fenice(&self.scratch);
        command.arg("--config").arg(self.path("fenice.toml"));
        command.args(["restore", "registro", "--start", "--json", "--target"]).arg(&target);
        let restored = run(&mut command, "").expect_success("a second recovery");
        let restored: Value = serde_json::from_str(&restored).unwrap();
        let sql = "select client, serial from registro.demo_writes";
        let writes = ask(Path::new(restored["socket_dir"].as_str().unwrap()), sql);
        stop_by_pid(u32::try_from(restored["pid"].as_u64().unwrap()).unwrap());
        let read = |line: &str| {
            let (client, serial) = line.split_once('|').unwrap();
            (client.parse().unwrap(), serial.parse().unwrap())
        };
        writes.lines().map(read).collect()
    }
}

/// The binary; the copy of the report that it keeps vanishes with `scratch`.
fn fenice(scratch: &Scratch) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fenice"));
    command.current_dir("/").env("TMPDIR", scratch.path()).env("HOME", "/nonexistent");
    command.env_remove("FENICE_CONFIG").env_remove("FENICE_WAL_SOCKET");
    command
}

fn ask(socket_dir: &Path, sql: &str) -> String {
    let mut psql = Command::new("psql");
    psql.args(["-XAtq", "-p", "5432", "-U", "postgres", "-d", "postgres", "-c", sql, "-h"]);
    run(psql.arg(socket_dir), "").expect_success("psql")
}

fn seconds_between(earlier: Timestamp, later: Timestamp) -> f64 {
    later.duration_since(earlier).as_secs_f64()
}

#[test]
fn the_demo_recovers_and_states_what_was_lost() {
    let demo = Demo::run(0, &[]);
    let value = &demo.value;
    assert_eq!(value["verdict"], "passed", "{value}");
    let rto = value["rto_seconds"].as_f64().unwrap();
    let rpo = value["rpo_seconds"].as_f64().unwrap();
    assert!(Path::new(value["report"].as_str().unwrap()).exists(), "{value}");

    let acknowledged = demo.acknowledged();
    let recovered = demo.recovered();
    let (kept, lost): (Vec<_>, Vec<_>) =
        acknowledged.iter().partition(|ack| recovered.contains(&ack.write));
    assert!(acknowledged.len() > 100 && !kept.is_empty(), "{} acknowledged", acknowledged.len());
    assert_eq!(value["acknowledged"], acknowledged.len(), "{value}");
    assert_eq!(value["lost"], lost.len(), "{value}");

    let report = demo.report();
    let disrupted: Timestamp = report["times"]["t_disrupt"].as_str().unwrap().parse().unwrap();
    let allowance = report["objectives"]["detection_allowance_seconds"].as_f64().unwrap();
    assert!(rto > allowance && allowance == 900.0, "{rto} with {allowance} allowed");
    // What is lost begins between the last commit that came back and the first that did not.
    let last_kept = kept.iter().map(|ack| ack.at).max().unwrap();
    let most = seconds_between(last_kept, disrupted).max(0.0);
    let least = lost.iter().map(|ack| ack.at).min();
    let least = least.map_or(0.0, |first_lost| seconds_between(first_lost, disrupted));
    println!("RPO {rpo:.3} s; {} lost, {least:.3} to {most:.3} s of work", lost.len());
    assert!(least <= rpo, "a loss of {least} s at least, {rpo} s measured");
    assert!(rpo <= most + HEARTBEAT_SECONDS + 1.0, "{rpo} s measured, {most} s lost at most");
}

#[test]
fn a_demo_with_broken_log_fails_and_says_why() {
    let demo = Demo::run(3, &["--break-wal"]);
    let value = &demo.value;
    assert_eq!(value["verdict"], "failed", "{value}");
    assert!(value["rto_seconds"].is_null() && value["rpo_seconds"].is_null(), "{value}");
    assert!(value["lost"].is_null(), "{value}");
    let report = demo.report();
    for objective in ["rto", "rpo"] {
        let objective = &report["objectives"][objective];
        assert!(objective["measured_seconds"].is_null(), "{objective}");
        assert!(objective["not_achieved_because"].is_string(), "{objective}");
    }
    let findings = report["findings"].to_string();
    println!("{findings}");
    assert!(findings.contains("the log is stored only up to"), "{findings}");
}
