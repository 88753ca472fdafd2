//! Reading an object: a large one in ranges, several at a time, all of the same version of it.
//!
//! The first range tells how long the object is, so a small one costs one request. It also tells
//! the ETag on which the others are conditional: an object that is replaced meanwhile is read anew.
//! In memory are the object and the ranges under way.

use std::sync::{Mutex, PoisonError};

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::AggregatedBytes;
use bytes::{Buf, Bytes};
use jiff::Timestamp;

use crate::error::{Error, Result};

use super::failure::{Failure, retried};
use super::objects::{Found, Objects, timestamp};
use super::parallel;

const RANGE_BYTES: u64 = 8 * 1024 * 1024;
/// So often an object that is replaced while it is read is begun anew.
const BEGINNINGS: u32 = 5;
/// Larger than anything Fenice writes: a store that says more than this is wrong.
const LARGEST_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// Part of an object, or all of it.
struct Piece {
    bytes: AggregatedBytes,
    /// Of the object.
    total_bytes: u64,
    etag: String,
    written_at: Option<Timestamp>,
}

/// From which byte on, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: u64,
    bytes: u64,
}

impl Objects {
    /// The object, or so many bytes of it from an offset; fewer where it ends before. `None` if
    /// there is none.
    pub async fn get(&self, key: &str, range: Option<(u64, u64)>) -> Result<Option<Found>> {
        for _ in 0..BEGINNINGS {
            match Box::pin(self.get_ranges(key, range)).await {
                Ok(found) => return Ok(Some(found)),
                Err(failure) if failure.is_absent() => return Ok(None),
                // Replaced between two ranges.
                Err(failure) if failure.is_condition() => {}
                Err(failure) => return Err(failure.error),
            }
        }
        let what = format!("cannot read the object {key} from the {}", self.describe());
        Err(Error::failed(what).because("it is replaced again and again").later())
    }

    async fn get_ranges(&self, key: &str, range: Option<(u64, u64)>) -> Result<Found, Failure> {
        let (from, wanted) = range.unwrap_or((0, u64::MAX));
        let span = Span { from, bytes: wanted.min(RANGE_BYTES) };
        let first = retried(|| self.get_piece(key, Some(span), None)).await;
        let mut first = match first {
            // An empty object has no first byte.
            Err(failure) if range.is_none() && failure.is_beyond() => {
                retried(|| self.get_piece(key, None, None)).await?
            }
            other => other?,
        };
        let begun = first.bytes.remaining() as u64;
        let end = from.saturating_add(wanted).min(first.total_bytes);
        let (etag, written_at) = (first.etag, first.written_at);
        let Some(rest) = end.checked_sub(from + begun).filter(|rest| *rest > 0) else {
            return Ok(Found { bytes: first.bytes.into_bytes(), etag, written_at });
        };
        if etag.is_empty() || end - from > LARGEST_BYTES {
            let what = format!("cannot read the object {key} from the {}", self.describe());
            return Err(Failure::for_good(match etag.is_empty() {
                true => format!("{what}: no ETag came"),
                false => format!("{what}: it is said to have {} bytes", first.total_bytes),
            }));
        }
        let mut bytes = vec![0; (end - from) as usize];
        first.bytes.copy_to_slice(&mut bytes[..begun as usize]);
        drop(first.bytes);
        let rest = Span { from: from + begun, bytes: rest };
        let bytes = self.get_rest(key, rest, bytes, &etag).await?;
        Ok(Found { bytes, etag, written_at })
    }

    /// Fills the end of `bytes` with what `rest` spans.
    async fn get_rest(
        &self,
        key: &str,
        rest: Span,
        bytes: Vec<u8>,
        etag: &str,
    ) -> Result<Bytes, Failure> {
        let begun = bytes.len() - rest.bytes as usize;
        let count = rest.bytes.div_ceil(RANGE_BYTES) as usize;
        let whole = &Mutex::new(bytes);
        parallel::each(count, |number| async move {
            let skipped = number as u64 * RANGE_BYTES;
            let bytes = RANGE_BYTES.min(rest.bytes - skipped);
            let span = Span { from: rest.from + skipped, bytes };
            let mut piece = retried(|| self.get_piece(key, Some(span), Some(etag))).await?;
            let at = begun + skipped as usize;
            let mut whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
            // As long as was asked for: that was checked.
            piece.bytes.copy_to_slice(&mut whole[at..at + bytes as usize]);
            Ok::<(), Failure>(())
        })
        .await?;
        let mut whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Bytes::from(std::mem::take(&mut *whole)))
    }

    /// One request: the span, or the object; of the version with that ETag, if one is given.
    async fn get_piece(
        &self,
        key: &str,
        span: Option<Span>,
        etag: Option<&str>,
    ) -> Result<Piece, Failure> {
        let what = format!("read the object {key} from the {}", self.describe());
        let range = span.map(|span| {
            format!("bytes={}-{}", span.from, span.from.saturating_add(span.bytes) - 1)
        });
        let request = self.client.get_object().bucket(&self.place.bucket);
        let request = request.key(self.full_key(key)).set_range(range);
        let request = request.set_if_match(etag.map(str::to_owned));
        let answer = request.send().await.map_err(|e| Failure::of(&what, &e))?;
        if etag.is_some_and(|etag| answer.e_tag() != Some(etag)) {
            return Err(Failure::of_condition(format!("cannot {what}: another version came")));
        }
        let promised = promised(span, &answer)
            .map_err(|why| Failure::of_answer(format!("cannot {what}: {why}")))?;
        let written_at = answer.last_modified().and_then(|at| timestamp(at).ok());
        let etag = answer.e_tag.unwrap_or_default();
        let bytes = answer.body.collect().await;
        let bytes = bytes.map_err(|e| Failure::of_answer(format!("cannot {what}: {e}")))?;
        let came = bytes.remaining() as u64;
        match promised {
            Some((promised, _)) if promised != came => {
                Err(Failure::of_answer(format!("cannot {what}: {came} of {promised} bytes came")))
            }
            _ => {
                let total_bytes = promised.map_or(came, |(_, total)| total);
                Ok(Piece { bytes, total_bytes, etag, written_at })
            }
        }
    }
}

/// How many bytes shall come, and how many the object has, by the head of the answer; `None` if it
/// does not say, which it need not of a whole object.
fn promised(asked: Option<Span>, answer: &GetObjectOutput) -> Result<Option<(u64, u64)>, String> {
    let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
    match (asked, answer.content_range()) {
        (Some(asked), Some(range)) => {
            let (from, bytes, total) = read_content_range(range)
                .ok_or_else(|| format!("`{range}` came instead of a range"))?;
            let due = Span { from: asked.from, bytes: asked.bytes.min(total - from) };
            match (Span { from, bytes }) == due && length.is_none_or(|length| length == bytes) {
                true => Ok(Some((bytes, total))),
                false => Err(format!("`{range}` came instead of {asked:?}")),
            }
        }
        // A store may answer with the whole object.
        (Some(Span { from: 1.., .. }), None) => Err("no range came".to_owned()),
        (_, None) => Ok(length.map(|length| (length, length))),
        (None, Some(range)) => Err(format!("`{range}` came instead of the whole")),
    }
}

/// First byte, number of bytes, and bytes of the whole (RFC 9110, section 14.4).
fn read_content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total: u64 = total.parse().ok()?;
    (first <= last && last < total).then(|| (first, last - first + 1, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_says_what_came_of_how_much() {
        assert_eq!(read_content_range("bytes 0-4/5"), Some((0, 5, 5)));
        assert_eq!(read_content_range("bytes 8-8/100"), Some((8, 1, 100)));
        for wrong in ["", "bytes 0-4/*", "bytes */5", "bytes 4-3/5", "bytes 0-5/5", "0-4/5"] {
            assert_eq!(read_content_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_was_not_asked_for_is_no_answer() {
        let answer = |range: Option<&str>, length: i64| {
            let range = range.map(str::to_owned);
            GetObjectOutput::builder().set_content_range(range).content_length(length).build()
        };
        let span = |from, bytes| Some(Span { from, bytes });
        let cases = [
            (span(0, 10), Some("bytes 0-9/30"), 10, Ok(Some((10, 30)))),
            (span(20, 10), Some("bytes 20-24/25"), 5, Ok(Some((5, 25)))),
            (span(0, 10), None, 7, Ok(Some((7, 7)))),
            (None, None, 7, Ok(Some((7, 7)))),
            (span(0, 10), Some("bytes 0-8/30"), 9, Err(())),
            (span(0, 10), Some("bytes 1-10/30"), 10, Err(())),
            (span(0, 10), Some("bytes 0-9/30"), 30, Err(())),
            (span(10, 10), None, 30, Err(())),
            (None, Some("bytes 0-9/30"), 10, Err(())),
        ];
        for (asked, range, length, expected) in cases {
            let found = promised(asked, &answer(range, length)).map_err(drop);
            assert_eq!(found, expected, "{asked:?} {range:?} {length}");
        }
    }
}
