//! Reads PostgreSQL's log record by record: commits with their times, and where the log ends.
//!
//! The scanner is fed whole segment files in order and keeps, between two of them, at most the
//! one record that began and has not ended. It accepts what PostgreSQL's own reader accepts
//! (`xlogreader.c`): right page addresses, the chain of previous positions, and a CRC-32C over each
//! record. Whatever fails that is where the log ends: an answer, not an error, since recycled
//! files and zero padding look exactly so. It may begin in the middle of a log; the rest of a
//! record that began before is then skipped, unverified.

use crate::error::{Error, Result};
use crate::model::lsn::{Lsn, SegmentSize};
use crate::model::resource::SystemId;
use crate::model::timeline::Timeline;
use crate::model::wal_format::{
    PAGE_BYTES, PageHeader, RECORD_BYTES_MAX, RecordHeader, Version, aligned,
};

pub use crate::model::wal_format::Recorded;

/// One record worth knowing of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// First byte of the record, as `pg_waldump` prints it.
    pub start: Lsn,
    /// First byte after it and its padding.
    pub end: Lsn,
    pub what: Recorded,
}

/// Where the log ends, and how that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndOfLog {
    /// No valid record starts at or after this position.
    pub at: Lsn,
    pub reason: &'static str,
}

/// What the scanner makes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Every page was read; the next segment may follow.
    Continues,
    /// The log ends within this segment. Further segments are not read.
    Ended(EndOfLog),
}

/// Reads one log, segment after segment.
#[derive(Debug)]
pub struct Scanner {
    size: SegmentSize,
    /// Which segment comes next; `None` before the first.
    next_segment: Option<u64>,
    system_id: Option<SystemId>,
    version: Version,
    timeline: Timeline,
    /// Start of the last whole record; `None` until there is one.
    previous: Option<Lsn>,
    position: Lsn,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing read yet, or inside a record that began before the first segment.
    Leading,
    /// Between records.
    Between,
    /// Inside a record.
    Inside(Open),
    Ended(EndOfLog),
}

/// Why reading stops here: the end, or something nobody may take for the end.
enum Stop {
    End(Lsn, &'static str),
    Fail(Error),
}

impl Scanner {
    /// A scanner for segments of `size`; the first one fed tells where it starts.
    pub fn new(size: SegmentSize) -> Scanner {
        Scanner {
            size,
            next_segment: None,
            system_id: None,
            version: Version::From15To17,
            timeline: Timeline(0),
            previous: None,
            position: Lsn::ZERO,
            state: State::Leading,
        }
    }

    /// The cluster whose log this is, once a segment's first page was read.
    pub fn system_id(&self) -> Option<SystemId> {
        self.system_id
    }

    /// The timeline of the last page read.
    pub fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// End of the last whole record, padding included; what follows was not (yet) seen whole.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// Reads segment `number`; `image` is the file, or its beginning. `see` is called for each
    /// record but [`Recorded::Other`], in order.
    ///
    /// # Errors
    /// Segments out of order, an image longer than a segment, log of an unknown version, of
    /// another segment or page size or of another cluster, or a record whose checksum holds but
    /// whose content cannot be read.
    pub fn feed(
        &mut self,
        number: u64,
        image: &[u8],
        see: &mut dyn FnMut(LogEvent),
    ) -> Result<Progress> {
        if self.next_segment.is_some_and(|next| next != number) {
            return Err(Error::failed(format!("segment {number} of the log is not the next one")));
        }
        if image.len() as u64 > self.size.bytes() {
            return Err(Error::failed(format!("segment {number} is longer than a segment")));
        }
        if self.next_segment.is_none() {
            self.position = self.size.start_of(number);
        }
        self.next_segment = Some(number + 1);
        let mut offset = 0;
        while offset < self.size.bytes() {
            if let State::Ended(end) = self.state {
                return Ok(Progress::Ended(end));
            }
            let address = self.size.start_of(number).plus(offset);
            let from = image.len().min(offset as usize);
            let page = &image[from..image.len().min(from + PAGE_BYTES)];
            match self.page(address, page, see) {
                Ok(Next::Page) => offset += PAGE_BYTES as u64,
                Ok(Next::Segment) => break,
                Err(Stop::End(at, reason)) => {
                    let end = EndOfLog { at, reason };
                    self.state = State::Ended(end);
                    return Ok(Progress::Ended(end));
                }
                Err(Stop::Fail(error)) => return Err(error),
            }
        }
        Ok(Progress::Continues)
    }

    /// Reads one page (or what the image has of it).
    fn page(
        &mut self,
        address: Lsn,
        page: &[u8],
        see: &mut dyn FnMut(LogEvent),
    ) -> Result<Next, Stop> {
        let state = std::mem::replace(&mut self.state, State::Between);
        // If a record is unfinished, the log ends where that record starts.
        let ends_at = match &state {
            State::Inside(open) => open.start,
            _ => address,
        };
        let header = self.check_page(address, page, ends_at)?;
        let offset = match state {
            State::Leading if header.continues => {
                let offset = header.bytes as u64 + aligned(u64::from(header.remaining));
                if offset >= PAGE_BYTES as u64 {
                    self.state = State::Leading;
                    return Ok(Next::Page);
                }
                offset as usize
            }
            State::Between if header.continues => {
                return Err(Stop::End(address, "a record goes on that did not begin"));
            }
            State::Inside(open) if !header.overwrites => {
                match self.resume(open, address, page, &header, see)? {
                    Resumed::Done(offset) => offset,
                    Resumed::Next(next) => return Ok(next),
                }
            }
            State::Leading | State::Between | State::Inside(_) => header.bytes,
            State::Ended(end) => return Err(Stop::End(end.at, end.reason)),
        };
        self.records(address, page, offset, see)
    }

    fn check_page(&mut self, address: Lsn, page: &[u8], at: Lsn) -> Result<PageHeader, Stop> {
        let end = |reason| Err(Stop::End(at, reason));
        let Some(header) = PageHeader::read(page) else { return end("no page of log follows") };
        if header.address != address {
            return end("the page is of another position: a recycled file");
        }
        if header.timeline < self.timeline {
            return end("the page is of an older timeline");
        }
        if header.long.is_none() && self.size.offset_of(address) == 0 {
            return end("the segment does not begin as one");
        }
        let Some(version) = header.version else {
            let text = format!("the log at {address} is of a PostgreSQL version we cannot read");
            return Err(Stop::Fail(Error::failed(text).hint("PostgreSQL 15 to 18 are known.")));
        };
        if let Some(long) = header.long {
            let sizes = (u64::from(long.segment_bytes), long.page_bytes as usize);
            let known = self.system_id.is_none_or(|id| id == long.system_id);
            if sizes != (self.size.bytes(), PAGE_BYTES) || !known {
                let text = format!(
                    "the log at {address} is of system {}, in segments of {} and pages of {} bytes",
                    long.system_id, long.segment_bytes, long.page_bytes
                );
                return Err(Stop::Fail(Error::failed(text)));
            }
            self.system_id = Some(long.system_id);
        }
        self.version = version;
        self.timeline = header.timeline;
        Ok(header)
    }

    /// Takes the next stretch of an unfinished record.
    fn resume(
        &mut self,
        mut open: Open,
        address: Lsn,
        page: &[u8],
        header: &PageHeader,
        see: &mut dyn FnMut(LogEvent),
    ) -> Result<Resumed, Stop> {
        let rest = header.remaining as usize;
        if !header.continues || rest == 0 || open.bytes.len() + rest != open.total as usize {
            return Err(Stop::End(open.start, "a record is cut off"));
        }
        let body = &page[header.bytes.min(page.len())..];
        open.bytes.extend_from_slice(&body[..rest.min(body.len())]);
        if rest > body.len() {
            self.state = unfinished(open, page)?;
            return Ok(Resumed::Next(Next::Page));
        }
        let offset = header.bytes + aligned(rest as u64) as usize;
        let end = address.plus(offset as u64);
        match self.finish(open.start, end, &open.bytes, see)? {
            Next::Page => Ok(Resumed::Done(offset)),
            Next::Segment => Ok(Resumed::Next(Next::Segment)),
        }
    }

    /// Reads the records that begin in this page, from `offset` on.
    fn records(
        &mut self,
        address: Lsn,
        page: &[u8],
        mut offset: usize,
        see: &mut dyn FnMut(LogEvent),
    ) -> Result<Next, Stop> {
        while offset < PAGE_BYTES {
            let start = address.plus(offset as u64);
            let end = |reason| Err(Stop::End(start, reason));
            let rest = page.get(offset..).unwrap_or_default();
            let Some(total) = rest.first_chunk().map(|four| u32::from_le_bytes(*four)) else {
                return end("the bytes given end here");
            };
            match total {
                0 => return end("zeros follow"),
                1..24 => return end("no record follows"),
                24..=RECORD_BYTES_MAX => {}
                _ => return end("no record follows"),
            }
            let Some(record) = rest.get(..total as usize) else {
                self.state = unfinished(Open { start, total, bytes: rest.to_vec() }, page)?;
                return Ok(Next::Page);
            };
            offset += aligned(u64::from(total)) as usize;
            if let Next::Segment = self.finish(start, address.plus(offset as u64), record, see)? {
                return Ok(Next::Segment);
            }
        }
        Ok(Next::Page)
    }

    /// Checks a whole record and tells what it says.
    fn finish(
        &mut self,
        start: Lsn,
        end: Lsn,
        record: &[u8],
        see: &mut dyn FnMut(LogEvent),
    ) -> Result<Next, Stop> {
        let header = RecordHeader::read(record).filter(|header| match self.previous {
            Some(previous) => header.previous == previous,
            None => header.previous < start,
        });
        let Some(header) = header else {
            return Err(Stop::End(start, "the record does not follow the one before"));
        };
        if !header.verifies(record) {
            return Err(Stop::End(start, "the checksum of the record is wrong"));
        }
        let what = Recorded::read(&header, record, self.version).ok_or_else(|| {
            Stop::Fail(Error::failed(format!("cannot read the log record at {start}")))
        })?;
        let switched = what == Recorded::Switch;
        let next_segment = self.size.start_of(self.size.number_of(start) + 1);
        let end = if switched { next_segment } else { end };
        self.previous = Some(start);
        self.position = end;
        if what != Recorded::Other {
            see(LogEvent { start, end, what });
        }
        Ok(if switched { Next::Segment } else { Next::Page })
    }
}

/// A record that began and has not ended: `total` bytes long, `bytes` of it read.
#[derive(Debug)]
struct Open {
    start: Lsn,
    total: u32,
    bytes: Vec<u8>,
}

/// Goes on to the next page, if this one is all there.
fn unfinished(open: Open, page: &[u8]) -> Result<State, Stop> {
    match page.len() {
        PAGE_BYTES => Ok(State::Inside(open)),
        _ => Err(Stop::End(open.start, "the bytes given end inside a record")),
    }
}

enum Next {
    /// Reading goes on, in this page or the next.
    Page,
    /// The rest of the segment is unused.
    Segment,
}

enum Resumed {
    /// The record is whole; the next one begins at this offset of the page.
    Done(usize),
    Next(Next),
}
