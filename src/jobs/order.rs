//! The standing orders of one host, carried out: what begins now, and when to look again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::keeping::{past_of, pause_of, row_of};
use crate::catalog::Catalog;
use crate::catalog::journal::{JobEnd, JobRow, NewJob, PauseRow};
use crate::error::{Result, Retry};
use crate::model::ResourceName;
use crate::plan::schedule::{
    Limits, Next, Past, Ruling, Running, Standing, Waiting, Work, admit, decide,
};

/// Everything that is to be done on this host.
pub struct Order {
    catalog: Arc<Catalog>,
    limits: Limits,
    lines: Vec<Line>,
    /// When each line that waits is to be looked at.
    agenda: BTreeSet<(Timestamp, usize)>,
    /// Lines that are due, and wait for room.
    due: BTreeSet<usize>,
    running: BTreeMap<i64, Begun>,
    looked_at: Timestamp,
}

/// One work of one resource.
struct Line {
    resource: ResourceName,
    standing: Standing,
    past: Past,
    next: Next,
    /// Why it has not begun although it is due.
    held: Option<String>,
}

/// A job that runs.
struct Begun {
    line: usize,
    due_at: Timestamp,
}

/// A job that is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number in the journal.
    pub id: i64,
    pub resource: ResourceName,
    pub work: Work,
    /// The occurrence it stands for.
    pub due_at: Timestamp,
    pub because: String,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It was done, and something is not as promised; trying again would not change that.
    NotMet {
        told: String,
    },
    Failed {
        told: String,
        retry: Retry,
    },
}

/// A job that was under way when the daemon ended.
pub type Interrupted = JobRow;

/// One line, as it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'o> {
    pub resource: &'o ResourceName,
    pub work: Work,
    pub next: &'o Next,
    pub held: Option<&'o str>,
    pub past: &'o Past,
}

impl Outcome {
    /// One word, for the journal and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::NotMet { .. } => "not_met",
            Outcome::Failed { .. } => "failed",
        }
    }

    fn told(&self) -> &str {
        match self {
            Outcome::Done => "",
            Outcome::NotMet { told } | Outcome::Failed { told, .. } => told,
        }
    }
}

const INTERRUPTED: &str = "interrupted";

impl Order {
    /// Takes up the standing orders where they were left. Jobs that were under way are over: each
    /// counts as failed, to be tried again, and is returned.
    ///
    /// # Errors
    /// The catalog's.
    pub fn open(
        catalog: Arc<Catalog>,
        standings: Vec<(ResourceName, Standing)>,
        limits: Limits,
        now: Timestamp,
    ) -> Result<(Order, Vec<Interrupted>)> {
        let interrupted = catalog.open_jobs()?;
        let mut pasts = BTreeMap::new();
        for row in catalog.standings()? {
            pasts.insert((row.resource.clone(), row.work.clone()), past_of(&row));
        }
        let mut order = Order {
            catalog,
            limits,
            lines: Vec::with_capacity(standings.len()),
            agenda: BTreeSet::new(),
            due: BTreeSet::new(),
            running: BTreeMap::new(),
            looked_at: now,
        };
        for (resource, standing) in standings {
            let known = pasts.remove(&(resource.clone(), standing.work.name().to_owned()));
            order.add(resource, standing, known, now)?;
        }
        for job in &interrupted {
            order.end_interrupted(job, now)?;
        }
        (0..order.lines.len()).for_each(|line| order.look(line, now));
        Ok((order, interrupted))
    }

    fn add(
        &mut self,
        resource: ResourceName,
        standing: Standing,
        known: Option<Past>,
        now: Timestamp,
    ) -> Result<()> {
        let mut past = match known {
            Some(past) => past,
            None => {
                let past = Past::new(now);
                self.catalog.keep_standing(&row_of(&resource, standing.work, &past))?;
                past
            }
        };
        past.paused = self.catalog.paused(&resource)?.map(pause_of);
        let next = Next::Busy { reason: String::new() };
        self.lines.push(Line { resource, standing, past, next, held: None });
        Ok(())
    }

    fn end_interrupted(&mut self, job: &JobRow, now: Timestamp) -> Result<()> {
        let is_its = |line: &&mut Line| {
            line.resource == job.resource && line.standing.work.name() == job.work
        };
        let told = "the daemon ended while it was under way".to_owned();
        let end = JobEnd { at: now, result: INTERRUPTED.to_owned(), told };
        let line = self.lines.iter_mut().find(is_its).zip(job.due_at);
        let row = line.map(|(line, due_at)| {
            line.past.fail(due_at, now, Retry::Later);
            row_of(&line.resource, line.standing.work, &line.past)
        });
        self.catalog.end_job(job.id, &end, row.as_ref())
    }

    /// Decides anew about one line.
    fn look(&mut self, at: usize, now: Timestamp) {
        if let Some(until) = self.waits_until(at) {
            self.agenda.remove(&(until, at));
        }
        let line = &mut self.lines[at];
        line.next = decide(&line.standing, &line.past, &line.resource, now);
        line.held = None;
        self.due.remove(&at);
        match &line.next {
            Next::Run { .. } => drop(self.due.insert(at)),
            Next::Wait { until, .. } | Next::Paused { until: Some(until), .. } => {
                self.agenda.insert((*until, at));
            }
            Next::Busy { .. } | Next::Paused { until: None, .. } | Next::Never { .. } => {}
        }
    }

    /// What begins now; it is noted as begun. Call it when [`Order::wakes_at`] has come, when a job
    /// has ended, and at least each minute: the clock may be set.
    ///
    /// # Errors
    /// The catalog's; what it could not note has not begun.
    pub fn turn(&mut self, now: Timestamp) -> Result<Vec<Job>> {
        if now < self.looked_at {
            // The clock went back: what was to come then may come earlier, or later, than noted.
            self.agenda.clear();
            (0..self.lines.len()).for_each(|line| self.look(line, now));
        }
        self.looked_at = now;
        while let Some((until, line)) = self.agenda.first().copied().filter(|(at, _)| *at <= now) {
            self.agenda.remove(&(until, line));
            self.look(line, now);
        }
        // A newer occurrence may have taken the place of one that waits for room.
        let due: Vec<usize> = self.due.iter().copied().collect();
        due.into_iter().for_each(|line| self.look(line, now));
        self.begin_what_may(now)
    }

    fn begin_what_may(&mut self, now: Timestamp) -> Result<Vec<Job>> {
        let due: Vec<usize> = self.due.iter().copied().collect();
        let waiting: Vec<Waiting> = due.iter().filter_map(|at| self.lines[*at].waiting()).collect();
        let running: Vec<Running> =
            self.running.values().map(|begun| self.lines[begun.line].running()).collect();
        let mut begun = Vec::new();
        for (at, ruling) in due.into_iter().zip(admit(&waiting, &running, &self.limits)) {
            match ruling {
                Ruling::Begin => begun.extend(self.begin(at, now)?),
                Ruling::Hold { because } => self.lines[at].held = Some(because),
            }
        }
        Ok(begun)
    }

    fn begin(&mut self, at: usize, now: Timestamp) -> Result<Option<Job>> {
        let line = &mut self.lines[at];
        let Next::Run { due_at, reason } = &line.next else { return Ok(None) };
        let (due_at, because, work) = (due_at.at, reason.clone(), line.standing.work);
        let new = NewJob {
            resource: &line.resource,
            work: work.name(),
            due_at: Some(due_at),
            because: &because,
            at: now,
        };
        let id = self.catalog.begin_job(&new)?;
        line.past.begin();
        let resource = line.resource.clone();
        self.look(at, now);
        self.running.insert(id, Begun { line: at, due_at });
        Ok(Some(Job { id, resource, work, due_at, because }))
    }

    /// Notes how a job ended.
    ///
    /// # Errors
    /// The catalog's: then it counts as under way, until this succeeds or the daemon ends.
    pub fn ended(&mut self, id: i64, outcome: &Outcome, now: Timestamp) -> Result<()> {
        let Some(Begun { line: at, due_at }) = self.running.get(&id) else { return Ok(()) };
        let (at, due_at) = (*at, *due_at);
        let line = &mut self.lines[at];
        let mut past = line.past.clone();
        match outcome {
            Outcome::Done | Outcome::NotMet { .. } => past.succeed(due_at),
            Outcome::Failed { retry, .. } => past.fail(due_at, now, *retry),
        }
        let row = row_of(&line.resource, line.standing.work, &past);
        let (result, told) = (outcome.name().to_owned(), outcome.told().to_owned());
        self.catalog.end_job(id, &JobEnd { at: now, result, told }, Some(&row))?;
        line.past = past;
        self.running.remove(&id);
        self.look(at, now);
        Ok(())
    }

    /// Lets nothing begin on a resource, until then or until it is resumed. What runs goes on;
    /// so does shipping, which is no job.
    pub fn pause(&mut self, pause: PauseRow, now: Timestamp) -> Result<()> {
        self.catalog.pause(&pause)?;
        let resource = pause.resource.clone();
        self.each_of(&resource, now, |past| past.paused = Some(pause_of(pause.clone())));
        Ok(())
    }

    /// Takes a pause back; whether there was one.
    pub fn resume(&mut self, resource: &ResourceName, now: Timestamp) -> Result<bool> {
        let was_paused = self.catalog.resume(resource)?;
        self.each_of(resource, now, |past| past.paused = None);
        Ok(was_paused)
    }

    fn each_of(&mut self, resource: &ResourceName, now: Timestamp, change: impl Fn(&mut Past)) {
        let is_its = |at: &usize| self.lines[*at].resource == *resource;
        let its: Vec<usize> = (0..self.lines.len()).filter(is_its).collect();
        for at in its {
            change(&mut self.lines[at].past);
            self.look(at, now);
        }
    }

    /// When a turn is due at the latest; `None` if only the end of a job can change anything.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// How many jobs run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Every line, in the order of the configuration.
    pub fn shown(&self) -> impl Iterator<Item = Shown<'_>> {
        self.lines.iter().map(|line| Shown {
            resource: &line.resource,
            work: line.standing.work,
            next: &line.next,
            held: line.held.as_deref(),
            past: &line.past,
        })
    }

    fn waits_until(&self, at: usize) -> Option<Timestamp> {
        match &self.lines[at].next {
            Next::Wait { until, .. } => Some(*until),
            Next::Paused { until, .. } => *until,
            Next::Run { .. } | Next::Busy { .. } | Next::Never { .. } => None,
        }
    }
}

impl Line {
    fn waiting(&self) -> Option<Waiting> {
        let Next::Run { due_at, .. } = &self.next else { return None };
        let (resource, work) = (self.resource.clone(), self.standing.work);
        Some(Waiting { resource, work, due_at: due_at.at })
    }

    fn running(&self) -> Running {
        Running { resource: self.resource.clone(), work: self.standing.work }
    }
}
