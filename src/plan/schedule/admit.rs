//! What may begin now on this host, and what the rest waits for.
//!
//! An emergency restore and shipping take no room and wait for nobody; while there is a restore,
//! nothing else begins on the host. The rest share the host's
//! room, the more urgent work first, and of one kind what is due the longest. Snapshot, copy,
//! retention and verification of one resource exclude each other; a drill only reads, and may run
//! beside them, but needs the room of a whole copy: one at a time on the host.
//!
//! Nobody starves: a host on which nothing runs begins the first of those that wait, and whoever
//! is held waits for something that runs. So as long as what begins also ends, and only so much
//! comes, everything is begun.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::standing::Work;
use crate::model::ResourceName;

/// Something that is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub resource: ResourceName,
    pub work: Work,
    pub due_at: Timestamp,
}

/// Something that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub resource: ResourceName,
    pub work: Work,
}

/// The room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// On the whole host, at least 1; restores and shipping do not count.
    pub most_at_once: u32,
}

/// What becomes of one that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    Begin,
    Hold { because: String },
}

/// Rules on each of `waiting`, in their order. `running` is everything that runs, and goes on.
pub fn admit(waiting: &[Waiting], running: &[Running], limits: &Limits) -> Vec<Ruling> {
    let mut host = Host::default();
    for Running { resource, work } in running {
        host.begin(resource, *work);
    }
    let mut turns: Vec<(usize, &Waiting)> = waiting.iter().enumerate().collect();
    turns.sort_by_key(|&(place, job)| (job.work, job.due_at, &job.resource, place));
    let mut rulings = vec![Ruling::Begin; waiting.len()];
    for (place, Waiting { resource, work, .. }) in turns {
        match host.reason_to_hold(resource, *work, limits) {
            Some(because) => rulings[place] = Ruling::Hold { because },
            None => host.begin(resource, *work),
        }
    }
    rulings
}

/// Who takes what.
#[derive(Default)]
struct Host<'a> {
    /// The work that has each resource for itself.
    owners: BTreeMap<&'a ResourceName, Work>,
    drilled: Option<&'a ResourceName>,
    restored: Option<&'a ResourceName>,
    /// How many take room.
    jobs: u32,
}

impl<'a> Host<'a> {
    fn begin(&mut self, resource: &'a ResourceName, work: Work) {
        if excludes(work) {
            self.owners.insert(resource, work);
        }
        match work {
            Work::Drill => self.drilled = Some(resource),
            Work::Restore => self.restored = Some(resource),
            _ => {}
        }
        self.jobs += u32::from(takes_room(work));
    }

    fn reason_to_hold(
        &self,
        resource: &ResourceName,
        work: Work,
        limits: &Limits,
    ) -> Option<String> {
        if !takes_room(work) {
            return None;
        }
        if let Some(restored) = self.restored {
            return Some(format!("`{restored}` is being restored, and that goes before all"));
        }
        let owner = self.owners.get(resource).filter(|_| excludes(work));
        if let Some(owner) = owner {
            return Some(format!("it waits for the {owner} of `{resource}`"));
        }
        if let Some(drilled) = self.drilled.filter(|_| work == Work::Drill) {
            return Some(format!("it waits for the drill of `{drilled}`, one at a time"));
        }
        let most = limits.most_at_once;
        (self.jobs >= most).then(|| format!("as many jobs run as may at once (`jobs` is {most})"))
    }
}

/// Whether it wants the resource for itself.
fn excludes(work: Work) -> bool {
    matches!(work, Work::Snapshot | Work::Copy | Work::Retention | Work::Verify)
}

/// Whether it counts among those that may run at once.
fn takes_room(work: Work) -> bool {
    !matches!(work, Work::Restore | Work::Ship)
}
