//! The tar archives of a base backup, read strictly as they come. Pure.
//!
//! PostgreSQL writes plain ustar headers (`src/port/tar.c`): names and link targets of at most 99
//! bytes, no prefix, numbers in octal or, where too large, in base 256; after the last member two
//! blocks of zeros (`basebackup.c`). Whatever departs from that is an error, not a guess.

use jiff::Timestamp;

use crate::error::{Attempt, Error, Result};

const BLOCK_BYTES: usize = 512;
/// Blocks of zeros that end an archive.
const END_BLOCKS: u8 = 2;

/// What kind of thing a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    File,
    Dir,
    Symlink { target: String },
}

/// A member's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Relative, without a slash at its end.
    pub path: String,
    pub kind: MemberKind,
    /// Bytes of content; 0 for all but files.
    pub size: u64,
    pub permissions: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Timestamp,
}

/// What comes next in an archive.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Member(Member),
    /// The next bytes of the member's content; never empty.
    Content(&'a [u8]),
    /// All of the member has come.
    MemberEnd,
}

/// Reads one archive. Holds no more than one header.
#[derive(Debug)]
pub struct TarReader {
    block: Vec<u8>,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Header,
    Content {
        left: u64,
        padding: usize,
    },
    Padding {
        left: usize,
    },
    /// So many blocks of zeros have come.
    Ending(u8),
}

impl Default for TarReader {
    fn default() -> TarReader {
        TarReader { block: Vec::with_capacity(BLOCK_BYTES), state: State::Header }
    }
}

impl TarReader {
    /// Takes the next event off the front of `input`; `None` once `input` is used up.
    ///
    /// # Errors
    /// Anything PostgreSQL would not write, such as bytes after the end.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>> {
        loop {
            match &mut self.state {
                State::Content { left: 0, padding } => {
                    self.state = State::Padding { left: *padding };
                    return Ok(Some(Event::MemberEnd));
                }
                _ if input.is_empty() => return Ok(None),
                State::Content { left, .. } => {
                    let taken = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let (content, rest) = input.split_at(taken);
                    *input = rest;
                    *left -= taken as u64;
                    return Ok(Some(Event::Content(content)));
                }
                State::Padding { left: 0 } => self.state = State::Header,
                State::Padding { left } => {
                    let (padding, rest) = input.split_at(input.len().min(*left));
                    if padding.iter().any(|byte| *byte != 0) {
                        return Err(bad("a member is longer than its header says"));
                    }
                    *input = rest;
                    *left -= padding.len();
                }
                State::Ending(END_BLOCKS) => return Err(bad("bytes follow its end")),
                State::Header | State::Ending(_) => {
                    if let Some(member) = self.take_block(input)? {
                        return Ok(Some(Event::Member(member)));
                    }
                }
            }
        }
    }

    /// Fills the block; once it is full, it is a header or one of the zeros at the end.
    fn take_block(&mut self, input: &mut &[u8]) -> Result<Option<Member>> {
        let (now, rest) = input.split_at(input.len().min(BLOCK_BYTES - self.block.len()));
        self.block.extend_from_slice(now);
        *input = rest;
        if self.block.len() < BLOCK_BYTES {
            return Ok(None);
        }
        let zeros = self.block.iter().all(|byte| *byte == 0);
        let member = match (&self.state, zeros) {
            (State::Ending(seen), true) => {
                self.state = State::Ending(seen + 1);
                None
            }
            (_, true) => {
                self.state = State::Ending(1);
                None
            }
            (State::Ending(_), false) => return Err(bad("its end is not two blocks of zeros")),
            (_, false) => {
                let member = read_header(&self.block)?;
                let padding = (member.size.wrapping_neg() % BLOCK_BYTES as u64) as usize;
                self.state = State::Content { left: member.size, padding };
                Some(member)
            }
        };
        self.block.clear();
        Ok(member)
    }

    /// Whether the archive came to its end.
    ///
    /// # Errors
    /// It was cut off.
    pub fn finish(&self) -> Result<()> {
        match self.state == State::Ending(END_BLOCKS) && self.block.is_empty() {
            true => Ok(()),
            false => Err(bad("it ends in the middle")),
        }
    }
}

fn bad(what: &str) -> Error {
    Error::failed(format!("the archive from the server is not as expected: {what}"))
}

/// Field positions: POSIX.1-1990 ustar, section "tar Format".
fn read_header(block: &[u8]) -> Result<Member> {
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let sum_of_field: u64 = block[148..156].iter().map(|byte| u64::from(*byte)).sum();
    // The checksum itself counts as eight spaces.
    if number(&block[148..156])? != sum - sum_of_field + 8 * u64::from(b' ') {
        return Err(bad("the checksum of a header does not fit"));
    }
    if &block[257..262] != b"ustar" || block[345..500].iter().any(|byte| *byte != 0) {
        return Err(bad("a header is not PostgreSQL's"));
    }
    let name = text(&block[..100])?;
    let size = number(&block[124..136])?;
    let (path, kind) = match block[156] {
        b'0' | 0 => (name.as_str(), MemberKind::File),
        b'5' => (name.strip_suffix('/').unwrap_or(&name), MemberKind::Dir),
        b'2' => (name.as_str(), MemberKind::Symlink { target: text(&block[157..257])? }),
        other => return Err(bad(&format!("`{name}` is of type `{}`", other.escape_ascii()))),
    };
    // PostgreSQL writes a few directories as `./pg_wal/archive_status`.
    let path = path.strip_prefix("./").unwrap_or(path);
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(bad(&format!("`{name}` is not a path within it")));
    }
    if kind != MemberKind::File && size != 0 {
        return Err(bad(&format!("`{name}` is no file but has content")));
    }
    let small = |field: &[u8]| -> Result<u32> {
        u32::try_from(number(field)?).map_err(|_| bad("a number is too large"))
    };
    let mtime = i64::try_from(number(&block[136..148])?).unwrap_or(i64::MAX);
    Ok(Member {
        path: path.to_owned(),
        kind,
        size,
        permissions: small(&block[100..108])? & 0o7777,
        uid: small(&block[108..116])?,
        gid: small(&block[116..124])?,
        mtime: Timestamp::from_second(mtime).attempt(|| format!("read the time of `{name}`"))?,
    })
}

/// A field of text ends with a zero byte: one that fills its field may have been cut.
fn text(field: &[u8]) -> Result<String> {
    let end = field.iter().position(|byte| *byte == 0);
    let end = end.ok_or_else(|| bad("a name fills its field, and may have been cut"))?;
    let text = std::str::from_utf8(&field[..end]);
    text.map(str::to_owned).map_err(|_| bad("a name is not UTF-8"))
}

/// Octal digits up to a space or zero byte, or big-endian base 256 behind a first byte of 0x80.
fn number(field: &[u8]) -> Result<u64> {
    let (digits, base): (&[u8], u64) = match field {
        [0x80, rest @ ..] => (rest, 256),
        _ => {
            let end = field.iter().position(|byte| matches!(byte, b' ' | 0));
            (&field[..end.unwrap_or(field.len())], 8)
        }
    };
    let mut value = 0u64;
    for byte in digits {
        let digit = match base {
            256 => Some(u64::from(*byte)),
            _ => (b'0'..=b'7').contains(byte).then(|| u64::from(byte - b'0')),
        };
        let next = digit.and_then(|digit| value.checked_mul(base)?.checked_add(digit));
        value = next.ok_or_else(|| bad("a number is not one"))?;
    }
    match digits.is_empty() {
        true => Err(bad("a number is empty")),
        false => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
        let mut block = vec![0; BLOCK_BYTES];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..108].copy_from_slice(b"0000600 ");
        block[108..116].copy_from_slice(b"0000152 ");
        block[116..124].copy_from_slice(b"0000161 ");
        match size < 1 << 33 {
            true => block[124..136].copy_from_slice(format!("{size:011o} ").as_bytes()),
            false => {
                block[124] = 0x80;
                block[128..136].copy_from_slice(&size.to_be_bytes());
            }
        }
        block[136..148].copy_from_slice(b"14763004171 ");
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:07o} ").as_bytes());
        block
    }

    fn archive() -> Vec<u8> {
        let mut bytes = header("base/", b'5', 0);
        bytes.extend(header("base/1", b'0', 700));
        bytes.extend([7; 700]);
        bytes.extend([0; 324]);
        bytes.extend(header("empty", b'0', 0));
        bytes.extend([0; 2 * BLOCK_BYTES]);
        bytes
    }

    /// Paths with their contents, read in pieces of `piece` bytes.
    fn read(bytes: &[u8], piece: usize) -> Result<Vec<(String, Vec<u8>)>> {
        let mut reader = TarReader::default();
        let (mut found, mut ended) = (Vec::<(String, Vec<u8>)>::new(), 0);
        for mut input in bytes.chunks(piece) {
            while let Some(event) = reader.next(&mut input)? {
                match event {
                    Event::Member(member) => found.push((member.path, Vec::new())),
                    Event::Content(content) => found.last_mut().unwrap().1.extend(content),
                    Event::MemberEnd => ended += 1,
                }
            }
        }
        reader.finish()?;
        assert_eq!(ended, found.len());
        Ok(found)
    }

    #[test]
    fn members_come_whole_however_the_stream_is_cut() {
        let wanted = vec![
            ("base".to_owned(), Vec::new()),
            ("base/1".to_owned(), vec![7; 700]),
            ("empty".to_owned(), Vec::new()),
        ];
        for piece in [1, 3, 511, 512, 513, 4_096] {
            assert_eq!(read(&archive(), piece).unwrap(), wanted, "pieces of {piece}");
        }
    }

    #[test]
    fn an_archive_cut_anywhere_or_with_more_behind_it_is_an_error() {
        let whole = archive();
        for end in 0..whole.len() {
            assert!(read(&whole[..end], 4_096).is_err(), "cut at {end}");
        }
        assert!(read(&[whole.as_slice(), &[0]].concat(), 4_096).is_err());
        assert!(read(&[whole.as_slice(), &[0; 512]].concat(), 4_096).is_err());
    }

    #[test]
    fn every_damaged_header_is_seen() {
        let whole = archive();
        // The magic's version and the names of the owner are not looked at but by the checksum.
        for at in (0..BLOCK_BYTES).chain(512..1_024).chain(1_724..2_048) {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            assert!(read(&bad, 4_096).is_err(), "byte {at}");
        }
    }

    #[test]
    fn strange_headers_are_refused() {
        let full = "x".repeat(100);
        for (name, kind) in
            [("/etc/passwd", b'0'), ("a/../b", b'0'), ("", b'0'), (&full, b'0'), ("a", b'L')]
        {
            assert!(read_header(&header(name, kind, 0)).is_err(), "{name}");
        }
        assert!(read_header(&header("a", b'5', 9)).is_err());
        let large = read_header(&header("a", b'0', 9 << 33)).unwrap();
        assert_eq!((large.size, large.permissions, large.uid), (9 << 33, 0o600, 106));
    }
}
