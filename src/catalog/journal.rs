//! The journal of jobs, what became of each standing order, and what is paused. Losing it costs
//! the knowledge of what was tried: everything is then as on the first day.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::{Attempt, Result};
use crate::model::ResourceName;

use super::store::Catalog;

/// Jobs that are remembered at least; older ones that have ended are forgotten.
const JOBS_KEPT: i64 = 20_000;

/// What became of one work of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingRow {
    pub resource: ResourceName,
    pub work: String,
    /// Since when it is in the configuration.
    pub known_since: Timestamp,
    /// The newest occurrence that was done, or given up.
    pub settled_due_at: Option<Timestamp>,
    pub failed: Option<FailedRow>,
}

/// The last failure, until there is a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedRow {
    pub due_at: Timestamp,
    pub attempts: u32,
    pub at: Timestamp,
    /// Trying again cannot help.
    pub for_good: bool,
}

/// A job that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// Counts jobs, from 1; never used again.
    pub id: i64,
    pub resource: ResourceName,
    pub work: String,
    /// The occurrence it stands for; `None` for one that somebody asked for.
    pub due_at: Option<Timestamp>,
    pub because: String,
    pub begun_at: Timestamp,
    pub ended: Option<JobEnd>,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEnd {
    pub at: Timestamp,
    /// One word.
    pub result: String,
    /// For people.
    pub told: String,
}

/// Something that a job is about to make, and that has to be undone if it cannot do so itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    pub job: i64,
    pub at: Timestamp,
    /// One word, such as `drill`.
    pub what: String,
    /// Such as a path.
    pub detail: String,
}

/// A job that is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct NewJob<'a> {
    pub resource: &'a ResourceName,
    pub work: &'a str,
    pub due_at: Option<Timestamp>,
    pub because: &'a str,
    pub at: Timestamp,
}

/// Nothing is to begin on a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseRow {
    pub resource: ResourceName,
    pub why: String,
    /// Without an end it holds until it is taken back.
    pub until: Option<Timestamp>,
}

const JOB: &str = "select id, resource, work, due_at_us, because, begun_at_us, ended_at_us, \
                   result, told from job";

impl Catalog {
    /// What became of every standing order there ever was.
    pub fn standings(&self) -> Result<Vec<StandingRow>> {
        let what = || "look up what became of the standing orders".to_owned();
        let connection = self.lock();
        let mut statement = connection.prepare("select * from standing").attempt(what)?;
        let rows = statement.query_map([], standing_row).attempt(what)?;
        rows.collect::<rusqlite::Result<_>>().attempt(what)
    }

    /// Keeps what became of one.
    pub fn keep_standing(&self, row: &StandingRow) -> Result<()> {
        put_standing(&self.lock(), row)
            .attempt(|| format!("note the {} of {}", row.work, row.resource))
    }

    /// Notes that a job begins, before anything of it is done; returns its number.
    pub fn begin_job(&self, job: &NewJob<'_>) -> Result<i64> {
        let what = || format!("note that the {} of {} begins", job.work, job.resource);
        let connection = self.lock();
        let insert = "insert into job (resource, work, due_at_us, because, begun_at_us) \
                      values (?1, ?2, ?3, ?4, ?5)";
        let due_at = job.due_at.map(Timestamp::as_microsecond);
        let (name, at) = (job.resource.as_str(), job.at.as_microsecond());
        connection
            .execute(insert, params![name, job.work, due_at, job.because, at])
            .attempt(what)?;
        Ok(connection.last_insert_rowid())
    }

    /// Notes a step of a job, before it is taken.
    pub fn note_step(&self, step: &StepRow) -> Result<()> {
        let row = params![step.job, step.at.as_microsecond(), step.what, step.detail];
        let noted = self.lock().execute("insert into step values (?1, ?2, ?3, ?4)", row);
        noted.map(drop).attempt(|| format!("note a step of job {}", step.job))
    }

    /// The steps of jobs that have not ended, in their order.
    pub fn open_steps(&self) -> Result<Vec<StepRow>> {
        let what = || "look up the steps of jobs that have not ended".to_owned();
        let connection = self.lock();
        let select = "select job, at_us, what, detail from step order by rowid";
        let mut statement = connection.prepare(select).attempt(what)?;
        let rows = statement.query_map([], step_row).attempt(what)?;
        rows.collect::<rusqlite::Result<_>>().attempt(what)
    }

    /// Notes how a job ended, and what became of its standing order by that, in one step. Its own
    /// steps are forgotten: who ends it has undone them.
    pub fn end_job(&self, id: i64, end: &JobEnd, standing: Option<&StandingRow>) -> Result<()> {
        let what = || format!("note that job {id} has ended");
        let mut connection = self.lock();
        let transaction = connection.transaction().attempt(what)?;
        let update = "update job set ended_at_us = ?2, result = ?3, told = ?4 where id = ?1";
        let row = params![id, end.at.as_microsecond(), end.result, end.told];
        transaction.execute(update, row).attempt(what)?;
        transaction.execute("delete from step where job = ?1", params![id]).attempt(what)?;
        let forget = "delete from job where id <= ?1 and ended_at_us is not null";
        transaction.execute(forget, params![id - JOBS_KEPT]).attempt(what)?;
        if let Some(standing) = standing {
            put_standing(&transaction, standing).attempt(what)?;
        }
        transaction.commit().attempt(what)
    }

    /// Jobs that were begun and have not ended, the oldest first.
    pub fn open_jobs(&self) -> Result<Vec<JobRow>> {
        self.jobs(&format!("{JOB} where ended_at_us is null order by id"), i64::MAX)
    }

    /// The last jobs, the newest first, at most so many.
    pub fn last_jobs(&self, most: u32) -> Result<Vec<JobRow>> {
        self.jobs(&format!("{JOB} order by id desc"), i64::from(most))
    }

    fn jobs(&self, select: &str, most: i64) -> Result<Vec<JobRow>> {
        let what = || "look up jobs".to_owned();
        let connection = self.lock();
        let mut statement = connection.prepare(&format!("{select} limit ?1")).attempt(what)?;
        let rows = statement.query_map(params![most], job_row).attempt(what)?;
        rows.collect::<rusqlite::Result<_>>().attempt(what)
    }

    /// Pauses a resource, in the place of an earlier pause.
    pub fn pause(&self, pause: &PauseRow) -> Result<()> {
        let until = pause.until.map(Timestamp::as_microsecond);
        let insert = "insert or replace into pause values (?1, ?2, ?3)";
        let paused = self
            .lock()
            .execute(insert, params![pause.resource.as_str(), pause.why, until])
            .map(drop);
        paused.attempt(|| format!("pause {}", pause.resource))
    }

    /// Takes the pause of a resource back; whether there was one.
    pub fn resume(&self, resource: &ResourceName) -> Result<bool> {
        let delete = "delete from pause where resource = ?1";
        let removed = self.lock().execute(delete, params![resource.as_str()]);
        removed.map(|count| count > 0).attempt(|| format!("resume {resource}"))
    }

    /// The pause of a resource, over or not.
    pub fn paused(&self, resource: &ResourceName) -> Result<Option<PauseRow>> {
        let what = || format!("look up whether {resource} is paused");
        let connection = self.lock();
        let select = "select resource, why, until_us from pause where resource = ?1";
        let row = |row: &Row<'_>| {
            Ok(PauseRow { resource: name(row, 0)?, why: row.get(1)?, until: instant(row, 2)? })
        };
        connection.query_row(select, params![resource.as_str()], row).optional().attempt(what)
    }
}

fn put_standing(connection: &Connection, row: &StandingRow) -> rusqlite::Result<()> {
    let failed = row.failed.as_ref();
    let row = params![
        row.resource.as_str(),
        row.work,
        row.known_since.as_microsecond(),
        row.settled_due_at.map(Timestamp::as_microsecond),
        failed.map(|failed| failed.due_at.as_microsecond()),
        failed.map(|failed| failed.attempts),
        failed.map(|failed| failed.at.as_microsecond()),
        failed.map(|failed| failed.for_good),
    ];
    let insert = "insert or replace into standing values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(insert)?.execute(row).map(drop)
}

fn standing_row(row: &Row<'_>) -> rusqlite::Result<StandingRow> {
    let failed = match instant(row, 4)? {
        None => None,
        Some(due_at) => Some(FailedRow {
            due_at,
            attempts: row.get(5)?,
            at: instant(row, 6)?.unwrap_or(due_at),
            for_good: row.get(7)?,
        }),
    };
    Ok(StandingRow {
        resource: name(row, 0)?,
        work: row.get(1)?,
        known_since: instant(row, 2)?.unwrap_or(Timestamp::UNIX_EPOCH),
        settled_due_at: instant(row, 3)?,
        failed,
    })
}

fn job_row(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    let ended = match instant(row, 6)? {
        None => None,
        Some(at) => Some(JobEnd { at, result: row.get(7)?, told: row.get(8)? }),
    };
    Ok(JobRow {
        id: row.get(0)?,
        resource: name(row, 1)?,
        work: row.get(2)?,
        due_at: instant(row, 3)?,
        because: row.get(4)?,
        begun_at: instant(row, 5)?.unwrap_or(Timestamp::UNIX_EPOCH),
        ended,
    })
}

fn step_row(row: &Row<'_>) -> rusqlite::Result<StepRow> {
    let at = instant(row, 1)?.unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(StepRow { job: row.get(0)?, at, what: row.get(2)?, detail: row.get(3)? })
}

fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<ResourceName> {
    let text: String = row.get(column)?;
    text.parse().map_err(|cause: crate::error::Error| damaged(column, cause))
}

fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let micros: Option<i64> = row.get(column)?;
    let instant = micros.map(Timestamp::from_microsecond).transpose();
    instant.map_err(|cause| damaged(column, cause))
}

fn damaged(
    column: usize,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, cause.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn catalog() -> Catalog {
        Catalog::open(std::path::Path::new(":memory:")).unwrap()
    }

    fn job<'a>(resource: &'a ResourceName, due: i64) -> NewJob<'a> {
        let (work, because) = ("snapshot", "due 02:00");
        NewJob { resource, work, due_at: Some(at(due)), because, at: at(due + 1) }
    }

    #[test]
    fn a_job_is_open_from_its_beginning_to_its_end_and_ends_with_its_standing_order() {
        let (catalog, resource) = (catalog(), "registro".parse().unwrap());
        let id = catalog.begin_job(&job(&resource, 100)).unwrap();
        let open = catalog.open_jobs().unwrap();
        assert_eq!((open.len(), open[0].id, open[0].due_at), (1, id, Some(at(100))));
        assert_eq!((open[0].begun_at, &open[0].ended), (at(101), &None));
        let failed = FailedRow { due_at: at(100), attempts: 2, at: at(150), for_good: false };
        let standing = StandingRow {
            resource: resource.clone(),
            work: "snapshot".to_owned(),
            known_since: at(1),
            settled_due_at: None,
            failed: Some(failed),
        };
        let end = JobEnd { at: at(150), result: "failed".into(), told: "it was full".into() };
        catalog.end_job(id, &end, Some(&standing)).unwrap();
        assert_eq!(catalog.open_jobs().unwrap(), []);
        assert_eq!(catalog.last_jobs(5).unwrap()[0].ended, Some(end));
        assert_eq!(catalog.standings().unwrap(), std::slice::from_ref(&standing));
        let done = StandingRow { settled_due_at: Some(at(100)), failed: None, ..standing };
        catalog.keep_standing(&done).unwrap();
        assert_eq!(catalog.standings().unwrap(), [done]);
    }

    #[test]
    fn the_journal_keeps_the_last_jobs_and_every_open_one() {
        let (catalog, resource) = (catalog(), "registro".parse().unwrap());
        let open = catalog.begin_job(&job(&resource, 0)).unwrap();
        let end = |at| JobEnd { at, result: "done".into(), told: String::new() };
        let ended = catalog.begin_job(&job(&resource, 1)).unwrap();
        catalog.end_job(ended, &end(at(2)), None).unwrap();
        catalog.lock().execute("update sqlite_sequence set seq = 20002", []).unwrap();
        let last = catalog.begin_job(&job(&resource, 3)).unwrap();
        assert_eq!(last, ended + JOBS_KEPT + 1);
        catalog.end_job(last, &end(at(4)), None).unwrap();
        let left: Vec<i64> = catalog.last_jobs(10).unwrap().iter().map(|job| job.id).collect();
        assert_eq!(left, [last, open]);
        assert_eq!(catalog.last_jobs(1).unwrap().len(), 1);
    }

    #[test]
    fn a_pause_replaces_the_one_before_and_is_taken_back_once() {
        let (catalog, resource) = (catalog(), "registro".parse().unwrap());
        assert_eq!(catalog.paused(&resource).unwrap(), None);
        let first = PauseRow { resource, why: "migration".to_owned(), until: None };
        let second = PauseRow { until: Some(at(9)), ..first.clone() };
        catalog.pause(&first).unwrap();
        catalog.pause(&second).unwrap();
        assert_eq!(catalog.paused(&first.resource).unwrap(), Some(second));
        assert!(catalog.resume(&first.resource).unwrap());
        assert!(!catalog.resume(&first.resource).unwrap());
    }
}
