//! Copies in a second repository: what is due is brought there; either repository alone, and both
//! together, bring back what they hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fenice::adapters::system::{SystemClock, SystemEntropy};
use fenice::config::Replicate;
use fenice::engines::postgres::copy::{CopyJob, CopyRun};
use fenice::engines::postgres::restore::recover::{Reached, Tools, plan_recovery, restore_files};
use fenice::engines::postgres::restore::sources::Sources;
use fenice::engines::postgres::ship::Until;
use fenice::engines::progress::Progress;
use fenice::error::{Kind, Result};
use fenice::model::{Extent, Lsn, Span};
use fenice::plan::facts::{Request, Target};
use fenice::plan::retention::{Role, Terms};
use fenice::repository::manifest::SnapshotManifest;
use fenice::repository::vault::WriteSettings;
use fenice::repository::{Repository, layout};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::watch;

use super::restoring::Restored;
use super::rig::Rig;
use crate::support::Cluster;

const DAY: u64 = 86_400;

/// Copies into the repository of another rig; the week began today.
fn job(main: &Rig, copies: &Rig, replicate: Replicate) -> CopyJob {
    let zone = TimeZone::UTC;
    CopyJob {
        from: main.repository.clone(),
        to: copies.repository.clone(),
        resource: main.resource.clone(),
        terms: Terms {
            daily: Span::seconds(35 * DAY),
            weekly_extra: Span::seconds(25 * DAY),
            weekly_day: Timestamp::now().to_zoned(zone.clone()).weekday(),
            zone,
            keep_min: 2,
            role: Role::Main,
            active: true,
        },
        replicate,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        progress: Arc::new(Progress::default()),
        workers: 2,
        write: WriteSettings::default(),
    }
}

#[track_caller]
fn copied(main: &Rig, copies: &Rig, replicate: Replicate) -> CopyRun {
    let run = job(main, copies, replicate).run().unwrap();
    assert!(run.failed.is_empty(), "{run:?}");
    run
}

fn restore(rig: &Rig, cluster: &Cluster, sources: Sources, name: &str) -> Result<Restored> {
    restore_to(rig, cluster, sources, name, Target::Latest)
}

fn restore_to(
    rig: &Rig,
    cluster: &Cluster,
    sources: Sources,
    name: &str,
    target: Target,
) -> Result<Restored> {
    let tools = Tools { sources, ..rig.tools(cluster.bin_dir()) };
    let listing = tools.sources.list(&rig.resource)?;
    let request = Request::to(target);
    let (stored, plan) = plan_recovery(&tools, &rig.resource, &listing, &request)?;
    let to = rig.scratch.path().join(name);
    rig.start_with(&tools, restore_files(&tools, stored, plan, &to, &BTreeMap::new())?)
}

fn both(main: &Rig, copies: &Rig) -> Sources {
    Sources { first: main.repository.clone(), copies: Some(copies.repository.clone()) }
}

/// Writes the next number and ships it.
fn write(rig: &Rig, cluster: &Cluster, number: u32) {
    cluster.psql("postgres", &format!("insert into numbers values ({number})"));
    cluster.psql("postgres", "select pg_switch_wal()");
    let end: Lsn = cluster.psql("postgres", "select pg_current_wal_flush_lsn()").parse().unwrap();
    let shipper = rig.shipper(&rig.source(&[cluster.conninfo()]), Duration::from_secs(1));
    let (_stop, stopped) = watch::channel(false);
    rig.runtime.block_on(shipper.run(Until::Stored(end), stopped)).unwrap();
}

#[track_caller]
fn assert_numbers(restored: Restored, expected: &str) {
    let found =
        restored.query("postgres", "select string_agg(n::text, ' ' order by n) from numbers");
    assert_eq!(found, [expected]);
    drop(restored.stop());
}

fn forget(repository: &Repository, of: &SnapshotManifest) {
    repository.store.remove(&layout::snapshot(&of.resource, &of.id)).unwrap();
}

#[test]
fn either_repository_brings_back_what_it_holds_and_both_together_all() {
    let cluster = Cluster::builder().version(17).segment_size_mib(1).start();
    cluster.psql("postgres", "create table numbers (n int)");
    let (main, copies) = (Rig::new(), Rig::new());
    main.register(&main.source(&[cluster.conninfo()]));
    write(&main, &cluster, 1);
    let first = main.snapshot(&cluster);
    write(&main, &cluster, 2);
    let second = main.snapshot(&cluster);
    write(&main, &cluster, 3);

    // The first one of the week, with the log that makes it consistent.
    let run = copied(&main, &copies, Replicate::Weekly);
    let ids: Vec<&str> = run.snapshots.iter().map(|copy| copy.id.as_str()).collect();
    assert_eq!(ids, [first.id.as_str()]);
    assert!(run.snapshots[0].log_objects > 0 && run.log_objects == 0, "{run:?}");
    copies.restic_check();
    let alone = Sources::only(&copies.repository);
    assert_numbers(restore(&copies, &cluster, alone.clone(), "weekly").unwrap(), "1");
    assert!(copied(&main, &copies, Replicate::Weekly).snapshots.is_empty(), "copied once");

    // The copy's own files are its own: sealed to other keys, in a vault of another password.
    let copy = &copies.manifests()[0];
    assert_ne!(copy.vault.snapshot, first.vault.snapshot);
    assert_eq!(copy.copied.as_ref().unwrap().repository_id, main.repository.id);
    assert!(
        main.repository
            .identities()
            .unwrap()
            .open(
                &copies
                    .repository
                    .store
                    .get(&layout::snapshot(&copies.resource, &first.id))
                    .unwrap()
                    .unwrap(),
                1 << 20
            )
            .is_err()
    );

    // The main repository loses its snapshots: the copy's files, and the log that only it has.
    for snapshot in [&first, &second] {
        forget(&main.repository, snapshot);
    }
    assert!(restore(&main, &cluster, Sources::only(&main.repository), "none").is_err());
    assert_numbers(restore(&main, &cluster, both(&main, &copies), "united").unwrap(), "1 2 3");
}

#[test]
fn every_copy_is_recovered_by_its_name_whatever_came_after_it() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    cluster.psql("postgres", "create table numbers (n int)");
    let (main, copies) = (Rig::new(), Rig::new());
    main.register(&main.source(&[cluster.conninfo()]));
    let mut taken = Vec::new();
    for number in 1..4 {
        write(&main, &cluster, number);
        taken.push(main.snapshot(&cluster).id);
        write(&main, &cluster, number + 10);
        write(&main, &cluster, number + 20);
    }
    // Each with its own stretch of log, and nothing between them.
    assert_eq!(copied(&main, &copies, Replicate::Daily).snapshots.len(), 3);
    let alone = Sources::only(&copies.repository);
    let expected = ["1", "1 2 11 21", "1 2 3 11 12 21 22"];
    for (id, expected) in taken.into_iter().zip(expected) {
        let target = Target::Consistent { snapshot: id.clone() };
        let restored = restore_to(&copies, &cluster, alone.clone(), &id, target).unwrap();
        assert_eq!(restored.recovered.reached, Reached::Consistent);
        assert_numbers(restored, expected);
    }
}

#[test]
fn with_all_of_the_log_a_lost_main_repository_costs_nothing_that_was_copied() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    cluster.psql("postgres", "create table numbers (n int)");
    let (main, copies) = (Rig::new(), Rig::new());
    main.register(&main.source(&[cluster.conninfo()]));
    main.snapshot(&cluster);
    write(&main, &cluster, 1);
    main.snapshot(&cluster);
    write(&main, &cluster, 2);
    let run = copied(&main, &copies, Replicate::All);
    assert_eq!(run.snapshots.len(), 2);
    assert!(run.log_objects > 0);
    let alone = Sources::only(&copies.repository);
    assert_numbers(restore(&copies, &cluster, alone.clone(), "all").unwrap(), "1 2");

    // More log, and only that.
    write(&main, &cluster, 3);
    let run = copied(&main, &copies, Replicate::All);
    assert!(run.snapshots.is_empty() && run.log_objects > 0, "{run:?}");
    assert_numbers(restore(&copies, &cluster, alone, "more").unwrap(), "1 2 3");
    let run = copied(&main, &copies, Replicate::All);
    assert_eq!((run.snapshots.len(), run.log_objects), (0, 0));

    // A hole in the main repository's log is filled from the copies while it is recovered; so is
    // what is there and cannot be read.
    let needed: Vec<_> = main.archive().inventory().unwrap().objects;
    let last = needed.iter().rfind(|object| object.extent == Extent::Whole).unwrap();
    main.repository.store.remove(&last.key).unwrap();
    for part in needed.iter().filter(|part| part.segment == last.segment) {
        main.repository.store.remove(&part.key).unwrap();
    }
    let error = restore(&main, &cluster, Sources::only(&main.repository), "hole").err();
    let found = error.map(|error| error.kind());
    assert!(matches!(found, None | Some(Kind::Refused)), "{found:?}");
    main.repository.store.put_new(&last.key, b"rubbish").unwrap();
    assert_numbers(restore(&main, &cluster, both(&main, &copies), "filled").unwrap(), "1 2 3");
}

#[test]
fn copies_never_mix_with_another_life_or_another_cluster() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    let (main, other, copies) = (Rig::new(), Rig::new(), Rig::new());
    main.snapshot(&cluster);
    copied(&main, &copies, Replicate::Daily);

    // The same cluster's name under another system identifier.
    let stranger = Cluster::builder().version(15).segment_size_mib(1).start();
    other.snapshot(&stranger);
    let before = copies.repository.store.list("").unwrap();
    let refused = job(&other, &copies, Replicate::Daily).run().unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);
    assert_eq!(copies.repository.store.list("").unwrap(), before);

    // Two at once.
    let lock = copies.repository.store.lock("postgres/registro/vault").unwrap();
    main.snapshot(&cluster);
    assert_eq!(job(&main, &copies, Replicate::Daily).run().unwrap_err().kind(), Kind::Busy);
    drop(lock);

    // What is damaged is not copied, and does not hold up what is sound.
    let damaged = main.manifests().pop().unwrap();
    cluster.psql("postgres", "select pg_switch_wal()");
    let sound = main.snapshot(&cluster);
    let log = main.archive().inventory().unwrap();
    let start = log.segment_size.number_of(damaged.start_lsn);
    for object in log.segment(damaged.timeline, start) {
        main.repository.store.remove(&object.key).unwrap();
        main.repository.store.put_new(&object.key, b"rubbish").unwrap();
    }
    let run = job(&main, &copies, Replicate::Daily).run().unwrap();
    let failed: Vec<&String> = run.failed.iter().map(|(id, _)| id).collect();
    assert_eq!(failed, [&damaged.id], "{run:?}");
    assert!(run.snapshots.iter().any(|copy| copy.id == sound.id));
    copies.restic_check();
}
