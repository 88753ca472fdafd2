//! The loop that begins all work: a thread of its own, which turns at least every second, feeds
//! systemd's watchdog, and waits for nothing but the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Handle;

use super::charge::Charges;
use super::message::{Asking, Message, Told};
use super::post::Post;
use super::runner::{self, Run};
use super::state::State;
use super::watchdog::Watchdog;
use crate::config::Config;
use crate::daemon::control::wire::Reply;
use crate::daemon::standings;
use crate::daemon::work::Wish;
use crate::engines::progress::Progress;
use crate::error::{Error, Result};
use crate::jobs::{Job, Order, Outcome};
use crate::model::ResourceName;
use crate::plan::schedule::{Limits, Work};

/// It turns at least so often.
pub(super) const TURN_EVERY: Duration = Duration::from_secs(1);

/// Everything that is to be done, and what is being done.
pub(super) struct Scheduler {
    pub(super) order: Order,
    pub(super) post: Arc<Post>,
    pub(super) state: Arc<State>,
    charges: Arc<Charges>,
    pub(super) runtime: Handle,
    /// For those that end.
    pub(super) sender: Sender<Message>,
    pub(super) running: BTreeMap<i64, UnderWay>,
    /// What was asked for and has not begun, by ticket.
    pub(super) asked: BTreeMap<u64, Asked>,
    /// Ends that the catalog could not take yet.
    unnoted: Vec<(i64, Outcome)>,
    /// Nothing begins any more.
    pub(super) drains: bool,
    pub(super) watchdog: Watchdog,
}

/// Something that was asked for and has not begun.
pub(super) struct Asked {
    wish: Wish,
    asking: Asking,
    /// Why it waits, as it was told last.
    told: Option<String>,
}

/// A job that runs.
pub(super) struct UnderWay {
    pub job: Job,
    pub progress: Arc<Progress>,
    pub begun_at: Timestamp,
    /// Who asked for it, if somebody did.
    pub asking: Option<Asking>,
    /// Somebody wants it to end.
    pub cancelled: bool,
}

pub(super) fn limits(config: &Config) -> Limits {
    Limits { most_at_once: config.daemon.jobs }
}

impl Scheduler {
    pub fn new(
        order: Order,
        post: Arc<Post>,
        state: Arc<State>,
        charges: Arc<Charges>,
        runtime: Handle,
        sender: Sender<Message>,
    ) -> Scheduler {
        let watchdog = Watchdog::find(&runtime, post.parts.clock.clone());
        Scheduler {
            order,
            post,
            state,
            charges,
            watchdog,

            runtime,
            sender,
            running: BTreeMap::new(),
            asked: BTreeMap::new(),
            unnoted: Vec::new(),
            drains: false,
        }
    }

    /// Turns until the daemon has drained: every job has ended, or `End` says that it is too late.
    pub fn run(mut self, messages: &Receiver<Message>) {
        loop {
            self.turn();
            if self.drains && self.running.is_empty() {
                return;
            }
            let pause = TURN_EVERY.min(self.watchdog.every());
            match messages.recv_timeout(pause) {
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(message) => self.hear(message),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // Whatever else has come meanwhile belongs to the same turn.
            while let Ok(message) = messages.try_recv() {
                match message {
                    Message::End => return,
                    message => self.hear(message),
                }
            }
        }
    }

    fn turn(&mut self) {
        let now = self.now();
        self.note_ends(now);
        if !self.drains {
            self.order.bar(self.barred());
            match self.order.turn(now) {
                Ok(jobs) => {
                    self.state.trouble("catalog", None);
                    jobs.into_iter().for_each(|job| self.begin(job, now));
                }
                Err(error) => {
                    tracing::error!(error = %error.chain(), "nothing new begins");
                    self.state.trouble("catalog", Some(error.chain()));
                }
            }
        }
        self.tell_who_waits();
        self.state.turned(self.shown(now));
        self.watchdog.feed();
    }

    /// Where this installation is not in charge, nothing begins.
    fn barred(&self) -> BTreeMap<ResourceName, String> {
        let without = self.charges.without();
        if without.is_empty() {
            return BTreeMap::new();
        }
        let config = self.post.config();
        let bar = |resource: &crate::config::Resource| {
            let because = without.get(&resource.repository)?;
            let name = &resource.repository;
            Some((resource.name.clone(), format!("`{name}` is not ours to write: {because}")))
        };
        config.resources.iter().filter_map(bar).collect()
    }

    /// Begins what the order says. Its journal has it already.
    fn begin(&mut self, job: Job, now: Timestamp) {
        let asked = job.ticket.and_then(|ticket| self.asked.remove(&ticket));
        let (wish, asking) = match asked {
            Some(Asked { wish, asking, .. }) => (wish, Some(asking)),
            None => (wish_of(job.work, &job.resource), None),
        };
        let progress = Arc::new(Progress::default());
        if let Some(asking) = &asking {
            asking.tell(Told::Begun { id: job.id, progress: progress.clone() });
        }
        let (id, because) = (job.id, &job.because);
        tracing::info!(id, work = %job.work, resource = %job.resource, because, "begins");
        let run = Run {
            id,
            post: self.post.clone(),
            config: self.post.config(),
            wish,
            due_at: job.ticket.is_none().then_some(job.due_at),
            operator: asking.as_ref().map(|asking| asking.operator.clone()),
            progress: progress.clone(),
        };
        let under_way = UnderWay { job, progress, begun_at: now, asking, cancelled: false };
        self.running.insert(id, under_way);
        runner::start(run, &self.runtime, self.sender.clone());
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Ended { id, ended, took } => self.ended(id, ended, took),
            Message::Ask { wish, asking } => self.ask(wish, asking),
            Message::Withdraw { ticket } => {
                self.order.withdraw(ticket);
                self.asked.remove(&ticket);
            }
            Message::Cancel { id, answer } => drop(answer.send(self.cancel(id))),
            Message::Pause { pause, answer } => {
                drop(answer.send(self.order.pause(pause, self.now())));
            }
            Message::Resume { resource, answer } => {
                drop(answer.send(self.order.resume(&resource, self.now())));
            }
            Message::Restoring { resource, answer } => {
                let ticket = self.order.restoring(resource);
                // Whoever asked is gone already.
                if answer.send(ticket).is_err() {
                    self.order.restored(ticket);
                }
            }
            Message::Restored { ticket } => self.order.restored(ticket),
            Message::Jobs { most, answer } => drop(answer.send(self.jobs_now(most))),
            Message::Adopt { config, answer } => {
                let adopted = self.order.adopt(standings(&config), limits(&config), self.now());
                self.state.expect_jobs(&config);
                drop(answer.send(adopted));
            }
            Message::Drain => self.drain(),
            // The loop itself ends by it.
            Message::End => {}
        }
    }

    fn ask(&mut self, wish: Wish, asking: Asking) {
        let (resource, work) = (wish.resource().clone(), wish.work());
        let because = format!("asked for by {}", asking.operator);
        let asked = match self.drains {
            true => Err(Error::new(crate::error::Kind::Busy, "the daemon is ending").later()),
            false => self.order.ask(resource, work, because, self.now()),
        };
        match asked {
            Ok(ticket) => {
                asking.tell(Told::Ticket(ticket));
                self.asked.insert(ticket, Asked { wish, asking, told: None });
            }
            Err(error) => asking.tell(Told::Over(Reply::Failed((&error).into()))),
        }
    }

    fn cancel(&mut self, id: i64) -> Result<String> {
        let Some(under_way) = self.running.get_mut(&id) else {
            return Err(Error::usage(format!("no job {id} runs"))
                .hint("`fenice jobs` shows those that do."));
        };
        under_way.cancelled = true;
        under_way.progress.cancel();
        let Job { work, resource, .. } = &under_way.job;
        Ok(format!("the {work} of {resource} ends at its next step"))
    }

    fn ended(&mut self, id: i64, ended: runner::Ended, took: Duration) {
        let Some(under_way) = self.running.remove(&id) else { return };
        let UnderWay { job, asking, cancelled, .. } = under_way;
        let runner::Ended { outcome, reply } = ended;
        let outcome = match outcome {
            Outcome::Failed { told, .. } if cancelled => Outcome::Cancelled { told },
            // The next daemon finds it open in the journal, and tries it again at once.
            Outcome::Failed { .. } if self.drains => return,
            outcome => outcome,
        };
        let (work, resource, told) = (job.work, &job.resource, outcome.told());
        match &outcome {
            Outcome::Done => tracing::info!(id, %work, %resource, "done"),
            Outcome::NotMet { .. } => tracing::warn!(id, %work, %resource, told, "not met"),
            Outcome::Cancelled { .. } => tracing::warn!(id, %work, %resource, told, "cancelled"),
            Outcome::Failed { .. } => tracing::error!(id, %work, %resource, told, "failed"),
        }
        self.state.job_ended(&job, &outcome, took);
        self.unnoted.push((id, outcome));
        self.note_ends(self.now());
        if let Some(asking) = asking {
            asking.tell(Told::Over(reply));
        }
    }

    /// Notes how jobs ended; what the catalog does not take is tried again with each turn.
    fn note_ends(&mut self, now: Timestamp) {
        let mut left = Vec::new();
        for (id, outcome) in std::mem::take(&mut self.unnoted) {
            if let Err(error) = self.order.ended(id, &outcome, now) {
                tracing::error!(id, error = %error.chain(), "cannot note how a job ended");
                self.state.trouble("catalog", Some(error.chain()));
                left.push((id, outcome));
            }
        }
        self.unnoted = left;
    }

    fn tell_who_waits(&mut self) {
        for asked in self.order.asked() {
            let Some(known) = self.asked.get_mut(&asked.ticket) else { continue };
            if let Some(held) = asked.held.as_ref().filter(|held| known.told.as_ref() != Some(held))
            {
                known.told = Some(held.clone());
                known.asking.tell(Told::Waiting(held.clone()));
            }
        }
    }

    /// Begins nothing any more, and asks what runs to end.
    fn drain(&mut self) {
        self.drains = true;
        for Asked { asking, .. } in std::mem::take(&mut self.asked).into_values() {
            let error = Error::new(crate::error::Kind::Busy, "the daemon is ending").later();
            asking.tell(Told::Over(Reply::Failed((&error).into())));
        }
        for under_way in self.running.values() {
            under_way.progress.cancel();
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.post.parts.clock.now()
    }
}

/// What a standing order means.
fn wish_of(work: Work, resource: &ResourceName) -> Wish {
    let resource = resource.clone();
    match work {
        Work::Snapshot => Wish::Snapshot { resource, full: false },
        Work::Copy => Wish::Copy { resource },
        Work::Retention => Wish::Retention { resource, confirm: false },
        Work::Verify => Wish::Verify { resource, all: false, heal: true },
        // Of the others there are no standing orders.
        Work::Drill | Work::Restore | Work::Ship => Wish::Drill { resource },
    }
}
