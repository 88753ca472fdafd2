//! What copies need besides files: who the cluster is, the key of its heartbeats, and its log.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use secrecy::ExposeSecret;

use crate::error::{Error, Kind, Result};
use crate::model::{Timeline, WalObject};
use crate::plan::recovery::RecoveryPlan;
use crate::plan::retention::log_due;
use crate::ports::store::{Lock, Put};
use crate::repository::manifest;
use crate::repository::wal::WalArchive;
use crate::repository::{hold, layout, retirement, secrets};

use super::super::restore::facts::Stored;
use super::job::{CopyJob, CopyRun};

/// Log that a snapshot needs, now in the repository of copies.
pub(super) struct LogCopied {
    pub objects: Vec<WalObject>,
    /// Of these, how many were not there before.
    pub created: u64,
}

/// Registers the clusters in the repository of copies as they are in the main one, and brings
/// orders to keep or retire things and the key that authenticates heartbeats.
///
/// # Errors
/// Refused if another cluster, or another key, is there under the same name.
pub(super) fn introduce(job: &CopyJob) -> Result<()> {
    let ours = manifest::clusters(&job.from, &job.resource)?;
    for theirs in manifest::clusters(&job.to, &job.resource)? {
        if !ours.contains(&theirs) {
            return Err(differs(job, &layout::cluster(&job.resource, theirs.cluster.system_id)));
        }
    }
    let name = secrets::heartbeat_key(&job.resource);
    if let Some(ours) = secrets::read(&job.from, &name)? {
        let theirs = secrets::keep(&job.to, &name, &ours)?;
        if theirs.expose_secret() != ours.expose_secret() {
            return Err(differs(job, &layout::secret(&name)));
        }
    }
    for cluster in ours {
        let key = layout::cluster(&job.resource, cluster.cluster.system_id);
        manifest::create(&job.to, &key, &cluster)?;
    }
    hold::bring(&job.from, &job.to, &job.resource)?;
    retirement::bring(&job.from, &job.to, &job.resource).map(drop)
}

/// A copy is younger than what it was made from. Where it is not, the two are compared: a host that
/// was set back together with its main repository goes on under the same names, and its log must
/// not be joined to that of the life before.
///
/// # Errors
/// Refused if they differ.
pub(super) fn same_life(job: &CopyJob, stored: &Stored) -> Result<()> {
    let log = &stored.facts.wal;
    let there = job.archive_there(&stored.archive);
    let listed = job.to.store.list(&layout::wal(&job.resource, log.system_id))?;
    let copied_at: BTreeMap<String, Timestamp> =
        listed.into_iter().map(|entry| (entry.key, entry.stored_at)).collect();
    let is_older = |object: &&WalObject| {
        copied_at.get(&object.key).is_some_and(|copied_at| *copied_at < object.stored_at)
    };
    for object in log.objects.iter().filter(is_older) {
        match there.copy_object(&stored.archive, object) {
            Err(error) if error.kind() == Kind::Refused => return Err(error),
            // What cannot be read in one of them tells nothing; verification names it.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn differs(job: &CopyJob, key: &str) -> Error {
    let (from, to) = (job.from.store.describe(), job.to.store.describe());
    Error::refused(format!("{key} in {to} is not what it is in {from}")).hint(
        "Copies of two resources, or of two lives of one, must not mix under one name: choose \
         another repository for the copies.",
    )
}

/// Copies the log of a plan, with the histories on the way to its timeline.
pub(super) fn copy_planned(
    job: &CopyJob,
    stored: &Stored,
    plan: &RecoveryPlan,
    lock: &dyn Lock,
) -> Result<LogCopied> {
    let there = job.archive_there(&stored.archive);
    let mut timelines: BTreeSet<Timeline> =
        plan.history.ancestors.iter().map(|ancestor| ancestor.timeline).collect();
    timelines.insert(plan.history.timeline);
    copy_histories(&there, stored, &timelines)?;
    let objects: Vec<WalObject> =
        plan.segments.iter().flat_map(|segment| segment.objects.iter().cloned()).collect();
    let mut created = 0;
    for object in &objects {
        lock.check()?;
        job.progress.checked()?;
        if there.copy_object(&stored.archive, object)? == Put::Created {
            created += 1;
        }
    }
    Ok(LogCopied { objects, created })
}

/// Copies all of the log that is younger than the window's start and that a recovery may ask for.
/// An object that fails does not hold up the others.
pub(super) fn copy_all(
    job: &CopyJob,
    stored: &Stored,
    window_start: Timestamp,
    lock: &dyn Lock,
    run: &mut CopyRun,
) -> Result<()> {
    let there = job.archive_there(&stored.archive);
    let log = &stored.facts.wal;
    copy_histories(&there, stored, &log.histories.keys().copied().collect())?;
    let prefix = layout::wal(&job.resource, log.system_id);
    let listed: BTreeSet<String> =
        job.to.store.list(&prefix)?.into_iter().map(|entry| entry.key).collect();
    let missing = log_due(log, &|key| listed.contains(key), window_start);
    let gaps = manifest::gaps(&job.from, &job.resource)?;
    for gap in gaps {
        let key = layout::gap(&job.resource, &layout::instant(gap.recorded_at));
        manifest::create(&job.to, &key, &gap)?;
    }
    for object in missing {
        lock.check()?;
        job.progress.checked()?;
        match there.copy_object(&stored.archive, object) {
            Ok(Put::Created) => run.log_objects += 1,
            Ok(Put::Exists) => {}
            Err(error) => run.failed.push((object.key.clone(), error.chain())),
        }
    }
    Ok(())
}

fn copy_histories(there: &WalArchive, stored: &Stored, of: &BTreeSet<Timeline>) -> Result<()> {
    let known = &stored.facts.wal.histories;
    for timeline in of.iter().filter(|timeline| known.contains_key(timeline)) {
        there.copy_history(&stored.archive, *timeline)?;
    }
    Ok(())
}
