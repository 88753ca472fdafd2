//! What twenty clusters leave in a bucket: manifests as they are written, and log by its names.
//!
//! Of the log only the newest segment has content: no listing, inventory or window opens more of
//! it, as long as there is a commit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fenice::engines::postgres::cluster;
use fenice::model::wal_format::PAGE_BYTES;
use fenice::model::{Extent, Lsn, ResourceName, SegmentSize, SystemId, Timeline};
use fenice::ports::store::Put;
use fenice::repository::manifest::{
    self, ClusterFacts, ClusterManifest, GapManifest, HostMark, Method, PageReport,
    SnapshotManifest, TableEstimate, VaultRef,
};
use fenice::repository::{Repository, layout};
use jiff::Timestamp;

pub const RESOURCES: usize = 20;
/// Of each resource: a day's snapshot for sixty days.
pub const SNAPSHOTS: u64 = 60;

const WRITERS: usize = 16;
/// What of each resource is neither a snapshot nor log with a name only.
const OTHERS: usize = 4;
/// One segment of so many was shipped in parts before it was whole.
const WITH_PARTS: u64 = 4;
const PARTS: u64 = 3;
/// Fewer would leave no room for a hole between two snapshots.
const OBJECTS_MIN: usize = 1_000;
const SIZE: SegmentSize = SegmentSize::DEFAULT;
const TIMELINE: Timeline = Timeline(1);
const TABLES: u32 = 200;
const DAY: Duration = Duration::from_secs(86_400);
/// In the place of compressed and sealed log that nobody reads.
const BODY: [u8; 64] = [0x5a; 64];

/// One object to be made.
enum Object {
    Cluster,
    Snapshot(u64),
    Gap,
    Log(u64, Extent),
    /// A part of the newest segment, in this order.
    Newest(u64),
}

/// One cluster's share.
struct Resource {
    name: ResourceName,
    facts: ClusterFacts,
    /// Segments from one snapshot to the next.
    step: u64,
    /// The segment that is missing.
    hole: u64,
    /// The newest segment.
    newest: u64,
    now: Timestamp,
}

pub fn name(number: usize) -> ResourceName {
    format!("scuola-{number:02}").parse().expect("a name")
}

/// Writes `objects` for each resource.
pub fn fill(repository: &Repository, objects: usize) {
    assert!(objects >= OBJECTS_MIN, "{} objects are too few", objects * RESOURCES);
    let log = objects - SNAPSHOTS as usize - OTHERS;
    // About so many segments, some of them in parts besides.
    let step = log as u64 * WITH_PARTS / (WITH_PARTS + PARTS) / SNAPSHOTS;
    let hole = 1 + (SNAPSHOTS / 2 - 1) * step + step / 2;
    let log: Vec<(u64, Extent)> = stretches(hole).take(log).collect();
    let newest = log.last().expect("some log").0 + 1;
    let (next, now) = (AtomicUsize::new(0), Timestamp::now());
    let resources: Vec<Resource> = (1..=RESOURCES)
        .map(|number| Resource {
            name: name(number),
            facts: facts(number as u64),
            step,
            hole,
            newest,
            now,
        })
        .collect();
    let put = || {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        for number in numbers.take_while(|number| *number < RESOURCES * objects) {
            let resource = &resources[number / objects];
            resource.put(repository, &object(number % objects, &log));
        }
    };
    thread::scope(|scope| (0..WRITERS).for_each(|_| drop(scope.spawn(put))));
}

/// The `number`th object of a resource.
fn object(number: usize, log: &[(u64, Extent)]) -> Object {
    if let Some((segment, extent)) = log.get(number) {
        return Object::Log(*segment, *extent);
    }
    match (number - log.len()) as u64 {
        0 => Object::Cluster,
        1 => Object::Gap,
        part @ 2..=3 => Object::Newest(part - 2),
        snapshot => Object::Snapshot(snapshot - OTHERS as u64),
    }
}

/// Segment after segment without the one that is missing: each whole, some of them in parts too.
fn stretches(hole: u64) -> impl Iterator<Item = (u64, Extent)> {
    let segments = (1_u64..).filter(move |segment| *segment != hole);
    segments.flat_map(|segment| {
        let parts = if segment.is_multiple_of(WITH_PARTS) { PARTS } else { 0 };
        let bound = |part: u64| SIZE.bytes() * part / PARTS;
        let part = move |part| Extent::Part { from: bound(part), to: bound(part + 1) };
        std::iter::once(Extent::Whole).chain((0..parts).map(part)).map(move |e| (segment, e))
    })
}

fn facts(number: u64) -> ClusterFacts {
    ClusterFacts {
        system_id: SystemId(7_300_000_000_000_000_000 + number),
        version_num: 150_018,
        wal_segment_size: SIZE,
        block_size: 8_192,
        blocks_per_segment: 131_072,
        data_checksums: true,
    }
}

impl Resource {
    fn put(&self, repository: &Repository, object: &Object) {
        let put = match object {
            Object::Cluster => {
                let key = layout::cluster(&self.name, self.facts.system_id);
                manifest::create(repository, &key, &self.cluster())
            }
            Object::Snapshot(number) => {
                let snapshot = self.snapshot(*number);
                let key = layout::snapshot(&self.name, &snapshot.id);
                manifest::create(repository, &key, &snapshot)
            }
            Object::Gap => {
                let key = layout::gap(&self.name, &layout::instant(self.day(SNAPSHOTS / 2)));
                manifest::create(repository, &key, &self.gap())
            }
            Object::Log(segment, extent) => {
                let id = self.facts.system_id;
                let key = layout::wal_object(&self.name, id, TIMELINE, *segment, SIZE, *extent);
                repository.store.put_new(&key, &BODY)
            }
            Object::Newest(part) => {
                let archive = cluster::archive(repository, &self.name, &self.facts, 3);
                let from = part * PAGE_BYTES as u64;
                let page = if *part == 0 { self.page() } else { vec![0; PAGE_BYTES] };
                archive.put(TIMELINE, self.newest, from, &page, Some(self.now))
            }
        };
        assert_eq!(put.expect("write an object"), Put::Created);
    }

    /// The instant of a snapshot's start.
    fn day(&self, number: u64) -> Timestamp {
        self.now - DAY * (SNAPSHOTS - number) as u32
    }

    fn cluster(&self) -> ClusterManifest {
        ClusterManifest {
            version: 1,
            registered_at: self.day(0),
            cluster: self.facts.clone(),
            timeline: TIMELINE,
        }
    }

    fn gap(&self) -> GapManifest {
        GapManifest {
            version: 1,
            recorded_at: self.day(SNAPSHOTS / 2),
            system_id: self.facts.system_id,
            timeline: TIMELINE,
            from: SIZE.start_of(self.hole),
            to: SIZE.start_of(self.hole + 1),
            reason: "the server had removed it".to_owned(),
        }
    }

    fn snapshot(&self, number: u64) -> SnapshotManifest {
        let (started_at, start) = (self.day(number), SIZE.start_of(1 + number * self.step));
        SnapshotManifest {
            version: 1,
            id: layout::instant(started_at),
            resource: self.name.clone(),
            method: Method::Files,
            cluster: self.facts.clone(),
            timeline: TIMELINE,
            start_lsn: start.plus(40),
            stop_lsn: start.plus(100_000),
            due_at: Some(started_at),
            started_at,
            stopped_at: started_at + Duration::from_secs(300),
            from_standby: false,
            vault: VaultRef { epoch: 1, snapshot: format!("{number:064x}") },
            host: HostMark {
                machine: "5d41402abc4b2a76b9719d911017c592".to_owned(),
                boot: "7b52009b-64fd-40a2-a490-9d8a81b4e1a5".to_owned(),
                clock_offset_ms: 1_790_000_000_000,
                data_dir: "/var/lib/postgresql/15/main".to_owned(),
            },
            tablespaces: Vec::new(),
            files: 1_500,
            bytes: 5 << 30,
            new_bytes: 50 << 20,
            unread_bytes: 4 << 30,
            full_read: false,
            pages: PageReport { checkable: true, checked: 655_360, ..PageReport::default() },
            config_files: vec!["postgresql.conf".to_owned(), "pg_hba.conf".to_owned()],
            tables: (0..TABLES).map(table).collect(),
            generation: 0,
            copied: None,
        }
    }

    /// The first page of the newest segment: a page header and one commit (`xlog_internal.h`,
    /// `xlogrecord.h`), by the layout of PostgreSQL 15.
    fn page(&self) -> Vec<u8> {
        let start: Lsn = SIZE.start_of(self.newest);
        let mut page = Vec::with_capacity(PAGE_BYTES);
        page.extend(0xd110_u16.to_le_bytes());
        page.extend(2_u16.to_le_bytes()); // the long header, of a segment's first page
        page.extend(TIMELINE.0.to_le_bytes());
        page.extend(start.0.to_le_bytes());
        page.extend([0; 8]); // nothing goes on from the page before
        page.extend(self.facts.system_id.0.to_le_bytes());
        page.extend((SIZE.bytes() as u32).to_le_bytes());
        page.extend((PAGE_BYTES as u32).to_le_bytes());
        // Instants are microseconds since 2000.
        let at = self.now.as_microsecond() - 946_684_800_000_000;
        let mut body = vec![255, 8];
        body.extend(at.to_le_bytes());
        let mut header = Vec::new();
        header.extend((24 + body.len() as u32).to_le_bytes());
        header.extend(1_000_u32.to_le_bytes()); // the transaction
        header.extend((start.0 - 64).to_le_bytes()); // the record before
        header.extend([0, 1, 0, 0]); // a commit
        let sum = crc32c::crc32c_append(crc32c::crc32c(&body), &header);
        header.extend(sum.to_le_bytes());
        page.extend(header);
        page.extend(body);
        page.resize(PAGE_BYTES, 0);
        page
    }
}

fn table(number: u32) -> TableEstimate {
    TableEstimate {
        database: "registro".to_owned(),
        table: format!("public.tabella_{number}"),
        rows: f64::from(number) * 1_234.0,
    }
}
