//! Tells people: what stands how is decided over, written and sent, again and again; and while all
//! is well, the heartbeat URL is called.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::news;
use super::post::Post;
use super::state::State;
use crate::config::Config;
use crate::daemon::standings;
use crate::daemon::telling::{Beaten, Beater, Teller};
use crate::engines::blocking::blocking;
use crate::error::{Error, Result};
use crate::model::ResourceName;
use crate::notify::notice::{Due, Facts, Summary};
use crate::notify::{Event, Key, Severity};
use crate::plan::condition::age;
use crate::web::{Fact, Watched};

/// What changes is told at most so much later.
const TELL_EVERY: Duration = Duration::from_secs(15);
/// The heartbeat URL is called so often.
const BEAT_EVERY: Duration = Duration::from_secs(60);

/// After its start, the daemon has looked at everything within this long.
const KNOWN_WITHIN: Duration = Duration::from_secs(600);

pub(super) struct Telling {
    post: Arc<Post>,
    state: Arc<State>,
    /// Taken while messages are sent, which may take minutes.
    teller: Mutex<Teller>,
    beating: Mutex<Beating>,
}

#[derive(Default)]
struct Beating {
    beater: Option<Beater>,
    /// What is wrong with the URL.
    unbeaten: Option<String>,
    /// What was wrong with telling itself at its last turn.
    problems: Vec<Event>,
}

impl Telling {
    pub fn open(post: &Arc<Post>, state: &Arc<State>) -> Result<Telling> {
        let config = post.config();
        let clock = post.parts.clock.clone();
        let teller = Teller::open(post.catalog.clone(), &config, post.host.clone(), clock)?;
        let telling = Telling {
            post: post.clone(),
            state: state.clone(),
            teller: Mutex::new(teller),
            beating: Mutex::default(),
        };
        telling.open_beater(&config);
        Ok(telling)
    }

    /// Goes on with another configuration, once what is being sent is sent. Blocks until then.
    pub fn reconfigure(&self, config: &Config) {
        self.open_beater(config);
        self.teller.lock().unwrap_or_else(PoisonError::into_inner).reconfigure(config);
    }

    fn open_beater(&self, config: &Config) {
        let opened = Beater::open(config);
        let mut beating = self.beating();
        beating.unbeaten = opened.as_ref().err().map(Error::chain);
        beating.beater = opened.unwrap_or(None);
    }

    /// Tells until it is to stop.
    pub async fn run(self: Arc<Telling>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let telling = self.clone();
            let told = blocking(move || telling.turn()).await;
            let trouble = told.err().map(|error| error.chain());
            if let Some(error) = &trouble {
                tracing::error!(%error, "nobody is told");
            }
            self.state.trouble("telling", trouble);
            tokio::select! {
                () = tokio::time::sleep(TELL_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Calls the heartbeat URL while all is well, until it is to stop.
    pub async fn beat_on(self: Arc<Telling>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            tokio::select! {
                () = tokio::time::sleep(BEAT_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let telling = self.clone();
            if let Err(error) = blocking(move || {
                telling.beat();
                Ok(())
            })
            .await
            {
                tracing::error!(error = %error.chain(), "the heartbeat URL is not called");
            }
        }
    }

    fn turn(&self) -> Result<()> {
        let now = self.post.parts.clock.now();
        let present = self.present(now);
        let mut teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner);
        let turned = teller.turn(&present, &|| self.summary(now))?;
        for (way, because) in &turned.failed {
            tracing::warn!(%way, because, "a message is not sent yet");
        }
        for given_up in &turned.given_up {
            let (way, because) = (&given_up.letter.way, &given_up.because);
            tracing::error!(%way, because, "a message was given up");
        }
        self.beating().problems = turned.problems;
        Ok(())
    }

    /// Calls the URL, if all is known and all is well.
    fn beat(&self) {
        // First: what is known now is in what is present then.
        let all_known = self.state.unmeasured().is_empty();
        let mut present = self.present(self.post.parts.clock.now());
        let (beater, problems) = {
            let beating = self.beating();
            (beating.beater.clone(), beating.problems.clone())
        };
        let Some(beater) = beater else { return };
        present.extend(problems);
        if !all_known {
            return tracing::info!("the heartbeat URL is not called before everything is known");
        }
        let unbeaten = match beater.beat_if_well(&present) {
            Beaten::Called => None,
            Beaten::Withheld { because } => {
                return tracing::warn!(because, "the heartbeat URL is not called");
            }
            Beaten::Failed(because) => {
                tracing::warn!(because, "the heartbeat URL does not answer");
                Some(because)
            }
        };
        self.beating().unbeaten = unbeaten;
    }

    /// How everything stands now.
    fn present(&self, now: Timestamp) -> Vec<Event> {
        let config = self.post.config();
        let all: Vec<(ResourceName, &'static str)> = standings(&config)
            .into_iter()
            .map(|(resource, standing)| (resource, standing.work.name()))
            .collect();
        let failing = self.state.turn().map(|turn| turn.failing).unwrap_or_default();
        let mut events = news::of_jobs(&all, &failing, &self.state.last(), now);
        events.extend(news::of_daemon(&self.state.troubles(), now));
        events.extend(self.state.events());
        events.extend(self.state.unmeasured().iter().filter_map(|name| self.unknown(name, now)));
        if config.notify.heartbeat_url.is_some() {
            events.push(self.of_beater(now));
        }
        events
    }

    /// A resource that nothing is known of, although there was time enough to look at it.
    fn unknown(&self, name: &ResourceName, now: Timestamp) -> Option<Event> {
        (self.state.up_for() >= KNOWN_WITHIN).then(|| Event {
            key: Key::new(Some(name), "status"),
            resource: Some(name.clone()),
            severity: Severity::Red,
            title: "how it stands cannot be told".to_owned(),
            details: vec!["what is stored of it could not be looked at yet".to_owned()],
            at: now,
        })
    }

    fn of_beater(&self, now: Timestamp) -> Event {
        let unbeaten = self.beating().unbeaten.clone();
        let (severity, title) = match unbeaten {
            Some(_) => (Severity::Warning, "the heartbeat URL cannot be called"),
            None => (Severity::Good, "the heartbeat URL answers"),
        };
        Event {
            key: Key::new(None, "heartbeat-url"),
            resource: None,
            severity,
            title: title.to_owned(),
            details: unbeaten.into_iter().collect(),
            at: now,
        }
    }

    fn summary(&self, now: Timestamp) -> Summary {
        let measured = self.state.measured();
        let reds = self.state.reds();
        let next = self.state.turn().map(|turn| turn.next).unwrap_or_default();
        let config = self.post.config();
        let of = |resource: &crate::config::Resource| {
            let name = &resource.name;
            let facts = measured.resources.get(name);
            let known = |fact: Fact<Timestamp>| match fact {
                Fact::Known(at) => Some(at),
                Fact::Absent | Fact::Unknown => None,
            };
            Facts {
                resource: name.clone(),
                last_snapshot_at: facts.and_then(|facts| known(facts.last_snapshot_at)),
                exposure: facts.and_then(|facts| known(facts.data_until)).map(|at| age(at, now)),
                last_proof_at: facts.and_then(|facts| known(facts.last_proof_at)),
                reds: reds.get(name).cloned().unwrap_or_default(),
                next: next.get(name).map(|(work, at)| Due { what: (*work).to_owned(), at: *at }),
            }
        };
        let notes = self.state.troubles().into_values().collect();
        Summary { resources: config.resources.iter().map(of).collect(), notes }
    }

    fn beating(&self) -> MutexGuard<'_, Beating> {
        self.beating.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
