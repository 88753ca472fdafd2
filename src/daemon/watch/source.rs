//! Asks the servers of a source what they say of themselves (`said`): one question a minute to each
//! host, on a session that is kept, within a bounded time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::said::{Said, question};
use crate::engines::postgres::source::Source;
use crate::error::{Error, Result};
use crate::ports::Clock;
use crate::ports::postgres::Session;
use crate::web::{Fact, ResourceFacts};

/// All hosts together take no longer, so that one that hangs is asked again in the next minute.
const LIMIT: Duration = Duration::from_secs(10);
/// A session shows the certificate of when it began: a renewed one is seen within this.
const SESSION_AGE_MOST: Duration = Duration::from_secs(3_600);

/// What came of asking.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceFacts {
    pub said: Said,
    /// Since when no host has answered; `None` if one did now.
    pub silent_since: Option<Timestamp>,
    /// The hosts that did not answer now.
    pub unheard: Vec<Unheard>,
}

/// A host that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unheard {
    /// As its connection string names it.
    pub host: String,
    /// This time.
    pub because: String,
    /// When it last answered, or was to be asked for the first time.
    pub since: Timestamp,
}

/// Asks the hosts of one resource.
pub struct SourceWatch {
    source: Source,
    clock: Arc<dyn Clock>,
    question: String,
    /// In the order of the source's hosts.
    hosts: Vec<Asked>,
}

/// One host.
struct Asked {
    kept: Option<Kept>,
    heard_at: Timestamp,
}

/// A session that is used again.
struct Kept {
    session: Box<dyn Session>,
    /// By the monotonic clock.
    made_at: Duration,
}

impl SourceWatch {
    /// Nothing is connected yet.
    pub fn new(source: Source, clock: Arc<dyn Clock>) -> SourceWatch {
        let question = question(&source.slot, &source.name());
        let heard_at = clock.now();
        let hosts = source.hosts.iter().map(|_| Asked { kept: None, heard_at }).collect();
        SourceWatch { source, clock, question, hosts }
    }

    /// Asks every host, one after the other; takes ten seconds at most.
    pub async fn ask(&mut self) -> SourceFacts {
        let count = self.hosts.len();
        let share = LIMIT / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let (mut said, mut unheard) = (None, Vec::new());
        for at in 0..count {
            // Given up, it takes its session along.
            let asked = match tokio::time::timeout(share, self.ask_host(at)).await {
                Ok(asked) => asked,
                Err(_) => Err(Error::failed(format!("no answer within {} s", share.as_secs()))),
            };
            match asked {
                Ok(now) => {
                    self.hosts[at].heard_at = self.clock.now();
                    said = Some(said.map_or(now, |others: Said| others.and(now)));
                }
                Err(error) => unheard.push(Unheard {
                    host: self.source.hosts[at].describe(),
                    because: error.chain(),
                    since: self.hosts[at].heard_at,
                }),
            }
        }
        let silent_since = match said {
            Some(_) => None,
            None => self.hosts.iter().map(|host| host.heard_at).max(),
        };
        SourceFacts { said: said.unwrap_or(Said::UNKNOWN), silent_since, unheard }
    }

    async fn ask_host(&mut self, at: usize) -> Result<Said> {
        let now = self.clock.monotonic();
        let is_young = |kept: &Kept| now.saturating_sub(kept.made_at) < SESSION_AGE_MOST;
        let kept = self.hosts[at].kept.take().filter(is_young);
        if let Some(mut kept) = kept
            && let Ok(said) = kept.ask(&self.question, self.clock.as_ref()).await
        {
            self.hosts[at].kept = Some(kept);
            return Ok(said);
        }
        // Also where the server has restarted since.
        let session = self.source.hosts[at].session(&self.source.name()).await?;
        let mut kept = Kept { session, made_at: now };
        let said = kept.ask(&self.question, self.clock.as_ref()).await?;
        self.hosts[at].kept = Some(kept);
        Ok(said)
    }
}

impl Kept {
    async fn ask(&mut self, question: &str, clock: &dyn Clock) -> Result<Said> {
        let (asked_at, begun) = (clock.now(), clock.monotonic());
        let rows = self.session.query(question).await?;
        let took = clock.monotonic().saturating_sub(begun);
        let row = rows.first().ok_or_else(|| Error::failed("the server answered nothing"))?;
        let certificate_until = Fact::found(self.session.certificate_until());
        Ok(Said { certificate_until, ..Said::read(row, asked_at, took)? })
    }
}

impl SourceFacts {
    /// Before the first answer.
    pub fn unheard(since: Timestamp) -> SourceFacts {
        SourceFacts { said: Said::UNKNOWN, silent_since: Some(since), unheard: Vec::new() }
    }

    /// Adds what the source says to what is known otherwise.
    pub fn fill(&self, facts: &mut ResourceFacts) {
        facts.slot_lag_bytes = self.said.slot_lag_bytes;
        facts.slot_limit_bytes = self.said.slot_limit_bytes;
        facts.replicas = self.said.replicas;
        facts.checksum_failures = self.said.checksum_failures;
        facts.clock_offset_seconds = self.said.clock_offset_seconds;
        facts.certificate_until = self.said.certificate_until;
    }
}
