//! How soon a host that knows nothing knows everything again, from a bucket of 100,000 objects:
//! the listing, every manifest, the log by its names, windows and gaps. `benches/README.md` tells
//! how to run it, and what it gave.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark ends where it fails")]

mod fill; // what lies in the bucket
#[allow(dead_code, reason = "the other benchmark uses the rest")]
#[path = "../postgres/measure.rs"]
mod measure; // wall clock, processor time, memory
#[path = "../program.rs"]
mod program; // fenice's binary
#[allow(dead_code, reason = "the other benchmark uses the rest")]
#[path = "../postgres/report.rs"]
mod report; // the table
#[path = "../s3.rs"]
mod s3; // an S3 server with a bucket

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use fenice::config;
use fenice::daemon::Parts;
use fenice::repository::Repository;
use serde_json::Value;

use fill::{RESOURCES, SNAPSHOTS};
use measure::{drop_caches, median};
use report::Report;
use s3::Bucket;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LIMIT_SECONDS: f64 = 20.0;

/// What one run took, in seconds.
struct Run {
    listing: f64,
    /// `fenice list`, which lists once more.
    rebuilding: f64,
    /// `fenice status`: the same, and what retention makes of it.
    status: f64,
}

fn main() -> ExitCode {
    let objects = number("FENICE_BENCH_OBJECTS", 100_000) / RESOURCES * RESOURCES;
    let runs = number("FENICE_BENCH_RUNS", 3);
    let place = std::env::var_os("FENICE_BENCH_DIR").map_or("/var/tmp".into(), PathBuf::from);
    let dir = place.join(format!("fenice-bench-objects-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("make a directory");
    let met = measure_all(&dir, objects, runs);
    fs::remove_dir_all(&dir).expect("remove what was made");
    if met { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

fn number(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

fn measure_all(dir: &Path, objects: usize, runs: usize) -> bool {
    println!("{objects} objects of {RESOURCES} resources, in {}", dir.display());
    let bucket = Bucket::fresh(&dir.join("s3"));
    let config = configure(dir, &bucket);
    measure::run(&mut program::fenice(&config, &["init"]));
    let repository = open(&config);
    let begun = Instant::now();
    fill::fill(&repository, objects / RESOURCES);
    let seconds = begun.elapsed().as_secs_f64();
    println!("  written in {seconds:.0} s; caches dropped: {}", drop_caches());
    let runs: Vec<Run> = (0..runs).map(|_| run(&config, &repository, objects)).collect();
    let middle = |of: fn(&Run) -> f64| median(runs.iter().map(of));
    let total = middle(|run| run.listing + run.rebuilding);
    let measured = format!(
        "{total:.1} s (the listing {:.1} s, `fenice list` {:.1} s; `fenice status` {:.1} s)",
        middle(|run| run.listing),
        middle(|run| run.rebuilding),
        middle(|run| run.status)
    );
    let mut report = Report::default();
    let line = format!("listing and rebuilding {objects} manifests and WAL objects");
    let required = format!("under {LIMIT_SECONDS:.0} s");
    report.add(&line, &required, measured, total < LIMIT_SECONDS);
    report.print()
}

fn run(config: &Path, repository: &Repository, objects: usize) -> Run {
    drop_caches();
    let begun = Instant::now();
    let listed = repository.store.list("").expect("list the bucket").len();
    let listing = begun.elapsed().as_secs_f64();
    assert!(listed >= objects, "only {listed} objects are listed");
    drop_caches();
    let taken = measure::run(&mut program::fenice(config, &["list", "--json"]));
    check(&taken.stdout);
    drop_caches();
    let status = status_seconds(config);
    println!(
        "  {listed} objects listed in {listing:.2} s; fenice list: {:.2} s, {:.2} s of \
         processors, {:.0} MB of memory; fenice status: {status:.2} s",
        taken.seconds,
        taken.cpu_seconds,
        taken.peak_bytes as f64 / 1e6
    );
    Run { listing, rebuilding: taken.seconds, status }
}

/// Nobody ships here: it is red, which is an answer.
fn status_seconds(config: &Path) -> f64 {
    let mut status = program::fenice(config, &["status", "--json"]);
    let begun = Instant::now();
    let ended = status.stdin(Stdio::null()).output().expect("run fenice");
    let seconds = begun.elapsed().as_secs_f64();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{stderr}");
    let value: Value = serde_json::from_slice(&ended.stdout).expect("an answer");
    for resource in value["resources"].as_array().expect("resources") {
        assert!(resource["last_snapshot"].is_string(), "{resource}");
    }
    seconds
}

/// All that was written is known again.
fn check(stdout: &str) {
    let value: Value = serde_json::from_str(stdout).expect("an answer");
    let resources = value.as_array().expect("resources");
    assert_eq!(resources.len(), RESOURCES);
    for resource in resources {
        let count = |what: &str| resource[what].as_array().map_or(0, Vec::len);
        let counts = (count("snapshots"), count("windows"), count("gaps"));
        assert_eq!(counts, (SNAPSHOTS as usize, 2, 1), "{}", resource["resource"]);
    }
}

/// A host that has nothing but the identity and the bucket's key.
fn configure(dir: &Path, bucket: &Bucket) -> PathBuf {
    let (at, repository) = (dir.display(), bucket.configuration());
    let mut text = format!(
        "[daemon]\nstate_dir = \"{at}/state\"\n[repository.main]\n{repository}\
         identity = {{ file = \"{at}/identity.age\" }}\n[policy.standard]\nship_every = \"5m\"\n"
    );
    for number in 1..=RESOURCES {
        let name = fill::name(number);
        text.push_str(&format!(
            "[[resource]]\nname = \"{name}\"\nkind = \"postgres\"\nrepository = \"main\"\n\
             policy = \"standard\"\nconnection = \"host=127.0.0.1 user=postgres dbname=postgres\"\n\
             data_dir = \"{at}/{name}\"\n"
        ));
    }
    let file = dir.join("fenice.toml");
    fs::write(&file, text).expect("write a configuration");
    file
}

fn open(file: &Path) -> Repository {
    let text = fs::read_to_string(file).expect("read the configuration");
    let config = config::parse(&text, &file.display().to_string()).expect("a configuration");
    let parts = Parts::of_this_machine().expect("the parts of a command");
    parts.open_repository(&config, "main").expect("open the repository")
}
