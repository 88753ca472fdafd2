//! Measures: looks at what is stored, every hour and after each job; and each minute at what has
//! changed, at the sources, the repositories and the disks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, watch};
use tokio::task::JoinSet;

use super::post::Post;
use super::shipping::Shipments;
use super::state::State;
use crate::catalog::journal::StandingRow;
use crate::config::{Config, Resource};
use crate::daemon::judge::{Red, job_reds};
use crate::daemon::watch::look::promise_of;
use crate::daemon::watch::{
    Follower, Looked, RepositorySeen, ResourceState, SourceFacts, SourceWatch, bytes_of, events,
    look, look_at, rooms,
};
use crate::engines::blocking::blocking;
use crate::engines::postgres::ship::ShipState;
use crate::error::Result;
use crate::model::{ResourceName, Span};
use crate::notify::Key;
use crate::plan::condition::kind;
use crate::plan::schedule::standing_of;
use crate::web::ResourceFacts;

/// A glance at everything.
const EVERY: Duration = Duration::from_secs(60);
/// Between two looks for what is to be looked at.
const LOOK_ROUND: Duration = Duration::from_secs(2);
/// Where a glance asks for another look, and looks have not helped.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(180);
/// Sources that are asked at once.
const ASKED_AT_ONCE: usize = 32;

pub(super) struct Measuring {
    post: Arc<Post>,
    state: Arc<State>,
    shipments: Arc<Shipments>,
    kept: Mutex<BTreeMap<ResourceName, One>>,
    repositories: Mutex<BTreeMap<String, RepositorySeen>>,
}

/// What is kept of a resource from one minute to the next.
struct One {
    resource: Resource,
    follower: Option<Follower>,
    looked: Option<Duration>,
    wants_look: bool,
    source: Arc<AsyncMutex<SourceWatch>>,
    said: SourceFacts,
    /// What a loss of the source would cost; absent of what is retired or was not looked at.
    exposure: Option<Option<Span>>,
}

impl Measuring {
    pub fn new(post: Arc<Post>, state: Arc<State>, shipments: Arc<Shipments>) -> Arc<Measuring> {
        let (kept, repositories) = (Mutex::default(), Mutex::default());
        Arc::new(Measuring { post, state, shipments, kept, repositories })
    }

    /// Measures until it is to stop.
    pub async fn run(self: Arc<Measuring>, mut stop: watch::Receiver<bool>) {
        let mut looking = JoinSet::new();
        looking.spawn(self.clone().look_on(stop.clone()));
        while !*stop.borrow() {
            if let Err(error) = self.minute().await {
                tracing::error!(error = %error.chain(), "not everything could be measured");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        // A look that hangs in a repository is not waited for.
        looking.abort_all();
    }

    /// Keeps one of each resource of the configuration, and no other.
    fn keep(&self, config: &Config) {
        let mut kept = self.lock();
        kept.retain(|name, one| config.resource(name.as_str()) == Some(&one.resource));
        for resource in &config.resources {
            if kept.contains_key(&resource.name) {
                continue;
            }
            let (parts, now) = (&self.post.parts, self.post.parts.clock.now());
            // The connection string was checked with the configuration.
            let Ok(source) = parts.source_of(resource) else { continue };
            let promise = Some(promise_of(config.policy_of(resource)));
            let facts = ResourceFacts::unmeasured(promise);
            self.state.measured_resource(&resource.name, facts, Vec::new(), Vec::new());
            let one = One {
                resource: resource.clone(),
                follower: None,
                looked: None,
                wants_look: false,
                source: Arc::new(AsyncMutex::new(SourceWatch::new(source, parts.clock.clone()))),
                said: SourceFacts::unheard(now),
                exposure: None,
            };
            kept.insert(resource.name.clone(), one);
        }
    }

    /// Looks at what is to be looked at, one after the other.
    async fn look_on(self: Arc<Measuring>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            while let Some(name) = self.to_look_at().filter(|_| !*stop.borrow()) {
                if let Err(error) = self.look_at(&name).await {
                    tracing::error!(resource = %name, error = %error.chain(), "cannot look at it");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_ROUND) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    fn to_look_at(&self) -> Option<ResourceName> {
        let (clock, touched) = (&self.post.parts.clock, self.state.touched());
        let (now, monotonic) = (clock.now(), clock.monotonic());
        let kept = self.lock();
        let due = |(name, one): &(&ResourceName, &One)| {
            let since = one.looked.map(|looked| monotonic.saturating_sub(looked));
            let Some((follower, since)) = one.follower.as_ref().zip(since) else { return true };
            let looked: &Looked = follower.looked();
            touched.contains(*name)
                || looked.due_at() <= now
                || one.wants_look && since >= LOOK_AGAIN_AFTER
        };
        kept.iter().find(due).map(|(name, _)| name.clone())
    }

    async fn look_at(&self, name: &ResourceName) -> Result<()> {
        // What ends from now on calls for another look.
        self.state.look_begins(name);
        let (post, config, of) = (self.post.clone(), self.post.config(), name.clone());
        let looked = blocking(move || {
            let Some(resource) = config.resource(of.as_str()) else { return Ok(None) };
            let now = post.parts.clock.now();
            Ok(Some(look(&post.parts, &config, resource, &post.catalog, now)))
        });
        let looked = looked.await?;
        let monotonic = self.post.parts.clock.monotonic();
        if let (Some(looked), Some(one)) = (looked, self.lock().get_mut(name)) {
            one.follower = Some(Follower::new(name.clone(), looked));
            one.looked = Some(monotonic);
        }
        let rows = self.post.catalog.standings()?;
        let shipping = self.shipping(name);
        self.glance(name, shipping.as_ref(), &rows);
        Ok(())
    }

    /// What this daemon's shipper of a resource says, with what keeps it from its work.
    fn shipping(&self, name: &ResourceName) -> Option<ShipState> {
        let shown = self.shipments.shown_of(name)?;
        match (shown.state, shown.trouble) {
            (Some(state), trouble) => {
                Some(ShipState { trouble: state.trouble.clone().or(trouble), ..state })
            }
            (None, Some(trouble)) => {
                Some(ShipState { trouble: Some(trouble), ..ShipState::default() })
            }
            (None, None) => None,
        }
    }

    /// Judges one resource anew, and shows what came of it.
    fn glance(&self, name: &ResourceName, shipping: Option<&ShipState>, rows: &[StandingRow]) {
        let (config, now) = (self.post.config(), self.post.parts.clock.now());
        let Some(resource) = config.resource(name.as_str()) else { return };
        let zone = &config.daemon.timezone;
        let ordered = standing_of(config.policy_of(resource), zone);
        let jobs: Vec<Red> = job_reds(rows, name, &ordered, zone);
        let mut kept = self.lock();
        let Some(one) = kept.get_mut(name) else { return };
        let Some(follower) = &mut one.follower else { return };
        let glanced = follower.glance(shipping, &jobs, &self.post.catalog, now);
        let mut facts = glanced.facts;
        one.said.fill(&mut facts);
        one.wants_look = glanced.look_again;
        one.exposure = facts.promise.is_some().then_some(glanced.exposure);
        let state = ResourceState {
            resource: name,
            facts: &facts,
            source: &one.said,
            reds: &glanced.reds,
            untold: glanced.untold,
        };
        let mut events = events::of_resource(&state, now);
        if shipping.is_none() {
            // The shipper has not said anything yet: that is not good news.
            let of_shipping = Key::new(Some(name), kind::SHIPPING);
            events.retain(|event| event.key != of_shipping);
        }
        let reds = glanced.reds.into_iter().map(|red| red.text).collect();
        self.state.measured_resource(name, facts, reds, events);
    }

    /// Once around: everything that is cheap.
    async fn minute(&self) -> Result<()> {
        let config = self.post.config();
        self.keep(&config);
        self.ask_sources().await;
        let catalog = self.post.catalog.clone();
        let rows = blocking(move || catalog.standings()).await?;
        let names: Vec<ResourceName> = self.lock().keys().cloned().collect();
        for name in &names {
            let shipping = self.shipping(name);
            self.glance(name, shipping.as_ref(), &rows);
        }
        self.note_exposures(&config).await?;
        self.look_around(&config).await
    }

    async fn ask_sources(&self) {
        let room = Arc::new(Semaphore::new(ASKED_AT_ONCE));
        let mut asked = JoinSet::new();
        for (name, one) in self.lock().iter() {
            let (name, source, room) = (name.clone(), one.source.clone(), room.clone());
            asked.spawn(async move {
                // Never closed.
                let _permit = room.acquire().await;
                let said = source.lock().await.ask().await;
                (name, said)
            });
        }
        while let Some(said) = asked.join_next().await {
            match said {
                Ok((name, said)) => {
                    if let Some(one) = self.lock().get_mut(&name) {
                        one.said = said;
                    }
                }
                Err(error) => tracing::error!(%error, "a source could not be asked"),
            }
        }
    }

    async fn note_exposures(&self, config: &Config) -> Result<()> {
        let of = |(name, one): (&ResourceName, &One)| Some((name.clone(), one.exposure?));
        let all: Vec<(ResourceName, Option<Span>)> = self.lock().iter().filter_map(of).collect();
        let day = config.daemon.timezone.to_datetime(self.post.parts.clock.now()).date();
        let catalog = self.post.catalog.clone();
        blocking(move || catalog.note_exposures(day, &all)).await
    }

    /// The repositories and the disks.
    async fn look_around(&self, config: &Arc<Config>) -> Result<()> {
        let before = self.repositories.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let bytes: BTreeMap<String, _> = {
            let kept = self.lock();
            let looked =
                |name: &ResourceName| kept.get(name)?.follower.as_ref().map(Follower::looked);
            let of = |name: &String| (name.clone(), bytes_of(name, config, looked));
            config.repositories.keys().map(of).collect()
        };
        let (post, config, leases) = (self.post.clone(), config.clone(), self.state.leases());
        let seen = blocking(move || {
            let now: Timestamp = post.parts.clock.now();
            let mut seen = BTreeMap::new();
            // Only those that hold anything, as only of those a lease is sought.
            for (name, lease) in leases {
                let opened = post.parts.open_repository(&config, &name);
                let bytes = bytes.get(&name).copied().unwrap_or_default();
                let one = look_at(opened.as_ref(), lease, bytes, before.get(&name), now);
                seen.insert(name, one);
            }
            Ok((seen, rooms(&config), now))
        });
        let (seen, rooms, now) = seen.await?;
        let mut all = events::of_disks(&rooms, now);
        all.extend(seen.iter().flat_map(|(name, one)| events::of_repository(name, one, now)));
        self.state.measured_around(&seen, rooms.rooms, all);
        *self.repositories.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ResourceName, One>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
