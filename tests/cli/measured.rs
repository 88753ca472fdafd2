//! What the daemon's looks and glances find of what the commands left; and what `status` adds of
//! what a daemon noted.

use fenice::catalog::Catalog;
use fenice::config::{Config, parse};
use fenice::daemon::Parts;
use fenice::daemon::judge::OF_REPOSITORIES;
use fenice::daemon::watch::{Follower, Looked, bytes_of, look, look_at, rooms};
use fenice::engines::postgres::ship::ShipState;
use fenice::model::{ResourceName, Span};
use fenice::plan::condition::kind;
use fenice::web::{Disk, Fact, LeaseState};

use super::rig::{Place, RESOURCE};
use crate::support::Cluster;

/// What a daemon works with, in this process.
struct Daemon {
    parts: Parts,
    config: Config,
    catalog: Catalog,
}

impl Daemon {
    fn of(place: &Place) -> Daemon {
        let text = std::fs::read_to_string(place.path("fenice.toml")).unwrap();
        let config = parse(&text, "fenice.toml").unwrap();
        let parts = Parts::of_this_machine().unwrap();
        let catalog = parts.catalog(&config).unwrap();
        Daemon { parts, config, catalog }
    }

    fn look(&self) -> Looked {
        let now = self.parts.clock.now();
        look(&self.parts, &self.config, &self.config.resources[0], &self.catalog, now)
    }
}

fn name() -> ResourceName {
    RESOURCE.parse().unwrap()
}

#[test]
fn a_look_finds_what_is_stored_verified_copied_and_proven() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    cluster.psql("postgres", "create table numbers as select 1 as n");
    let (place, _copies) = Place::with_copies(&cluster, "");
    place.does(&["init"]);
    let daemon = Daemon::of(&place);
    let empty = daemon.look();
    let facts = &empty.facts;
    assert_eq!((facts.last_snapshot_at, facts.vault_key_at), (Fact::Absent, Fact::Absent));
    assert!(empty.reds.iter().any(|red| red.kind == kind::SNAPSHOT), "{empty:?}");

    place.does(&["prepare", RESOURCE]);
    place.does(&["ship", RESOURCE, "--once"]);
    place.does(&["snapshot", RESOURCE]);
    place.does(&["ship", RESOURCE, "--once"]);
    place.does(&["copy", RESOURCE]);
    let taken = daemon.look();
    assert_eq!((taken.reds.as_slice(), taken.untold), (&[][..], &[][..]));
    assert_eq!((taken.facts.last_verify_at, taken.facts.drill), (Fact::Absent, Fact::Absent));
    place.does(&["verify", RESOURCE]);
    place.json(0, &["drill", "run", RESOURCE]);
    let looked = daemon.look();
    let facts = &looked.facts;
    assert_eq!((facts.red_reasons, facts.gap_bytes), (Fact::Known(0), Fact::Known(0)));
    assert_eq!((facts.stored_damage, facts.overdue), (Fact::Known(0), Fact::Known(0)));
    assert_eq!(facts.shipping_in_trouble, Fact::Known(false));
    let known = [
        facts.data_until,
        facts.last_snapshot_at,
        facts.window_start,
        facts.last_verify_at,
        facts.verified_since,
        facts.vault_key_at,
        facts.copies.unwrap().last_at,
        facts.copies.unwrap().data_until,
    ];
    assert!(known.iter().all(|fact| matches!(fact, Fact::Known(_))), "{facts:?}");
    assert_eq!(facts.copies.unwrap().late, Fact::Known(0));
    let Fact::Known(drill) = facts.drill else { panic!("{facts:?}") };
    assert!(drill.passed && drill.rto.is_some() && drill.rpo.is_some(), "{drill:?}");
    assert_eq!(facts.last_proof_at, Fact::Known(drill.ended_at));
    // What the source tells is another's to ask.
    assert_eq!((facts.replicas, facts.slot_lag_bytes), (Fact::Unknown, Fact::Unknown));
    for repository in ["main", "offsite"] {
        let bytes = bytes_of(repository, &daemon.config, |_| Some(&looked));
        assert!(matches!(bytes, Fact::Known(bytes) if bytes > 1 << 20), "{repository}: {bytes:?}");
    }
    what_is_shipped_since_is_followed(&place, &daemon, looked);
    a_repository_that_is_away_is_unknown(&place, &daemon);
}

fn what_is_shipped_since_is_followed(place: &Place, daemon: &Daemon, looked: Looked) {
    let mut follower = Follower::new(name(), looked.clone());
    let now = || daemon.parts.clock.now();
    let before = follower.glance(None, &[], &daemon.catalog, now());
    assert_eq!(before.facts.data_until, looked.facts.data_until);
    assert!(before.exposure.is_some() && before.reds.is_empty(), "{before:?}");
    place.does(&["ship", RESOURCE, "--once"]);
    // As the shipper of this process would say.
    let again = daemon.look();
    let (Fact::Known(old), Fact::Known(new)) = (looked.facts.data_until, again.facts.data_until)
    else {
        panic!("{again:?}")
    };
    assert!(new > old);
    let stored = fenice::model::Lsn(u64::MAX / 2);
    let shipping = ShipState { stored, ..ShipState::default() };
    let after = follower.glance(Some(&shipping), &[], &daemon.catalog, now());
    assert_eq!(after.facts.data_until, Fact::Known(new));
    assert!(!after.look_again && after.untold.is_empty());
}

fn a_repository_that_is_away_is_unknown(place: &Place, daemon: &Daemon) {
    let now = daemon.parts.clock.now();
    let opened = daemon.parts.open_repository(&daemon.config, "main").unwrap();
    let (opened, lease, bytes) = (Ok(&opened), LeaseState::Held, Fact::Unknown);
    let there = look_at(opened, lease, bytes, None, now);
    assert!(there.facts.reachable, "{there:?}");
    assert!(matches!(there.facts.generation, Fact::Known(generation) if generation > 0));
    assert!(rooms(&daemon.config).rooms.contains_key(&Disk::State));
    place.home.take_away();
    let away = daemon.look();
    assert_eq!((away.untold, away.facts.data_until), (OF_REPOSITORIES, Fact::Unknown));
    assert_eq!(away.reds.iter().map(|red| red.kind).collect::<Vec<_>>(), [kind::STATUS]);
    assert!(away.due_at() < away.at.checked_add(std::time::Duration::from_secs(600)).unwrap());
    let gone = look_at(opened, lease, bytes, Some(&there), now);
    assert_eq!((gone.facts.reachable, gone.unreachable.is_some()), (false, true));
    place.home.give_back();
    let back = daemon.look();
    assert!(back.reds.is_empty(), "{back:?}");
}

#[test]
fn status_tells_the_worst_exposure_that_a_daemon_noted() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    place.does(&["ship", RESOURCE, "--once"]);
    place.does(&["snapshot", RESOURCE]);
    place.does(&["ship", RESOURCE, "--once"]);
    let before = place.json(0, &["status"]);
    assert!(before["daemon"].is_null() && before["resources"][0]["next"].is_array(), "{before}");
    assert!(before["resources"][0]["worst_exposure_seconds"].is_null(), "{before}");
    let daemon = Daemon::of(&place);
    let zone = daemon.config.daemon.timezone.clone();
    let today = daemon.parts.clock.now().to_zoned(zone).date();
    let long_ago = today.checked_sub(jiff::Span::new().days(30)).unwrap();
    for (day, exposure) in [(long_ago, Some(9_000)), (today, Some(5_000)), (today, None)] {
        let note = [(name(), exposure.map(Span::seconds))];
        daemon.catalog.note_exposures(day, &note).unwrap();
    }
    let after = place.json(0, &["status"]);
    assert_eq!(after["resources"][0]["worst_exposure_seconds"], 5_000.0, "{after}");
    assert_eq!(after["resources"][0]["exposure_unknown_minutes"], 1, "{after}");
    let text = place.does(&["status"]);
    let told = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = "at most 1 h 23 min in the last 7 days, unknown for 1 min of them";
    assert!(told.contains(expected), "{text}");
}
