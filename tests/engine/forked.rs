//! A cluster whose standby was promoted while the old primary wrote on: rows on timeline 1 beyond
//! the switch, which the new primary never had, are stored as well.

use std::time::Duration;

use fenice::engines::postgres::{cluster, push};
use fenice::model::{Timeline, TimelineHistory};

use super::isolation::ship_all;
use super::rig::Rig;
use crate::support::{Cluster, wait_for};

/// What both lives wrote, and where they parted.
pub struct Forked {
    pub rig: Rig,
    /// The old primary, still running on timeline 1.
    pub old: Cluster,
    /// The promoted standby, on timeline 2.
    pub new: Cluster,
    /// Number of the segment that contains the switch.
    pub switch_segment: u64,
}

/// Rows: `common` before the switch, `abandoned` on timeline 1 after it, `kept` on timeline 2.
pub fn forked() -> Forked {
    let old =
        Cluster::builder().version(15).segment_size_mib(1).setting("wal_keep_size", "1GB").start();
    old.psql("postgres", "create table t (what text, n int)");
    let new = Cluster::standby_of(&old);
    let rig = Rig::new();
    let shipping = rig.ship(&rig.source(&[old.conninfo()]), Duration::from_millis(200));
    rig.snapshot(&old);
    let insert = |cluster: &Cluster, what: &str| {
        let sql = format!("insert into t select '{what}', n from generate_series(1, 30000) n");
        cluster.psql("postgres", &sql);
    };
    insert(&old, "common");
    wait_for("the standby has everything", || {
        let sent = old.psql("postgres", "select pg_current_wal_flush_lsn()");
        new.psql("postgres", "select pg_last_wal_replay_lsn()") == sent
    });
    new.promote();
    insert(&old, "abandoned");
    insert(&old, "abandoned");
    ship_all(&old, &shipping);
    shipping.stop(&rig).unwrap();
    insert(&new, "kept");
    insert(&new, "kept");
    // Some log after the switch: at a boundary PostgreSQL names the segment before.
    new.psql("postgres", "select pg_switch_wal()");
    new.psql("postgres", "select pg_logical_emit_message(false, 'test', 'x')");
    let history = push_timeline_two(&rig, &new);
    let switch_segment = history.ancestors[0].switch.0 >> 20;
    Forked { rig, old, new, switch_segment }
}

/// Pushes the history and all whole segments of timeline 2, as its `archive_command` would.
fn push_timeline_two(rig: &Rig, new: &Cluster) -> TimelineHistory {
    let (archive, wal) = (rig.archive(), new.data_dir().join("pg_wal"));
    let registered = cluster::registered(&rig.repository, &rig.resource).unwrap();
    push::push(&archive, &registered, &wal.join("00000002.history")).unwrap();
    let sql = "select name from pg_ls_waldir() where name ~ '^00000002.{16}$'
               and name < pg_walfile_name(pg_current_wal_insert_lsn()) order by 1";
    let names = new.psql("postgres", sql);
    assert!(names.lines().count() > 3, "{names}");
    for name in names.lines() {
        push::push(&archive, &registered, &wal.join(name)).unwrap();
    }
    let text = std::fs::read_to_string(wal.join("00000002.history")).unwrap();
    TimelineHistory::parse(Timeline(2), &text).unwrap()
}

impl Forked {
    /// Keys of the stored objects of one segment.
    pub fn stored(&self, timeline: u32, segment: u64) -> Vec<String> {
        let inventory = self.rig.archive().inventory().unwrap();
        let objects = inventory.segment(Timeline(timeline), segment).iter();
        objects.map(|object| object.key.clone()).collect()
    }

    /// Takes the stored objects of one segment away.
    pub fn lose(&self, timeline: u32, segment: u64) {
        let objects = self.stored(timeline, segment);
        assert!(!objects.is_empty(), "segment {segment} of timeline {timeline} is not stored");
        let store = &self.rig.repository.store;
        objects.iter().for_each(|key| store.remove(key).unwrap());
    }
}
