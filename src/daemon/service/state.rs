//! What the daemon tells of itself, kept in memory by its loops and shown to whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::charge::{Charge, Charges};
use super::message::TurnShown;
use super::post::Post;
use crate::config::{Config, Resource};
use crate::daemon::standings;
use crate::daemon::watch::RepositorySeen;
use crate::jobs::{Job, Outcome};
use crate::model::ResourceName;
use crate::notify::Event;
use crate::web::{
    Disk, Fact, JobCounts, JobResult, LeaseState, Measured, NotReady, RepositoryFacts,
    ResourceFacts, Room, UnderWay, Watched,
};

pub(super) struct State {
    post: Arc<Post>,
    charges: Arc<Charges>,
    started_at: Timestamp,
    started: Duration,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    resources: BTreeMap<ResourceName, Shown>,
    repositories: BTreeMap<String, RepositorySeen>,
    /// Of disks and repositories.
    around: Vec<Event>,
    /// Resources of which a job has ended since their last look began.
    touched: BTreeSet<ResourceName>,
    disks: BTreeMap<Disk, Room>,
    jobs: JobCounts,
    turn: Option<TurnShown>,
    /// By the clock that never steps.
    turned: Option<Duration>,
    /// What is wrong with the daemon itself, by what it concerns.
    troubles: BTreeMap<&'static str, String>,
    /// What was told of work that was not as promised, or failed, when it was last done.
    last: BTreeMap<(ResourceName, &'static str), Last>,
}

/// How work ended that did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Last {
    pub told: String,
    /// It was done, but is not as promised.
    pub not_met: bool,
}

/// What is shown of a resource.
#[derive(Debug, Clone)]
struct Shown {
    facts: ResourceFacts,
    reds: Vec<String>,
    events: Vec<Event>,
}

impl State {
    pub fn new(post: Arc<Post>, charges: Arc<Charges>) -> State {
        let clock = &post.parts.clock;
        let (started_at, started) = (clock.now(), clock.monotonic());
        State { post, charges, started_at, started, inner: Mutex::default() }
    }

    /// The scheduler has turned.
    pub fn turned(&self, shown: TurnShown) {
        let now = self.post.parts.clock.monotonic();
        let mut inner = self.lock();
        inner.turn = Some(shown);
        inner.turned = Some(now);
    }

    /// How things stood after the last turn.
    pub fn turn(&self) -> Option<TurnShown> {
        self.lock().turn.clone()
    }

    /// Shows the jobs that may come, with nothing counted.
    pub fn expect_jobs(&self, config: &Config) {
        let mut inner = self.lock();
        for (resource, standing) in standings(config) {
            inner.jobs.expect(&resource, standing.work.name());
        }
    }

    pub fn job_ended(&self, job: &Job, outcome: &Outcome, took: Duration) {
        let result = match outcome {
            Outcome::Done => JobResult::Done,
            Outcome::NotMet { .. } => JobResult::NotMet,
            Outcome::Failed { .. } => JobResult::Failed,
            Outcome::Cancelled { .. } => JobResult::Cancelled,
        };
        let key = (job.resource.clone(), job.work.name());
        let mut inner = self.lock();
        inner.touched.insert(job.resource.clone());
        inner.jobs.note(&job.resource, job.work.name(), result, took);
        match outcome {
            Outcome::Done => drop(inner.last.remove(&key)),
            outcome => {
                let not_met = matches!(outcome, Outcome::NotMet { .. });
                let told = outcome.told().to_owned();
                inner.last.insert(key, Last { told, not_met });
            }
        }
    }

    /// Work whose last run did not end well, with what was told.
    pub fn last(&self) -> BTreeMap<(ResourceName, &'static str), Last> {
        self.lock().last.clone()
    }

    /// Notes that something of the daemon itself is wrong, or right again.
    pub fn trouble(&self, about: &'static str, told: Option<String>) {
        let mut inner = self.lock();
        match told {
            Some(told) => drop(inner.troubles.insert(about, told)),
            None => drop(inner.troubles.remove(about)),
        }
    }

    pub fn troubles(&self) -> BTreeMap<&'static str, String> {
        self.lock().troubles.clone()
    }

    /// What was found out about a resource.
    pub fn measured_resource(
        &self,
        name: &ResourceName,
        facts: ResourceFacts,
        reds: Vec<String>,
        events: Vec<Event>,
    ) {
        self.lock().resources.insert(name.clone(), Shown { facts, reds, events });
    }

    /// What was found out about everything else, with the events of it.
    pub fn measured_around(
        &self,
        repositories: &BTreeMap<String, RepositorySeen>,
        disks: BTreeMap<Disk, Room>,
        events: Vec<Event>,
    ) {
        let mut inner = self.lock();
        inner.repositories.clone_from(repositories);
        inner.disks = disks;
        inner.around = events;
    }

    /// How everything that was measured stands, as events. What another installation looks after,
    /// while this one stands by, is that one's to tell.
    pub fn events(&self) -> Vec<Event> {
        let others = self.others();
        let inner = self.lock();
        let ours = inner.resources.iter().filter(|(name, _)| !others.contains(*name));
        let mut all: Vec<Event> =
            ours.flat_map(|(_, shown)| shown.events.iter().cloned()).collect();
        all.extend(inner.around.iter().cloned());
        all
    }

    /// Resources that another installation looks after, while this one waits as it was told to.
    fn others(&self) -> BTreeSet<ResourceName> {
        let (leases, config) = (self.leases(), self.post.config());
        let is_others = |resource: &&Resource| {
            leases.get(&resource.repository) == Some(&LeaseState::StandingBy)
        };
        config.resources.iter().filter(is_others).map(|resource| resource.name.clone()).collect()
    }

    /// Resources that were not looked at yet.
    pub fn unmeasured(&self) -> Vec<ResourceName> {
        let (config, others) = (self.post.config(), self.others());
        let inner = self.lock();
        let is_known = |name: &ResourceName| {
            let shown = inner.resources.get(name);
            others.contains(name) || shown.is_some_and(|shown| !shown.events.is_empty())
        };
        let names = config.resources.iter().map(|resource| &resource.name);
        names.filter(|name| !is_known(name)).cloned().collect()
    }

    /// How long the daemon has been at work.
    pub fn up_for(&self) -> Duration {
        self.post.parts.clock.monotonic().saturating_sub(self.started)
    }

    /// Why each resource is red.
    pub fn reds(&self) -> BTreeMap<ResourceName, Vec<String>> {
        let inner = self.lock();
        inner.resources.iter().map(|(name, shown)| (name.clone(), shown.reds.clone())).collect()
    }

    /// The resources of which a job has ended since they were looked at.
    pub fn touched(&self) -> BTreeSet<ResourceName> {
        self.lock().touched.clone()
    }

    /// What ended until now will be seen.
    pub fn look_begins(&self, name: &ResourceName) {
        self.lock().touched.remove(name);
    }

    /// How this installation stands to each repository that holds a resource, once that is known.
    pub fn leases(&self) -> BTreeMap<String, LeaseState> {
        let all = self.charges.all().into_iter().filter(|(_, charge)| *charge != Charge::Unknown);
        all.map(|(name, charge)| (name, self.lease(&charge))).collect()
    }

    /// Forgets what is not in the configuration any more.
    pub fn keep_only(&self, config: &Config) {
        let mut inner = self.lock();
        inner.resources.retain(|name, _| config.resource(name.as_str()).is_some());
        inner.repositories.retain(|name, _| config.repositories.contains_key(name));
        inner.last.retain(|(name, _), _| config.resource(name.as_str()).is_some());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease(&self, charge: &Charge) -> LeaseState {
        match charge {
            Charge::Held { .. } => LeaseState::Held,
            Charge::Without { elsewhere: true, .. } if self.post.stands_by => {
                LeaseState::StandingBy
            }
            Charge::Unknown | Charge::Without { .. } => LeaseState::Lost,
        }
    }

    fn repositories(&self, inner: &Inner) -> BTreeMap<String, RepositoryFacts> {
        let of = |(name, charge): (String, Charge)| {
            let seen = inner.repositories.get(&name);
            let generation = match charge {
                Charge::Held { generation } => Fact::Known(generation),
                Charge::Unknown | Charge::Without { .. } => {
                    seen.map_or(Fact::Unknown, |seen| seen.facts.generation)
                }
            };
            let facts = RepositoryFacts {
                reachable: seen.is_some_and(|seen| seen.facts.reachable),
                bytes: seen.map_or(Fact::Unknown, |seen| seen.facts.bytes),
                generation,
                lease: self.lease(&charge),
            };
            (name, facts)
        };
        self.charges.all().into_iter().map(of).collect()
    }
}

impl Watched for State {
    fn measured(&self) -> Arc<Measured> {
        let inner = self.lock();
        let turn = inner.turn.as_ref();
        let under_way = turn.map_or_else(Vec::new, |turn| {
            let of = |one: &super::message::RunningNow| UnderWay {
                resource: one.resource.clone(),
                kind: one.kind,
                done_bytes: one.done_bytes,
                expected_bytes: one.expected_bytes,
            };
            turn.running.iter().map(of).collect()
        });
        Arc::new(Measured {
            version: env!("CARGO_PKG_VERSION"),
            started_at: self.started_at,
            last_turn_at: turn.map_or(self.started_at, |turn| turn.at),
            resources: inner
                .resources
                .iter()
                .map(|(name, shown)| (name.clone(), shown.facts.clone()))
                .collect(),
            repositories: self.repositories(&inner),
            disks: inner.disks.clone(),
            jobs: inner.jobs.clone(),
            under_way,
            waiting: turn.map_or_else(Vec::new, |turn| turn.waiting.clone()),
        })
    }

    fn now(&self) -> Timestamp {
        self.post.parts.clock.now()
    }

    fn idle_for(&self) -> Duration {
        let since = self.lock().turned.unwrap_or(self.started);
        self.post.parts.clock.monotonic().saturating_sub(since)
    }

    fn not_ready(&self) -> Vec<NotReady> {
        let (charges, without) = (self.charges.all(), self.charges.without());
        let waits = |name: &String| {
            charges.get(name).is_some_and(|charge| self.lease(charge) == LeaseState::Lost)
        };
        let all = without.into_iter().filter(|(name, _)| waits(name));
        all.map(|(what, because)| NotReady { what, because }).collect()
    }
}
