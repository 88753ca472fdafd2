//! Speed of snapshots, restores and the log against pgBackRest, on this machine: `make bench`.
//!
//! `benches/README.md` tells what each line means, how to run it, and what it gave.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark ends where it fails")]

mod cluster; // the cluster that is backed up
mod contenders; // fenice and pgbackrest
mod lines; // one function a line of the table
mod measure; // wall clock, processor time, memory
mod plain_write; // the same bytes without any work
#[path = "../program.rs"]
mod program; // fenice's binary
mod report; // the table
mod rows; // what the cluster is filled with
#[path = "../s3.rs"]
mod s3; // an S3 server with a bucket

use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the environment asks for.
struct Settings {
    gigabytes: f64,
    runs: usize,
    dir: PathBuf,
    /// The directory was named: it stays, and its cluster is used again.
    keep: bool,
    /// Lines to measure; empty is all.
    only: Vec<String>,
}

impl Settings {
    fn read() -> Settings {
        let number = |name: &str, default: f64| match std::env::var(name) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
            Err(_) => default,
        };
        let named = std::env::var_os("FENICE_BENCH_DIR").map(PathBuf::from);
        let own = || Path::new("/var/tmp").join(format!("fenice-bench-{}", std::process::id()));
        // `cargo bench` itself passes `--bench`.
        let only = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
        Settings {
            gigabytes: number("FENICE_BENCH_GB", 5.0),
            runs: number("FENICE_BENCH_RUNS", 3.0) as usize,
            keep: named.is_some(),
            dir: named.unwrap_or_else(own),
            only,
        }
    }

    fn wants(&self, line: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == line)
    }
}

fn main() -> ExitCode {
    let settings = Settings::read();
    let met = lines::measure_all(&settings);
    if !settings.keep {
        std::fs::remove_dir_all(&settings.dir).expect("remove what was made");
    }
    if met { ExitCode::SUCCESS } else { ExitCode::from(3) }
}
