//! Who is in charge: for each repository that holds a resource, the lease is sought, and once had
//! watched. Where another installation writes, its turn is waited for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::post::Post;
use crate::config::{self, Config};
use crate::daemon::places;
use crate::error::{Attempt, Kind, Result};
use crate::repository::lease::Lease;

/// Between two looks at a lease that is had; a look makes no request.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two attempts to have one; each watches the other holder for longer than that.
const TRY_EVERY: Duration = Duration::from_secs(10);

/// How this installation stands to one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Charge {
    /// It was not looked at yet.
    Unknown,
    Held {
        generation: u64,
    },
    /// It may not write: another does (`elsewhere`), or it cannot be told who may.
    Without {
        because: String,
        elsewhere: bool,
    },
}

/// Every repository that holds a resource, by its name.
#[derive(Default)]
pub(super) struct Charges {
    kept: Mutex<BTreeMap<String, Kept>>,
}

struct Kept {
    configured: config::Repository,
    charge: watch::Receiver<Charge>,
    end: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Charges {
    /// Seeks the leases of a configuration, and lets those go that are not in it any more.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn adopt(&self, post: &Arc<Post>, config: &Arc<Config>) -> Result<()> {
        let wanted = wanted(config);
        let mut kept = self.lock();
        kept.retain(|name, one| {
            let stays = wanted.get(name.as_str()).is_some_and(|now| **now == one.configured);
            if !stays {
                one.end.store(true, Ordering::Relaxed);
                post.parts.leases.forget(name);
            }
            stays
        });
        for (name, configured) in wanted {
            if kept.contains_key(name) {
                continue;
            }
            let (told, charge) = watch::channel(Charge::Unknown);
            let end = Arc::new(AtomicBool::new(false));
            let keeper = Keeper {
                name: name.to_owned(),
                post: post.clone(),
                config: config.clone(),
                told,
                end: end.clone(),
            };
            let thread = std::thread::Builder::new().name("charge".to_owned());
            let thread = thread
                .spawn(move || keeper.keep())
                .attempt(|| format!("start the thread that seeks the lease of `{name}`"))?;
            let configured = configured.clone();
            kept.insert(name.to_owned(), Kept { configured, charge, end, thread });
        }
        Ok(())
    }

    /// How things stand with a repository, and how they change; `None` if none holds anything.
    pub fn of(&self, repository: &str) -> Option<watch::Receiver<Charge>> {
        self.lock().get(repository).map(|kept| kept.charge.clone())
    }

    /// Those that may not be written to now, each with the reason.
    pub fn without(&self) -> BTreeMap<String, String> {
        let reason = |(name, charge): (String, Charge)| match charge {
            Charge::Held { .. } => None,
            Charge::Unknown => Some((name, "it was not looked at yet".to_owned())),
            Charge::Without { because, .. } => Some((name, because)),
        };
        self.all().into_iter().filter_map(reason).collect()
    }

    /// How things stand with all of them.
    pub fn all(&self) -> BTreeMap<String, Charge> {
        let kept = self.lock();
        kept.iter().map(|(name, one)| (name.clone(), one.charge.borrow().clone())).collect()
    }

    /// Seeks none any more, and waits until nobody does.
    pub fn end(&self) {
        let all = std::mem::take(&mut *self.lock());
        for kept in all.values() {
            kept.end.store(true, Ordering::Relaxed);
        }
        for kept in all.into_values() {
            // A thread that broke off has told why.
            let _ = kept.thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wanted(config: &Config) -> BTreeMap<&str, &config::Repository> {
    let all = config.resources.iter().flat_map(|resource| places(config, resource));
    all.filter_map(|(name, _)| Some((name, config.repositories.get(name)?))).collect()
}

/// Seeks one lease as long as the daemon runs.
struct Keeper {
    name: String,
    post: Arc<Post>,
    config: Arc<Config>,
    told: watch::Sender<Charge>,
    end: Arc<AtomicBool>,
}

impl Keeper {
    fn keep(self) {
        while !self.ended() {
            match self.take() {
                Ok(lease) => self.hold(&lease),
                Err(error) => {
                    let elsewhere = error.kind() == Kind::Busy;
                    let because = error.chain();
                    tracing::warn!(repository = %self.name, error = %because, "may not write");
                    self.told.send_replace(Charge::Without { because, elsewhere });
                    self.pause(TRY_EVERY);
                }
            }
        }
    }

    fn take(&self) -> Result<Arc<Lease>> {
        let parts = &self.post.parts;
        let repository = parts.open_repository(&self.config, &self.name)?;
        parts.lease_of(&self.config, &self.name, &repository)
    }

    /// Returns once another took it over, or the daemon ends.
    fn hold(&self, lease: &Lease) {
        let generation = lease.generation();
        tracing::info!(repository = %self.name, generation, "in charge");
        self.told.send_replace(Charge::Held { generation });
        while !self.ended() && !lease.is_deposed() {
            std::thread::sleep(LOOK_EVERY);
            let now = lease.generation();
            self.told.send_if_modified(|charge| {
                let new = Charge::Held { generation: now };
                let changed = *charge != new;
                *charge = new;
                changed
            });
        }
        if lease.is_deposed() {
            let because = "another installation took over".to_owned();
            self.told.send_replace(Charge::Without { because, elsewhere: true });
        }
    }

    fn pause(&self, pause: Duration) {
        let mut waited = Duration::ZERO;
        while waited < pause && !self.ended() {
            std::thread::sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
    }

    fn ended(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }
}
