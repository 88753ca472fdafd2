//! The ways to people: those that are open and those that are not, and how each takes what it is
//! given.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use jiff::Timestamp;

use super::kept::Kept;
use crate::config::Notify;
use crate::daemon::notify::channels;
use crate::error::{Error, Result};
use crate::notify::outbox::Waiting;
use crate::notify::{Channel, Event, Key, Letter, Outbox, Severity, Way};

/// A letter that was tried so often is told of by the other ways: half an hour has passed then.
const UNTOLD_TRIES_MOST: u32 = 8;

/// Every configured way.
pub(super) struct Ways {
    open: Vec<Channel>,
    /// Those that cannot be used: why, and what to do.
    closed: BTreeMap<Way, Vec<String>>,
    /// Those that took a letter since they were opened.
    proven: BTreeSet<Way>,
}

impl Ways {
    pub fn open(notify: &Notify) -> Ways {
        let (mut open, mut closed) = (Vec::new(), BTreeMap::new());
        for opened in channels(notify) {
            match opened.channel {
                Ok(channel) => open.push(channel),
                Err(error) => {
                    let hint = error.hint_text().map(str::to_owned);
                    closed.insert(opened.way, [error.chain()].into_iter().chain(hint).collect());
                }
            }
        }
        Ways { open, closed, proven: BTreeSet::new() }
    }

    /// Those that are closed too: what waits for them may still be sent.
    pub fn all(&self) -> BTreeSet<Way> {
        self.open.iter().map(Channel::way).chain(self.closed.keys()).cloned().collect()
    }

    pub fn any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Those that are open.
    pub fn channels(&self) -> &[Channel] {
        &self.open
    }

    /// Tries each letter for which the way is open. All at once: one that hangs does not hold up
    /// the others.
    pub fn try_all<'l>(
        &self,
        due: Vec<&'l Letter>,
        now: Timestamp,
    ) -> Vec<(&'l Letter, Result<()>)> {
        thread::scope(|scope| {
            let mut sending = Vec::new();
            for letter in due {
                let of = |channel: &&Channel| *channel.way() == letter.way;
                if let Some(channel) = self.open.iter().find(of) {
                    sending.push((letter, scope.spawn(move || channel.send(letter, now))));
                }
            }
            let broken = |_| Err(Error::failed("sending broke off").later());
            let ended = sending.into_iter();
            ended.map(|(letter, sent)| (letter, sent.join().unwrap_or_else(broken))).collect()
        })
    }

    pub fn accepted(&mut self, way: &Way) {
        self.proven.insert(way.clone());
    }

    /// When a letter is to be tried next on a way that is open.
    pub fn next_at(&self, outbox: &Outbox) -> Option<Timestamp> {
        let first = self.open.iter().filter_map(|channel| first_of(outbox, channel.way()));
        first.map(|waiting| waiting.next_try_at).min()
    }

    /// How each way stands that something is known of. Of the others nothing is said, so that one
    /// that did not work is not taken for mended before it takes a letter.
    pub fn events(&self, kept: &Kept, now: Timestamp) -> Vec<Event> {
        self.all().iter().filter_map(|way| self.event(way, kept, now)).collect()
    }

    fn event(&self, way: &Way, kept: &Kept, now: Timestamp) -> Option<Event> {
        let late = first_of(&kept.outbox, way).filter(|first| first.tries >= UNTOLD_TRIES_MOST);
        let (closed, refused) = (self.closed.get(way), kept.refused.get(way));
        let (severity, title, details) = match (closed, refused, late) {
            (Some(why), _, _) => {
                (Severity::Red, format!("nothing can be told by {way}"), why.clone())
            }
            (None, Some(because), _) => {
                (Severity::Red, format!("a message by {way} was given up"), vec![because.clone()])
            }
            (None, None, Some(late)) => {
                (Severity::Warning, format!("messages by {way} are not accepted"), told(late))
            }
            (None, None, None) if self.proven.contains(way) => {
                (Severity::Good, format!("messages by {way} are accepted"), Vec::new())
            }
            (None, None, None) => return None,
        };
        let key = Key::new(None, &kind(way));
        Some(Event { key, resource: None, severity, title, details, at: now })
    }
}

/// What is tried next on a way.
fn first_of<'o>(outbox: &'o Outbox, way: &Way) -> Option<&'o Waiting> {
    outbox.waiting().iter().find(|waiting| waiting.letter.way == *way)
}

fn told(late: &Waiting) -> Vec<String> {
    let tries = format!("{} tries since {}", late.tries, late.since);
    [tries].into_iter().chain(late.last_failure.clone()).collect()
}

/// For keys, which stay the same over versions.
fn kind(way: &Way) -> String {
    match way {
        Way::Mail { to } => format!("notify-mail-{to}"),
        Way::Webhook { name } => format!("notify-webhook-{name}"),
    }
}
