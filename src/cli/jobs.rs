//! `fenice jobs`: what runs, what waits and why, what comes next, and how the last ones ended.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::carry::unexpected;
use super::exit::Done;
use super::list::local;
use super::{Context, well};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::daemon::control::client::Client;
use crate::daemon::control::wire::{
    EndedJob, JobsNow, Reply, Request, RunningJob, StandingLine, WaitingJob,
};
use crate::daemon::standings;
use crate::error::{Error, Kind, Result};
use crate::evidence::plain::{Cell, Column, Row, Table, Tone, clean};
use crate::jobs::next_of;
use crate::model::{ByteSize, Span};
use crate::plan::condition::age;

/// Show what the daemon does, what is due, and what became of it
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// So many of those that have ended
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: u32,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Let a job that runs end at its next step
    Cancel {
        /// Its number, as `fenice jobs` shows it
        id: i64,
    },
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let client = Client::find(&config).await?;
    if let Some(Verb::Cancel { id }) = args.verb {
        return cancel(client, id, context).await;
    }
    let (jobs, alive) = match client {
        Some(client) => match client.ask(&Request::Jobs { most: args.last }, &mut |_| {}).await? {
            Reply::Jobs(jobs) => (jobs, true),
            _ => return Err(unexpected()),
        },
        None => (noted(&config, args.last, context)?, false),
    };
    let zone = &config.daemon.timezone;
    well(context.output.answer(|| value(&jobs, alive), || text(&jobs, alive, zone, context)))
}

async fn cancel(client: Option<Client>, id: i64, context: &Context) -> Result<Done> {
    let client = client.ok_or_else(|| {
        Error::new(Kind::Usage, "no daemon runs, and so no job of one")
            .hint("A command that does its work itself is ended by Ctrl-C.")
    })?;
    match client.ask(&Request::Cancel { id }, &mut |_| {}).await? {
        Reply::Done(value) => {
            let told = value["told"].as_str().unwrap_or_default().to_owned();
            well(context.output.answer(|| value, || format!("{told}\n")))
        }
        _ => Err(unexpected()),
    }
}

/// What the catalog tells, where no daemon runs.
fn noted(config: &Config, most: u32, context: &Context) -> Result<JobsNow> {
    let parts = context.parts()?;
    let at = parts.clock.now();
    let mut jobs = JobsNow {
        at,
        running: Vec::new(),
        waiting: Vec::new(),
        standing: Vec::new(),
        last: Vec::new(),
    };
    let Some(catalog) = parts.known_catalog(config)? else { return Ok(jobs) };
    jobs.last = ended(&catalog, most)?;
    for next in next_of(&catalog, &standings(config), at)? {
        let state = if next.at.is_some() { "waits" } else { "paused" };
        jobs.standing.push(StandingLine {
            resource: next.resource,
            work: next.work.name().to_owned(),
            state: state.to_owned(),
            next_at: next.at,
            reason: next.text,
        });
    }
    Ok(jobs)
}

/// The last ones that have ended, or were cut short and nobody has noted it yet.
fn ended(catalog: &Catalog, most: u32) -> Result<Vec<EndedJob>> {
    let rows = catalog.last_jobs(most)?.into_iter();
    let of = rows.map(|row| {
        let (ended_at, result, told) = match row.ended {
            Some(end) => (end.at, end.result, end.told),
            None => (row.begun_at, "interrupted".to_owned(), "no daemon runs".to_owned()),
        };
        let (id, resource, work, begun_at) = (row.id, row.resource, row.work, row.begun_at);
        EndedJob { id, resource, work, begun_at, ended_at, result, told }
    });
    Ok(of.collect())
}

/// How fast a job moves bytes, and how long it still takes if it goes on so; `None` where that
/// cannot be told.
fn pace(job: &RunningJob, now: Timestamp) -> (Option<ByteSize>, Option<Span>) {
    let seconds = now.duration_since(job.begun_at).as_secs_f64();
    if seconds < 1.0 || job.done_bytes == 0 {
        return (None, None);
    }
    let rate = job.done_bytes as f64 / seconds;
    let left = job.expected_bytes.and_then(|expected| expected.checked_sub(job.done_bytes));
    let remaining = left.map(|left| Span::seconds((left as f64 / rate) as u64));
    (Some(ByteSize(rate as u64)), remaining)
}

fn text(jobs: &JobsNow, alive: bool, zone: &TimeZone, context: &Context) -> String {
    let terminal = context.output.terminal;
    let mut text = String::new();
    if !alive {
        text.push_str("no daemon runs: this is what the last one noted\n");
    }
    if !jobs.running.is_empty() {
        let rows = jobs.running.iter().map(|job| running_row(job, jobs.at)).collect();
        let columns = ["JOB", "WORK", "RESOURCE", "FOR", "DONE"].map(Column::word).into();
        text.push_str(&terminal.heading("running"));
        text.push_str(&terminal.table(&Table { columns, rows }));
    }
    if !jobs.waiting.is_empty() {
        let rows = jobs.waiting.iter().map(waiting_row).collect();
        let columns = ["WORK", "RESOURCE", "STATE"].map(Column::word).into();
        text.push_str(&terminal.heading("due"));
        text.push_str(&terminal.table(&Table { columns, rows }));
    }
    if !jobs.standing.is_empty() {
        let next = jobs.standing.iter().filter(|line| line.state != "runs" && line.state != "due");
        let rows = next.map(|line| standing_row(line, zone)).collect();
        let columns = ["RESOURCE", "WORK", "NEXT"].map(Column::word).into();
        text.push_str(&terminal.heading("next"));
        text.push_str(&terminal.table(&Table { columns, rows }));
    }
    if !jobs.last.is_empty() {
        let rows = jobs.last.iter().map(|job| ended_row(job, zone)).collect();
        let columns =
            ["JOB", "WORK", "RESOURCE", "ENDED", "TOOK", "RESULT"].map(Column::word).into();
        text.push_str(&terminal.heading("ended"));
        text.push_str(&terminal.table(&Table { columns, rows }));
    }
    if text.is_empty() { "nothing is to be done\n".to_owned() } else { text }
}

fn running_row(job: &RunningJob, now: Timestamp) -> Row {
    let done = match (job.expected_bytes, pace(job, now)) {
        (_, (None, _)) => job.phase.clone(),
        (expected, (Some(rate), left)) => {
            let of = expected.map_or(String::new(), |bytes| format!(" of {}", ByteSize(bytes)));
            let left = left.map_or(String::new(), |left| format!(", {left} left"));
            format!("{}: {}{of}, {rate}/s{left}", job.phase, ByteSize(job.done_bytes))
        }
    };
    let state = if job.cancelling { format!("ending; {done}") } else { done };
    Row {
        cells: vec![
            Cell::plain(job.id.to_string()),
            Cell::plain(&job.work),
            Cell::plain(job.resource.as_str()),
            Cell::plain(age(job.begun_at, now).to_string()),
            Cell::plain(state),
        ],
        detail: Some(clean(&job.because)),
    }
}

fn waiting_row(job: &WaitingJob) -> Row {
    let state = job.held.as_deref().map_or("begins".to_owned(), clean);
    Row {
        cells: vec![
            Cell::plain(&job.work),
            Cell::plain(job.resource.as_str()),
            Cell::toned(state, Tone::Warn),
        ],
        detail: Some(clean(&job.because)),
    }
}

fn standing_row(line: &StandingLine, zone: &TimeZone) -> Row {
    let next = match (line.state.as_str(), line.next_at) {
        ("paused", _) => Cell::toned("paused", Tone::Warn),
        (_, Some(at)) => Cell::plain(local(at, zone)),
        (state, None) => Cell::plain(state),
    };
    Row {
        cells: vec![Cell::plain(line.resource.as_str()), Cell::plain(&line.work), next],
        detail: (line.state == "paused").then(|| clean(&line.reason)),
    }
}

fn ended_row(job: &EndedJob, zone: &TimeZone) -> Row {
    let tone = match job.result.as_str() {
        "done" => Tone::Good,
        "failed" | "not_met" => Tone::Bad,
        _ => Tone::Warn,
    };
    let took = job.ended_at.duration_since(job.begun_at).max(SignedDuration::ZERO);
    Row {
        cells: vec![
            Cell::plain(job.id.to_string()),
            Cell::plain(&job.work),
            Cell::plain(job.resource.as_str()),
            Cell::plain(local(job.ended_at, zone)),
            Cell::plain(Span(took.unsigned_abs()).to_string()),
            Cell::toned(job.result.replace('_', " "), tone),
        ],
        detail: (!job.told.is_empty()).then(|| clean(&job.told)),
    }
}

fn value(jobs: &JobsNow, alive: bool) -> Value {
    let running = |job: &RunningJob| {
        let (rate, left) = pace(job, jobs.at);
        let mut value = json!(job);
        value["bytes_per_second"] = json!(rate.map(|rate| rate.0));
        value["remaining_seconds"] = json!(left.map(|left| left.as_seconds()));
        value
    };
    json!({
        "at": jobs.at,
        "daemon": alive,
        "running": jobs.running.iter().map(running).collect::<Vec<_>>(),
        "waiting": jobs.waiting,
        "standing": jobs.standing,
        "last": jobs.last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_so_far_tells_how_long_it_takes() {
        let begun_at = Timestamp::UNIX_EPOCH;
        let job = |done_bytes, expected_bytes| RunningJob {
            id: 1,
            resource: "registro".parse().unwrap(),
            work: "snapshot".to_owned(),
            because: "due".to_owned(),
            begun_at,
            phase: "reading files".to_owned(),
            done_bytes,
            expected_bytes,
            cancelling: false,
        };
        let cases = [
            (0, 0, None, None, None),
            (10, 0, Some(100), None, None),
            (10, 1_000, None, Some(100), None),
            (10, 1_000, Some(3_000), Some(100), Some(20)),
            (10, 1_000, Some(1_000), Some(100), Some(0)),
            (10, 1_000, Some(500), Some(100), None),
            (0, 1_000, Some(3_000), None, None),
        ];
        for (seconds, done, expected, rate, left) in cases {
            let now = begun_at + SignedDuration::from_secs(seconds);
            let paced = pace(&job(done, expected), now);
            let expected = (rate.map(ByteSize), left.map(Span::seconds));
            assert_eq!(paced, expected, "{done} in {seconds} s");
        }
    }
}
