//! Facts in which everything that can be shown is there, and an instant at which to show them.

use std::collections::BTreeMap;
use std::time::Duration;

use fenice::model::{ResourceName, Span};
use fenice::web::{
    CopyFacts, Disk, DrillFacts, Fact, JobCounts, JobResult, LeaseState, Measured, Promise,
    Replicas, RepositoryFacts, ResourceFacts, Room, UnderWay,
};
use jiff::Timestamp;

/// When the sample is shown, seconds since 1970.
const NOW: i64 = 1_795_000_000;

pub(super) fn now() -> Timestamp {
    ago(0)
}

pub(super) fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW - seconds).unwrap()
}

pub(super) fn name(text: &str) -> ResourceName {
    text.parse().unwrap()
}

pub(super) fn promise() -> Promise {
    let hours = |hours: u64| Span::seconds(hours * 3_600);
    Promise { rpo: hours(1), rto: hours(4), verify_within: hours(30 * 24) }
}

/// A resource of which everything is known.
pub(super) fn known() -> ResourceFacts {
    ResourceFacts {
        promise: Some(promise()),
        measured_at: Some(ago(20)),
        red_reasons: Fact::Known(0),
        data_until: Fact::Known(ago(42)),
        last_snapshot_at: Fact::Known(ago(50_000)),
        damaged_pages: Fact::Known(0),
        last_proof_at: Fact::Known(ago(400_000)),
        window_start: Fact::Known(ago(35 * 86_400)),
        gap_bytes: Fact::Known(0),
        slot_lag_bytes: Fact::Known(16 << 20),
        slot_limit_bytes: Fact::Known(1 << 30),
        shipping_in_trouble: Fact::Known(false),
        last_verify_at: Fact::Known(ago(40_000)),
        verified_since: Fact::Known(ago(2_000_000)),
        stored_damage: Fact::Known(0),
        copies: Some(CopyFacts {
            last_at: Fact::Known(ago(200_000)),
            late: Fact::Known(0),
            data_until: Fact::Known(ago(200_100)),
        }),
        overdue: Fact::Known(0),
        drill: Fact::Known(DrillFacts {
            ended_at: ago(400_000),
            passed: true,
            rto: Some(Span(Duration::from_millis(901_500))),
            rpo: Some(Span::seconds(3)),
        }),
        vault_key_at: Fact::Known(ago(10_000_000)),
        checksum_failures: Fact::Known(0),
        clock_offset_seconds: Fact::Known(-0.25),
        certificate_until: Fact::Known(ago(-8_000_000)),
        replicas: Fact::Known(Replicas { connected: 2, lag: Some(Span::seconds(1)) }),
    }
}

/// One resource, `registro`, with two repositories; a snapshot runs and a copy waits.
pub(super) fn sample() -> Measured {
    let registro = name("registro");
    let mut jobs = JobCounts::default();
    jobs.expect(&registro, "copy");
    jobs.note(&registro, "snapshot", JobResult::Failed, Duration::from_secs(2));
    jobs.note(&registro, "snapshot", JobResult::Done, Duration::from_secs(250));
    jobs.note(&registro, "verify", JobResult::Failed, Duration::from_secs(3));
    let of = |lease| RepositoryFacts {
        reachable: true,
        bytes: Fact::Known(1 << 40),
        generation: Fact::Known(3),
        lease,
    };
    let room = Room { free_bytes: 600_000, size_bytes: 1_000_000 };
    Measured {
        version: "0.1.0",
        started_at: ago(90_000),
        last_turn_at: ago(1),
        resources: BTreeMap::from([(registro.clone(), known())]),
        repositories: BTreeMap::from([
            ("main".to_owned(), of(LeaseState::Held)),
            ("offsite".to_owned(), of(LeaseState::StandingBy)),
        ]),
        disks: BTreeMap::from([
            (Disk::State, room),
            (Disk::Repository("main".to_owned()), room),
            (Disk::Source(registro.clone()), room),
        ]),
        jobs,
        under_way: vec![UnderWay {
            resource: registro.clone(),
            kind: "snapshot",
            done_bytes: 1 << 20,
            expected_bytes: Some(1 << 30),
        }],
        waiting: vec![(registro, "copy")],
    }
}
