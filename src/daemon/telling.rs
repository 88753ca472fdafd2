//! Tells people what stands how: decides, writes, keeps what is to be sent, and sends it.
//!
//! What was told and what waits are kept in one write before anything is sent: a crash between the
//! two neither loses a message nor makes another one of it. One that was being sent is sent again,
//! under the same id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::notify as ways;
use crate::catalog::Catalog;
use crate::catalog::telling::TellingRow;
use crate::config::{Config, Cron, Notify};
use crate::error::{Attempt, Error, Result};
use crate::model::{Span, WebAddress};
use crate::notify::decide::{Told, decide};
use crate::notify::notice::{About, Summary};
use crate::notify::outbox::{Ended, GivenUp};
use crate::notify::{Channel, Event, Key, Letter, Notice, Outbox, Severity, Way, channel};
use crate::plan::schedule::last_until;
use crate::ports::{Clock, Http};

/// Who tells, with what was told.
pub struct Teller {
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    host: String,
    terms: Terms,
    kept: Kept,
    /// Ways on which the last letter was given up, with the reason.
    given_up: BTreeMap<Way, String>,
    /// What was kept could not be read.
    forgot: Option<String>,
}

/// As the configuration wants it.
struct Terms {
    zone: TimeZone,
    repeat_every: Span,
    summary: Option<Cron>,
    channels: Vec<Channel>,
    /// Ways that cannot be used, each with the reason.
    closed: BTreeMap<Way, String>,
}

/// What outlives this process.
#[derive(Debug, Clone, Default)]
struct Kept {
    told: Vec<Told>,
    outbox: Outbox,
    summary_at: Option<Timestamp>,
}

/// What a turn came to.
#[derive(Debug, Clone, Default)]
pub struct Turned {
    /// Letters that were written.
    pub written: usize,
    pub sent: usize,
    /// Tries that failed; they are repeated.
    pub failed: Vec<(Way, String)>,
    pub given_up: Vec<GivenUp>,
}

impl Teller {
    /// Goes on with what was kept.
    ///
    /// # Errors
    /// The catalog's. A way whose secret cannot be read is no error, but an event.
    pub fn open(
        catalog: Arc<Catalog>,
        config: &Config,
        host: String,
        clock: Arc<dyn Clock>,
    ) -> Result<Teller> {
        let (kept, forgot) = match catalog.telling()? {
            // Of what was due before anybody told anything, there is no summary.
            None => (Kept { summary_at: Some(clock.now()), ..Kept::default() }, None),
            Some(row) => match Kept::of(&row) {
                Ok(kept) => (kept, None),
                Err(error) => (Kept::default(), Some(error.chain())),
            },
        };
        let terms = Terms::of(config);
        let given_up = BTreeMap::new();
        Ok(Teller { catalog, clock, host, terms, kept, given_up, forgot })
    }

    /// Goes on as another configuration wants it.
    pub fn reconfigure(&mut self, config: &Config) {
        self.terms = Terms::of(config);
        self.given_up.clear();
    }

    /// Decides over `present`, which is how everything stands, good ones included; then sends what
    /// is due. Blocks as long as that takes.
    ///
    /// # Errors
    /// The catalog's: then nothing is told that it could not note.
    pub fn turn(&mut self, present: &[Event], summary: &dyn Fn() -> Summary) -> Result<Turned> {
        let now = self.clock.now();
        let mut all = present.to_vec();
        all.extend(self.own_events(now));
        let mut turned = Turned::default();
        let mut next = self.kept.clone();
        let left: BTreeSet<Way> = self.ways().cloned().collect();
        turned.given_up.extend(next.outbox.keep_only(&left, now));
        let decided = decide(&next.told, &all, self.terms.repeat_every.0, now);
        let changed = decided.told != next.told;
        next.told = decided.told;
        if !decided.tell.is_empty() {
            self.write(About::News(decided.tell), now, &mut next, &mut turned);
        }
        if let Some(at) = self.due_summary(&next, now) {
            next.summary_at = Some(at);
            self.write(About::Summary(summary()), now, &mut next, &mut turned);
        }
        if changed || turned.written > 0 || !turned.given_up.is_empty() {
            self.catalog.keep_telling(&next.row()?)?;
        }
        self.kept = next;
        self.forgot = None;
        self.send_due(&mut turned)?;
        Ok(turned)
    }

    fn ways(&self) -> impl Iterator<Item = &Way> {
        let open = self.terms.channels.iter().map(Channel::way);
        // What waits for a way whose secret cannot be read may still be sent.
        open.chain(self.terms.closed.keys())
    }

    fn write(&self, about: About, at: Timestamp, next: &mut Kept, turned: &mut Turned) {
        let notice = Notice { at, host: self.host.clone(), about };
        for channel in &self.terms.channels {
            if let Some(letter) = channel.write(&notice, &self.terms.zone) {
                turned.written += 1;
                turned.given_up.extend(next.outbox.put(letter, at));
            }
        }
    }

    /// The occurrence of the summary that is to be written; of several that were missed, the last.
    fn due_summary(&self, kept: &Kept, now: Timestamp) -> Option<Timestamp> {
        let cron = self.terms.summary.as_ref()?;
        let last = last_until(cron, &self.terms.zone, now)?;
        let is_new = kept.summary_at.is_none_or(|before| before < last.at);
        is_new.then_some(last.at)
    }

    /// Sends what is due, each way by itself, and notes how it went.
    fn send_due(&mut self, turned: &mut Turned) -> Result<()> {
        let now = self.clock.now();
        let due: Vec<Letter> = self.kept.outbox.due(now).into_iter().cloned().collect();
        let tried = self.try_all(&due, now);
        if tried.is_empty() {
            return Ok(());
        }
        let (now, mut next) = (self.clock.now(), self.kept.clone());
        for (letter, sent) in tried {
            let way = letter.way.clone();
            match &sent {
                Ok(()) => {
                    turned.sent += 1;
                    self.given_up.remove(&way);
                }
                Err(error) => turned.failed.push((way.clone(), error.chain())),
            }
            if let Some(given_up) = next.outbox.record(&letter.id, Ended::of(&sent), now) {
                self.given_up.insert(way, given_up.because.clone());
                turned.given_up.push(given_up);
            }
        }
        // If this fails, they are sent again under their ids.
        self.catalog.keep_telling(&next.row()?)?;
        self.kept = next;
        Ok(())
    }

    /// Several ways at once: one that hangs does not hold up the others.
    fn try_all<'l>(&self, due: &'l [Letter], now: Timestamp) -> Vec<(&'l Letter, Result<()>)> {
        let mut all = Vec::new();
        std::thread::scope(|scope| {
            let mut sending = Vec::new();
            for letter in due {
                let of = |channel: &&Channel| *channel.way() == letter.way;
                if let Some(channel) = self.terms.channels.iter().find(of) {
                    sending.push((letter, scope.spawn(move || channel.send(letter, now))));
                }
            }
            for (letter, sending) in sending {
                let broken = |_| Err(Error::failed("sending broke off").later());
                all.push((letter, sending.join().unwrap_or_else(broken)));
            }
        });
        all
    }

    /// How telling itself stands.
    fn own_events(&self, now: Timestamp) -> Vec<Event> {
        let event = |kind: &str, told: Option<&String>, title: &str| Event {
            key: Key::new(None, kind),
            resource: None,
            severity: if told.is_some() { Severity::Red } else { Severity::Good },
            title: title.to_owned(),
            details: told.cloned().into_iter().collect(),
            at: now,
        };
        let of_way = |way: &Way| {
            let told = self.terms.closed.get(way).or_else(|| self.given_up.get(way));
            let title = match told {
                Some(_) => format!("nothing can be told by {way}"),
                None => format!("{way} takes what it is told"),
            };
            event(&format!("notify-{way}"), told, &title)
        };
        let mut all: Vec<Event> = self.ways().map(of_way).collect();
        let forgot = "what was told before is not known any more, and is told again";
        all.push(event("notify", self.forgot.as_ref(), forgot));
        all
    }
}

impl Terms {
    fn of(config: &Config) -> Terms {
        let Notify { repeat_every, summary, .. } = &config.notify;
        let mut terms = Terms {
            zone: config.daemon.timezone.clone(),
            repeat_every: *repeat_every,
            summary: summary.clone(),
            channels: Vec::new(),
            closed: BTreeMap::new(),
        };
        for opened in ways::channels(&config.notify) {
            match opened.channel {
                Ok(channel) => terms.channels.push(channel),
                Err(error) => drop(terms.closed.insert(opened.way, error.chain())),
            }
        }
        terms
    }
}

impl Kept {
    fn of(row: &TellingRow) -> Result<Kept> {
        let what = || "read what was told".to_owned();
        Ok(Kept {
            told: serde_json::from_str(&row.told).attempt(what)?,
            outbox: serde_json::from_str(&row.outbox).attempt(what)?,
            summary_at: row.summary_at,
        })
    }

    fn row(&self) -> Result<TellingRow> {
        let what = || "write down what was told".to_owned();
        Ok(TellingRow {
            told: serde_json::to_string(&self.told).attempt(what)?,
            outbox: serde_json::to_string(&self.outbox).attempt(what)?,
            summary_at: self.summary_at,
        })
    }
}

/// Calls the heartbeat URL.
pub struct Beater {
    http: Arc<dyn Http>,
    url: WebAddress,
}

/// Whether it was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beaten {
    Called,
    /// Not all is well: its silence is what raises the alarm.
    Withheld {
        because: String,
    },
    Failed(String),
}

impl Beater {
    /// `None` where nothing is to be called.
    ///
    /// # Errors
    /// Of kind `Config`: the secret cannot be read, or is no URL.
    pub fn open(config: &Config) -> Result<Option<Beater>> {
        Ok(ways::heartbeat(&config.notify)?.map(|(http, url)| Beater { http, url }))
    }

    /// Calls it if all is well. Blocks as long as that takes.
    pub fn beat_if_well(&self, present: &[Event]) -> Beaten {
        let red = present.iter().find(|event| event.severity == Severity::Red);
        let because = match (present.is_empty(), red) {
            (true, _) => Some("nothing is known yet".to_owned()),
            (false, Some(red)) => Some(red.title.clone()),
            (false, None) => None,
        };
        match because {
            Some(because) => Beaten::Withheld { because },
            None => match channel::beat(self.http.as_ref(), &self.url) {
                Ok(()) => Beaten::Called,
                Err(error) => Beaten::Failed(error.chain()),
            },
        }
    }
}
