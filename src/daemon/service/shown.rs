//! What the scheduler shows of its jobs: to the faces after each turn, and to `fenice jobs`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::desk::progress_now;
use super::message::{Failing, RunningNow, TurnShown};
use super::scheduler::{Scheduler, UnderWay};
use crate::catalog::journal::JobRow;
use crate::daemon::control::wire::{EndedJob, JobsNow, RunningJob, StandingLine, WaitingJob};
use crate::error::Result;
use crate::jobs::Asked;
use crate::model::ResourceName;
use crate::plan::schedule::Next;

impl Scheduler {
    pub(super) fn shown(&self, now: Timestamp) -> TurnShown {
        let running = |under_way: &UnderWay| {
            let (done_bytes, expected) = under_way.progress.bytes();
            RunningNow {
                resource: under_way.job.resource.clone(),
                kind: under_way.job.work.name(),
                done_bytes,
                expected_bytes: (expected > 0).then_some(expected),
            }
        };
        let (mut waiting, mut failing) = (Vec::new(), Vec::new());
        let mut next: BTreeMap<ResourceName, (&'static str, Timestamp)> = BTreeMap::new();
        for line in self.order.shown() {
            if matches!(line.next, Next::Run { .. }) {
                waiting.push((line.resource.clone(), line.work.name()));
            }
            if let Next::Wait { until, .. } = line.next {
                let soonest =
                    next.entry(line.resource.clone()).or_insert((line.work.name(), *until));
                if *until < soonest.1 {
                    *soonest = (line.work.name(), *until);
                }
            }
            failing.extend(line.past.failed.map(|failure| Failing {
                resource: line.resource.clone(),
                work: line.work.name(),
                attempts: failure.attempts,
                since: failure.at,
                is_final: failure.is_final(),
            }));
        }
        let running = self.running.values().map(running).collect();
        TurnShown { at: now, running, waiting, next, failing }
    }

    /// Everything, for `fenice jobs`.
    pub(super) fn jobs_now(&self, most: u32) -> Result<JobsNow> {
        let last = self.post.catalog.last_jobs(most)?;
        let by_hand = |asked: &Asked| WaitingJob {
            resource: asked.resource.clone(),
            work: asked.work.name().to_owned(),
            because: asked.because.clone(),
            held: asked.held.clone(),
            by_hand: true,
        };
        let mut waiting: Vec<WaitingJob> = self.order.asked().iter().map(by_hand).collect();
        let mut standing = Vec::new();
        for line in self.order.shown() {
            let (state, next_at) = match line.next {
                Next::Run { .. } => ("due", None),
                Next::Wait { until, .. } => ("waits", Some(*until)),
                Next::Busy { .. } => ("runs", None),
                Next::Paused { until, .. } => ("paused", *until),
                Next::Never { .. } => ("never", None),
            };
            if let Next::Run { reason, .. } = line.next {
                waiting.push(WaitingJob {
                    resource: line.resource.clone(),
                    work: line.work.name().to_owned(),
                    because: reason.clone(),
                    held: line.held.map(str::to_owned),
                    by_hand: false,
                });
            }
            standing.push(StandingLine {
                resource: line.resource.clone(),
                work: line.work.name().to_owned(),
                state: state.to_owned(),
                next_at,
                reason: line.next.reason().to_owned(),
            });
        }
        Ok(JobsNow {
            at: self.now(),
            running: self.running.values().map(running_job).collect(),
            waiting,
            standing,
            last: last.into_iter().filter_map(ended_job).collect(),
        })
    }
}

fn running_job(under_way: &UnderWay) -> RunningJob {
    let progress = progress_now(&under_way.progress);
    RunningJob {
        id: under_way.job.id,
        resource: under_way.job.resource.clone(),
        work: under_way.job.work.name().to_owned(),
        because: under_way.job.because.clone(),
        begun_at: under_way.begun_at,
        phase: progress.phase,
        done_bytes: progress.done_bytes,
        expected_bytes: progress.expected_bytes,
        cancelling: under_way.cancelled,
    }
}

fn ended_job(row: JobRow) -> Option<EndedJob> {
    let ended = row.ended?;
    Some(EndedJob {
        id: row.id,
        resource: row.resource,
        work: row.work,
        begun_at: row.begun_at,
        ended_at: ended.at,
        result: ended.result,
        told: ended.told,
    })
}
