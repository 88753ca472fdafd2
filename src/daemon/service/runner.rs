//! One job, carried out on a thread of its own; what it came to is told to the scheduler.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use jiff::Timestamp;
use tokio::runtime::Handle;

use super::message::Message;
use super::post::Post;
use crate::catalog::journal::StepRow;
use crate::config::Config;
use crate::daemon::control::wire::Reply;
use crate::daemon::work::{Report, Setting, Wish, carry_out};
use crate::engines::progress::Progress;
use crate::error::{Error, Result};
use crate::evidence::drill_report::Trigger;
use crate::jobs::Outcome;

/// What is carried out.
pub(super) struct Run {
    /// Its number in the journal.
    pub id: i64,
    pub post: Arc<Post>,
    /// The one in force when it began.
    pub config: Arc<Config>,
    pub wish: Wish,
    /// Of a standing order.
    pub due_at: Option<Timestamp>,
    /// Who asked for it; `None` for a standing order.
    pub operator: Option<String>,
    pub progress: Arc<Progress>,
}

/// What it came to.
pub(super) struct Ended {
    pub outcome: Outcome,
    /// For who asked for it.
    pub reply: Reply,
}

/// Starts it. The scheduler is told how it ended, whatever happens.
pub(super) fn start(run: Run, runtime: &Handle, sender: Sender<Message>) {
    let handle = runtime.clone();
    runtime.spawn(async move {
        let (id, clock) = (run.id, run.post.parts.clock.clone());
        let started = clock.monotonic();
        // What is done need not be able to move between threads, and may block.
        let ran = tokio::task::spawn_blocking(move || handle.block_on(run.carry_out())).await;
        let ended = ran.unwrap_or_else(|broken| {
            Ended::of(Err(Error::failed(format!("it broke off: {broken}")).later()))
        });
        let took = clock.monotonic().saturating_sub(started);
        // The scheduler is gone only when the daemon ends without waiting for this.
        drop(sender.send(Message::Ended { id, ended, took }));
    });
}

impl Run {
    async fn carry_out(self) -> Ended {
        let note_step = |what: &str, detail: &str| {
            let at = self.post.parts.clock.now();
            let (what, detail) = (what.to_owned(), detail.to_owned());
            self.post.catalog.note_step(&StepRow { job: self.id, at, what, detail })
        };
        let setting = Setting {
            parts: &self.post.parts,
            config: &self.config,
            config_file: &self.post.config_file,
            progress: self.progress.clone(),
            due_at: self.due_at,
            trigger: match self.operator {
                Some(_) => Trigger::Manual,
                None => Trigger::Schedule,
            },
            operator: self.operator.clone().unwrap_or_else(|| "the schedule".to_owned()),
            note_step: &note_step,
        };
        Ended::of(carry_out(&self.wish, &setting).await)
    }
}

impl Ended {
    fn of(carried_out: Result<Report>) -> Ended {
        match carried_out {
            Ok(report) => Ended { outcome: report.outcome(), reply: Reply::Reported(report) },
            Err(error) => Ended {
                outcome: Outcome::Failed { told: error.chain(), retry: error.retry() },
                reply: Reply::Failed((&error).into()),
            },
        }
    }
}
