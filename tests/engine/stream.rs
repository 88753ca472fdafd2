//! Method `stream` against method `files`, restic, and a network that fails.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fenice::error::Retry;
use fenice::repository::manifest::{Method, SnapshotManifest};
use fenice::repository::vault::{Id, NodeKind};

use super::rig::Rig;
use crate::support::proxy::{Fault, Proxy};
use crate::support::{Cluster, available_versions, has_tls};

/// What matters of a tree: paths, and what is behind them.
fn essence(rig: &Rig, of: &SnapshotManifest) -> BTreeMap<PathBuf, String> {
    let content = |size: u64, ids: &[Id]| format!("file of {size}: {ids:?}");
    let nodes = rig.tree(of).into_iter().map(|(path, node)| {
        let text = match &node.kind {
            NodeKind::File { size, content: ids } => content(*size, ids),
            NodeKind::Dir { .. } => "dir".to_owned(),
            NodeKind::Symlink { target } => format!("link to {target:?}"),
            NodeKind::Other(kind) => kind.clone(),
        };
        (path, text)
    });
    nodes.collect()
}

/// Differ whenever a backup is taken: labels, the control file, statistics of the last checkpoint.
fn differs_by_nature(path: &str) -> bool {
    ["pgdata/backup_label", "pgdata/global/pg_control", "tablespace_map"].contains(&path)
        || path.starts_with("pgdata/pg_stat/")
        || path.starts_with("pgdata/pg_logical/")
        || path.ends_with("/pgsql_tmp")
}

fn fill(cluster: &Cluster) -> u64 {
    let place = cluster.subdirectory("space");
    cluster.pgbench_init(2);
    cluster.psql(
        "postgres",
        &format!(
            "create tablespace fast location '{}';
             create table in_fast tablespace fast as
               select i, repeat('x', 100) from generate_series(1, 20000) i;
             create unlogged table fleeting as select generate_series(1, 1000) i;
             create table empty();
             select lo_from_bytea(4711, repeat('abc', 100000)::bytea);",
            place.display()
        ),
    );
    if cluster.version() > 15 {
        cluster.psql("postgres", "create tablespace inside location ''");
        cluster.psql("postgres", "create table within (i int) tablespace inside");
    }
    cluster.psql("postgres", "vacuum freeze; checkpoint");
    cluster.psql("postgres", "checkpoint");
    let oid = "select oid from pg_tablespace where spcname = 'fast'";
    cluster.psql("postgres", oid).parse().unwrap()
}

#[test]
fn the_tree_is_the_one_that_method_files_takes() {
    for version in available_versions() {
        let cluster = Cluster::builder()
            .version(version)
            .setting("autovacuum", "off")
            .setting("allow_in_place_tablespaces", "on")
            .start();
        let oid = fill(&cluster);
        let rig = Rig::new();
        let source = rig.source(&[cluster.conninfo()]);
        let files = rig.snapshot(&cluster);
        let stream = rig.stream(&source).unwrap();
        assert_eq!((stream.method, stream.from_standby), (Method::Stream, false));
        assert!(stream.new_bytes < 4 << 20, "{stream:?}");
        assert_eq!(stream.tablespaces, files.tablespaces);
        assert_eq!(stream.tablespaces.len(), 1);
        assert_eq!(stream.tables, files.tables);
        assert!(stream.pages.checkable && stream.pages.checked == files.pages.checked);
        assert_eq!(stream.pages.damaged_count, 0, "{:?}", stream.pages);
        assert!(rig.stored_from(&stream) >= stream.stop_lsn);

        let (one, two) = (essence(&rig, &files), essence(&rig, &stream));
        let paths = |tree: &BTreeMap<PathBuf, String>| -> Vec<PathBuf> {
            tree.keys().filter(|path| !differs_by_nature(path.to_str().unwrap())).cloned().collect()
        };
        let lacking = |in_one: &[PathBuf], in_two: &[PathBuf]| -> Vec<PathBuf> {
            in_one.iter().filter(|path| !in_two.contains(path)).cloned().collect()
        };
        assert_eq!(lacking(&paths(&one), &paths(&two)), [] as [PathBuf; 0], "not in the stream");
        assert_eq!(lacking(&paths(&two), &paths(&one)), [] as [PathBuf; 0], "not in files");
        let same = paths(&one).iter().all(|path| {
            let equal = one[path] == two[path];
            assert!(equal, "{} of {version}: {} and {}", path.display(), one[path], two[path]);
            equal
        });
        assert!(same && one.len() > 900, "{} entries", one.len());
        let link = PathBuf::from(format!("pgdata/pg_tblspc/{oid}"));
        assert_eq!(two[&link], format!("link to \"../../tablespaces/{oid}\""));
        let is_large =
            |kind: &NodeKind| matches!(kind, NodeKind::File { content, .. } if content.len() > 5);
        assert!(rig.tree(&stream).values().any(|node| is_large(&node.kind)), "all files are small");
        let label = String::from_utf8(rig.file(&stream, "pgdata/backup_label")).unwrap();
        assert!(label.contains(&format!("LABEL: fenice stream {}", stream.id)), "{label}");
        assert!(!rig.file(&stream, "tablespace_map").is_empty());
        rig.restic_check();
    }
}

#[test]
fn over_tcp_with_scram_and_tls_and_configuration_elsewhere() {
    for version in available_versions().into_iter().filter(|version| has_tls(*version)) {
        let mut cluster = Cluster::builder().version(version).tls(true).start();
        let etc = cluster.subdirectory("etc");
        let (hba, more) = (etc.join("pg_hba.conf"), etc.join("conf.d"));
        std::fs::create_dir(&more).unwrap();
        std::fs::copy(cluster.data_dir().join("pg_hba.conf"), &hba).unwrap();
        std::fs::write(more.join("a.conf"), "work_mem = '5MB'\n").unwrap();
        for path in [&hba, &more, &more.join("a.conf")] {
            let owner = std::fs::metadata(cluster.data_dir()).unwrap();
            use std::os::unix::fs::MetadataExt;
            std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        let conf = cluster.data_dir().join("postgresql.conf");
        let mut text = std::fs::read_to_string(&conf).unwrap();
        text += &format!("hba_file = '{}'\ninclude_dir = '{}'\n", hba.display(), more.display());
        std::fs::write(&conf, text).unwrap();
        cluster.restart();
        let wanted = fenice::engines::postgres::prepare::Wanted {
            role: "fenice".to_owned(),
            name: "fenice_registro".to_owned(),
            slot: "fenice_registro".to_owned(),
            stream: true,
        };
        cluster.psql("postgres", &fenice::engines::postgres::prepare::sql(&wanted));
        cluster.psql(
            "postgres",
            "alter role fenice password 'secret';
             create role bare login replication password 'secret'; grant pg_monitor to bare;",
        );
        let rig = Rig::new();
        let full = rig.stream(&rig.source(&[cluster.tcp_conninfo("fenice", "secret")])).unwrap();
        let names: Vec<&str> = full.config_files.iter().map(String::as_str).collect();
        let path = |path: &std::path::Path| path.to_str().unwrap()[1..].to_owned();
        assert_eq!(names, [path(&more.join("a.conf")), path(&hba)], "PostgreSQL {version}");
        let stored = rig.file(&full, &format!("config/{}", names[0]));
        assert_eq!(stored, b"work_mem = '5MB'\n");

        let bare = rig.stream(&rig.source(&[cluster.tcp_conninfo("bare", "secret")])).unwrap();
        assert!(bare.config_files.is_empty());
        assert_eq!(rig.manifests().len(), 2);
    }
}

#[test]
fn a_cut_stream_is_never_a_snapshot() {
    let cluster = Cluster::builder().start();
    cluster.pgbench_init(5);
    cluster.psql("postgres", "alter role postgres password 'secret'");
    let proxy = Proxy::to(cluster.port());
    let conninfo = format!(
        "host=127.0.0.1 port={} user=postgres password=secret dbname=postgres",
        proxy.port()
    );
    let rig = Rig::new();
    let source = rig.source(&[conninfo]);
    let before = {
        // What comes before the backup is shipped first, so that the cut falls into the backup.
        rig.register(&source);
        let end = cluster.psql("postgres", "select pg_current_wal_flush_lsn()").parse().unwrap();
        rig.runtime.block_on(rig.job(&source).log.catch_up(end)).unwrap();
        proxy.passed_bytes()
    };
    assert!(before > 0);
    for cut in [30 << 20, 50 << 20, 64 << 20] {
        proxy.set(Fault::CutAfterBytes(cut));
        let error = rig.stream(&source).unwrap_err();
        assert_eq!(error.retry(), Retry::Later, "{error:?}");
        assert!(error.chain().contains("lost"), "{error:?}");
        assert!(rig.manifests().is_empty());
        proxy.set(Fault::None);
    }
    let taken = rig.stream(&source).unwrap();
    assert!(taken.bytes > 80 << 20 && taken.new_bytes < taken.bytes, "{taken:?}");
    assert_eq!(rig.manifests(), [taken]);
    rig.restic_check();
}

#[test]
fn damaged_pages_are_asked_for_again_and_counted() {
    let mut cluster = Cluster::builder().start();
    cluster.psql("postgres", "create table t as select generate_series(1, 100000) i; checkpoint");
    let file = cluster.psql("postgres", "select pg_relation_filepath('t')");
    cluster.stop(crate::support::Stop::Fast);
    let path = cluster.data_dir().join(&file);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[3 * 8_192 + 5_000] ^= 0x10;
    bytes[130 * 8_192 + 100] ^= 0x01;
    std::fs::write(&path, bytes).unwrap();
    cluster.restart();
    let rig = Rig::new();
    let taken = rig.stream(&rig.source(&[cluster.conninfo()])).unwrap();
    let pages: Vec<(&str, u64)> =
        taken.pages.damaged.iter().map(|page| (page.file.as_str(), page.page)).collect();
    assert_eq!(pages, [(file.as_str(), 3), (file.as_str(), 130)]);
    assert_eq!(taken.pages.damaged_count, 2);
}

#[test]
fn a_tablespace_that_the_server_leaves_out_is_noticed() {
    let cluster = Cluster::builder().setting("allow_in_place_tablespaces", "on").start();
    cluster.psql("postgres", "create tablespace inside location ''");
    let rig = Rig::new();
    let error = rig.stream(&rig.source(&[cluster.conninfo()])).unwrap_err();
    assert!(error.chain().contains("lacks the tablespace"), "{error:?}");
    assert!(rig.manifests().is_empty());
}
