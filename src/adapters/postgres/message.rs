//! What the server's messages say (PostgreSQL manual, "Message Formats"). Reading never goes
//! beyond a message's end: whatever does not fit is an error, not a panic.

use bytes::{Buf, Bytes};
use jiff::Timestamp;

use crate::error::{Attempt, Error, Result};
use crate::model::Lsn;
use crate::ports::postgres::ServerError;

/// One message: its type byte and what follows the length.
#[derive(Debug)]
pub(super) struct Frame {
    pub tag: u8,
    pub body: Bytes,
}

/// The columns of one row in text form (the history command sends raw bytes).
pub(super) type RawRow = Vec<Option<Bytes>>;

/// A message of the server that breaks the protocol; the connection is of no further use.
pub(super) fn violation(what: impl Into<String>) -> Error {
    Error::failed(format!("the server broke the protocol: {}", what.into()))
        .hint("Check that a PostgreSQL server, 15 or newer, answers at this address.")
}

/// For messages: the type byte as the manual writes it.
pub(super) fn unexpected(tag: u8) -> Error {
    violation(format!("message `{}` came where it cannot", tag.escape_ascii()))
}

/// Reads a body front to back.
pub(super) struct Reader(pub Bytes);

impl Reader {
    fn need(&self, bytes: usize) -> Result<()> {
        match self.0.len() >= bytes {
            true => Ok(()),
            false => Err(violation("a message is shorter than it says")),
        }
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.need(2)?;
        Ok(self.0.get_u16())
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        self.need(4)?;
        Ok(self.0.get_i32())
    }

    pub(super) fn lsn(&mut self) -> Result<Lsn> {
        self.need(8)?;
        Ok(Lsn(self.0.get_u64()))
    }

    /// Microseconds since 2000-01-01 00:00 UTC.
    pub(super) fn timestamp(&mut self) -> Result<Timestamp> {
        self.need(8)?;
        let micros = self.0.get_i64();
        let unix = micros.checked_add(POSTGRES_EPOCH_UNIX_MICROS);
        unix.and_then(|unix| Timestamp::from_microsecond(unix).ok())
            .ok_or_else(|| violation(format!("{micros} is not a time")))
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<Bytes> {
        self.need(count)?;
        Ok(self.0.split_to(count))
    }

    /// Text up to a zero byte. The server may not know our encoding yet, so text that is not
    /// UTF-8 is shown as well as it can be.
    pub(super) fn text(&mut self) -> Result<String> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| violation("a text in a message does not end"))?;
        let text = String::from_utf8_lossy(&self.0.split_to(end)).into_owned();
        self.0.advance(1);
        Ok(text)
    }

    pub(super) fn rest(self) -> Bytes {
        self.0
    }
}

/// 2000-01-01 00:00 UTC, from which PostgreSQL counts.
const POSTGRES_EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;

/// PostgreSQL's count of microseconds for `at`.
pub(super) fn postgres_micros(at: Timestamp) -> i64 {
    at.as_microsecond() - POSTGRES_EPOCH_UNIX_MICROS
}

/// A `DataRow`.
pub(super) fn row(body: Bytes) -> Result<RawRow> {
    let mut reader = Reader(body);
    let columns = reader.u16()?;
    let column = |reader: &mut Reader| {
        let length = reader.i32()?;
        usize::try_from(length).ok().map(|length| reader.bytes(length)).transpose()
    };
    (0..columns).map(|_| column(&mut reader)).collect()
}

/// An `ErrorResponse` or `NoticeResponse`.
pub(super) fn server_error(body: Bytes) -> Result<ServerError> {
    let mut reader = Reader(body);
    let mut error = ServerError::default();
    loop {
        match reader.u8()? {
            0 => return Ok(error),
            // `V` is the severity untranslated; `S`, which comes before it, may be Italian.
            b'V' => error.severity = reader.text()?,
            b'C' => error.code = reader.text()?,
            b'M' => error.message = reader.text()?,
            b'D' => error.detail = Some(reader.text()?),
            b'H' => error.hint = Some(reader.text()?),
            _ => drop(reader.text()?),
        }
    }
}

/// Column `at` of `row` as text; `None` is NULL.
pub(super) fn column(row: &RawRow, at: usize) -> Result<Option<&str>> {
    let value = row.get(at).ok_or_else(|| violation("a row has too few columns"))?;
    let text = |bytes| std::str::from_utf8(bytes).attempt(|| "read a value as UTF-8".to_owned());
    value.as_deref().map(text).transpose()
}

/// Column `at` of `row`, which is not NULL, parsed.
pub(super) fn parsed<T: std::str::FromStr>(row: &RawRow, at: usize) -> Result<T> {
    let text = column(row, at)?.ok_or_else(|| violation("a value is missing in a row"))?;
    text.parse().map_err(|_| violation(format!("`{text}` is not what column {at} holds")))
}
