//! The lines of the table. Contenders run in turn, A B A B, each from a cold cache.

mod bucket; // those of a repository in a bucket

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Settings;
use super::cluster::{Cluster, own_dir};
use super::contenders::{Fenice, PgBackRest, RESOURCE};
use super::measure::{self, Taken};
use super::plain_write;
use super::report::{self, Report};
use super::rows::{MARKS_PER_GB, MESSAGES_PER_GB};

const MEMORY_LIMIT_BYTES: u64 = 400_000_000;
const SEGMENT_BYTES: u64 = 16 << 20;
const SEGMENTS_FETCHED: usize = 40;
/// A primary that writes so much log in a second.
const LOG_RATE: f64 = 100e6;
const LOG_SECONDS: f64 = 20.0;
/// About 60 MB of log.
const ROWS_AT_ONCE: u64 = 60_000;
const PATIENCE: Duration = Duration::from_secs(300);
const BEHIND: &str = "select max(pg_current_wal_flush_lsn() - flush_lsn)::int8
    from pg_stat_replication";

struct Bench<'s> {
    settings: &'s Settings,
    cluster: Cluster,
    report: Report,
    bytes: u64,
    peak_snapshot: u64,
}

/// Measures everything that is asked for, prints the table; true if every line is met.
pub fn measure_all(settings: &Settings) -> bool {
    println!("a cluster of {} GB in {}", settings.gigabytes, settings.dir.display());
    let cluster = Cluster::start(&settings.dir.join("cluster"), settings.gigabytes);
    // Of an earlier run in the same place; it would be measured with the rest.
    cluster.psql("drop table if exists logged");
    let bytes = measure::disk_bytes(&cluster.data_dir().join("base"));
    println!("  {:.2} GB of data; caches dropped: {}", bytes as f64 / 1e9, measure::drop_caches());
    let report = Report::default();
    let mut bench = Bench { settings, cluster, report, bytes, peak_snapshot: 0 };
    if settings.wants("snapshot") || settings.wants("restore") {
        let (fenice, backrest) = bench.full_snapshots();
        if settings.wants("snapshot") {
            bench.second_snapshots(&fenice, &backrest);
        }
        if settings.wants("restore") {
            bench.restores(&fenice, &backrest);
        }
    }
    if settings.wants("bucket") {
        bench.bucket_lines();
    }
    if settings.wants("fetch") {
        bench.fetches();
    }
    if settings.wants("ship") {
        bench.shipping();
    }
    let Bench { report, cluster, .. } = bench;
    drop(cluster);
    report.print()
}

impl Bench<'_> {
    fn place(&self, name: &str) -> std::path::PathBuf {
        self.settings.dir.join(name)
    }

    fn full_snapshots(&mut self) -> (Fenice, PgBackRest) {
        println!("full snapshot");
        let backrest = PgBackRest::fresh(&self.place("backrest"), &self.cluster);
        let (mut ours, mut theirs, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        let mut fenice = None;
        for _ in 0..self.settings.runs {
            let fresh = Fenice::fresh(&self.place("fenice"), &self.cluster);
            self.cold();
            let taken = fresh.run(&["snapshot", RESOURCE, "--json"]);
            report::say("fenice snapshot", self.bytes, &taken);
            ours.push(taken);
            fenice = Some(fresh);
            self.cold();
            let taken = backrest.run(&["--type=full", "backup"]);
            report::say("pgbackrest backup", self.bytes, &taken);
            theirs.push(taken);
            let to = self.place("basebackup");
            self.cold();
            let taken = measure::run(&mut self.cluster.base_backup(&self.make_empty(&to)));
            report::say("pg_basebackup (plain)", self.bytes, &taken);
            plain.push(taken);
            fs::remove_dir_all(to).expect("remove a base backup");
        }
        let fenice = fenice.expect("at least one run");
        self.report.faster("full snapshot, against pgBackRest", 1.2, &ours, &theirs);
        println!("  against pg_basebackup: {}", report::pair(&ours, &plain));
        let stored = |dir: &Path| measure::disk_bytes(dir) as f64 / 1e9;
        println!(
            "  repositories: {:.2} GB, theirs {:.2} GB in {} backups",
            stored(&fenice.repository()),
            stored(&backrest.repository()),
            self.settings.runs
        );
        self.note_memory(&ours);
        let (peak, met) = (self.peak_snapshot, self.peak_snapshot < MEMORY_LIMIT_BYTES);
        let measured = format!("{} MB", peak / 1_000_000);
        self.report.add("memory of a snapshot", "below 400 MB", measured, met);
        (fenice, backrest)
    }

    fn note_memory(&mut self, taken: &[Taken]) {
        let peak = taken.iter().map(|taken| taken.peak_bytes).max().unwrap_or(0);
        self.peak_snapshot = self.peak_snapshot.max(peak);
    }

    /// A checkpoint, so that nobody pays for another's dirty pages; nothing cached.
    fn cold(&self) {
        self.cluster.psql("checkpoint");
        measure::drop_caches();
    }

    fn make_empty(&self, dir: &Path) -> std::path::PathBuf {
        let _ = fs::remove_dir_all(dir);
        own_dir(dir);
        dir.to_owned()
    }

    /// One percent of the cluster's pages, half of them the newest rows, half all over.
    fn change(&self, round: usize) {
        let rows = |per_gb: u64| (per_gb as f64 * self.settings.gigabytes) as u64;
        let (messages, marks) = (rows(MESSAGES_PER_GB), rows(MARKS_PER_GB));
        // An update writes a new row besides the old one, hence half.
        let newest = |rows: u64| rows - rows / 200;
        self.cluster
            .psql(&format!("update messages set read = not read where id > {}", newest(messages)));
        self.cluster.psql(&format!("update marks set mark = 7 where id > {}", newest(marks)));
        let pages = self.bytes / 8192 / 400;
        let step = messages / pages.max(1);
        self.cluster.psql(&format!(
            "update messages set read = not read where id % {step} = {}",
            round as u64 % step
        ));
    }

    fn second_snapshots(&mut self, fenice: &Fenice, backrest: &PgBackRest) {
        println!("second snapshot, after a change of 1 % of the pages");
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..self.settings.runs {
            self.change(round);
            fenice.run(&["ship", RESOURCE, "--once"]);
            backrest.run(&["check"]);
            self.cold();
            let taken = fenice.run(&["snapshot", RESOURCE, "--json"]);
            report::say("fenice snapshot", self.bytes, &taken);
            println!("    {}", new_bytes(&taken.stdout));
            ours.push(taken);
            self.cold();
            let taken = backrest.run(&["--type=incr", "backup"]);
            report::say("pgbackrest backup", self.bytes, &taken);
            theirs.push(taken);
        }
        self.report.faster("snapshot after 1 %, against pgBackRest", 1.3, &ours, &theirs);
        self.note_memory(&ours);
    }

    fn restores(&mut self, fenice: &Fenice, backrest: &PgBackRest) {
        println!("restore, durable");
        let (mut ours, mut theirs, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        let mut sizes = Vec::new();
        let to = self.place("restored");
        for _ in 0..self.settings.runs {
            self.clear(&to);
            let target = to.display().to_string();
            let taken = fenice.run(&["restore", RESOURCE, "--target", &target]);
            report::say("fenice restore", self.bytes, &taken);
            ours.push(taken);
            sizes.clear();
            plain_write::sizes_below(&to, &mut sizes);
            self.clear(&to);
            own_dir(&to);
            let path = format!("--pg1-path={target}");
            let taken = backrest.run(&[&path, "--type=none", "restore"]);
            report::say("pgbackrest restore", self.bytes, &taken);
            theirs.push(taken);
            self.clear(&to);
            let taken = plain_write::run(&sizes, &to);
            report::say("plain writing", self.bytes, &taken);
            plain.push(taken);
        }
        self.clear(&to);
        let (times, share) = (report::times(&theirs, &ours), report::times(&ours, &plain));
        let measured = format!(
            "{times:.2} times ({}), {share:.2} times the plain writing",
            report::pair(&ours, &theirs)
        );
        let required = "at least 2 times pgBackRest, or within 1.2 times plain writing";
        self.report.add("restore", required, measured, times >= 2.0 || share <= 1.2);
        let peak = ours.iter().map(|taken| taken.peak_bytes).max().unwrap_or(0);
        let measured = format!("{} MB", peak / 1_000_000);
        self.report.add("memory of a restore", "below 400 MB", measured, peak < MEMORY_LIMIT_BYTES);
    }

    fn clear(&self, to: &Path) {
        for dir in [to.to_owned(), to.with_extension("fenice")] {
            let _ = fs::remove_dir_all(dir);
        }
        self.cold();
    }

    fn fetches(&mut self) {
        println!("{SEGMENTS_FETCHED} segments of log");
        let backrest = PgBackRest::fresh(&self.place("backrest-log"), &self.cluster);
        let fenice = Fenice::fresh(&self.place("fenice-log"), &self.cluster);
        fenice.run(&["snapshot", RESOURCE]);
        let served_at = self.place("served");
        self.clear(&served_at);
        fenice.run(&["restore", RESOURCE, "--target", &served_at.display().to_string()]);
        let first = self.cluster.psql("select pg_walfile_name(pg_switch_wal() + 1)");
        let bytes = (SEGMENTS_FETCHED as u64 + 4) * SEGMENT_BYTES;
        self.new_log_table();
        self.write_log(bytes);
        self.cluster.psql("select pg_switch_wal()");
        fenice.run(&["ship", RESOURCE, "--once"]);
        backrest.run(&["check"]);
        let names = segment_names(&first, SEGMENTS_FETCHED);
        let (to, theirs_to) = (self.place("fetched"), self.place("archive-got"));
        [&to, &theirs_to].into_iter().for_each(|dir| own_dir(dir));
        let (mut direct, mut served, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.settings.runs {
            self.without_files(&to);
            direct.push(measure::each(&names, |name| {
                let path = to.join(name).display().to_string();
                fenice.run(&["wal", "fetch", name, &path])
            }));
            report::say("fenice wal fetch", bytes, direct.last().unwrap());
            self.without_files(&to);
            served.push(self.fetch_served(&fenice, &names, &to));
            report::say("fenice wal fetch, served", bytes, served.last().unwrap());
            self.without_files(&theirs_to);
            theirs.push(measure::each(&names, |name| {
                let path = theirs_to.join(name).display().to_string();
                backrest.run(&["archive-get", name, &path])
            }));
            report::say("pgbackrest archive-get", bytes, theirs.last().unwrap());
        }
        self.report.faster("40 segments, served by a restore", 2.0, &served, &theirs);
        self.report.faster("40 segments, straight from the repository", 2.0, &direct, &theirs);
        self.cluster.archive_with("/bin/true");
        self.clear(&served_at);
        [to, theirs_to].iter().for_each(|dir| drop(fs::remove_dir_all(dir)));
    }

    /// PostgreSQL makes sure that there is no file before it asks for one (`RestoreArchivedFile`).
    fn without_files(&self, dir: &Path) {
        self.make_empty(dir);
        self.cold();
    }

    /// As PostgreSQL fetches while a restore serves.
    fn fetch_served(&self, fenice: &Fenice, names: &[String], to: &Path) -> Taken {
        let target = self.place("served");
        let socket = target.with_extension("fenice").join("wal.sock");
        let mut server = fenice.command(&["wal", "serve", RESOURCE, "--target"]);
        server.arg(&target).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = server.spawn().expect("serve the log");
        let begun = Instant::now();
        while !socket.exists() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(10));
        }
        let socket = socket.display().to_string();
        let taken = measure::each(names, |name| {
            let path = to.join(name).display().to_string();
            fenice.run(&["wal", "fetch", "--socket", &socket, name, &path])
        });
        kill_process(Pid::from_child(&server), Signal::TERM).expect("end the server");
        server.wait().expect("wait for its end");
        taken
    }

    fn shipping(&mut self) {
        println!("shipping {:.0} MB/s of log for {LOG_SECONDS} s", LOG_RATE / 1e6);
        self.new_log_table();
        let fenice = Fenice::fresh(&self.place("fenice-ship"), &self.cluster);
        let mut ship = fenice.command(&["ship", RESOURCE]);
        ship.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut ship = ship.spawn().expect("start shipping");
        let waiting = Instant::now();
        while self.behind().is_none() && waiting.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(100));
        }
        let (begun, before) = (Instant::now(), self.position());
        let (mut written, mut most_behind) = (0, 0);
        for turn in 0.. {
            if !pace(begun, written) {
                break;
            }
            let (position, behind) = self.log_rows(turn);
            written = position - before;
            most_behind = most_behind.max(behind.expect("shipping goes on"));
        }
        let rate = written as f64 / begun.elapsed().as_secs_f64() / 1e6;
        let left = self.until_all_is_stored();
        let peak = measure::memory_bytes(ship.id());
        ship.kill().expect("end shipping");
        ship.wait().expect("wait for its end");
        let measured = format!(
            "{rate:.0} MB/s written, at most {} MB behind, {left:.1} s after the end nothing; \
             {} MB of memory",
            most_behind / 1_000_000,
            peak / 1_000_000
        );
        let met = rate >= 95.0 && most_behind <= LOG_RATE as u64;
        self.report.add("shipping beside the primary", "keeps up with 100 MB/s", measured, met);
        self.shipping_afterwards(&fenice);
    }

    /// Seconds; the unfinished segment is stored when its time has come (`ship_every`).
    fn until_all_is_stored(&self) -> f64 {
        let ended = Instant::now();
        while self.behind().is_none_or(|bytes| bytes > 0) && ended.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(50));
        }
        ended.elapsed().as_secs_f64()
    }

    /// Without the primary at work on the same processors: log that piled up.
    fn shipping_afterwards(&mut self, fenice: &Fenice) {
        let bytes = self.write_log((LOG_RATE * LOG_SECONDS) as u64);
        let taken = fenice.run(&["ship", RESOURCE, "--once"]);
        report::say("fenice ship --once", bytes, &taken);
        let rate = bytes as f64 / taken.seconds / 1e6;
        let measured = format!("{rate:.0} MB/s, {} MB of memory", taken.peak_bytes / 1_000_000);
        self.report.add("shipping what piled up", "at least 100 MB/s", measured, rate >= 100.0);
    }

    fn new_log_table(&self) {
        self.cluster.psql("drop table if exists logged");
        self.cluster.psql("create table logged (like messages)");
    }

    /// At least so many bytes of log; tells how many.
    fn write_log(&self, at_least: u64) -> u64 {
        let before = self.position();
        let written = |turn| self.log_rows(turn).0 - before;
        (0..).map(written).find(|written| *written >= at_least).unwrap_or_default()
    }

    /// Log of real rows: messages, written again to a table without indexes. Tells where the log
    /// is then, and how much of it is not stored, in the same session: the primary's time is dear.
    fn log_rows(&self, turn: u64) -> (u64, Option<u64>) {
        let first = turn * ROWS_AT_ONCE % (MESSAGES_PER_GB * self.settings.gigabytes as u64);
        let answer = self.cluster.psql(&format!(
            "insert into logged select * from messages where id >= {first} and id < {};
             select pg_current_wal_insert_lsn() - '0/0', ({BEHIND})",
            first + ROWS_AT_ONCE
        ));
        let (position, behind) = answer.split_once('|').expect("two numbers");
        (position.parse().expect("a position"), behind.parse().ok())
    }

    fn position(&self) -> u64 {
        let sql = "select pg_current_wal_insert_lsn() - '0/0'";
        self.cluster.psql(sql).parse().expect("a position")
    }

    /// Bytes of flushed log that are not stored yet; `None` while nobody ships.
    fn behind(&self) -> Option<u64> {
        self.cluster.psql(BEHIND).parse().ok()
    }
}

/// Waits while the log is ahead of its pace; false at the end.
fn pace(begun: Instant, written: u64) -> bool {
    let due = written as f64 / LOG_RATE;
    let now = begun.elapsed().as_secs_f64();
    thread::sleep(Duration::from_secs_f64((due - now).clamp(0.0, 1.0)));
    now < LOG_SECONDS
}

/// `count` names from `first` on, of 16 MiB each (PostgreSQL, `xlog_internal.h`).
fn segment_names(first: &str, count: usize) -> Vec<String> {
    let hex = |text: &str| u64::from_str_radix(text, 16).expect("hexadecimal");
    let number = hex(&first[8..16]) << 8 | hex(&first[16..24]);
    let timeline = &first[..8];
    let name = |number: u64| format!("{timeline}{:08X}{:08X}", number >> 8, number & 255);
    (number..number + count as u64).map(name).collect()
}

fn new_bytes(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    format!("{} bytes new, {} not read", value["new_bytes"], value["unread_bytes"])
}
