//! What somebody asks for by hand: it waits for room as standing orders do, and settles none of
//! them. And restores in an emergency, which this daemon does not carry out but makes room for.

use jiff::Timestamp;

use super::job::Job;
use super::order::{Begun, Order};
use crate::catalog::journal::NewJob;
use crate::error::{Error, Kind, Result};
use crate::model::ResourceName;
use crate::plan::schedule::{Waiting, Work};

/// What waits at once at most.
const ASKED_MAX: usize = 256;

/// Something that was asked for and has not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub ticket: u64,
    pub resource: ResourceName,
    pub work: Work,
    pub because: String,
    pub at: Timestamp,
    /// Why it has not begun; `None` before it was first looked at.
    pub held: Option<String>,
}

impl Asked {
    pub(super) fn waiting(&self) -> Waiting {
        Waiting { resource: self.resource.clone(), work: self.work, due_at: self.at }
    }
}

impl Order {
    /// Takes up something that somebody asks for: a later turn begins it, when there is room, pause
    /// or not. Returns the ticket by which the job is known again.
    ///
    /// # Errors
    /// Of kind `Busy` if too much waits already.
    pub fn ask(
        &mut self,
        resource: ResourceName,
        work: Work,
        because: String,
        now: Timestamp,
    ) -> Result<u64> {
        if self.asked.len() >= ASKED_MAX {
            let told = format!("{ASKED_MAX} jobs that were asked for wait already");
            return Err(Error::new(Kind::Busy, told).later());
        }
        let ticket = self.ticket();
        self.asked.push(Asked { ticket, resource, work, because, at: now, held: None });
        Ok(ticket)
    }

    /// Takes back what has not begun; whether it was there.
    pub fn withdraw(&mut self, ticket: u64) -> bool {
        let before = self.asked.len();
        self.asked.retain(|asked| asked.ticket != ticket);
        self.asked.len() < before
    }

    /// What was asked for and has not begun, the oldest first.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// Somebody restores a resource in an emergency: until [`Order::restored`] nothing begins that
    /// would take the host's strength from it.
    pub fn restoring(&mut self, resource: ResourceName) -> u64 {
        let ticket = self.ticket();
        self.restoring.insert(ticket, resource);
        ticket
    }

    /// That restore is over, or whoever did it is gone.
    pub fn restored(&mut self, ticket: u64) {
        self.restoring.remove(&ticket);
    }

    fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    pub(super) fn begin_asked(&mut self, place: usize, now: Timestamp) -> Result<Job> {
        let asked = &self.asked[place];
        let new = NewJob {
            resource: &asked.resource,
            work: asked.work.name(),
            due_at: None,
            because: &asked.because,
            at: now,
        };
        let id = self.catalog.begin_job(&new)?;
        let Asked { ticket, resource, work, because, at, .. } = self.asked.remove(place);
        let begun = Begun { line: None, resource: resource.clone(), work, due_at: at };
        self.running.insert(id, begun);
        Ok(Job { id, resource, work, due_at: at, because, ticket: Some(ticket) })
    }
}
