//! Cuts a stream of log into segments and parts. Pure.

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::model::{Lsn, SegmentSize, Timeline};

/// Bytes to store: a whole segment, or the part of it that begins at `from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub timeline: Timeline,
    pub segment: u64,
    pub from: u64,
    pub bytes: Vec<u8>,
    /// The source's log ended with these bytes at this instant of its clock, if it did.
    pub complete_at: Option<Timestamp>,
}

impl Piece {
    /// The position after its last byte.
    pub fn end(&self, size: SegmentSize) -> Lsn {
        size.start_of(self.segment).plus(self.from + self.bytes.len() as u64)
    }
}

/// The segment that is being received. Holds at most one segment in memory.
#[derive(Debug)]
pub struct Assembly {
    timeline: Timeline,
    size: SegmentSize,
    segment: u64,
    bytes: Vec<u8>,
    /// How far parts of this segment were handed out.
    handed_out: u64,
    /// What is stored already of this segment; what comes must begin with it.
    stored: Vec<u8>,
    complete_at: Option<Timestamp>,
}

impl Assembly {
    /// Begins at the start of `segment`, of which `stored` is in the archive already.
    pub fn new(timeline: Timeline, size: SegmentSize, segment: u64, stored: Vec<u8>) -> Assembly {
        Assembly {
            timeline,
            size,
            segment,
            bytes: Vec::with_capacity(size.bytes() as usize),
            handed_out: stored.len() as u64,
            stored,
            complete_at: None,
        }
    }

    pub fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// The position after the last byte received.
    pub fn end(&self) -> Lsn {
        self.size.start_of(self.segment).plus(self.bytes.len() as u64)
    }

    /// Takes what came from the stream; returns the segments it completed.
    ///
    /// # Errors
    /// `start` is not where the last bytes ended, or the bytes differ from those stored before:
    /// then this is another log under the same name.
    pub fn push(&mut self, start: Lsn, mut data: &[u8]) -> Result<Vec<Piece>> {
        if start != self.end() {
            return Err(Error::failed(format!(
                "the stream continues at {start} instead of {}",
                self.end()
            ))
            .later());
        }
        self.complete_at = None;
        let mut complete = Vec::new();
        while !data.is_empty() {
            let room = self.size.bytes() as usize - self.bytes.len();
            let (now, rest) = data.split_at(room.min(data.len()));
            self.compare_with_stored(now)?;
            self.bytes.extend_from_slice(now);
            data = rest;
            if self.bytes.len() as u64 == self.size.bytes() {
                complete.push(self.finish_segment());
            }
        }
        Ok(complete)
    }

    /// Notes that the source's log ended exactly here at `at`.
    pub fn complete_at(&mut self, server_end: Lsn, at: Timestamp) {
        if server_end == self.end() {
            self.complete_at = Some(at);
        }
    }

    /// What was received since the last part; `None` if nothing was.
    pub fn part(&mut self) -> Option<Piece> {
        let from = self.handed_out;
        let bytes = self.bytes.get(from as usize..).filter(|bytes| !bytes.is_empty())?.to_vec();
        self.handed_out = self.bytes.len() as u64;
        let (timeline, segment) = (self.timeline, self.segment);
        Some(Piece { timeline, segment, from, bytes, complete_at: self.complete_at })
    }

    fn finish_segment(&mut self) -> Piece {
        let room = Vec::with_capacity(self.size.bytes() as usize);
        let bytes = std::mem::replace(&mut self.bytes, room);
        let (timeline, segment) = (self.timeline, self.segment);
        self.segment += 1;
        self.handed_out = 0;
        self.stored = Vec::new();
        Piece { timeline, segment, from: 0, bytes, complete_at: None }
    }

    fn compare_with_stored(&self, data: &[u8]) -> Result<()> {
        let at = self.bytes.len().min(self.stored.len());
        let known = &self.stored[at..self.stored.len().min(at + data.len())];
        match data.starts_with(known) {
            true => Ok(()),
            false => Err(Error::refused(format!(
                "the source's log at {} differs from what is stored of timeline {}",
                self.end(),
                self.timeline
            ))
            .hint(
                "Another server with the same system identifier was shipped before, or this one \
                 was restored without a new timeline. Nothing was overwritten.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn small() -> SegmentSize {
        SegmentSize::try_from(MIB).unwrap()
    }

    #[test]
    fn segments_and_parts_cover_the_stream_exactly() {
        let mut assembly = Assembly::new(Timeline(1), small(), 3, Vec::new());
        let stream: Vec<u8> = (0..2 * MIB + 700).map(|i| (i % 251) as u8).collect();
        assert!(assembly.push(Lsn(3 * MIB), &stream[..100]).unwrap().is_empty());
        let part = assembly.part().unwrap();
        assert_eq!((part.from, part.bytes.len(), part.end(small())), (0, 100, Lsn(3 * MIB + 100)));
        assert_eq!(assembly.part(), None);
        let whole = assembly.push(Lsn(3 * MIB + 100), &stream[100..]).unwrap();
        assert_eq!(whole.iter().map(|p| p.segment).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(whole[0].bytes, stream[..MIB as usize]);
        assert_eq!(whole[1].bytes, stream[MIB as usize..2 * MIB as usize]);
        assembly.complete_at(Lsn(5 * MIB + 700), Timestamp::UNIX_EPOCH);
        let part = assembly.part().unwrap();
        assert_eq!((part.segment, part.from, part.bytes.len()), (5, 0, 700));
        assert_eq!(part.complete_at, Some(Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn what_is_stored_is_compared_and_not_handed_out_again() {
        let mut assembly = Assembly::new(Timeline(1), small(), 0, vec![1, 2, 3]);
        assembly.push(Lsn(0), &[1, 2]).unwrap();
        assert_eq!(assembly.part(), None);
        assembly.push(Lsn(2), &[3, 4, 5]).unwrap();
        let part = assembly.part().unwrap();
        assert_eq!((part.from, part.bytes), (3, vec![4, 5]));

        let mut other = Assembly::new(Timeline(1), small(), 0, vec![1, 2, 3]);
        let error = other.push(Lsn(0), &[1, 9]).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Refused);
    }

    #[test]
    fn a_stream_with_a_hole_is_an_error() {
        let mut assembly = Assembly::new(Timeline(1), small(), 0, Vec::new());
        assert!(assembly.push(Lsn(8), &[0]).is_err());
    }
}
