//! A restore whose server is started by somebody else, later: what it was is kept beside it, so
//! that its log can be served again.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use jiff::Timestamp;

use crate::error::{Attempt, Error, Result};
use crate::model::{ResourceName, Timeline};
use crate::plan::facts::{Request, Target};
use crate::repository::vault::restore::Restored;

use super::facts;
use super::place::Place;
use super::recover::{FilesInPlace, Tools, checked_plan, pin_what_is_read};

const NOTE: &str = "restore.json";

/// What a restore was.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    resource: ResourceName,
    snapshot: String,
    /// `None` for the end of the log, or for the state of the snapshot.
    to: Option<Timestamp>,
    /// Whether it is the latter.
    #[serde(default)]
    consistent: bool,
    timeline: Timeline,
    files: u64,
    bytes: u64,
}

/// Keeps what `files` are.
pub fn keep(files: &FilesInPlace) -> Result<()> {
    let note = Note {
        resource: files.manifest.resource.clone(),
        snapshot: files.manifest.id.clone(),
        to: match files.plan.target {
            Target::At(at) => Some(at),
            Target::Latest | Target::Consistent { .. } => None,
        },
        consistent: matches!(files.plan.target, Target::Consistent { .. }),
        timeline: files.plan.history.timeline,
        files: files.restored.files,
        bytes: files.restored.bytes,
    };
    let path = files.place.side.join(NOTE);
    let what = || format!("write {}", path.display());
    let text = serde_json::to_vec_pretty(&note).attempt(what)?;
    fs::write(&path, text).attempt(what)
}

/// Takes up the restore at `target`: same snapshot, same timeline, the log that is stored now.
///
/// # Errors
/// It is not a restore of `resource`, or its log cannot be planned any more.
pub fn take_up(tools: &Tools, resource: &ResourceName, target: &Path) -> Result<FilesInPlace> {
    let place = Place::of_existing(target)?;
    let path = place.side.join(NOTE);
    let what = || format!("read {}", path.display());
    let note: Note = serde_json::from_slice(&fs::read(&path).attempt(what)?).attempt(what)?;
    if note.resource != *resource {
        return Err(Error::refused(format!(
            "{} was restored from {}, not from {resource}",
            target.display(),
            note.resource
        )));
    }
    let mut stored = facts::read_now(&tools.sources, resource)?;
    stored.facts.snapshots.retain(|snapshot| snapshot.id == note.snapshot);
    let request = Request {
        target: match note.consistent {
            true => Target::Consistent { snapshot: note.snapshot.clone() },
            false => note.to.map_or(Target::Latest, Target::At),
        },
        timeline: Some(note.timeline),
        allow_damaged: true,
    };
    let plan = checked_plan(&stored.facts, &request, tools.clock.now())?;
    let manifest = stored.manifest(&note.snapshot)?.clone();
    let restored = Restored { files: note.files, bytes: note.bytes, ..Restored::default() };
    let pins = pin_what_is_read(tools, &manifest);
    Ok(FilesInPlace { stored, plan, place, manifest, restored, pins })
}
