//! Tells people what stands how: decides, writes, keeps what is to be sent, and sends it.
//!
//! What was told and what waits are `kept` in one write before anything is sent: a crash between
//! the two neither loses a message nor makes another one of it. One that was being sent is sent
//! again, under the same id. `ways` lead to people; `beat` is for who watches this daemon.

mod beat;
mod kept;
mod ways;

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::catalog::Catalog;
use crate::config::{Config, Cron};
use crate::error::Result;
use crate::model::Span;
use crate::notify::decide::decide;
use crate::notify::notice::{About, Summary};
use crate::notify::outbox::{Ended, GivenUp};
use crate::notify::{Event, Key, Letter, Notice, Severity, Way};
use crate::plan::schedule::last_until;
use crate::ports::Clock;

pub use beat::{Beaten, Beater};
use kept::Kept;
use ways::Ways;

/// Who tells, with what was told.
pub struct Teller {
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    host: String,
    terms: Terms,
    ways: Ways,
    kept: Kept,
    /// The catalog lacks something of `kept`.
    is_behind: bool,
    /// What of that was kept cannot be read, until somebody was told.
    unreadable: Vec<String>,
}

/// What the configuration orders.
struct Terms {
    zone: TimeZone,
    repeat_every: Span,
    summary: Option<Cron>,
}

/// What a turn came to.
#[derive(Debug, Clone, Default)]
pub struct Turned {
    /// Letters that were written.
    pub written: usize,
    pub sent: usize,
    /// Tries that failed, each with the reason.
    pub failed: Vec<(Way, String)>,
    /// Letters that are not tried any more.
    pub given_up: Vec<GivenUp>,
    /// What is not good of telling itself, after this turn. The next turn tells it; while it is
    /// red, perhaps nobody can be told, and the heartbeat URL should not be called.
    pub problems: Vec<Event>,
    /// When something is to be sent next, if anything waits; in the past, if more is due now.
    pub next_at: Option<Timestamp>,
}

impl Teller {
    /// Goes on with what was kept.
    ///
    /// # Errors
    /// The catalog's. A way whose secret cannot be read is no error, but an event; so is what was
    /// kept and cannot be read.
    pub fn open(
        catalog: Arc<Catalog>,
        config: &Config,
        host: String,
        clock: Arc<dyn Clock>,
    ) -> Result<Teller> {
        let row = catalog.telling()?;
        let (kept, unreadable) = row.map(|row| Kept::of(&row)).unwrap_or_default();
        let (terms, ways) = (Terms::of(config), Ways::open(&config.notify));
        Ok(Teller { catalog, clock, host, terms, ways, kept, is_behind: false, unreadable })
    }

    /// Goes on as another configuration wants it. What waits for ways that are not in it is given
    /// up in the next turn; of those that refused something, it is not known any more whether they
    /// still would.
    pub fn reconfigure(&mut self, config: &Config) {
        let terms = Terms::of(config);
        if terms.summary != self.terms.summary {
            // Of what was due before it was ordered, there is no summary.
            self.kept.summary_at = Some(self.clock.now());
        }
        self.kept.refused.clear();
        self.is_behind = true;
        (self.terms, self.ways) = (terms, Ways::open(&config.notify));
    }

    /// Decides over `present`, which is how everything stands, good ones included; then tries what
    /// is due, at most one letter a way. Blocks as long as the slowest try takes.
    ///
    /// # Errors
    /// The catalog's. If what was decided cannot be kept, nothing is sent, and the next turn
    /// decides anew. If only the ends of tries cannot be kept, they stay known to this process:
    /// another one would send what was accepted again, under the same id.
    pub fn turn(&mut self, present: &[Event], summary: &dyn Fn() -> Summary) -> Result<Turned> {
        let now = self.clock.now();
        let mut turned = Turned::default();
        let next = self.decided(present, summary, now, &mut turned);
        if self.is_behind || !self.kept.says_as_much_as(&next) {
            next.keep(&self.catalog)?;
            (self.kept, self.is_behind) = (next, false);
        }
        self.send_due(&mut turned)?;
        turned.problems = self.own_events(now);
        turned.problems.retain(|event| event.severity != Severity::Good);
        turned.next_at = self.ways.next_at(&self.kept.outbox);
        if self.ways.any_open() {
            self.unreadable.clear();
        }
        Ok(turned)
    }

    /// What is to be kept next, letters included.
    fn decided(
        &self,
        present: &[Event],
        summary: &dyn Fn() -> Summary,
        now: Timestamp,
        turned: &mut Turned,
    ) -> Kept {
        let (mut next, ways) = (self.kept.clone(), self.ways.all());
        turned.given_up = next.outbox.keep_only(&ways, now);
        next.refused.retain(|way, _| ways.contains(way));
        // At first, there is no summary of what was due before. And a clock that was set back must
        // not silence them until it is where it was.
        let summed_up = next.summary_at.map_or(now, |at| at.min(now));
        next.summary_at = Some(summed_up);
        if !self.ways.any_open() {
            // What is told to nobody stays news until somebody can hear it.
            return next;
        }
        let mut all = present.to_vec();
        all.extend(self.own_events(now));
        let decided = decide(&next.told, &all, self.terms.repeat_every.0, now);
        next.told = decided.told;
        if !decided.tell.is_empty() {
            self.write(About::News(decided.tell), now, &mut next, turned);
        }
        if let Some(at) = self.summary_due(summed_up, now) {
            next.summary_at = Some(at);
            self.write(About::Summary(summary()), now, &mut next, turned);
        }
        next
    }

    fn write(&self, about: About, at: Timestamp, next: &mut Kept, turned: &mut Turned) {
        let notice = Notice { at, host: self.host.clone(), about };
        for channel in self.ways.channels() {
            if let Some(letter) = channel.write(&notice, &self.terms.zone) {
                turned.written += 1;
                if let Some(given_up) = next.outbox.put(letter, at) {
                    next.gave_up(&given_up);
                    turned.given_up.push(given_up);
                }
            }
        }
    }

    /// The newest occurrence of the summary after `after`, if it has come: one stands for all that
    /// were missed.
    fn summary_due(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let cron = self.terms.summary.as_ref()?;
        let last = last_until(cron, &self.terms.zone, now)?;
        (last.at > after).then_some(last.at)
    }

    /// Tries what is due, and keeps how it went.
    fn send_due(&mut self, turned: &mut Turned) -> Result<()> {
        let now = self.clock.now();
        let due: Vec<&Letter> = self.kept.outbox.due(now);
        let tried = self.ways.try_all(due, now);
        if tried.is_empty() {
            return Ok(());
        }
        let (now, mut next) = (self.clock.now(), self.kept.clone());
        for (letter, sent) in tried {
            match &sent {
                Ok(()) => {
                    turned.sent += 1;
                    next.refused.remove(&letter.way);
                    self.ways.accepted(&letter.way);
                }
                Err(error) => turned.failed.push((letter.way.clone(), error.chain())),
            }
            if let Some(given_up) = next.outbox.record(&letter.id, Ended::of(&sent), now) {
                next.gave_up(&given_up);
                turned.given_up.push(given_up);
            }
        }
        // Known before it is kept: a catalog that takes nothing for an hour must not make this
        // process send the same message all the while.
        (self.kept, self.is_behind) = (next, true);
        self.kept.keep(&self.catalog)?;
        self.is_behind = false;
        Ok(())
    }

    /// How telling itself stands, as far as it is known.
    fn own_events(&self, now: Timestamp) -> Vec<Event> {
        let (severity, title) = match self.unreadable.is_empty() {
            true => (Severity::Good, "what was told is known"),
            false => (Severity::Red, "what was told is not known any more, and is told once more"),
        };
        let mut all = self.ways.events(&self.kept, now);
        all.push(Event {
            key: Key::new(None, "notify"),
            resource: None,
            severity,
            title: title.to_owned(),
            details: self.unreadable.clone(),
            at: now,
        });
        all
    }
}

impl Terms {
    fn of(config: &Config) -> Terms {
        Terms {
            zone: config.daemon.timezone.clone(),
            repeat_every: config.notify.repeat_every,
            summary: config.notify.summary.clone(),
        }
    }
}
