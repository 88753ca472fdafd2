//! What waits to be sent, and when each is tried: bounded in number, in tries and in time. Pure.
//!
//! Each way has its own queue, and only the oldest in it is tried: news arrive in their order, and
//! a server that is away is asked once, not once for each message. To be stored whenever it
//! changes: after a crash what was being tried is tried again under the same id.

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{Result, Retry};
use crate::model::MailAddress;

/// For all ways together.
pub const LETTERS_MAX: usize = 1_000;
/// Once a letter is so old, a try that fails is its last.
pub const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);
/// The same for its tries, should the clock stand still; about as many fit into [`AGE_MAX`].
pub const TRIES_MAX: u32 = 120;
const PAUSE_MIN: SignedDuration = SignedDuration::from_secs(15);
const PAUSE_MAX: SignedDuration = SignedDuration::from_mins(15);

/// Where a letter goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    Mail {
        to: MailAddress,
    },
    /// By its name in the configuration.
    Webhook {
        name: String,
    },
}

/// A message as it is written for one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// 32 hexadecimal digits: the same over all tries.
    pub id: String,
    pub way: Way,
    pub written_at: Timestamp,
    /// What it says, in one line.
    pub subject: String,
    /// A mail's text, or a webhook's body.
    pub body: String,
}

/// A letter with what became of it so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    pub letter: Letter,
    pub since: Timestamp,
    pub tries: u32,
    pub next_try_at: Timestamp,
    /// Why the last try failed.
    pub last_failure: Option<String>,
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Accepted,
    /// The cause may pass.
    Later(String),
    /// It will not.
    Never(String),
}

/// A letter that will not be sent: for the caller to report, since nobody was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    pub letter: Letter,
    pub at: Timestamp,
    pub tries: u32,
    pub because: String,
}

/// Everything that waits, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Outbox {
    waiting: Vec<Waiting>,
}

impl Ended {
    pub fn of(sent: &Result<()>) -> Ended {
        match sent {
            Ok(()) => Ended::Accepted,
            Err(error) if error.retry() == Retry::Later => Ended::Later(error.chain()),
            Err(error) => Ended::Never(error.chain()),
        }
    }
}

impl Outbox {
    pub fn waiting(&self) -> &[Waiting] {
        &self.waiting
    }

    /// Takes a letter, unless it waits already. Where there is no room left, the oldest is given
    /// up: it is the news that is needed least.
    pub fn put(&mut self, letter: Letter, now: Timestamp) -> Option<GivenUp> {
        if self.waiting.iter().any(|one| one.letter.id == letter.id) {
            return None;
        }
        let full = self.waiting.len() >= LETTERS_MAX;
        let oldest = full.then(|| self.waiting.remove(0));
        let waiting =
            Waiting { letter, since: now, tries: 0, next_try_at: now, last_failure: None };
        self.waiting.push(waiting);
        oldest.map(|one| one.give_up(now, format!("more than {LETTERS_MAX} messages wait")))
    }

    /// What is to be tried now: at most one letter a way.
    pub fn due(&self, now: Timestamp) -> Vec<&Letter> {
        let due = |one: &&Waiting| {
            let ahead = one.next_try_at.duration_since(now);
            // What lies further ahead than any pause was set before the clock was set back.
            ahead <= SignedDuration::ZERO || ahead > PAUSE_MAX
        };
        self.first_of_each().filter(due).map(|one| &one.letter).collect()
    }

    /// When something is due next, if anything waits.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.first_of_each().map(|one| one.next_try_at).min()
    }

    /// Notes how a try of the letter `id` ended, at `now`. Returns it if it was the last one, and
    /// failed.
    pub fn record(&mut self, id: &str, ended: Ended, now: Timestamp) -> Option<GivenUp> {
        let at = self.waiting.iter().position(|one| one.letter.id == id)?;
        let one = &mut self.waiting[at];
        one.tries = one.tries.saturating_add(1);
        let (last, because) = match ended {
            Ended::Accepted => {
                self.waiting.remove(at);
                return None;
            }
            Ended::Never(because) => (true, because),
            Ended::Later(because) => {
                let old = now.duration_since(one.since) >= AGE_MAX;
                (old || one.tries >= TRIES_MAX, because)
            }
        };
        if last {
            return Some(self.waiting.remove(at).give_up(now, because));
        }
        one.next_try_at = now.checked_add(pause(one.tries)).unwrap_or(Timestamp::MAX);
        one.last_failure = Some(because);
        None
    }

    /// Gives up what waits for ways that are none of `ways`, such as a webhook that left the
    /// configuration.
    pub fn keep_only(&mut self, ways: &BTreeSet<Way>, now: Timestamp) -> Vec<GivenUp> {
        let all = std::mem::take(&mut self.waiting);
        let (kept, others): (Vec<Waiting>, Vec<Waiting>) =
            all.into_iter().partition(|one| ways.contains(&one.letter.way));
        self.waiting = kept;
        let because = "it is not in the configuration any more";
        others.into_iter().map(|one| one.give_up(now, because.to_owned())).collect()
    }

    fn first_of_each(&self) -> impl Iterator<Item = &Waiting> {
        let mut seen: BTreeSet<&Way> = BTreeSet::new();
        self.waiting.iter().filter(move |one| seen.insert(&one.letter.way))
    }
}

impl Waiting {
    fn give_up(self, at: Timestamp, because: String) -> GivenUp {
        GivenUp { letter: self.letter, at, tries: self.tries, because }
    }
}

/// After so many tries: 15 s, doubled each time, up to 15 min.
fn pause(tries: u32) -> SignedDuration {
    let doublings = tries.saturating_sub(1).min(10);
    PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX)
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Mail { to } => write!(f, "mail to {to}"),
            Way::Webhook { name } => write!(f, "the webhook `{name}`"),
        }
    }
}
