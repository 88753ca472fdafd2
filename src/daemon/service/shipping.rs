//! Shipping of every resource: each has a task of its own, which begins once this installation is
//! in charge of its repository, survives what goes wrong, and is left alone by everybody's jobs.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::charge::{Charge, Charges};
use super::post::Post;
use crate::config::{self, Config};
use crate::daemon::resource_of;
use crate::engines::blocking::blocking;
use crate::engines::postgres::protect::Protection;
use crate::engines::postgres::ship::ShipState;
use crate::engines::postgres::snapshot::log::lock_name;
use crate::error::{Error, Result};
use crate::model::ResourceName;
use crate::ports::store::Lock;
use crate::repository::retirement;

/// After a failure that shipping itself does not survive; twice as long after each further one.
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// A retired resource may be taken back into use.
const RETIRED_LOOK_EVERY: Duration = Duration::from_secs(300);
/// Shipping begins within this long after the daemon, if it can.
const READY_WITHIN: Duration = Duration::from_secs(20);
const READY_POLL: Duration = Duration::from_millis(100);
/// Who wants the log shipped at once waits in a queue of so many.
const NUDGES: usize = 8;

/// What is told of shipping a resource.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Shown {
    /// What the shipper says of itself, while it runs.
    pub state: Option<ShipState>,
    /// Why it does not run, if it should.
    pub trouble: Option<String>,
}

/// The answer to who wants everything shipped that there is now.
type Nudge = oneshot::Sender<Result<ShipState>>;

/// All of them, by resource.
#[derive(Default)]
pub(super) struct Shipments {
    kept: Mutex<BTreeMap<ResourceName, Shipment>>,
}

/// What decides how a resource is shipped: if it changes, shipping begins anew.
#[derive(PartialEq)]
struct Terms {
    resource: config::Resource,
    policy: config::Policy,
    repository: config::Repository,
}

struct Shipment {
    terms: Terms,
    stop: watch::Sender<bool>,
    nudges: mpsc::Sender<Nudge>,
    shown: Arc<Mutex<Watch>>,
    task: JoinHandle<()>,
}

/// Where what is told comes from.
#[derive(Default)]
struct Watch {
    state: Option<watch::Receiver<ShipState>>,
    trouble: Option<String>,
}

impl Shipments {
    /// Ships what a configuration names. What is not in it any more, or not as before, is stopped:
    /// what was received of it is stored first.
    pub async fn adopt(&self, post: &Arc<Post>, charges: &Arc<Charges>, config: &Arc<Config>) {
        let mut stopped = Vec::new();
        {
            let mut kept = self.lock();
            let changed = |(name, one): (&ResourceName, &Shipment)| {
                let now = config.resource(name.as_str()).map(|now| Terms::of(config, now));
                (now.as_ref() != Some(&one.terms)).then(|| name.clone())
            };
            let gone: Vec<ResourceName> = kept.iter().filter_map(changed).collect();
            stopped.extend(gone.iter().filter_map(|name| kept.remove(name)));
        }
        stop_all(stopped).await;
        let mut kept = self.lock();
        for resource in &config.resources {
            kept.entry(resource.name.clone())
                .or_insert_with(|| Shipment::start(post, charges, config, resource));
        }
    }

    /// What is told of one.
    pub fn shown_of(&self, resource: &ResourceName) -> Option<Shown> {
        self.lock().get(resource).map(Shipment::shown)
    }

    /// Ships what the source of a resource has written by now. Returns what that came to.
    ///
    /// # Errors
    /// It is not shipped at present; those of [`Protection::run_once`].
    pub async fn ship_now(&self, resource: &ResourceName) -> Result<ShipState> {
        let nudges = self.ready_to_ship(resource).await?;
        let (answer, answered) = oneshot::channel();
        let gone = || Error::failed(format!("shipping of {resource} was stopped")).later();
        nudges.send(answer).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Waits a while until the log of a resource is being shipped.
    async fn ready_to_ship(&self, resource: &ResourceName) -> Result<mpsc::Sender<Nudge>> {
        let mut waited = Duration::ZERO;
        loop {
            let found = self.lock().get(resource).map(|one| (one.nudges.clone(), one.shown()));
            let Some((nudges, shown)) = found else {
                return Err(Error::usage(format!("the daemon ships no resource `{resource}`")));
            };
            match shown.state {
                Some(_) => return Ok(nudges),
                None if waited < READY_WITHIN => tokio::time::sleep(READY_POLL).await,
                None => {
                    return Err(Error::failed(format!("{resource} is not shipped now"))
                        .because(shown.trouble.unwrap_or_else(|| "it is retired".to_owned()))
                        .later());
                }
            }
            waited += READY_POLL;
        }
    }

    /// Stops all of it; what was received is stored first.
    pub async fn stop(&self) {
        let all = std::mem::take(&mut *self.lock());
        stop_all(all.into_values().collect()).await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ResourceName, Shipment>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn stop_all(shipments: Vec<Shipment>) {
    for one in &shipments {
        one.stop.send_replace(true);
    }
    for one in shipments {
        if let Err(error) = one.task.await {
            tracing::error!(%error, "shipping broke off");
        }
    }
}

impl Terms {
    fn of(config: &Config, resource: &config::Resource) -> Terms {
        Terms {
            resource: resource.clone(),
            policy: config.policy_of(resource).clone(),
            repository: config.repository_of(resource).clone(),
        }
    }
}

impl Shipment {
    fn start(
        post: &Arc<Post>,
        charges: &Arc<Charges>,
        config: &Arc<Config>,
        resource: &config::Resource,
    ) -> Shipment {
        let (stop, stopped) = watch::channel(false);
        let (nudges, nudged) = mpsc::channel(NUDGES);
        let shown = Arc::new(Mutex::new(Watch::default()));
        let course = Course {
            post: post.clone(),
            charges: charges.clone(),
            config: config.clone(),
            resource: resource.name.clone(),
            repository: resource.repository.clone(),
            shown: shown.clone(),
        };
        let task = tokio::spawn(course.run(stopped, nudged));
        Shipment { terms: Terms::of(config, resource), stop, nudges, shown, task }
    }

    fn shown(&self) -> Shown {
        let watch = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let state = watch.state.as_ref().map(|state| state.borrow().clone());
        Shown { state, trouble: watch.trouble.clone() }
    }
}

/// Shipping of one resource, as long as its terms are as they are.
struct Course {
    post: Arc<Post>,
    charges: Arc<Charges>,
    config: Arc<Config>,
    resource: ResourceName,
    repository: String,
    shown: Arc<Mutex<Watch>>,
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// What is needed to ship. The locks are let go with it.
struct Ready {
    protection: Protection,
    _lock: Box<dyn Lock>,
}

impl Course {
    async fn run(self, mut stop: watch::Receiver<bool>, mut nudges: mpsc::Receiver<Nudge>) {
        let mut pause = PAUSE_MIN;
        while !*stop.borrow() {
            if !self.in_charge(&mut stop).await {
                continue;
            }
            let wait = match self.ship(&mut stop, &mut nudges).await {
                Ok(Some(())) => {
                    pause = PAUSE_MIN;
                    continue;
                }
                Ok(None) => RETIRED_LOOK_EVERY,
                Err(error) => {
                    let told = error.chain();
                    tracing::error!(resource = %self.resource, error = %told, "not shipped");
                    self.show(None, Some(told));
                    let wait = pause;
                    pause = (pause * 2).min(PAUSE_MAX);
                    wait
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Waits until this installation is in charge; `false` if it is to stop first.
    async fn in_charge(&self, stop: &mut watch::Receiver<bool>) -> bool {
        let Some(mut charge) = self.charges.of(&self.repository) else {
            // Only until this configuration's repositories are looked after.
            tokio::time::sleep(PAUSE_MIN).await;
            return false;
        };
        if let Charge::Without { because, .. } = charge.borrow().clone() {
            self.show(None, Some(because));
        }
        tokio::select! {
            held = charge.wait_for(|charge| matches!(charge, Charge::Held { .. })) => {
                held.is_ok()
            }
            _ = stop.wait_for(|stop| *stop) => false,
        }
    }

    /// Ships until it is to stop, or somebody wants everything at once; `None` where the resource
    /// is retired.
    async fn ship(
        &self,
        stop: &mut watch::Receiver<bool>,
        nudges: &mut mpsc::Receiver<Nudge>,
    ) -> Result<Option<()>> {
        let Some(ready) = self.make_ready().await? else {
            self.show(None, None);
            return Ok(None);
        };
        let protection = &ready.protection;
        self.show(Some(protection.shipper.state.subscribe()), None);
        let (end, ending) = watch::channel(false);
        let mut running: Running<'_> = Box::pin(protection.run(ending));
        let nudge = tokio::select! {
            ended = &mut running => return ended.map(Some),
            _ = stop.wait_for(|stop| *stop) => None,
            Some(nudge) = nudges.recv() => Some(nudge),
        };
        end.send_replace(true);
        running.await?;
        let Some(nudge) = nudge else { return Ok(Some(())) };
        let shipped = Box::pin(protection.run_once(stop.clone())).await;
        let failed = shipped.as_ref().err().map(|error| Error::failed(error.chain()));
        // Whoever asked may be gone.
        let state = protection.shipper.state.borrow().clone();
        drop(nudge.send(shipped.map(|_| state)));
        match failed {
            None => Ok(Some(())),
            Some(error) => Err(error),
        }
    }

    async fn make_ready(&self) -> Result<Option<Ready>> {
        let (post, config) = (self.post.clone(), self.config.clone());
        let name = self.resource.clone();
        let opened = blocking(move || {
            let resource = resource_of(&config, name.as_str())?;
            let repository = post.parts.open_repository(&config, &resource.repository)?;
            if retirement::in_force(&repository, &name)?.is_some() {
                return Ok(None);
            }
            let lease = post.parts.lease_of(&config, &resource.repository, &repository)?;
            let repository = repository.under(lease);
            let lock = repository.lock(&lock_name(&name))?;
            // Asked again under the lock, without which nobody retires it.
            retirement::must_be_in_use(&repository, &name)?;
            Ok(Some((repository, lock)))
        });
        let Some((repository, lock)) = opened.await? else { return Ok(None) };
        let parts = &self.post.parts;
        let resource = resource_of(&self.config, self.resource.as_str())?;
        let protected = parts.protected_in(&self.config, resource, repository)?;
        let cluster = parts.register(&protected).await?;
        let catalog = self.post.catalog.clone();
        let protection = parts.protection_of(&protected, &cluster, catalog)?;
        Ok(Some(Ready { protection, _lock: lock }))
    }

    fn show(&self, state: Option<watch::Receiver<ShipState>>, trouble: Option<String>) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Watch { state, trouble };
    }
}
