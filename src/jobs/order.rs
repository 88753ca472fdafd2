//! The standing orders of one host, carried out: what begins now, and when to look again.
//!
//! What somebody asks for by hand (`asked`) waits and begins among them, by the same rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::asked::Asked;
use super::job::{Job, Outcome};
use super::keeping::{past_after, past_of, pause_of, row_of};
use crate::catalog::Catalog;
use crate::catalog::journal::{JobEnd, JobRow, NewJob, PauseRow};
use crate::error::{Result, Retry};
use crate::model::ResourceName;
use crate::plan::schedule::{
    Limits, Next, Past, Ruling, Running, Standing, Waiting, Work, admit, decide,
};

/// Everything that is to be done on this host.
pub struct Order {
    pub(super) catalog: Arc<Catalog>,
    pub(super) limits: Limits,
    pub(super) lines: Vec<Line>,
    /// When each line that waits is to be looked at.
    pub(super) agenda: BTreeSet<(Timestamp, usize)>,
    /// Lines that are due, and wait for room.
    pub(super) due: BTreeSet<usize>,
    pub(super) running: BTreeMap<i64, Begun>,
    /// What was asked for by hand and has not begun, the oldest first.
    pub(super) asked: Vec<Asked>,
    /// Emergency restores that somebody carries out, by ticket.
    pub(super) restoring: BTreeMap<u64, ResourceName>,
    pub(super) last_ticket: u64,
    /// Resources on which no standing order may begin, each with the reason.
    barred: BTreeMap<ResourceName, String>,
    looked_at: Timestamp,
}

/// One work of one resource.
pub(super) struct Line {
    pub(super) resource: ResourceName,
    pub(super) standing: Standing,
    pub(super) past: Past,
    pub(super) next: Next,
    /// Why it has not begun although it is due.
    pub(super) held: Option<String>,
}

/// A job that runs.
pub(super) struct Begun {
    /// `None` for what was asked for, and for a line that left the configuration meanwhile.
    pub(super) line: Option<usize>,
    pub(super) resource: ResourceName,
    pub(super) work: Work,
    pub(super) due_at: Timestamp,
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
            asked: Vec::new(),
            restoring: BTreeMap::new(),
            last_ticket: 0,
            barred: BTreeMap::new(),
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

    pub(super) fn add(
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
    pub(super) fn look(&mut self, at: usize, now: Timestamp) {
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
        if self.due.is_empty() && self.asked.is_empty() {
            return Ok(Vec::new());
        }
        let (lines, barred) = (&mut self.lines, &self.barred);
        let may = |at: &usize| {
            let bar = barred.get(&lines[*at].resource);
            lines[*at].held = bar.cloned();
            bar.is_none()
        };
        let due: Vec<usize> = self.due.iter().copied().filter(may).collect();
        let mut waiting: Vec<Waiting> = self.asked.iter().map(Asked::waiting).collect();
        let asked = waiting.len();
        waiting.extend(due.iter().filter_map(|at| self.lines[*at].waiting()));
        let rulings = admit(&waiting, &self.all_running(), &self.limits);
        let mut begun = Vec::new();
        // From the last to the first: what begins leaves the list.
        for (place, ruling) in rulings.iter().enumerate().take(asked).rev() {
            let tried = match ruling {
                Ruling::Begin => self.begin_asked(place, now).map(Some),
                Ruling::Hold { because } => {
                    self.asked[place].held = Some(because.clone());
                    Ok(None)
                }
            };
            if let Some(end) = taken(tried, &mut begun) {
                return end;
            }
        }
        for (at, ruling) in due.into_iter().zip(rulings.into_iter().skip(asked)) {
            let tried = match ruling {
                Ruling::Begin => self.begin(at, now),
                Ruling::Hold { because } => {
                    self.lines[at].held = Some(because);
                    Ok(None)
                }
            };
            if let Some(end) = taken(tried, &mut begun) {
                return end;
            }
        }
        Ok(begun)
    }

    fn all_running(&self) -> Vec<Running> {
        let jobs = self.running.values().map(|begun| (&begun.resource, begun.work));
        let restores = self.restoring.values().map(|resource| (resource, Work::Restore));
        let running =
            |(resource, work): (&ResourceName, Work)| Running { resource: resource.clone(), work };
        jobs.chain(restores).map(running).collect()
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
        let begun = Begun { line: Some(at), resource: resource.clone(), work, due_at };
        self.running.insert(id, begun);
        Ok(Some(Job { id, resource, work, due_at, because, ticket: None }))
    }

    /// Notes how a job ended.
    ///
    /// # Errors
    /// The catalog's: then it counts as under way, until this succeeds or the daemon ends.
    pub fn ended(&mut self, id: i64, outcome: &Outcome, now: Timestamp) -> Result<()> {
        let Some(begun) = self.running.get(&id) else { return Ok(()) };
        let (line, due_at) = (begun.line, begun.due_at);
        let changed = line.map(|at| (at, past_after(&self.lines[at].past, outcome, due_at, now)));
        let row = changed.as_ref().map(|(at, past)| {
            let line = &self.lines[*at];
            row_of(&line.resource, line.standing.work, past)
        });
        let (result, told) = (outcome.name().to_owned(), outcome.told().to_owned());
        self.catalog.end_job(id, &JobEnd { at: now, result, told }, row.as_ref())?;
        self.running.remove(&id);
        if let Some((at, past)) = changed {
            self.lines[at].past = past;
            self.look(at, now);
        }
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

    /// From now on lets no standing order begin on these resources: what is due on them waits. What
    /// is asked for is not held up.
    pub fn bar(&mut self, barred: BTreeMap<ResourceName, String>) {
        self.barred = barred;
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

/// Adds what was begun. What could not be noted ends the turn: its error is told, unless something
/// was begun before it, which must be carried out; then it comes again with the next turn.
fn taken(tried: Result<Option<Job>>, begun: &mut Vec<Job>) -> Option<Result<Vec<Job>>> {
    match tried {
        Ok(job) => {
            begun.extend(job);
            None
        }
        Err(error) if begun.is_empty() => Some(Err(error)),
        Err(_) => Some(Ok(std::mem::take(begun))),
    }
}

impl Line {
    fn waiting(&self) -> Option<Waiting> {
        let Next::Run { due_at, .. } = &self.next else { return None };
        let (resource, work) = (self.resource.clone(), self.standing.work);
        Some(Waiting { resource, work, due_at: due_at.at })
    }
}
