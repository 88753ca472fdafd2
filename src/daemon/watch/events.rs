//! What somebody should hear of all that was measured: how each matter stands, the good ones too,
//! so that it can be told when a bad one is over. Pure.
//!
//! One event for each kind of each resource, however many reasons there are. A matter of which
//! nothing can be told has none, and stays as it was told last: unknown is not good. Deliberately
//! absent: jobs, which the scheduler tells, and whether anything is news (`notify::decide`).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::judge::Red;
use super::disks::Rooms;
use super::findings::{self, Known, Told};
use super::repositories::RepositorySeen;
use super::source::SourceFacts;
use crate::model::{ByteSize, ResourceName, Span};
use crate::notify::event::{Event, Key, Severity};
use crate::plan::condition::{age, kind};
use crate::web::{Disk, LeaseState, ResourceFacts, Room};

/// A store that cannot be reached for a moment is no news. FeniceRepositoryUnreachable waits as
/// long.
pub const UNREACHABLE_MOST: Span = Span::seconds(10 * 60);
/// Less than this part of a disk is red. FeniceDiskLow.
pub const DISK_PART_RED: f64 = 0.05;
/// So is less than this, on a disk on which it is at most twice that part: a segment of log, and a
/// pack that is being written for each worker, still fit.
pub const DISK_BYTES_RED: u64 = 1 << 30;
/// The same for a warning, some days before.
pub const DISK_PART_WARNING: f64 = 0.10;
pub const DISK_BYTES_WARNING: u64 = 5 << 30;

/// How one resource stands.
#[derive(Debug, Clone, Copy)]
pub struct ResourceState<'a> {
    pub resource: &'a ResourceName,
    /// With what the source says.
    pub facts: &'a ResourceFacts,
    pub source: &'a SourceFacts,
    pub reds: &'a [Red],
    /// Kinds of which it cannot be told whether there is more than `reds` says.
    pub untold: &'a [&'static str],
}

/// One kind of matter.
struct Kind {
    name: &'static str,
    /// What is told once it is over.
    good: &'static str,
    /// What facts say of it besides reds.
    of: Option<fn(&Known<'_>) -> Told>,
    /// Whether facts say it of a retired resource too.
    of_retired: bool,
}

const fn judged(name: &'static str, good: &'static str) -> Kind {
    Kind { name, good, of: None, of_retired: false }
}

const fn measured(name: &'static str, good: &'static str, of: fn(&Known<'_>) -> Told) -> Kind {
    Kind { name, good, of: Some(of), of_retired: false }
}

const fn lasting(name: &'static str, good: &'static str, of: fn(&Known<'_>) -> Told) -> Kind {
    Kind { name, good, of: Some(of), of_retired: true }
}

/// Every kind, but that of jobs.
#[rustfmt::skip]
const KINDS: &[Kind] = &[
    judged(kind::STATUS, "how it stands can be told"),
    judged(kind::SNAPSHOT, "it has a recent snapshot that can be recovered from"),
    measured(kind::DAMAGE, "no page is known to be damaged", findings::checksums),
    judged(kind::EXPOSURE, "the exposure is within the RPO"),
    judged(kind::SHIPPING, "its log is shipped"),
    judged(kind::GAP, "no log is missing since the last snapshot"),
    measured("slot", "the source keeps the log that is still to be shipped", findings::slot),
    judged(kind::COPIES, "its copies are complete"),
    lasting(kind::RETENTION, "nothing is kept beyond its date", findings::overdue),
    measured(kind::KEYS, "the keys of its vaults open, and are no older than they may be",
        findings::vault_key),
    measured(kind::VERIFY, "what is stored was read back and is sound", findings::verified),
    measured("proof", "it is proven that it can be recovered", findings::proof),
    measured("drill", "its last drill passed", findings::drill),
    measured("source", "its servers answer", findings::source),
    measured("clock", "its clock agrees with that of this host", findings::clock),
    measured("certificate", "its certificate lasts", findings::certificate),
];

/// Everything at once.
pub fn events(
    resources: &[ResourceState<'_>],
    rooms: &Rooms,
    repositories: &BTreeMap<String, RepositorySeen>,
    now: Timestamp,
) -> Vec<Event> {
    let mut all: Vec<Event> = resources.iter().flat_map(|state| of_resource(state, now)).collect();
    all.extend(of_disks(rooms, now));
    all.extend(repositories.iter().flat_map(|(name, seen)| of_repository(name, seen, now)));
    all
}

/// How each matter of one resource stands.
pub fn of_resource(state: &ResourceState<'_>, now: Timestamp) -> Vec<Event> {
    KINDS.iter().filter_map(|kind| kind.event(state, now)).collect()
}

impl Kind {
    fn event(&self, state: &ResourceState<'_>, now: Timestamp) -> Option<Event> {
        let reds = state.reds.iter().filter(|red| red.kind == self.name);
        let mut found: Vec<(Severity, String)> =
            reds.map(|red| (Severity::Red, red.text.clone())).collect();
        let mut is_told = !state.untold.contains(&self.name);
        let (facts, source) = (state.facts, state.source);
        let is_retired = facts.promise.is_none();
        if let Some(of) = self.of.filter(|_| self.of_retired || !is_retired) {
            match of(&Known { facts, source, now }) {
                Some(more) => found.extend(more),
                None => is_told = false,
            }
        }
        found.sort_by_key(|(severity, _)| Reverse(*severity));
        let severity = match found.first() {
            Some((worst, _)) => *worst,
            None if is_told => Severity::Good,
            None => return None,
        };
        let mut told = found.into_iter().map(|(_, text)| text);
        let good = if is_retired { "it is retired" } else { self.good };
        Some(Event {
            key: Key::new(Some(state.resource), self.name),
            resource: Some(state.resource.clone()),
            severity,
            title: told.next().unwrap_or_else(|| good.to_owned()),
            details: told.collect(),
            at: now,
        })
    }
}

/// How much room each disk has.
pub fn of_disks(rooms: &Rooms, now: Timestamp) -> Vec<Event> {
    let known = rooms.rooms.iter().map(|(disk, room)| {
        let (free, size) = (ByteSize(room.free_bytes), ByteSize(room.size_bytes));
        (disk, severity_of(room), format!("has {free} left of {size}"))
    });
    let untold = rooms
        .untold
        .iter()
        .map(|(disk, because)| (disk, Severity::Red, format!("cannot be looked at: {because}")));
    let event = |(disk, severity, text): (&Disk, Severity, String)| {
        let (resource, kind, name) = match disk {
            Disk::State => (None, "disk/state".to_owned(), "of the state directory".to_owned()),
            Disk::Repository(name) => {
                (None, format!("disk/repository/{name}"), format!("of the repository `{name}`"))
            }
            Disk::Source(resource) => {
                (Some(resource), "disk".to_owned(), "of its data directory".to_owned())
            }
        };
        let key = Key::new(resource, &kind);
        let title = format!("the disk {name} {text}");
        let (resource, details) = (resource.cloned(), Vec::new());
        Event { key, resource, severity, title, details, at: now }
    };
    known.chain(untold).map(event).collect()
}

fn severity_of(room: &Room) -> Severity {
    let is_below = |part: f64, bytes: u64| {
        let (free, size) = (room.free_bytes as f64, room.size_bytes as f64);
        free < (size * part).max((bytes as f64).min(size * part * 2.0))
    };
    if is_below(DISK_PART_RED, DISK_BYTES_RED) {
        return Severity::Red;
    }
    match is_below(DISK_PART_WARNING, DISK_BYTES_WARNING) {
        true => Severity::Warning,
        false => Severity::Good,
    }
}

/// Whether a repository can be reached, and whether this installation has its lease.
pub fn of_repository(name: &str, seen: &RepositorySeen, now: Timestamp) -> Vec<Event> {
    let event = |kind: &str, severity: Severity, title: String, details: Vec<String>| {
        let key = Key::new(None, &format!("{kind}/{name}"));
        Event { key, resource: None, severity, title, details, at: now }
    };
    let reached = match &seen.unreachable {
        None => {
            let title = format!("the repository `{name}` can be read");
            Some(event("repository", Severity::Good, title, Vec::new()))
        }
        Some((since, because)) if age(*since, now) > UNREACHABLE_MOST => {
            let silent = age(*since, now);
            let title = format!("the repository `{name}` could not be read for {silent}");
            Some(event("repository", Severity::Red, title, vec![because.clone()]))
        }
        Some(_) => None,
    };
    let (severity, title) = match seen.facts.lease {
        LeaseState::Held => (Severity::Good, "is held"),
        LeaseState::StandingBy => (Severity::Good, "is another's, and this one stands by"),
        LeaseState::Lost => (Severity::Red, "is not held, and nothing may be stored there"),
    };
    let title = format!("the lease of the repository `{name}` {title}");
    reached.into_iter().chain([event("lease", severity, title, Vec::new())]).collect()
}
