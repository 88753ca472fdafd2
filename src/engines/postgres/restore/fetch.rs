//! The client side of `wal fetch`: copies one file from the restore's socket.
//!
//! The caller turns every error into a SIGKILL of itself (RULES 1): PostgreSQL takes any plain
//! failure of its `restore_command` for the end of the log.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::error::{Attempt, Error, Result};

/// Reading a segment from a slow repository takes its time; a dead server closes the socket.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// `wal_segment_size` is at most 1 GiB.
const LARGEST_BYTES: u64 = 1 << 30;

const BUFFER_BYTES: usize = 256 << 10;

/// How a fetch ended, if not with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// The file is in place, whole.
    Done,
    /// It is proven that there is no such file.
    Absent,
}

/// Asks the server on `socket` for the file `name` and puts it at `to`.
///
/// # Errors
/// The socket is gone, the server says stop, or anything unexpected comes.
pub fn from_socket(socket: &Path, name: &str, to: &Path) -> Result<Fetch> {
    let what = || format!("fetch {name} from the restore on {}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(|cause| {
        Error::failed(format!("cannot {}", what()))
            .because(cause)
            .hint("The restore that served the log has ended; `fenice wal serve` goes on with it.")
    })?;
    stream.set_read_timeout(Some(PATIENCE)).attempt(what)?;
    stream.write_all(format!("{name}\n").as_bytes()).attempt(what)?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream);
    let mut line = String::new();
    reader.by_ref().take(4_096).read_line(&mut line).attempt(what)?;
    match line.trim_end().split_once(' ') {
        Some(("ok", bytes)) => {
            let bytes: u64 = bytes.parse().attempt(what)?;
            receive(&mut reader, bytes, to).attempt(what)?;
            Ok(Fetch::Done)
        }
        Some(("file", answer)) => {
            let (bytes, path) = answer.split_once(' ').unwrap_or((answer, ""));
            take(Path::new(path), bytes.parse().attempt(what)?, to).attempt(what)?;
            Ok(Fetch::Done)
        }
        Some(("stop", reason)) => Err(Error::refused(reason.to_owned())),
        None if line == "absent\n" => Ok(Fetch::Absent),
        _ => Err(Error::failed(format!("the restore answered `{}` for {name}", line.trim_end()))),
    }
}

/// Takes over a file that the server has made for us alone.
fn take(path: &Path, bytes: u64, to: &Path) -> Result<()> {
    let what = || format!("move {} to {}", path.display(), to.display());
    let found = fs::metadata(path).attempt(what)?.len();
    if found != bytes {
        return Err(Error::failed(format!("{} has {found} of {bytes} bytes", path.display())));
    }
    match fs::rename(path, to) {
        Err(cause) if cause.kind() == ErrorKind::CrossesDevices => {
            let mut from = File::open(path).attempt(what)?;
            put_by(to, |file| match std::io::copy(&mut from, file)? {
                copied if copied == bytes => Ok(()),
                copied => Err(std::io::Error::other(format!("{copied} of {bytes} bytes"))),
            })?;
            fs::remove_file(path).attempt(what)
        }
        renamed => renamed.attempt(what),
    }
}

/// Writes as it comes: a buffer stays in the processor's cache, a segment does not.
fn receive(reader: &mut impl BufRead, bytes: u64, to: &Path) -> Result<()> {
    if bytes > LARGEST_BYTES {
        return Err(Error::failed(format!("{bytes} bytes are too many")));
    }
    put_by(to, |file| {
        let mut left = bytes;
        while left > 0 {
            let buffer = reader.fill_buf()?;
            let take = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if take == 0 {
                return Err(std::io::Error::other(format!("{left} of {bytes} bytes did not come")));
            }
            file.write_all(&buffer[..take])?;
            reader.consume(take);
            left -= take as u64;
        }
        Ok(())
    })
}

/// Puts a whole file at `to`.
pub(super) fn put(content: &[u8], to: &Path) -> Result<()> {
    put_by(to, |file| file.write_all(content))
}

/// Writes beside the destination and renames: PostgreSQL never sees a short file.
fn put_by(to: &Path, write: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
    let beside = to.with_extension("fenice-tmp");
    let put = File::create(&beside).and_then(|mut file| write(&mut file));
    put.and_then(|()| fs::rename(&beside, to)).attempt(|| format!("write {}", to.display()))
}
