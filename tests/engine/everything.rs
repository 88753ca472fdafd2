//! A cluster with everything that is awkward comes back whole: tablespaces, thousands of files,
//! a relation of three files, large objects, unlogged tables, odd names, configuration elsewhere.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::Duration;

use fenice::plan::facts::Target;

use super::compare::{Reach, assert_same_dumps, tree};
use super::isolation::ship_all;
use super::rig::Rig;
use crate::support::{Cluster, Stop};

const GIB: u64 = 1 << 30;
const DATABASE: &str = "Licei \"Nord\" è più";

/// Files of configuration outside the data directory, with an include, as Debian has them.
fn move_configuration(cluster: &mut Cluster) {
    cluster.stop(Stop::Fast);
    let (data, etc) = (cluster.data_dir(), cluster.subdirectory("etc"));
    let more = cluster.subdirectory("etc/conf.d");
    for name in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"] {
        fs::rename(data.join(name), etc.join(name)).unwrap();
    }
    let main = etc.join("postgresql.conf");
    let (data, dir) = (data.display(), etc.display());
    let lines = format!(
        "data_directory = '{data}'\nhba_file = '{dir}/pg_hba.conf'\n\
         ident_file = '{dir}/pg_ident.conf'\ninclude_dir 'conf.d'\n"
    );
    fs::write(&main, fs::read_to_string(&main).unwrap() + &lines).unwrap();
    fs::write(more.join("10-locks.conf"), "max_locks_per_transaction = 300\n").unwrap();
    cluster.restart();
}

/// Tables in tablespaces, one of them with a path that must be quoted everywhere.
fn odd_names(cluster: &Cluster) {
    let space = cluster.subdirectory("spàzio \"di\" prova");
    cluster.psql(
        "postgres",
        &format!("create tablespace \"Spàzio 1\" location '{}'", space.display()),
    );
    let plain = cluster.subdirectory("plain");
    cluster.psql("postgres", &format!("create tablespace plain location '{}'", plain.display()));
    let name = DATABASE.replace('"', "\"\"");
    cluster.psql("postgres", &format!("create database \"{name}\" tablespace \"Spàzio 1\""));
    cluster.psql("postgres", "create role \"Preside O'Neil\" login password 'x'");
}

/// `cluster.psql` cannot name such a database in a connection string.
fn in_odd_database(cluster: &Cluster, sql: &str) {
    cluster.reach().psql(DATABASE, sql);
}

fn fill(cluster: &Cluster) {
    let many = "do $$ begin for i in 1..5000 loop
        execute format('create table many.t%s as select %s as n', i, i); end loop;
        for i in 1..300 loop
        execute format('create unlogged table many.u%s (n int primary key)', i);
        execute format('insert into many.u%s values (1)', i); end loop; end $$";
    cluster.psql("postgres", "create schema many");
    cluster.psql("postgres", many);
    in_odd_database(
        cluster,
        "create schema \"scuola 'A' \\ b\";
         create table \"scuola 'A' \\ b\".\"Classe \"\"1ª\"\" ✓\" (\"età\" int, \"n o m e\" text)
             tablespace plain;
         insert into \"scuola 'A' \\ b\".\"Classe \"\"1ª\"\" ✓\"
             select n, repeat('è', n % 3000) from generate_series(1, 5000) n;
         create index \"Indice 'x'\" on \"scuola 'A' \\ b\".\"Classe \"\"1ª\"\" ✓\" (\"età\")
             tablespace \"Spàzio 1\"",
    );
    cluster.psql(
        "postgres",
        "create table objects as
             select n, lo_from_bytea(0, decode(repeat(md5(n::text), 2000), 'hex')) lo
         from generate_series(1, 40) n",
    );
}

/// A table of three files, rows in each of them, the rest empty pages: what a crash while it grew
/// leaves, and all-zero pages are valid (PostgreSQL, `PageIsVerified`).
fn huge(cluster: &mut Cluster) {
    cluster.psql("postgres", "create table huge (n int) with (autovacuum_enabled = off)");
    let relation = cluster.psql("postgres", "select pg_relation_filepath('huge')");
    let first = cluster.data_dir().join(relation);
    let insert = "insert into huge select generate_series(1, 1000)";
    cluster.psql("postgres", insert);
    for bytes in [GIB + GIB / 2, 2 * GIB + (64 << 20)] {
        cluster.psql("postgres", "checkpoint");
        cluster.stop(Stop::Fast);
        grow(&first, bytes);
        cluster.restart();
        cluster.psql("postgres", insert);
    }
    let files = "select distinct (ctid::text::point)[0]::int / 131072 from huge order by 1";
    assert_eq!(cluster.psql("postgres", files), "0\n1\n2");
}

fn grow(first: &Path, bytes: u64) {
    let owner = fs::metadata(first).unwrap();
    for number in 0..bytes.div_ceil(GIB) {
        let path = match number {
            0 => first.to_owned(),
            _ => first.with_extension(number.to_string()),
        };
        let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        file.set_len((bytes - number * GIB).min(GIB)).unwrap();
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn assert_same_huge(theirs: &Reach, ours: &Reach) {
    let sql = "select count(*), md5(string_agg(ctid::text || n, ',' order by ctid)),
               pg_relation_size('huge') from huge";
    let found = ours.psql("postgres", sql);
    assert_eq!(theirs.psql("postgres", sql), found);
    assert!(found.starts_with("3000|"), "{found}");
}

#[test]
fn everything_awkward_comes_back_whole() {
    let start = std::time::Instant::now();
    let step = |what: &str| println!("{:5.1} s {what}", start.elapsed().as_secs_f64());
    let mut cluster = Cluster::builder().version(15).setting("max_wal_size", "2GB").start();
    move_configuration(&mut cluster);
    odd_names(&cluster);
    huge(&mut cluster);
    let rig = Rig::new();
    let shipping = rig.ship(&rig.source(&[cluster.conninfo()]), Duration::from_millis(300));
    step("made a relation of three files");
    let first = rig.snapshot(&cluster);
    step("first snapshot");
    fill(&cluster);
    step("filled");
    // The log of half of it is replayed, the files of the other half restored.
    let second = rig.snapshot(&cluster);
    assert!(second.files > first.files + 5000, "{} files", second.files);
    cluster.psql(
        "postgres",
        "update objects set n = n + 1; select lo_unlink(lo) from objects limit 3",
    );
    cluster.psql(
        "postgres",
        "do $$ begin for i in 1..1000 loop
        execute format('insert into many.t%s values (0)', i); end loop; end $$",
    );
    in_odd_database(
        &cluster,
        "delete from \"scuola 'A' \\ b\".\"Classe \"\"1ª\"\" ✓\" where \"età\" < 9",
    );
    cluster.psql("postgres", "checkpoint");
    ship_all(&cluster, &shipping);
    shipping.stop(&rig).unwrap();
    step("shipped");

    let restored = rig.restore(&cluster, "copy", Target::Latest).unwrap();
    step("restored");
    let (theirs, ours) = (cluster.reach(), restored.reach(&cluster));
    assert_same_huge(&theirs, &ours);
    assert_same_dumps(&theirs.dump("huge"), &ours.dump("huge"));
    step("compared");
    assert_eq!(theirs.psql("postgres", "select count(*) from many.u7"), "1");
    assert_eq!(ours.psql("postgres", "select count(*) from many.u7"), "0", "unlogged: empty");
    ours.psql("postgres", "insert into many.u7 values (1), (2)");
    ours.amcheck();
    step("checked");
    let files = restored.stop();
    let etc = cluster.outside_config();
    let kept = files.place.source_config_dir().join(etc.strip_prefix("/").unwrap());
    let names = |dir: &Path| {
        let strip =
            |(path, what): (String, String)| (path.replace(&*dir.to_string_lossy(), ""), what);
        tree(&[dir]).into_iter().map(strip).collect::<Vec<_>>()
    };
    assert_eq!(names(&etc), names(&kept));
    assert_eq!(names(&etc).len(), 6);
}
