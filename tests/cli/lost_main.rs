//! What a loss of the main repository costs: `status` names the figure, and then it is lost. What
//! comes back is compared with the commit instants that the source itself recorded.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::Value;

use super::rig::{Place, RESOURCE};
use crate::support::{Background, Cluster, stop_postmaster, wait_for};

/// JSON carries seconds as a floating point number.
const ROUNDING_SECONDS: f64 = 1e-6;

/// A cluster that remembers when each transaction committed, and an application that writes.
struct Source {
    /// Killed when dropped.
    _writing: Background,
    cluster: Cluster,
    place: Place,
}

/// A row of the application.
#[derive(Debug, Clone, Copy)]
struct Written {
    number: u64,
    committed_at: Timestamp,
}

/// What is known at the instant of the loss.
struct Loss {
    /// What `status` said.
    figure_seconds: f64,
    /// When it said so: the disruption.
    at: Timestamp,
    /// Everything committed by then comes back, it said.
    holds_until: Timestamp,
    /// Every row the application had committed by the disruption.
    journal: Vec<Written>,
}

fn cluster() -> Cluster {
    let builder = Cluster::builder().version(15).segment_size_mib(1);
    builder.setting("track_commit_timestamp", "on").start()
}

/// The civil week of the copies begins today, so that the first snapshot of a test is the weekly
/// one and the next is not, whatever day it is, and also if midnight comes between them.
fn terms(replicate: &str) -> String {
    let today = Timestamp::now().in_tz("Europe/Rome").unwrap().strftime("%A").to_string();
    let day = today.to_lowercase();
    format!("replicate = \"{replicate}\"\nweekly_day = \"{day}\"")
}

fn instant(of: &Value) -> Timestamp {
    of.as_str().unwrap_or_else(|| panic!("not an instant: {of}")).parse().unwrap()
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

impl Source {
    fn start(place: Place, cluster: Cluster) -> Source {
        cluster.psql(
            "postgres",
            "create table journal (number bigint generated always as identity, what text)",
        );
        place.does(&["init"]);
        place.does(&["prepare", RESOURCE]);
        let script = place.path("write.sql");
        place.write("write.sql", "insert into journal (what) values (repeat('x', 100));\n");
        let script = script.to_str().unwrap();
        let writing = cluster.pgbench(&["-n", "-T", "3600", "-c", "1", "-R", "50", "-f", script]);
        let source = Source { _writing: writing, cluster, place };
        source.await_writes();
        source
    }

    fn count(&self) -> u64 {
        self.cluster.psql("postgres", "select count(*) from journal").parse().unwrap()
    }

    /// Until the application has written some more.
    fn await_writes(&self) {
        let before = self.count();
        wait_for("more rows", || self.count() >= before + 5);
    }

    fn ship(&self) {
        self.await_writes();
        self.place.does(&["ship", RESOURCE, "--once"]);
        self.await_writes();
    }

    /// Returns when it began, by the source's clock.
    fn snapshot(&self) -> Timestamp {
        let id = self.place.json(0, &["snapshot", RESOURCE])["id"].clone();
        let list = self.place.json(0, &["list", RESOURCE]);
        let mut snapshots = list[0]["snapshots"].as_array().unwrap().iter();
        instant(&snapshots.find(|snapshot| snapshot["id"] == id).unwrap()["started_at"])
    }

    /// The figure, and the application's rows of that instant, after which it goes on.
    fn status(&self) -> Loss {
        let status = self.place.json(0, &["status"]);
        let copies = &status["resources"][0]["copies"];
        let at = instant(&status["at"]);
        // So that something later is there to be lost as well, and every row of before has ended.
        self.await_writes();
        Loss {
            figure_seconds: copies["rpo_without_main_seconds"].as_f64().expect("a figure"),
            at,
            holds_until: instant(&copies["holds_until"]),
            journal: self.journal().into_iter().filter(|row| row.committed_at <= at).collect(),
        }
    }

    fn journal(&self) -> Vec<Written> {
        let sql = "select number, \
                   (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000000)::bigint \
                   from journal order by number";
        let row = |line: &str| {
            let (number, micros) = line.split_once('|').unwrap();
            let committed_at = Timestamp::from_microsecond(micros.parse().unwrap()).unwrap();
            Written { number: number.parse().unwrap(), committed_at }
        };
        self.cluster.psql("postgres", sql).lines().map(row).collect()
    }

    /// The numbers of the rows that the copies alone bring back.
    fn restore(&self) -> BTreeSet<u64> {
        let target = self.place.path("back").display().to_string();
        let from = ["--from", "offsite", "--to", "latest", "--target", &target, "--start"];
        let restored = self.place.json(0, &[&["restore", RESOURCE][..], &from].concat());
        let socket = restored["socket_dir"].as_str().unwrap();
        let sql = "select number from journal";
        let asked = ["-X", "-At", "-h", socket, "-U", "postgres", "-d", "postgres", "-c", sql];
        let ended = self.cluster.program("psql", &asked);
        stop_postmaster(Path::new(&target));
        ended.stdout.lines().map(|line| line.parse().unwrap()).collect()
    }
}

/// Loses the main repository and compares. The figure dates from no earlier than `begun_at`: the
/// start of the last snapshot that was copied, or of the last shipping, which beats, before the
/// last copy of the log. Returns the rows that came back.
#[track_caller]
fn lose(source: &Source, told: &Loss, begun_at: Timestamp) -> BTreeSet<u64> {
    source.place.home.lose();
    let back = source.restore();
    let (kept, lost): (Vec<Written>, Vec<Written>) =
        told.journal.iter().copied().partition(|row| back.contains(&row.number));
    let newest_kept = kept.iter().map(|row| row.committed_at).max().expect("rows come back");
    let oldest_lost = lost.iter().map(|row| row.committed_at).min().expect("rows are lost");
    let shown = format!(
        "told {} s at {}, as of {}; kept up to {newest_kept}, lost from {oldest_lost}, \
         begun {begun_at}",
        told.figure_seconds, told.at, told.holds_until
    );
    // One stretch came back, and the rest is gone.
    assert!(newest_kept < oldest_lost, "{shown}");
    // What the figure says of itself.
    let age = seconds(told.holds_until, told.at);
    assert!((told.figure_seconds - age).abs() < ROUNDING_SECONDS, "{shown}");
    // Everything that was committed by the instant it dates from came back, so no more is lost than
    // was told. Counted from the oldest commit that is gone: before it the source may have rested,
    // and rest is no loss.
    assert!(told.holds_until < oldest_lost, "{shown}");
    assert!(seconds(oldest_lost, told.at) <= told.figure_seconds + ROUNDING_SECONDS, "{shown}");
    // Nor is more told than is lost, but for what came back besides: what was committed since the
    // work began that dates the figure.
    let besides = seconds(begun_at, newest_kept).max(0.0);
    let true_loss = seconds(newest_kept, told.at);
    assert!(told.figure_seconds <= true_loss + besides + ROUNDING_SECONDS, "{shown}");
    back
}

/// Two snapshots of one week, the log after each, each copied with what was due then; and more
/// after that, which is never copied. Returns the starts of both snapshots and that of the last
/// shipping before the last copy.
fn protect(source: &Source) -> (Timestamp, Timestamp, Timestamp) {
    source.ship();
    let first = source.snapshot();
    source.ship();
    source.place.does(&["copy", RESOURCE]);
    source.await_writes();
    let second = source.snapshot();
    source.await_writes();
    let shipping = Timestamp::now();
    source.ship();
    source.place.does(&["copy", RESOURCE]);
    source.ship();
    (first, second, shipping)
}

fn newest_by(told: &Loss, at: Timestamp) -> u64 {
    let before = told.journal.iter().filter(|row| row.committed_at < at);
    before.map(|row| row.number).max().expect("rows of before")
}

#[test]
fn with_weekly_copies_it_costs_what_was_written_since_the_weekly_snapshot() {
    let cluster = cluster();
    let (place, _copies) = Place::with_copies(&cluster, &terms("weekly"));
    let source = Source::start(place, cluster);
    let (first, second, _) = protect(&source);
    let told = source.status();
    let back = lose(&source, &told, first);
    assert!(back.contains(&newest_by(&told, first)));
    assert!(!back.contains(&newest_by(&told, second)), "the second one is not of the week");
}

#[test]
fn with_daily_copies_it_costs_what_was_written_since_the_last_snapshot() {
    let cluster = cluster();
    let (place, _copies) = Place::with_copies(&cluster, &terms("daily"));
    let source = Source::start(place, cluster);
    let (_, second, shipping) = protect(&source);
    let told = source.status();
    let back = lose(&source, &told, second);
    assert!(back.contains(&newest_by(&told, second)));
    assert!(!back.contains(&newest_by(&told, shipping)), "log of after it is not copied");
}

#[test]
fn with_all_of_the_log_it_costs_what_was_written_since_it_was_last_copied() {
    let cluster = cluster();
    let (place, _copies) = Place::with_copies(&cluster, &terms("all"));
    let source = Source::start(place, cluster);
    let (_, _, shipping) = protect(&source);
    let told = source.status();
    let back = lose(&source, &told, shipping);
    assert!(back.contains(&newest_by(&told, shipping)));
}

#[test]
fn log_that_was_not_copied_for_a_day_is_told() {
    let cluster = cluster();
    let (place, copies) = Place::with_copies(&cluster, &terms("all"));
    // Only a folder lets itself be told when something was stored.
    let Some(main) = place.home.folder().map(Path::to_path_buf) else { return };
    let source = Source::start(place, cluster);
    protect(&source);
    source.place.does(&["copy", RESOURCE]);
    let late = || source.place.json(0, &["status"])["resources"][0]["copies"]["late_log"].clone();
    assert!(late().is_null());

    let store = copies.store();
    let log = store.list("postgres/registro/wal/").unwrap();
    let newest = log.iter().map(|entry| &entry.key).max().unwrap();
    store.remove(newest).unwrap();
    assert!(late().is_null(), "it may still come");
    let day_and_more = SystemTime::now() - Duration::from_secs(25 * 3_600);
    File::open(main.join(newest)).unwrap().set_modified(day_and_more).unwrap();
    let status = source.place.json(3, &["status"])["resources"][0].clone();
    assert_eq!(status["copies"]["late_log"]["objects"], 1, "{status}");
    assert!(status["red"].to_string().contains("1 objects of the log"), "{status}");
    source.place.does(&["copy", RESOURCE]);
    assert!(late().is_null());
}
