//! The harness tested: what it starts works, and nothing stays.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fenice::ports::Clock;
use jiff::Timestamp;

use super::proxy::{Fault, Proxy};
use super::*;

#[test]
fn every_version_starts_and_answers() {
    for version in available_versions() {
        let cluster = Cluster::builder().version(version).start();
        let number = cluster.psql("postgres", "show server_version_num");
        assert_eq!(number.parse::<u32>().unwrap() / 10_000, version);
        let error = cluster.psql_try("postgres", "select 1/0").unwrap_err();
        assert!(error.contains("division by zero"), "{error}");
    }
}

#[test]
fn segment_size_checksums_and_settings_are_as_asked() {
    let versions = available_versions();
    for (version, mib, checksums) in versions.iter().flat_map(|v| [(*v, 1, true), (*v, 64, false)])
    {
        let cluster = Cluster::builder()
            .version(version)
            .segment_size_mib(mib)
            .data_checksums(checksums)
            .setting("work_mem", "5MB")
            .start();
        let shown =
            cluster.psql("postgres", "show wal_segment_size; show data_checksums; show work_mem");
        let on = if checksums { "on" } else { "off" };
        assert_eq!(shown, format!("{mib}MB\n{on}\n5MB"), "version {version}");
    }
}

#[test]
fn a_standby_follows_and_promotes() {
    for version in available_versions() {
        let primary = Cluster::builder().version(version).start();
        let standby = Cluster::standby_of(&primary);
        primary.psql("postgres", "create table t as select 42 as a");
        wait_for("the row on the standby", || {
            standby.psql_try("postgres", "select a from t").is_ok_and(|rows| rows == "42")
        });
        standby.promote();
        standby.psql("postgres", "insert into t values (43)");
        assert_eq!(standby.psql("postgres", "select count(*) from t"), "2");
        assert_eq!(primary.psql("postgres", "select count(*) from t"), "1");
    }
}

#[test]
fn committed_rows_survive_a_stop_and_a_crash() {
    let mut cluster = Cluster::builder().start();
    cluster.psql("postgres", "create table t (a int); insert into t values (1)");
    cluster.stop(Stop::Fast);
    assert!(cluster.psql_try("postgres", "select 1").is_err());
    cluster.restart();
    cluster.psql("postgres", "insert into t values (2)");
    cluster.kill_9();
    cluster.restart();
    assert!(cluster.log().contains("automatic recovery in progress"), "{}", cluster.log());
    assert_eq!(cluster.psql("postgres", "select count(*) from t"), "2");
}

#[test]
fn passwords_and_certificates_are_checked() {
    for version in available_versions().into_iter().filter(|version| has_tls(*version)) {
        let cluster = Cluster::builder().version(version).tls(true).start();
        cluster.psql("postgres", "create role ops login password 'secret'");
        let connect = |password: &str| {
            let conninfo = cluster.tcp_conninfo("ops", password);
            let sql = "select version from pg_stat_ssl where pid = pg_backend_pid()";
            cluster.program("psql", &["-X", "-A", "-t", "-d", &conninfo, "-c", sql])
        };
        assert!(connect("secret").expect_success("psql").starts_with("TLSv1."));
        assert!(!connect("wrong").success());
    }
}

#[test]
fn nothing_stays_of_a_dropped_or_killed_cluster() {
    let mut cluster = Cluster::builder().start();
    cluster.pgbench_init(1);
    let mut load = cluster.pgbench(&["-c", "2", "-T", "600"]);
    assert!(load.running());
    let (data, first) = (cluster.data_dir(), cluster.pid().unwrap());
    cluster.kill_9();
    assert!(!Path::new(&format!("/proc/{first}")).exists());
    cluster.restart();
    let second = cluster.pid().unwrap();
    let panicked = std::panic::catch_unwind(move || cluster.fail("on purpose"));
    let message = panicked.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("database system is ready"), "the log is shown: {message}");
    assert!(!Path::new(&format!("/proc/{second}")).exists());
    assert!(!data.exists() && !data.parent().unwrap().exists());
}

#[test]
fn a_server_lives_by_a_clock_that_is_moved() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let clock = MovedClock::at(at("2026-02-28T12:00:00Z"));
    let cluster = Cluster::builder().clock(&clock).start();
    for moved in ["2026-03-01T00:00:00Z", "2028-02-29T23:59:58Z"] {
        clock.move_to(at(moved));
        let before = clock.now().as_microsecond();
        let sql = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";
        let told: i64 = cluster.psql("postgres", sql).parse().unwrap();
        assert!((before..=clock.now().as_microsecond()).contains(&told), "{moved}: {told}");
    }
}

#[test]
fn the_textbooks_load() {
    let cluster = Cluster::builder().start();
    if let Some(rows) = load_textbooks(&cluster, "postgres") {
        assert!(rows > 50_000, "{rows} rows");
        let schools = cluster.psql("postgres", "select count(distinct codicescuola) from adozioni");
        assert!(schools.parse::<u64>().unwrap() > 100, "{schools} schools");
    }
}

#[test]
fn the_proxy_passes_cuts_stalls_and_refuses() {
    let cluster = Cluster::builder().start();
    cluster.psql("postgres", "create role ops login password 'secret'");
    let proxy = Proxy::to(cluster.port());
    let conninfo = cluster
        .tcp_conninfo("ops", "secret")
        .replace(&format!("port={}", cluster.port()), &format!("port={}", proxy.port()));
    let select = |rows: u32| {
        let sql = format!("select repeat('x', 999) from generate_series(1, {rows})");
        cluster.program("psql", &["-X", "-A", "-t", "-d", &conninfo, "-c", &sql])
    };
    assert_eq!(select(1000).expect_success("psql").len(), 1_000_000);
    assert!(proxy.passed_bytes() > 1_000_000);

    proxy.set(Fault::Latency(Duration::from_millis(20)));
    let start = Instant::now();
    assert!(select(1).success());
    assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());

    let before = proxy.passed_bytes();
    proxy.set(Fault::CutAfterBytes(500_000));
    assert!(!select(1000).success());
    assert_eq!(proxy.passed_bytes() - before, 500_000);

    proxy.set(Fault::Refuse);
    assert!(!select(1).success());

    let connections = proxy.accepted();
    proxy.set(Fault::Stall);
    thread::scope(|scope| {
        let answer = scope.spawn(|| select(1));
        wait_for("the connection", || proxy.accepted() > connections);
        thread::sleep(Duration::from_millis(200));
        assert!(!answer.is_finished());
        proxy.set(Fault::None);
        assert!(answer.join().unwrap().success());
    });
}
