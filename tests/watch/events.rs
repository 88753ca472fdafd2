//! Events, from facts made up: tables.

use std::collections::{BTreeMap, BTreeSet};

use fenice::daemon::judge::{FAILURES_RED, OF_REPOSITORIES, Red};
use fenice::daemon::watch::events::{
    DISK_PART_RED, ResourceState, UNREACHABLE_MOST, events, of_disks, of_repository, of_resource,
};
use fenice::daemon::watch::findings::{
    CERTIFICATE_LEFT_LEAST, CLOCK_OFFSET_MOST_SECONDS, PROOF_AGE_MOST, SILENT_MOST, SLOT_PART_MOST,
    VAULT_KEY_AGE_MOST, VERIFY_GRACE,
};
use fenice::daemon::watch::{RepositorySeen, Rooms, Said, Slot, SourceFacts, Unheard};
use fenice::model::{ResourceName, Span};
use fenice::notify::{Event, Severity};
use fenice::plan::condition::kind;
use fenice::web::{
    Disk, DrillFacts, Fact, LeaseState, Promise, RepositoryFacts, ResourceFacts, Room,
};
use jiff::Timestamp;

use Severity::{Good, Red as Bad, Warning};

const DAY: i64 = 86_400;

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 - seconds).unwrap()
}

fn name() -> ResourceName {
    "registro".parse().unwrap()
}

/// A resource of which everything is as promised.
fn facts() -> ResourceFacts {
    let hours = |hours: u64| Span::seconds(hours * 3_600);
    let promise = Promise { rpo: hours(1), rto: hours(4), verify_within: hours(30 * 24) };
    ResourceFacts {
        window_start: Fact::Known(ago(35 * DAY)),
        last_proof_at: Fact::Known(ago(20 * DAY)),
        last_verify_at: Fact::Known(ago(DAY)),
        verified_since: Fact::Known(ago(29 * DAY)),
        overdue: Fact::Known(0),
        drill: Fact::Known(DrillFacts {
            ended_at: ago(20 * DAY),
            passed: true,
            rto: Some(hours(1)),
            rpo: None,
        }),
        vault_key_at: Fact::Known(ago(700 * DAY)),
        ..ResourceFacts::unmeasured(Some(promise))
    }
}

fn source() -> SourceFacts {
    let said = Said {
        slot: Fact::Known(Slot::Kept),
        slot_lag_bytes: Fact::Known(16 << 20),
        slot_limit_bytes: Fact::Known(1 << 30),
        replicas: Fact::Unknown,
        checksum_failures: Fact::Known(0),
        clock_offset_seconds: Fact::Known(-0.2),
        certificate_until: Fact::Known(ago(-60 * DAY)),
    };
    SourceFacts { said, silent_since: None, unheard: Vec::new() }
}

fn told_with(
    facts: &ResourceFacts,
    source: &SourceFacts,
    reds: &[Red],
    untold: &[&'static str],
) -> Vec<Event> {
    let (mut facts, resource) = (facts.clone(), name());
    source.fill(&mut facts);
    let state = ResourceState { resource: &resource, facts: &facts, source, reds, untold };
    let told = of_resource(&state, ago(0));
    let keys: BTreeSet<&str> = told.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(keys.len(), told.len(), "one event for each kind");
    for event in &told {
        assert!(!event.title.is_empty() && event.at == ago(0), "{event:?}");
        assert_eq!(event.resource, Some(name()));
    }
    told
}

fn told(facts: &ResourceFacts, source: &SourceFacts) -> Vec<Event> {
    told_with(facts, source, &[], &[])
}

/// The event of that kind, if there is one.
fn of<'e>(events: &'e [Event], kind: &str) -> Option<&'e Event> {
    let key = format!("registro/{kind}");
    events.iter().find(|event| event.key.as_str() == key)
}

#[test]
fn where_all_is_well_every_kind_is_good_so_that_it_can_be_told_as_resolved() {
    let events = told(&facts(), &source());
    assert!(events.iter().all(|event| event.severity == Good), "{events:?}");
    assert!(OF_REPOSITORIES.iter().all(|kind| of(&events, kind).is_some()));
    assert!(of(&events, kind::STATUS).is_some());
    // The scheduler tells of those.
    assert!(of(&events, kind::JOBS).is_none());
}

type Change = fn(&mut ResourceFacts, &mut SourceFacts);

#[test]
fn each_fact_is_told_beyond_its_threshold() {
    let cases: [(Change, &str, Severity, &str); 20] = [
        (|_, s| s.said.slot = Fact::Known(Slot::Lost), "slot", Bad, "let go"),
        (|_, s| s.said.slot = Fact::Known(Slot::AtRisk), "slot", Bad, "next checkpoint"),
        (|_, s| s.said.slot_lag_bytes = Fact::Known(800 << 20), "slot", Bad, "800 MiB"),
        (|_, s| s.said.slot_lag_bytes = Fact::Known(700 << 20), "slot", Good, ""),
        (|_, s| s.said.slot_limit_bytes = Fact::Absent, "slot", Good, ""),
        (|_, s| s.said.checksum_failures = Fact::Known(2), kind::DAMAGE, Bad, "2 pages"),
        (|_, s| s.said.clock_offset_seconds = Fact::Known(-5.5), "clock", Warning, "behind"),
        (|_, s| s.said.clock_offset_seconds = Fact::Known(5.5), "clock", Warning, "ahead"),
        (|_, s| s.said.certificate_until = Fact::Known(ago(-13 * DAY)), "certificate", Warning, ""),
        (|_, s| s.said.certificate_until = Fact::Known(ago(1)), "certificate", Bad, "ended"),
        (|_, s| s.said.certificate_until = Fact::Absent, "certificate", Good, ""),
        (|f, _| f.overdue = Fact::Known(3), kind::RETENTION, Warning, "3 snapshots"),
        (|f, _| f.vault_key_at = Fact::Known(ago(731 * DAY)), kind::KEYS, Warning, "731 d"),
        (|f, _| f.verified_since = Fact::Known(ago(32 * DAY)), kind::VERIFY, Warning, "32 d"),
        (|f, _| f.last_proof_at = Fact::Known(ago(41 * DAY)), "proof", Warning, "41 d"),
        (|f, _| f.last_proof_at = Fact::Absent, "proof", Warning, "no drill"),
        (|f, _| drill_of(f).passed = false, "drill", Bad, "failed"),
        (|f, _| drill_of(f).rto = Some(Span::seconds(5 * 3_600)), "drill", Warning, "RTO"),
        (|f, _| f.drill = Fact::Absent, "drill", Good, ""),
        (|_, s| s.unheard.push(host(901)), "source", Warning, "db2 has not answered"),
    ];
    for (change, kind, severity, word) in cases {
        let (mut facts, mut source) = (facts(), source());
        change(&mut facts, &mut source);
        let events = told(&facts, &source);
        let event = of(&events, kind).unwrap_or_else(|| panic!("{kind} is not told"));
        assert_eq!(event.severity, severity, "{event:?}");
        assert!(event.title.contains(word), "{event:?}");
        let mut others = events.iter().filter(|other| other.key != event.key);
        assert!(others.all(|other| other.severity == Good), "{events:?}");
    }
}

fn drill_of(facts: &mut ResourceFacts) -> &mut DrillFacts {
    match &mut facts.drill {
        Fact::Known(drill) => drill,
        Fact::Absent | Fact::Unknown => panic!("there is no drill"),
    }
}

fn host(silent_seconds: i64) -> Unheard {
    let (host, because) = ("db2".to_owned(), "refused".to_owned());
    Unheard { host, because, since: ago(silent_seconds) }
}

#[test]
fn a_source_is_called_silent_after_a_while_and_until_then_nothing_is_told_of_it() {
    let of_source = ["slot", "source", "clock", "certificate", kind::DAMAGE];
    let silent = |seconds| SourceFacts {
        said: Said::UNKNOWN,
        silent_since: Some(ago(seconds)),
        unheard: vec![host(seconds)],
    };
    let early = told(&facts(), &silent(899));
    assert!(of_source.iter().all(|kind| of(&early, kind).is_none()), "{early:?}");
    let late = told(&facts(), &silent(901));
    let event = of(&late, "source").unwrap();
    assert_eq!(event.severity, Bad);
    assert!(event.title.contains("no server has answered for 15 min 1 s"), "{event:?}");
    assert!(event.details[0].contains("db2") && event.details[0].contains("refused"), "{event:?}");
    let never = told(&facts(), &SourceFacts::unheard(ago(901)));
    assert_eq!(of(&never, "source").unwrap().severity, Bad);
    // Damage that is judged is told all the same.
    let red = [Red::new(kind::DAMAGE, "3 damaged pages")];
    let damaged = told_with(&facts(), &silent(1), &red, &[]);
    assert_eq!(of(&damaged, kind::DAMAGE).unwrap().severity, Bad);
    // One of two hosts that is away for a moment is no news.
    let short = SourceFacts { unheard: vec![host(60)], ..source() };
    assert_eq!(of(&told(&facts(), &short), "source").unwrap().severity, Good);
}

#[test]
fn all_reasons_of_one_kind_are_one_event_the_worst_first() {
    let mut overdue = facts();
    overdue.overdue = Fact::Known(1);
    let reds = [
        Red::new(kind::COPIES, "a is late"),
        Red::new(kind::RETENTION, "b is still there"),
        Red::new(kind::COPIES, "c is late"),
        Red::new(kind::JOBS, "the copy failed"),
    ];
    let events = told_with(&overdue, &source(), &reds, &[]);
    let copies = of(&events, kind::COPIES).unwrap();
    assert_eq!((copies.severity, copies.title.as_str()), (Bad, "a is late"));
    assert_eq!(copies.details, ["c is late"]);
    let retention = of(&events, kind::RETENTION).unwrap();
    assert_eq!((retention.severity, retention.title.as_str()), (Bad, "b is still there"));
    assert_eq!(retention.details.len(), 1, "{retention:?}");
    assert!(of(&events, kind::JOBS).is_none());
}

#[test]
fn what_cannot_be_told_is_no_event_and_never_good() {
    let unmeasured = ResourceFacts::unmeasured(facts().promise);
    let red = [Red::new(kind::STATUS, "nobody answers")];
    let unheard = SourceFacts::unheard(ago(1));
    let events = told_with(&unmeasured, &unheard, &red, OF_REPOSITORIES);
    let keys: Vec<&str> = events.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(keys, ["registro/status"]);
    // A red is told although there may be more of its kind.
    let red = [Red::new(kind::KEYS, "it does not open")];
    let events = told_with(&unmeasured, &unheard, &red, OF_REPOSITORIES);
    assert_eq!(of(&events, kind::KEYS).unwrap().severity, Bad);
}

#[test]
fn what_is_new_need_not_be_proven_or_verified_yet() {
    let mut new = facts();
    (new.last_proof_at, new.verified_since) = (Fact::Absent, Fact::Absent);
    (new.last_verify_at, new.window_start) = (Fact::Absent, Fact::Known(ago(3_600)));
    let events = told(&new, &source());
    assert!(of(&events, "proof").is_none());
    assert_eq!(of(&events, kind::VERIFY).unwrap().severity, Good);
    new.window_start = Fact::Known(ago(2 * DAY));
    let events = told(&new, &source());
    assert_eq!(of(&events, "proof").unwrap().severity, Warning);
    assert_eq!(of(&events, kind::VERIFY).unwrap().severity, Warning);
    // The last verification met something that is not read yet: its job tells.
    new.last_verify_at = Fact::Known(ago(3_600));
    assert_eq!(of(&told(&new, &source()), kind::VERIFY).unwrap().severity, Good);
}

#[test]
fn of_a_retired_resource_all_is_over_but_what_is_kept_too_long() {
    let mut retired = ResourceFacts::unmeasured(None);
    retired.overdue = Fact::Known(2);
    let events = told(&retired, &SourceFacts::unheard(ago(DAY)));
    for event in &events {
        let expected = if event.key.as_str().ends_with("/retention") { Warning } else { Good };
        assert_eq!(event.severity, expected, "{event:?}");
    }
    assert_eq!(of(&events, "proof").unwrap().title, "it is retired");
}

#[test]
fn a_disk_is_called_low_by_its_part_and_by_what_is_left() {
    let gib = 1_u64 << 30;
    let cases = [
        (60, 100, Good),
        (9, 100, Warning),
        (4, 100, Bad),
        // Less than 5 GiB.
        (4, 40, Warning),
        (6, 40, Good),
        // A part of a large one is much.
        (900, 10_000, Warning),
        // A small one is not low for being small.
        (2, 4, Good),
        (0, 4, Bad),
    ];
    for (free, size, severity) in cases {
        let room = Room { free_bytes: free * gib, size_bytes: size * gib };
        let rooms = BTreeMap::from([
            (Disk::State, room),
            (Disk::Repository("main".to_owned()), room),
            (Disk::Source(name()), room),
        ]);
        let told = of_disks(&Rooms { rooms, untold: BTreeMap::new() }, ago(0));
        let keys: Vec<&str> = told.iter().map(|event| event.key.as_str()).collect();
        assert_eq!(keys, ["-/disk/state", "-/disk/repository/main", "registro/disk"]);
        assert!(told.iter().all(|event| event.severity == severity), "{free} of {size}: {told:?}");
    }
    let untold = BTreeMap::from([(Disk::State, "it is not there".to_owned())]);
    let told = of_disks(&Rooms { rooms: BTreeMap::new(), untold }, ago(0));
    assert_eq!((told.len(), told[0].severity), (1, Bad));
}

#[test]
fn a_repository_is_called_lost_after_a_while_and_its_lease_at_once() {
    let seen = |silent: Option<i64>, lease| RepositorySeen {
        facts: RepositoryFacts {
            reachable: silent.is_none(),
            bytes: Fact::Unknown,
            generation: Fact::Unknown,
            lease,
        },
        unreachable: silent.map(|seconds| (ago(seconds), "timed out".to_owned())),
    };
    let told = |seen: &RepositorySeen| -> Vec<(String, Severity)> {
        let told = of_repository("main", seen, ago(0)).into_iter();
        told.map(|event| (event.key.as_str().to_owned(), event.severity)).collect()
    };
    let (read, lease) = ("-/repository/main".to_owned(), "-/lease/main".to_owned());
    let held = seen(None, LeaseState::Held);
    assert_eq!(told(&held), [(read.clone(), Good), (lease.clone(), Good)]);
    let lost = seen(Some(599), LeaseState::Lost);
    assert_eq!(told(&lost), [(lease.clone(), Bad)]);
    let long = seen(Some(601), LeaseState::StandingBy);
    assert_eq!(told(&long), [(read, Bad), (lease, Good)]);

    let all = BTreeMap::from([("main".to_owned(), long)]);
    let (resource, facts, source) = (name(), facts(), source());
    let state = ResourceState {
        resource: &resource,
        facts: &facts,
        source: &source,
        reds: &[],
        untold: &[],
    };
    let rooms = Rooms::default();
    let together = events(&[state], &rooms, &all, ago(0));
    assert_eq!(together.len(), of_resource(&state, ago(0)).len() + 2);
}

#[test]
fn mail_and_prometheus_agree() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = std::fs::read_to_string(root.join("config/prometheus/fenice.rules.yml")).unwrap();
    let days = |span: Span| span.0.as_secs() / DAY as u64;
    let (certificate, key) = (days(CERTIFICATE_LEFT_LEAST), days(VAULT_KEY_AGE_MOST));
    let (proof, grace) = (days(PROOF_AGE_MOST), VERIFY_GRACE.0.as_secs());
    for expression in [
        format!("fenice_slot_lag_bytes > {SLOT_PART_MOST} * fenice_slot_lag_limit_bytes"),
        format!("abs(fenice_source_clock_offset_seconds) > {CLOCK_OFFSET_MOST_SECONDS}\n"),
        format!("_certificate_expiry_timestamp_seconds - time() < {certificate} * 86400"),
        format!("time() - fenice_vault_key_created_timestamp_seconds > {key} * 86400"),
        format!("time() - fenice_last_proof_timestamp_seconds > {proof} * 86400"),
        format!("> fenice_verify_target_seconds + {grace}\n"),
        format!("fenice_disk_free_bytes / fenice_disk_size_bytes < {DISK_PART_RED}\n"),
        format!("fenice_job_consecutive_failures >= {FAILURES_RED}\n"),
    ] {
        assert!(rules.contains(&expression), "{expression}");
    }
    let waits = |alert: &str| {
        let (_, rule) = rules.split_once(&format!("alert: {alert}\n")).unwrap();
        let (_, wait) = rule.split_once("for: ").unwrap();
        wait.lines().next().unwrap().parse::<Span>().unwrap()
    };
    assert_eq!(waits("FeniceRepositoryUnreachable"), UNREACHABLE_MOST);
    assert_eq!(waits("FeniceCannotTell"), SILENT_MOST);
}
