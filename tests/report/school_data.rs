//! The demo's school database, loaded into a real server: row counts, writers, page-deep checks.

use fenice::demo::data::{DataSize, TORN_WRITES_SQL, WRITES_SQL, steps, write_sql};

use crate::support::Cluster;

fn load(cluster: &Cluster, seed: u64, size: &DataSize) {
    for step in steps(seed, size) {
        let started = std::time::Instant::now();
        cluster.psql("postgres", &step.sql);
        eprintln!("{:18} {:6.2} s", step.name, started.elapsed().as_secs_f64());
    }
}

#[test]
fn every_table_holds_what_its_size_says_and_passes_amcheck() {
    let cluster = Cluster::builder().data_checksums(true).start();
    let size = DataSize::default();
    load(&cluster, 2026, &size);
    for (table, rows) in size.rows() {
        let counted = cluster.psql("postgres", &format!("SELECT count(*) FROM registro.{table}"));
        assert_eq!(counted.trim(), rows.to_string(), "{table}");
    }
    let tenants = "SELECT count(DISTINCT school_code) FROM registro.marks";
    assert_eq!(cluster.psql("postgres", tenants).trim(), size.schools.to_string());
    cluster.psql("postgres", "CREATE EXTENSION amcheck");
    let (socket, port) = (cluster.socket_dir(), cluster.port().to_string());
    let server = ["-h", socket.to_str().unwrap(), "-p", &port, "-U", "postgres"];
    let arguments = [&server[..], &["--heapallindexed", "--parent-check", "postgres"]].concat();
    let outcome = cluster.program("pg_amcheck", &arguments);
    assert_eq!(outcome.expect_success("pg_amcheck").trim(), "");
}

#[test]
fn writers_leave_whole_transactions_and_the_same_seed_the_same_rows() {
    let cluster = Cluster::builder().start();
    let size = DataSize { schools: 12, sessions: 50, ..DataSize::default() };
    load(&cluster, 7, &size);
    let print = "SELECT md5(string_agg(m::text, ',' ORDER BY id)) FROM registro.marks m";
    let first = cluster.psql("postgres", print);
    for client in 1..=3 {
        let writes: Vec<String> = (1..=20).map(|serial| write_sql(client, serial, &size)).collect();
        cluster.psql("postgres", &writes.join(";\n"));
    }
    assert_eq!(cluster.psql("postgres", WRITES_SQL).lines().count(), 60);
    assert_eq!(cluster.psql("postgres", TORN_WRITES_SQL).trim(), "");
    let duplicate = cluster.psql_try("postgres", &write_sql(1, 20, &size));
    assert!(duplicate.is_err_and(|error| error.contains("duplicate key")));
    cluster.psql("postgres", "DROP SCHEMA registro CASCADE");
    load(&cluster, 7, &size);
    assert_eq!(cluster.psql("postgres", print), first, "not the same rows");
}
