//! What `archive_command` hands over: checked against the registered cluster, stored durably.
//!
//! The server removes the file once this succeeds, so nothing doubtful may: a foreign cluster, a
//! strange timeline, a short file, another content under a known name are all refused.

use std::fs;
use std::path::Path;

use crate::error::{Attempt, Error, Result};
use crate::model::wal_format::PageHeader;
use crate::model::{Lsn, Timeline, TimelineHistory, WalName};
use crate::ports::store::Put;
use crate::repository::manifest::ClusterManifest;
use crate::repository::wal::WalArchive;

/// Histories and labels are short texts.
const SMALL_BYTES_MAX: u64 = 1 << 20;

/// Stores the file at `path` under its own name. Pushing it again is fine.
///
/// # Errors
/// Refused if it is not of the registered cluster, its timeline does not belong to it, or another
/// content is stored under the name.
pub fn push(archive: &WalArchive, registered: &ClusterManifest, path: &Path) -> Result<Put> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = WalName::parse(name, archive.segment_size)?;
    let what = || format!("push {}", path.display());
    match &name {
        WalName::Segment(timeline, number) => {
            let bytes = read_segment(archive, path, *number).attempt(what)?;
            check_timeline(archive, registered, *timeline, path).attempt(what)?;
            archive.put(*timeline, *number, 0, &bytes, None).attempt(what)
        }
        WalName::Partial(timeline, number) => {
            let bytes = read_segment(archive, path, *number).attempt(what)?;
            check_timeline(archive, registered, *timeline, path).attempt(what)?;
            archive.put_file(&name, &bytes).attempt(what)
        }
        WalName::History(timeline) => {
            let bytes = read(path, SMALL_BYTES_MAX).attempt(what)?;
            let history = TimelineHistory::parse(*timeline, &String::from_utf8_lossy(&bytes));
            let history = history.attempt(what)?;
            if !history.contains(registered.timeline) {
                check_timeline(archive, registered, *timeline, path).attempt(what)?;
            }
            archive.put_file(&name, &bytes).attempt(what)
        }
        WalName::BackupLabel(timeline, _) => {
            let bytes = read(path, SMALL_BYTES_MAX).attempt(what)?;
            check_timeline(archive, registered, *timeline, path).attempt(what)?;
            archive.put_file(&name, &bytes).attempt(what)
        }
    }
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let reading = || format!("read {}", path.display());
    let bytes = fs::metadata(path).attempt(reading)?.len();
    if bytes > bytes_max {
        return Err(Error::refused(format!("the file has {bytes} bytes, more than {bytes_max}"))
            .hint("This is not the file that its name says."));
    }
    fs::read(path).attempt(reading)
}

/// A whole file of the log, whose first page says that it is the one meant. Its timeline may be an
/// ancestor's: the first segment of a new timeline repeats what came before the switch.
fn read_segment(archive: &WalArchive, path: &Path, number: u64) -> Result<Vec<u8>> {
    let size = archive.segment_size;
    let bytes = read(path, size.bytes())?;
    if bytes.len() as u64 != size.bytes() {
        let (found, wanted) = (bytes.len(), size.bytes());
        return Err(Error::refused(format!("the file has {found} bytes instead of {wanted}"))
            .hint("A segment is pushed when it is finished; is the disk full?"));
    }
    let header = PageHeader::read(&bytes);
    let long = header.and_then(|header| header.long);
    let (Some(header), Some(long)) = (header, long) else {
        return Err(Error::refused("the file does not begin with a page of the log")
            .hint("Push files of pg_wal only, as archive_command names them."));
    };
    if long.system_id != archive.system_id {
        return Err(Error::refused(format!(
            "the file is of another cluster than {}",
            archive.resource
        ))
        .because(format!(
            "its system identifier is {}, registered is {}",
            long.system_id, archive.system_id
        ))
        .hint("Correct archive_command of that server: each resource has its own."));
    }
    let start: Lsn = size.start_of(number);
    if header.address != start || u64::from(long.segment_bytes) != size.bytes() {
        return Err(Error::refused("the file is not the segment that its name says")
            .because(format!("it begins at {}, the name says {start}", header.address))
            .hint("Push files of pg_wal only, as archive_command names them."));
    }
    Ok(bytes)
}

/// A timeline belongs to the resource if the registered one is among its ancestors, or the other
/// way round: a server may still hand over what it wrote before it was registered.
fn check_timeline(
    archive: &WalArchive,
    registered: &ClusterManifest,
    timeline: Timeline,
    path: &Path,
) -> Result<()> {
    let ours = registered.timeline;
    let (younger, older) = (timeline.max(ours), timeline.min(ours));
    if younger == older {
        return Ok(());
    }
    let history = find_history(archive, younger, path)?;
    match history {
        Some(history) if history.contains(older) => Ok(()),
        Some(_) => Err(Error::refused(format!(
            "timeline {timeline} does not descend from timeline {ours}, which is registered"
        ))
        .hint("Is this an old primary, or a restored copy? Turn its archive_mode off.")),
        None => Err(Error::refused(format!(
            "the history of timeline {younger} is neither stored nor beside the file"
        ))
        .later()
        .hint("Push its history file first; PostgreSQL does so by itself.")),
    }
}

/// The history as stored, or as it lies in the server's own `pg_wal`.
fn find_history(
    archive: &WalArchive,
    timeline: Timeline,
    path: &Path,
) -> Result<Option<TimelineHistory>> {
    let key = archive.history_key(timeline);
    let file = WalName::History(timeline).file_name(archive.segment_size);
    let beside = path.with_file_name(file);
    let text = match archive.repository.store.get(&key)? {
        Some(_) => archive.read_small(&key)?,
        None if fs::exists(&beside).attempt(|| format!("look for {}", beside.display()))? => {
            read(&beside, SMALL_BYTES_MAX)?
        }
        None => return Ok(None),
    };
    TimelineHistory::parse(timeline, &String::from_utf8_lossy(&text)).map(Some)
}
