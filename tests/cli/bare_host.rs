//! A bare host takes charge of many clusters with 35 days of history, after one that died without
//! a word. `FENICE_TEST_CLUSTERS` says how many; the time of each phase is printed.
//!
//! Clusters, their last snapshots and the end of their log are real. What was before is made as it
//! would lie there: a manifest a day, a segment an hour, and parts that nobody has removed yet.

use fenice::adapters::system::SystemEntropy;
use fenice::catalog::Catalog;
use fenice::model::wal_name::segment_name;
use fenice::model::{Extent, ResourceName, SegmentSize, Timeline};
use fenice::ports::Entropy;
use fenice::ports::store::{Put, Replaced};
use fenice::repository::manifest::{self, SnapshotManifest};
use fenice::repository::seal::Identities;
use fenice::repository::{Repository, at_once, layout, wal_codec};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::rig::Place;
use crate::support::{Cluster, Stop};

const DAYS: u64 = 35;
const SEGMENTS_A_DAY: u64 = 24;
/// Where the real log begins, with room for what is made before it.
const FIRST_SEGMENT: u64 = 1_000;
const PARTS: u64 = 12;
const SIZE: SegmentSize = SegmentSize::DEFAULT;
const TIMELINE: Timeline = Timeline(1);

fn count() -> usize {
    let told = std::env::var("FENICE_TEST_CLUSTERS").ok();
    told.map_or(3, |text| text.parse().expect("FENICE_TEST_CLUSTERS=20"))
}

/// A cluster whose log begins late.
fn start() -> Cluster {
    let mut cluster = Cluster::builder().version(15).setting("shared_buffers", "16MB").start();
    cluster.stop(Stop::Fast);
    let first = segment_name(TIMELINE, FIRST_SEGMENT, SIZE);
    let data_dir = cluster.data_dir().display().to_string();
    cluster.program("pg_resetwal", &["-l", &first, &data_dir]).expect_success("pg_resetwal");
    cluster.restart();
    cluster
}

fn configure(place: &Place, clusters: &[(ResourceName, Cluster)]) {
    let dir = place.dir().display();
    let repository = place.home.configuration(&place.path("bucket.key"));
    let mut text = format!(
        r#"[daemon]
state_dir = "{dir}/state"
[repository.main]
{repository}identity = {{ file = "{dir}/identity.age" }}
[policy.standard]
ship_every = "1s"
"#
    );
    for (name, cluster) in clusters {
        text += &format!(
            r#"[[resource]]
name = "{name}"
kind = "postgres"
repository = "main"
policy = "standard"
connection = "{conninfo}"
data_dir = "{data_dir}"
workers = 1
"#,
            conninfo = cluster.conninfo(),
            data_dir = cluster.data_dir().display(),
        );
    }
    place.write("fenice.toml", &text);
}

/// The repository as any host sees it.
fn open(place: &Place) -> Repository {
    let identity = std::fs::read_to_string(place.path("identity.age")).unwrap();
    let identities = Identities::parse(&identity).unwrap();
    Repository::open_as_it_is(place.home.straight(), identities).unwrap()
}

/// Puts 35 days before the one snapshot that there is.
fn make_history(repository: &Repository, name: &ResourceName) -> SnapshotManifest {
    let newest = manifest::snapshots(repository, name).unwrap().pop().unwrap();
    for day in 1..=DAYS {
        let earlier = |at: Timestamp| at - SignedDuration::from_hours(24 * day as i64);
        let segment = SIZE.start_of(FIRST_SEGMENT - day * SEGMENTS_A_DAY);
        let started_at = earlier(newest.started_at);
        let made = SnapshotManifest {
            id: layout::instant(started_at),
            started_at,
            stopped_at: earlier(newest.stopped_at),
            start_lsn: segment.plus(0x28),
            stop_lsn: segment.plus(0x2000),
            ..newest.clone()
        };
        let key = layout::snapshot(name, &made.id);
        assert_eq!(manifest::create(repository, &key, &made).unwrap(), Put::Created);
    }
    let sealed = |bytes: u64| {
        // Not all zeros, which would shrink to nothing.
        let mut body = vec![0; bytes as usize];
        SystemEntropy.fill(&mut body[..4_096]);
        wal_codec::encode(&repository.recipients, &body, Some(newest.started_at), 3).unwrap()
    };
    let part = SIZE.bytes() / PARTS / 8_192 * 8_192;
    let (whole, part_body) = (sealed(SIZE.bytes()), sealed(part));
    let first = FIRST_SEGMENT - DAYS * SEGMENTS_A_DAY;
    let segments = (first..FIRST_SEGMENT).map(|number| (number, Extent::Whole));
    let parts = (0..PARTS).map(|number| {
        let from = number * part;
        (FIRST_SEGMENT - 1, Extent::Part { from, to: from + part })
    });
    let objects: Vec<(u64, Extent)> = segments.chain(parts).collect();
    let system_id = newest.cluster.system_id;
    at_once::each(16, &objects, |(number, extent)| {
        let key = layout::wal_object(name, system_id, TIMELINE, *number, SIZE, *extent);
        let body = if *extent == Extent::Whole { &whole } else { &part_body };
        assert_eq!(repository.store.put_new(&key, body).unwrap(), Put::Created);
    });
    newest
}

/// As it is after a host whose power failed while it shipped every log.
fn die(place: &Place, repository: &Repository, clusters: &[(ResourceName, Cluster)]) {
    let replaced = repository.store.replace(layout::LEASE, &mut |was| {
        let mut lease: serde_json::Value = serde_json::from_slice(was).unwrap();
        lease["members"] = json!(["a process of that host"]);
        Ok(serde_json::to_vec(&lease).unwrap())
    });
    assert_eq!(replaced.unwrap(), Replaced::Done);
    for (name, _) in clusters {
        place.home.lock_elsewhere(&format!("postgres/{name}/wal"));
    }
}

#[test]
fn a_bare_host_is_in_charge_of_all_clusters_with_their_history() {
    let numbers: Vec<usize> = (1..=count()).collect();
    let names: Vec<ResourceName> =
        numbers.iter().map(|number| format!("cluster-{number:02}").parse().unwrap()).collect();
    let started = at_once::each(4, &numbers, |_| start());
    let clusters: Vec<(ResourceName, Cluster)> = names.into_iter().zip(started).collect();
    let old = Place::in_bucket();
    configure(&old, &clusters);
    old.does(&["init"]);
    at_once::each(4, &clusters, |(name, _)| {
        old.does(&["prepare", name.as_str()]);
        old.does(&["snapshot", name.as_str()]);
    });
    let repository = open(&old);
    let newest: Vec<SnapshotManifest> =
        clusters.iter().map(|(name, _)| make_history(&repository, name)).collect();
    die(&old, &repository, &clusters);
    let ends: Vec<String> = clusters
        .iter()
        .map(|(_, cluster)| {
            cluster.psql("postgres", "create table later as select generate_series(1, 1000)");
            cluster.psql("postgres", "select pg_current_wal_flush_lsn()")
        })
        .collect();

    let new = old.another_host();
    configure(&new, &clusters);
    let taken = new.json(0, &["takeover"]);
    let phases: Vec<String> = taken["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!("{} {:.2} s", one["phase"].as_str().unwrap(), one["seconds"].as_f64().unwrap())
        })
        .collect();
    println!(
        "{} clusters with {DAYS} days each: in charge after {:.1} s ({})",
        clusters.len(),
        taken["took_seconds"].as_f64().unwrap(),
        phases.join(", ")
    );
    assert_eq!(taken["whole"], true, "{taken}");
    let catalog = Catalog::open(&new.path("state/catalog.sqlite")).unwrap();
    for (number, (name, cluster)) in clusters.iter().enumerate() {
        let one = &taken["resources"][number];
        let found = &one["catalog"];
        assert_eq!((&one["resource"], &found["snapshots"]), (&json!(name), &json!(DAYS + 1)));
        let objects = found["log_objects"].as_u64().unwrap();
        assert!(objects > DAYS * SEGMENTS_A_DAY + PARTS, "{one}");
        let from: Timestamp = found["window_from"].as_str().unwrap().parse().unwrap();
        let back = SignedDuration::from_hours(24 * DAYS as i64);
        assert_eq!(from, newest[number].stopped_at - back, "{one}");
        let stored = one["shipped"]["stored_until"].as_str().unwrap();
        let sql = format!("select '{stored}'::pg_lsn >= '{}'::pg_lsn", ends[number]);
        assert_eq!(cluster.psql("postgres", &sql), "t", "{one}");
        let noted = catalog.shipping(name, newest[number].cluster.system_id).unwrap().unwrap();
        assert_eq!(noted.stored_until.to_string(), stored, "{one}");
    }
    // One stretch without a hole, from the first of those days to the end.
    let first = clusters[0].0.as_str();
    let list = new.json(0, &["list", first])[0].clone();
    assert_eq!(list["windows"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["windows"][0]["snapshots"].as_array().unwrap().len() as u64, DAYS + 1);
    new.does(&["ship", first, "--once"]);
}
