//! Real servers asked what they say of themselves.

use std::sync::Arc;

use fenice::adapters::postgres::PgConnector;
use fenice::adapters::system::SystemClock;
use fenice::daemon::watch::{Said, Slot, SourceFacts, SourceWatch};
use fenice::engines::postgres::source::Source;
use fenice::model::ResourceName;
use fenice::ports::postgres::Connector;
use fenice::web::{Fact, Replicas};
use jiff::Timestamp;

use crate::support::{Cluster, Stop, available_versions, has_tls, wait_for};

const SLOT: &str = "select pg_create_physical_replication_slot('fenice_registro', true)";
const WRITE: &str = "drop table if exists written; \
                     create table written as select generate_series(1, 50000) n";

/// A watch with what it runs on.
struct Asked {
    runtime: tokio::runtime::Runtime,
    watch: SourceWatch,
}

impl Asked {
    fn of(conninfos: &[String]) -> Asked {
        let connector = PgConnector::default();
        let hosts = conninfos.iter().flat_map(|conninfo| connector.hosts(conninfo).unwrap());
        let resource: ResourceName = "registro".parse().unwrap();
        let source = Source {
            slot: resource.slot_name(),
            resource,
            hosts: hosts.collect(),
            primary_hosts: Vec::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Asked { runtime, watch: SourceWatch::new(source, Arc::new(SystemClock)) }
    }

    fn facts(&mut self) -> SourceFacts {
        self.runtime.block_on(self.watch.ask())
    }

    /// What is said where every host answers.
    #[track_caller]
    fn said(&mut self) -> Said {
        let facts = self.facts();
        assert!(facts.silent_since.is_none() && facts.unheard.is_empty(), "{facts:?}");
        facts.said
    }
}

fn lag(said: &Said) -> u64 {
    match said.slot_lag_bytes {
        Fact::Known(bytes) => bytes,
        other => panic!("the lag is {other:?}"),
    }
}

#[test]
fn a_source_tells_what_it_keeps_who_follows_it_and_how_its_pages_and_its_clock_are() {
    for version in available_versions() {
        let builder = Cluster::builder().version(version);
        let cluster = builder.setting("max_slot_wal_keep_size", "1GB").start();
        let mut asked = Asked::of(&[cluster.conninfo()]);
        let said = asked.said();
        assert_eq!((said.slot, said.slot_lag_bytes), (Fact::Absent, Fact::Absent));
        assert_eq!(said.slot_limit_bytes, Fact::Known(1 << 30));
        assert_eq!(said.replicas, Fact::Known(Replicas { connected: 0, lag: None }));
        assert_eq!(said.checksum_failures, Fact::Known(0));
        // Over a socket of this machine.
        assert_eq!(said.certificate_until, Fact::Absent);
        // Both read the same clock; on a busy machine it may not be told how it compares.
        match said.clock_offset_seconds {
            Fact::Known(seconds) => assert!(seconds.abs() < 2.0, "{seconds}"),
            other => assert_eq!(other, Fact::Unknown),
        }

        cluster.psql("postgres", SLOT);
        let before = asked.said();
        assert_eq!(before.slot, Fact::Known(Slot::Kept));
        cluster.psql("postgres", WRITE);
        let after = asked.said();
        assert!(lag(&after) > lag(&before), "{before:?} {after:?}");
    }
}

#[test]
fn a_slot_that_was_left_behind_is_called_lost() {
    let builder = Cluster::builder().segment_size_mib(1);
    let cluster = builder.setting("max_slot_wal_keep_size", "2MB").start();
    cluster.psql("postgres", SLOT);
    let mut asked = Asked::of(&[cluster.conninfo()]);
    assert_eq!(asked.said().slot, Fact::Known(Slot::Kept));
    wait_for("the slot is lost", || {
        cluster.psql("postgres", WRITE);
        cluster.psql("postgres", "select pg_switch_wal()");
        cluster.psql("postgres", "checkpoint");
        asked.said().slot == Fact::Known(Slot::Lost)
    });
    assert_eq!(asked.said().slot_lag_bytes, Fact::Unknown);
}

#[test]
fn what_the_role_may_not_see_is_unknown() {
    let cluster = Cluster::builder().data_checksums(false).start();
    cluster.psql("postgres", &format!("create role poor login; {SLOT}"));
    let (socket, port) = (cluster.socket_dir(), cluster.port());
    let conninfo = format!("host={} port={port} user=poor dbname=postgres", socket.display());
    let mut asked = Asked::of(&[conninfo]);
    let said = asked.said();
    assert_eq!((said.replicas, said.slot), (Fact::Unknown, Fact::Known(Slot::Kept)));
    // No checksums, no limit: there is nothing to tell.
    assert_eq!((said.checksum_failures, said.slot_limit_bytes), (Fact::Absent, Fact::Absent));
    cluster.psql("postgres", "grant pg_monitor to poor");
    let replicas = asked.said().replicas;
    assert_eq!(replicas, Fact::Known(Replicas { connected: 0, lag: None }));
}

#[test]
fn standbys_are_counted_on_every_host_and_their_lag_is_told() {
    let primary = Cluster::builder().start();
    let standby = Cluster::standby_of(&primary);
    primary.psql("postgres", SLOT);
    standby.psql("postgres", SLOT);
    let mut asked = Asked::of(&[primary.conninfo(), standby.conninfo()]);
    wait_for("the standby has replayed everything", || {
        matches!(asked.said().replicas, Fact::Known(Replicas { connected: 1, lag: Some(_) }))
    });
    let said = asked.said();
    assert_eq!(said.slot, Fact::Known(Slot::Kept));
    lag(&said);
}

#[test]
fn a_server_that_is_away_is_silent_until_it_is_back_and_the_other_one_is_heard() {
    let mut cluster = Cluster::builder().start();
    let other = Cluster::builder().start();
    let mut asked = Asked::of(&[cluster.conninfo()]);
    let mut both = Asked::of(&[cluster.conninfo(), other.conninfo()]);
    asked.said();
    both.said();
    cluster.stop(Stop::Fast);
    let silent = asked.facts();
    assert_eq!(silent.said, Said::UNKNOWN);
    assert_eq!(silent.unheard.len(), 1, "{silent:?}");
    assert_eq!(silent.silent_since, Some(silent.unheard[0].since));
    assert!(silent.unheard[0].host.contains(&cluster.port().to_string()), "{silent:?}");
    let still = asked.facts();
    assert_eq!(still.silent_since, silent.silent_since);
    let half = both.facts();
    assert_eq!((half.silent_since, half.unheard.len()), (None, 1));
    assert_eq!(half.said.checksum_failures, Fact::Known(0));
    cluster.restart();
    // The sessions of before are gone; new ones are made at once.
    asked.said();
    both.said();
}

#[test]
fn over_tls_it_is_told_when_the_certificate_ends() {
    for version in available_versions().into_iter().filter(|version| has_tls(*version)) {
        let cluster = Cluster::builder().version(version).tls(true).start();
        cluster.psql("postgres", "create role ops login password 'pw'");
        let conninfo = cluster.tcp_conninfo("ops", "pw");
        let said = Asked::of(std::slice::from_ref(&conninfo)).said();
        let Fact::Known(until) = said.certificate_until else { panic!("{said:?}") };
        // It was made for two days.
        let left = until.duration_since(Timestamp::now());
        assert!(left.as_hours() < 49 && left.as_hours() > 24, "{until}");
        let clear = conninfo.replace("sslmode=verify-full", "sslmode=disable");
        assert_eq!(Asked::of(&[clear]).said().certificate_until, Fact::Absent);
    }
}
