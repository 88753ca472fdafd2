//! The bytes of PostgreSQL's log, 15 to 18: page and record headers, and the few bodies we read.
//!
//! Facts from the PostgreSQL sources `access/xlog_internal.h`, `access/xlogrecord.h`,
//! `access/xact.h`, `commands/tablespace.h`, `catalog/pg_control.h`. Integers are little-endian:
//! the layout is that of the machine, and Fenice runs on such machines only.

use jiff::Timestamp;

use crate::model::lsn::Lsn;
use crate::model::resource::SystemId;
use crate::model::timeline::Timeline;

/// `XLOG_BLCKSZ` as every packaged server is built; a long page header that says otherwise ends
/// the reading with an error.
pub const PAGE_BYTES: usize = 8192;

/// `SizeOfXLogRecord`.
pub const RECORD_HEADER_BYTES: usize = 24;

/// `XLogRecordMaxSize`: PostgreSQL writes no longer record.
pub const RECORD_BYTES_MAX: u32 = 1020 << 20;

const SHORT_HEADER_BYTES: usize = 24;
const LONG_HEADER_BYTES: usize = 40;
const CONTINUES: u16 = 0x0001;
const LONG: u16 = 0x0002;
const OVERWRITES: u16 = 0x0008;

/// Microseconds from 1970 to 2000, where PostgreSQL's instants start.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

/// Rounds up to the alignment of records.
pub fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(8)
}

/// The servers whose log we read; only the size of one item differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    From15To17,
    From18,
}

impl Version {
    /// By `XLOG_PAGE_MAGIC`.
    fn of_magic(magic: u16) -> Option<Version> {
        match magic {
            0xD110 | 0xD113 | 0xD116 => Some(Version::From15To17),
            0xD118 => Some(Version::From18),
            _ => None,
        }
    }

    /// `sizeof(xl_xact_stats_item)`: its object id grew to 64 bits.
    fn stats_item_bytes(self) -> usize {
        match self {
            Version::From15To17 => 12,
            Version::From18 => 16,
        }
    }
}

/// What only the first page of a segment tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongHeader {
    pub system_id: SystemId,
    pub segment_bytes: u32,
    pub page_bytes: u32,
}

/// `XLogPageHeaderData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// `None`: the page has a server's look, but not of a version we know.
    pub version: Option<Version>,
    pub timeline: Timeline,
    pub address: Lsn,
    /// The page begins with the rest of a record.
    pub continues: bool,
    /// The record that began before this page was never finished, and is void.
    pub overwrites: bool,
    /// Bytes of the continued record from here on.
    pub remaining: u32,
    pub long: Option<LongHeader>,
    /// Length of this header.
    pub bytes: usize,
}

impl PageHeader {
    /// Reads the header; `None` if these bytes are no page of a log.
    pub fn read(page: &[u8]) -> Option<PageHeader> {
        let mut from = Reader(page.get(..SHORT_HEADER_BYTES)?);
        let magic = from.u16()?;
        if magic & 0xFF00 != 0xD100 {
            return None;
        }
        let info = from.u16()?;
        let timeline = Timeline(from.u32()?);
        let address = Lsn(from.u64()?);
        let remaining = from.u32()?;
        let long = match info & LONG {
            0 => None,
            _ => {
                let mut from = Reader(page.get(SHORT_HEADER_BYTES..LONG_HEADER_BYTES)?);
                let system_id = SystemId(from.u64()?);
                let (segment_bytes, page_bytes) = (from.u32()?, from.u32()?);
                Some(LongHeader { system_id, segment_bytes, page_bytes })
            }
        };
        Some(PageHeader {
            version: Version::of_magic(magic),
            timeline,
            address,
            continues: info & CONTINUES != 0,
            overwrites: info & OVERWRITES != 0,
            remaining,
            bytes: if long.is_some() { LONG_HEADER_BYTES } else { SHORT_HEADER_BYTES },
            long,
        })
    }
}

/// `XLogRecord`: the fixed start of each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    pub xid: u32,
    pub previous: Lsn,
    pub info: u8,
    pub manager: u8,
    pub crc: u32,
}

impl RecordHeader {
    pub fn read(record: &[u8]) -> Option<RecordHeader> {
        let mut from = Reader(record.get(4..RECORD_HEADER_BYTES)?);
        let (xid, previous) = (from.u32()?, Lsn(from.u64()?));
        let (info, manager) = (from.u8()?, from.u8()?);
        from.skip(2)?;
        Some(RecordHeader { xid, previous, info, manager, crc: from.u32()? })
    }

    /// Whether the checksum holds: CRC-32C over the body, then over the header before the sum.
    pub fn verifies(&self, record: &[u8]) -> bool {
        let (header, body) = record.split_at(RECORD_HEADER_BYTES);
        crc32c::crc32c_append(crc32c::crc32c(body), &header[..20]) == self.crc
    }
}

/// What a record says, as far as recovery planning needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// A transaction became visible, stamped `at` by the server. `prepared`: by
    /// `COMMIT PREPARED`; `xid` is then that of the prepared transaction.
    Commit { xid: u32, at: Timestamp, prepared: bool },
    /// A transaction was undone.
    Abort { xid: u32, at: Timestamp, prepared: bool },
    /// `CREATE TABLESPACE … LOCATION path`.
    CreateTablespace { oid: u32, path: String },
    /// Recovery from here starts reading at `redo`.
    Checkpoint { redo: Lsn, timeline: Timeline, shutdown: bool },
    /// Recovery ended and `timeline` began.
    EndOfRecovery { at: Timestamp, timeline: Timeline, previous: Timeline },
    /// The rest of the segment is unused (`pg_switch_wal`).
    Switch,
    /// Anything else.
    Other,
}

const MANAGER_XLOG: u8 = 0;
const MANAGER_XACT: u8 = 1;
const MANAGER_TABLESPACE: u8 = 5;

impl Recorded {
    /// Reads the body of a record whose checksum holds; `None` if it contradicts the format.
    pub fn read(header: &RecordHeader, record: &[u8], version: Version) -> Option<Recorded> {
        let operation = header.info & 0xF0;
        let main = || main_data(record.get(RECORD_HEADER_BYTES..)?);
        match (header.manager, operation) {
            (MANAGER_XLOG, 0x00 | 0x10) => checkpoint(main()?, operation == 0x00),
            (MANAGER_XLOG, 0x40) => Some(Recorded::Switch),
            (MANAGER_XLOG, 0x90) => end_of_recovery(main()?),
            (MANAGER_XACT, _) => match operation & 0x70 {
                0x00 | 0x20 | 0x30 | 0x40 => transaction(header, main()?, version),
                _ => Some(Recorded::Other),
            },
            (MANAGER_TABLESPACE, 0x00) => tablespace(main()?),
            _ => Some(Recorded::Other),
        }
    }
}

/// `CheckPoint`: `redo`, `ThisTimeLineID`, and what we do not need.
fn checkpoint(main: &[u8], shutdown: bool) -> Option<Recorded> {
    let mut from = Reader(main);
    let (redo, timeline) = (Lsn(from.u64()?), Timeline(from.u32()?));
    Some(Recorded::Checkpoint { redo, timeline, shutdown })
}

/// `xl_end_of_recovery`.
fn end_of_recovery(main: &[u8]) -> Option<Recorded> {
    let mut from = Reader(main);
    let at = from.instant()?;
    let (timeline, previous) = (Timeline(from.u32()?), Timeline(from.u32()?));
    Some(Recorded::EndOfRecovery { at, timeline, previous })
}

/// `xl_tblspc_create_rec`: the path ends with a NUL.
fn tablespace(main: &[u8]) -> Option<Recorded> {
    let mut from = Reader(main);
    let oid = from.u32()?;
    let end = from.0.iter().position(|byte| *byte == 0)?;
    let path = String::from_utf8_lossy(&from.0[..end]).into_owned();
    Some(Recorded::CreateTablespace { oid, path })
}

/// `xl_xact_commit`, `xl_xact_abort`: the stamp, then optional pieces in a fixed order, of which
/// the prepared transaction's id comes after five others (`ParseCommitRecord`).
fn transaction(header: &RecordHeader, main: &[u8], version: Version) -> Option<Recorded> {
    let mut from = Reader(main);
    let at = from.instant()?;
    let prepared = matches!(header.info & 0x70, 0x30 | 0x40);
    let mut xid = header.xid;
    if prepared {
        let pieces = from.u32()?;
        let has = |bit: u32| pieces & (1 << bit) != 0;
        if has(0) {
            from.skip(8)?; // database and its tablespace
        }
        let lists = [(1, 4), (2, 12), (8, version.stats_item_bytes()), (3, 16)];
        for (bit, item_bytes) in lists {
            if has(bit) {
                let items = usize::try_from(from.u32()?).ok()?;
                from.skip(items.checked_mul(item_bytes)?)?;
            }
        }
        xid = if has(4) { from.u32()? } else { return None };
    }
    Some(match header.info & 0x70 {
        0x00 | 0x30 => Recorded::Commit { xid, at, prepared },
        _ => Recorded::Abort { xid, at, prepared },
    })
}

/// The record's own data, behind the headers and data of the pages it changes
/// (`DecodeXLogRecord`). It is always the last piece.
fn main_data(body: &[u8]) -> Option<&[u8]> {
    let mut from = Reader(body);
    let mut pages_bytes = 0usize;
    loop {
        if from.0.len() <= pages_bytes {
            return Some(&[]); // no main data
        }
        match from.u8()? {
            255 => {
                let bytes = usize::from(from.u8()?);
                return tail(from.0, pages_bytes, bytes);
            }
            254 => {
                let bytes = usize::try_from(from.u32()?).ok()?;
                return tail(from.0, pages_bytes, bytes);
            }
            253 => from.skip(2)?, // replication origin
            252 => from.skip(4)?, // top-level transaction
            0..=32 => pages_bytes = pages_bytes.checked_add(page_reference(&mut from)?)?,
            _ => return None,
        }
    }
}

/// The last `bytes` of `rest`, which must be exactly what follows the pages' data.
fn tail(rest: &[u8], pages_bytes: usize, bytes: usize) -> Option<&[u8]> {
    let main = rest.get(pages_bytes..)?;
    (main.len() == bytes).then_some(main)
}

/// Reads one reference to a changed page; how many bytes of data it has further on.
fn page_reference(from: &mut Reader<'_>) -> Option<usize> {
    let flags = from.u8()?;
    let mut bytes = usize::from(from.u16()?);
    if flags & 0x10 != 0 {
        let image_bytes = from.u16()?;
        from.skip(2)?; // where the hole begins
        let image_flags = from.u8()?;
        if image_flags & 0x01 != 0 && image_flags & 0x1C != 0 {
            from.skip(2)?; // length of the hole, told only of compressed images
        }
        bytes += usize::from(image_bytes);
    }
    if flags & 0x80 == 0 {
        from.skip(12)?; // the relation, unless it is that of the previous page
    }
    from.skip(4)?; // block number
    Some(bytes)
}

/// Reads forward; `None` beyond the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// `TimestampTz`.
    fn instant(&mut self) -> Option<Timestamp> {
        let microseconds = self.take().map(i64::from_le_bytes)?;
        Timestamp::from_microsecond(microseconds.checked_add(EPOCH_MICROSECONDS)?).ok()
    }
}
