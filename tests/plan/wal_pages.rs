//! Hand-made log: continuation, switches, overwritten records, truncation, garbage.

use fenice::model::wal_format::PAGE_BYTES;
use fenice::model::wal_record::{EndOfLog, LogEvent, Progress, Recorded, Scanner};
use fenice::model::{Lsn, SegmentSize, Timeline};
use proptest::prelude::*;

const SEGMENT: u64 = 1 << 20;

fn size() -> SegmentSize {
    SegmentSize::try_from(SEGMENT).unwrap()
}

/// Writes log the way a server does: records over pages and segments, headers in between.
struct Writer {
    start: u64,
    bytes: Vec<u8>,
    previous: u64,
    magic: u16,
}

impl Writer {
    fn new(segment: u64) -> Writer {
        Writer { start: segment * SEGMENT, bytes: Vec::new(), previous: 0, magic: 0xD110 }
    }

    fn at(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn page_header(&mut self, info: u16, remaining: u32) {
        let long = self.at().is_multiple_of(SEGMENT);
        let address = self.at();
        let info = info | if long { 2 } else { 0 };
        self.bytes.extend(self.magic.to_le_bytes());
        self.bytes.extend(info.to_le_bytes());
        self.bytes.extend(1u32.to_le_bytes());
        self.bytes.extend(address.to_le_bytes());
        self.bytes.extend(remaining.to_le_bytes());
        self.bytes.extend([0; 4]);
        if long {
            self.bytes.extend(77u64.to_le_bytes());
            self.bytes.extend((SEGMENT as u32).to_le_bytes());
            self.bytes.extend((PAGE_BYTES as u32).to_le_bytes());
        }
    }

    fn room(&self) -> usize {
        PAGE_BYTES - self.bytes.len() % PAGE_BYTES
    }

    /// Appends a record; where it starts.
    fn record(&mut self, manager: u8, info: u8, xid: u32, main: &[u8]) -> Lsn {
        if self.bytes.len().is_multiple_of(PAGE_BYTES) {
            self.page_header(0, 0);
        }
        let start = self.at();
        let mut record = Vec::new();
        record.extend((24 + 5 + main.len() as u32).to_le_bytes());
        record.extend(xid.to_le_bytes());
        record.extend(self.previous.to_le_bytes());
        record.extend([info, manager, 0, 0]);
        let mut body = vec![254];
        body.extend((main.len() as u32).to_le_bytes());
        body.extend(main);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&body), &record);
        record.extend(crc.to_le_bytes());
        record.extend(body);
        let mut rest = &record[..];
        loop {
            let take = rest.len().min(self.room());
            self.bytes.extend(&rest[..take]);
            rest = &rest[take..];
            if rest.is_empty() {
                break;
            }
            self.page_header(1, rest.len() as u32);
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.previous = start;
        Lsn(start)
    }

    fn commit(&mut self, xid: u32) -> Lsn {
        self.record(1, 0x00, xid, &i64::from(xid).to_le_bytes())
    }

    fn images(&self) -> Vec<Vec<u8>> {
        let mut images: Vec<Vec<u8>> =
            self.bytes.chunks(SEGMENT as usize).map(<[u8]>::to_vec).collect();
        if let Some(last) = images.last_mut() {
            last.resize(SEGMENT as usize, 0);
        }
        images
    }
}

fn scan(first: u64, images: &[Vec<u8>]) -> (Vec<LogEvent>, Option<EndOfLog>) {
    let mut scanner = Scanner::new(size());
    let mut events = Vec::new();
    for (image, number) in images.iter().zip(first..) {
        if let Progress::Ended(end) = scanner.feed(number, image, &mut |e| events.push(e)).unwrap()
        {
            return (events, Some(end));
        }
    }
    (events, None)
}

fn xids(events: &[LogEvent]) -> Vec<u32> {
    let xid = |event: &LogEvent| match event.what {
        Recorded::Commit { xid, .. } | Recorded::Abort { xid, .. } => Some(xid),
        _ => None,
    };
    events.iter().filter_map(xid).collect()
}

#[test]
fn records_go_on_over_pages_and_segments_and_the_middle_is_a_fine_start() {
    let mut log = Writer::new(3);
    let mut starts = Vec::new();
    for xid in 1..=40 {
        starts.push(log.commit(xid));
        log.record(10, 0, 0, &vec![xid as u8; 70_000]);
    }
    let end = Lsn(log.at());
    let images = log.images();
    assert!(images.len() >= 3);
    let (events, ended) = scan(3, &images);
    assert_eq!(xids(&events), (1..=40).collect::<Vec<_>>());
    assert_eq!(events.iter().map(|e| e.start).collect::<Vec<_>>(), starts);
    assert_eq!(ended, Some(EndOfLog { at: end, reason: "zeros follow" }));
    // From the second segment, which begins inside a record.
    let (later, ended) = scan(4, &images[1..]);
    assert!(!later.is_empty());
    assert_eq!(later[..], events[events.len() - later.len()..]);
    assert_eq!(ended.unwrap().at, end);
}

#[test]
fn a_switch_leaves_the_rest_of_its_segment_unread() {
    let mut log = Writer::new(1);
    log.commit(1);
    log.record(0, 0x40, 0, &[]);
    // What a recycled file holds there must not matter.
    log.bytes.resize(SEGMENT as usize, 0xEE);
    log.commit(2);
    let (events, ended) = scan(1, &log.images());
    assert_eq!(xids(&events), [1, 2]);
    assert_eq!(events[1].what, Recorded::Switch);
    assert_eq!(events[1].end, Lsn(2 * SEGMENT));
    assert_eq!(ended.unwrap().at, Lsn(log.at()));
}

#[test]
fn a_record_that_was_never_finished_is_void_when_the_next_page_says_so() {
    let mut log = Writer::new(1);
    let first = log.commit(1);
    let abandoned = log.record(10, 0, 0, &[5; 20_000]);
    log.bytes.truncate(PAGE_BYTES);
    log.page_header(8, 0);
    log.previous = first.0;
    log.commit(2);
    assert_eq!(xids(&scan(1, &log.images()).0), [1, 2]);
    // Without the mark the log ends where the unfinished record starts.
    log.bytes[PAGE_BYTES + 2] = 0;
    let (events, ended) = scan(1, &log.images());
    assert_eq!(xids(&events), [1]);
    assert_eq!(ended, Some(EndOfLog { at: abandoned, reason: "a record is cut off" }));
}

#[test]
fn a_damaged_record_ends_the_log_before_it() {
    let mut log = Writer::new(1);
    let starts: Vec<Lsn> = (1..=9).map(|xid| log.commit(xid)).collect();
    let mut images = log.images();
    images[0][(starts[4].0 - SEGMENT) as usize + 30] ^= 1;
    let (events, ended) = scan(1, &images);
    assert_eq!(xids(&events), [1, 2, 3, 4]);
    let reason = "the checksum of the record is wrong";
    assert_eq!(ended, Some(EndOfLog { at: starts[4], reason }));
}

#[test]
fn a_recycled_page_ends_the_log() {
    let mut old = Writer::new(1);
    let mut new = Writer::new(2);
    while old.bytes.len() < 2 * PAGE_BYTES {
        old.record(10, 0, 7, &[1; 512]);
    }
    while new.bytes.len() < PAGE_BYTES {
        new.record(10, 0, 7, &[1; 40]);
    }
    let mut image = old.images().remove(0);
    image[..PAGE_BYTES].copy_from_slice(&new.bytes[..PAGE_BYTES]);
    let (_, ended) = scan(2, &[image]);
    assert!(ended.unwrap().at < Lsn(2 * SEGMENT + PAGE_BYTES as u64 + 1));
}

#[test]
fn prepared_transactions_are_told_by_their_own_number_in_every_version() {
    for (magic, item_bytes) in [(0xD110u16, 12), (0xD113, 12), (0xD116, 12), (0xD118, 16)] {
        let mut main = 5i64.to_le_bytes().to_vec();
        main.extend(0b1_0001_1111u32.to_le_bytes());
        main.extend([0; 8]);
        for (count, bytes) in [(3u32, 4), (2, 12), (5, item_bytes), (1, 16)] {
            main.extend(count.to_le_bytes());
            main.extend(vec![0xAA; count as usize * bytes]);
        }
        main.extend(4711u32.to_le_bytes());
        let mut log = Writer::new(1);
        log.magic = magic;
        log.record(1, 0x80 | 0x30, 0, &main);
        log.record(1, 0x80 | 0x40, 0, &main);
        let (events, _) = scan(1, &log.images());
        assert_eq!(xids(&events), [4711, 4711], "{magic:X}");
        assert!(matches!(events[1].what, Recorded::Abort { prepared: true, .. }));
    }
}

#[test]
fn other_records_are_told() {
    let mut log = Writer::new(1);
    let mut path = 16_400u32.to_le_bytes().to_vec();
    path.extend(b"/srv/space\0");
    log.record(5, 0, 9, &path);
    let mut checkpoint = 0x1000u64.to_le_bytes().to_vec();
    checkpoint.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    log.record(0, 0x10, 0, &checkpoint);
    let mut end = 0i64.to_le_bytes().to_vec();
    end.extend([2, 0, 0, 0, 1, 0, 0, 0]);
    log.record(0, 0x90, 0, &end);
    let what: Vec<Recorded> = scan(1, &log.images()).0.into_iter().map(|e| e.what).collect();
    let path = "/srv/space".to_owned();
    let at = "2000-01-01T00:00:00Z".parse().unwrap();
    let (timeline, previous) = (Timeline(2), Timeline(1));
    assert_eq!(what[0], Recorded::CreateTablespace { oid: 16_400, path });
    let redo = Lsn(0x1000);
    assert_eq!(what[1], Recorded::Checkpoint { redo, timeline: Timeline(1), shutdown: false });
    assert_eq!(what[2], Recorded::EndOfRecovery { at, timeline, previous });
}

#[test]
fn what_must_not_pass_for_the_end_is_an_error() {
    let mut log = Writer::new(1);
    log.commit(1);
    let images = log.images();
    let feed = |scanner: &mut Scanner, number, image: &[u8]| {
        scanner.feed(number, image, &mut |_| ()).map_err(|error| error.chain())
    };
    let mut scanner = Scanner::new(SegmentSize::DEFAULT);
    assert!(feed(&mut scanner, 0, &images[0]).is_ok(), "zeros or another address: an end");
    let mut unknown = images[0].clone();
    unknown[0] = 0x7F;
    assert!(feed(&mut Scanner::new(size()), 1, &unknown).is_err(), "an unknown version");
    let mut other_size = images[0].clone();
    other_size[34] = 0x20;
    assert!(feed(&mut Scanner::new(size()), 1, &other_size).is_err(), "another segment size");
    let mut log = Writer::new(1);
    log.record(1, 0, 1, &[0; 3]);
    assert!(feed(&mut Scanner::new(size()), 1, &log.images()[0]).is_err(), "commit without time");
    assert!(feed(&mut Scanner::new(size()), 1, &vec![0; SEGMENT as usize + 1]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever the image is cut or flipped: no panic, and what is told is a true beginning.
    #[test]
    fn damage_never_invents_a_record(
        lengths in prop::collection::vec(0usize..9_000, 1..40),
        flip in any::<prop::sample::Index>(), bit in 0u8..8,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut log = Writer::new(1);
        for (length, xid) in lengths.iter().zip(1..) {
            log.commit(xid);
            log.record(10, 0, 0, &vec![7; *length]);
        }
        let images = log.images();
        let whole = scan(1, &images).0;
        let mut cut_short = images.clone();
        let keep = cut.index(images[0].len() + 1);
        cut_short[0].truncate(keep);
        cut_short.truncate(1);
        let (events, end) = scan(1, &cut_short);
        prop_assert_eq!(&events[..], &whole[..events.len()]);
        prop_assert!(end.is_none_or(|end| end.at <= Lsn(SEGMENT + keep as u64 + 8)));
        let mut flipped = images;
        let place = flip.index(log.bytes.len().min(SEGMENT as usize));
        flipped[0][place] ^= 1 << bit;
        let mut events = Vec::new();
        let _ = Scanner::new(size()).feed(1, &flipped[0], &mut |event| events.push(event));
        prop_assert!(events.len() <= whole.len());
        prop_assert_eq!(&events[..], &whole[..events.len()]);
    }

    #[test]
    fn no_bytes_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..20_000),
        head in any::<bool>(), number in 0u64..4,
    ) {
        let mut log = Writer::new(number);
        if head {
            log.commit(1);
        }
        log.bytes.extend(bytes);
        log.bytes.truncate(SEGMENT as usize);
        let _ = Scanner::new(size()).feed(number, &log.bytes, &mut |_| ());
    }
}
