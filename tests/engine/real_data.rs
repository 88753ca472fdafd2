//! Real data: the textbooks of two regions, with pgbench writing on top while snapshot and
//! shipping run. Every table comes back row for row.

use std::time::Duration;

use fenice::plan::facts::Target;

use super::isolation::ship_all;
use super::rig::Rig;
use crate::support::{Cluster, available_versions, load_textbooks, textbooks};

#[test]
fn the_textbooks_come_back_row_for_row_from_every_version() {
    if textbooks().is_none() {
        return;
    }
    for version in available_versions() {
        let cluster = Cluster::builder().version(version).start();
        let rows = load_textbooks(&cluster, "postgres").unwrap();
        cluster.pgbench_init(3);
        let rig = Rig::new();
        let shipping = rig.ship(&rig.source(&[cluster.conninfo()]), Duration::from_millis(300));
        let load = cluster.pgbench(&["-T", "120", "-c", "4"]);
        let changing = "create index on adozioni (codiceisbn);
            update adozioni set prezzo = prezzo || ' EUR' where codicescuola < 'D'";
        cluster.psql("postgres", changing);
        let snapshot = rig.snapshot(&cluster);
        cluster.psql("postgres", "delete from adozioni where annocorso = '5'; vacuum adozioni");
        std::thread::sleep(Duration::from_secs(1));
        load.kill();
        ship_all(&cluster, &shipping);
        shipping.stop(&rig).unwrap();
        let restored = rig.restore(&cluster, "copy", Target::Latest).unwrap();
        let (theirs, ours) = (cluster.reach(), restored.reach(&cluster));
        let tables = theirs.tables("postgres");
        assert_eq!(tables, ours.tables("postgres"));
        assert!(tables.len() >= 5, "{tables:?}");
        for table in &tables {
            let hashes = [&theirs, &ours].map(|server| server.rows_hash("postgres", table));
            assert_eq!(hashes[0], hashes[1], "PostgreSQL {version}: {table} differs");
        }
        ours.amcheck();
        println!(
            "PostgreSQL {version}: {rows} textbooks, {} bytes in snapshot {}, equal",
            snapshot.bytes, snapshot.id
        );
        drop(restored.stop());
    }
}
