//! Retention carried out, on a calendar of the test's: real snapshots go when their time is over,
//! what stays restores, and nothing is left that only led to what went.

use std::sync::Arc;
use std::time::Duration;

use fenice::adapters::system::SystemEntropy;
use fenice::engines::postgres::expire::{Applied, Expiry};
use fenice::error::Kind;
use fenice::model::Span;
use fenice::plan::facts::Target;
use fenice::plan::retention::{RetentionPlan, Role, Terms};
use fenice::ports::Clock;
use fenice::ports::store::Put;
use fenice::repository::hold::{self, HoldManifest, Release};
use fenice::repository::pin::{self, PinFile};
use fenice::repository::vault::WriteSettings;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::rig::Rig;
use crate::support::Cluster;

const DAY: u64 = 86_400;

/// It is always then.
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// The standing promise, `days` after today; the week began today.
fn expiry(rig: &Rig, days: u64, active: bool) -> Expiry {
    let today = Timestamp::now();
    let zone = TimeZone::UTC;
    Expiry {
        copies: None,
        repository: rig.repository.clone(),
        resource: rig.resource.clone(),
        terms: Terms {
            daily: Span::seconds(35 * DAY),
            weekly_extra: Span::seconds(25 * DAY),
            weekly_day: today.to_zoned(zone.clone()).weekday(),
            zone,
            keep_min: 2,
            role: Role::Only,
            active,
        },
        clock: Arc::new(At(today.checked_add(Duration::from_secs(days * DAY)).unwrap())),
        entropy: Arc::new(SystemEntropy),
        write: WriteSettings::default(),
    }
}

fn states(plan: &RetentionPlan) -> Vec<&'static str> {
    let state =
        |ruling: &fenice::plan::retention::Ruling| match (ruling.stays(), ruling.is_overdue()) {
            (false, _) => "goes",
            (true, true) => "overdue",
            (true, false) => "stays",
        };
    plan.snapshots.iter().map(state).collect()
}

fn apply(rig: &Rig, days: u64, active: bool) -> (Vec<&'static str>, Applied) {
    let (plan, applied) = expiry(rig, days, active).apply(true).unwrap();
    (states(&plan), applied)
}

fn ids(rig: &Rig) -> Vec<String> {
    rig.manifests().into_iter().map(|manifest| manifest.id).collect()
}

#[test]
fn snapshots_go_when_their_time_is_over_and_what_stays_restores() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    cluster.pgbench_init(2);
    let rig = Rig::new();
    let mut sums = Vec::new();
    for turn in 1..=4 {
        cluster
            .psql("postgres", &format!("update pgbench_tellers set tbalance = {turn}; checkpoint"));
        cluster
            .psql("postgres", "insert into pgbench_history select from generate_series(1, 20000)");
        sums.push(cluster.psql("postgres", "select sum(tbalance) from pgbench_tellers"));
        rig.snapshot(&cluster);
    }
    let all = ids(&rig);
    let log_before = rig.archive().inventory().unwrap().objects.len();

    let young = expiry(&rig, 34, true).plan().unwrap();
    assert_eq!(states(&young), ["stays"; 4]);
    let superseded = |because: &str| because.contains("the whole segment is stored beside it");
    assert!(young.log.iter().all(|ruling| ruling.stays || superseded(&ruling.because)));
    // Weekly, nobody's, one of the last two, anchor.
    let (ruled, applied) = apply(&rig, 36, true);
    assert_eq!(ruled, ["stays", "goes", "overdue", "stays"]);
    assert_eq!(ids(&rig), [&all[0], &all[2], &all[3]].map(String::clone));
    assert!(applied.log_objects > 0 && applied.vault.unwrap().packs_marked > 0, "{applied:?}");
    rig.restic_check();
    for (id, sum) in [(0, &sums[0]), (2, &sums[2]), (3, &sums[3])] {
        let target = Target::Consistent { snapshot: all[id].clone() };
        let restored = rig.restore(&cluster, &format!("r{id}"), target).unwrap();
        let found = restored.query("postgres", "select sum(tbalance) from pgbench_tellers");
        assert_eq!(&found, std::slice::from_ref(sum));
        // Who restores tells retention so, until it is done.
        let pins = || pin::in_force(&rig.repository, &rig.resource, Timestamp::now()).unwrap();
        assert_eq!(pins().len(), 1);
        // By the store's clock it is today.
        assert_eq!(apply(&rig, 0, true).1.vault, None);
        drop(restored.stop());
        assert!(pins().is_empty());
    }

    // A second run the next day deletes the packs that were marked, and nothing else.
    let (_, applied) = apply(&rig, 37, true);
    let pruned = applied.vault.unwrap();
    assert!(pruned.packs_deleted > 0 && pruned.packs_waiting == 0, "{pruned:?}");
    assert_eq!((applied.snapshots, pruned.packs_marked), (0, 0));
    rig.restic_check();

    // Past the horizon only guards keep anything; a retired resource has none.
    let (ruled, _) = apply(&rig, 61, true);
    assert_eq!(ruled, ["goes", "overdue", "overdue"]);
    let (ruled, _) = apply(&rig, 61, false);
    assert_eq!(ruled, ["goes", "goes"]);
    apply(&rig, 62, false);
    assert!(rig.manifests().is_empty());
    let left = rig.repository.store.list("postgres/registro/vault/data/").unwrap();
    assert!(left.is_empty(), "{left:?}");
    let log_after = rig.archive().inventory().unwrap().objects.len();
    assert!(log_before > 4 && log_after == 0, "{log_before} objects before, {log_after} after");
}

#[test]
fn holds_readers_locks_and_doubts_keep_what_would_go() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    let rig = Rig::new();
    for _ in 0..5 {
        rig.snapshot(&cluster);
    }
    let all = ids(&rig);
    // Three of five at once is no usual day.
    let refused = expiry(&rig, 61, false).apply(false).unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);
    assert!(refused.chain().contains("5 of 5 snapshots would go"), "{refused:?}");
    assert_eq!(ids(&rig), all);

    let given = HoldManifest {
        version: 1,
        id: "h1".to_owned(),
        snapshot: Some(all[1].clone()),
        who: "Rossi".to_owned(),
        why: "tribunal of Campobasso".to_owned(),
        given_at: Timestamp::now(),
        until: None,
    };
    hold::add(&rig.repository, &rig.resource, &given).unwrap();
    let (ruled, _) = apply(&rig, 61, false);
    assert_eq!(ruled, ["goes", "overdue", "goes", "goes", "goes"]);
    assert_eq!(ids(&rig), [all[1].clone()]);
    let plan = expiry(&rig, 62, false).plan().unwrap();
    assert!(plan.snapshots[0].verdict.to_string().contains("Rossi: tribunal"), "{plan:?}");
    rig.restic_check();

    let release = Release {
        version: 1,
        hold: "h1".to_owned(),
        who: "Rossi".to_owned(),
        why: "judged".to_owned(),
        released_at: Timestamp::now(),
    };
    let ended = || hold::release(&rig.repository, &rig.resource, &release).unwrap();
    assert_eq!((ended(), ended()), (Put::Created, Put::Exists));
    // Somebody restores it just now; by the store's clock this is today.
    let file = PinFile::reader(rig.resource.clone(), all[1].clone());
    let own = pin::put(&rig.repository, "reader", &file).unwrap();
    rig.repository.store.put_new("pins/odd.json", b"nonsense").unwrap();
    let pinned = |at: Timestamp| pin::in_force(&rig.repository, &rig.resource, at).unwrap().len();
    assert_eq!(pinned(Timestamp::now()), 2, "what cannot be read pins as well");
    assert_eq!(pinned(Timestamp::now().checked_add(pin::TTL.0 * 2).unwrap()), 0);
    drop(own);
    assert_eq!(pinned(Timestamp::now()), 1);

    // Nobody else writes while a plan is carried out.
    let lock = rig.repository.store.lock("postgres/registro/vault").unwrap();
    assert_eq!(expiry(&rig, 62, false).apply(true).unwrap_err().kind(), Kind::Busy);
    drop(lock);
    let (ruled, _) = apply(&rig, 62, false);
    assert_eq!(ruled, ["goes"]);
    assert!(rig.manifests().is_empty());
}
