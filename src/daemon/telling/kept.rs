//! What outlives the process: what was told, what waits to be sent, who refused it, and of when the
//! last daily summary was; as JSON in one row of the catalog.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::catalog::telling::TellingRow;
use crate::error::{Attempt, Error, Result};
use crate::notify::decide::Told;
use crate::notify::outbox::GivenUp;
use crate::notify::{Outbox, Way};

/// That a matter was seen again as it was is kept so often: it only tells when to forget it, and
/// that takes a month.
const SEEN_EVERY: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    pub told: Vec<Told>,
    pub outbox: Outbox,
    /// Ways on which the letter that ended last was given up, each with the reason.
    pub refused: BTreeMap<Way, String>,
    /// No summary is due of this instant or before; `None`: nothing was ever kept.
    pub summary_at: Option<Timestamp>,
}

/// How the catalog has what is on its way.
#[derive(Default, Serialize, Deserialize)]
struct Letters {
    waiting: Outbox,
    refused: Vec<(Way, String)>,
}

impl Kept {
    /// What the catalog has, and why some of it cannot be read: then all is told once more, since
    /// nobody knows who was told what. Letters that can be read are sent even so.
    pub fn of(row: &TellingRow) -> (Kept, Vec<String>) {
        let told: Result<Vec<Told>> = parsed(&row.told, "what was told");
        let letters: Result<Letters> = parsed(&row.outbox, "what waits to be sent");
        let errors = told.as_ref().err().into_iter().chain(letters.as_ref().err());
        let unreadable: Vec<String> = errors.map(Error::chain).collect();
        let told = if unreadable.is_empty() { told.unwrap_or_default() } else { Vec::new() };
        let Letters { waiting, refused } = letters.unwrap_or_default();
        let refused = BTreeMap::from_iter(refused);
        (Kept { told, outbox: waiting, refused, summary_at: row.summary_at }, unreadable)
    }

    /// Keeps all of it, in one write.
    pub fn keep(&self, catalog: &Catalog) -> Result<()> {
        let what = || "write down what was told".to_owned();
        let refused = self.refused.clone().into_iter().collect();
        let letters = Letters { waiting: self.outbox.clone(), refused };
        catalog.keep_telling(&TellingRow {
            told: serde_json::to_string(&self.told).attempt(what)?,
            outbox: serde_json::to_string(&letters).attempt(what)?,
            summary_at: self.summary_at,
        })
    }

    pub fn gave_up(&mut self, given_up: &GivenUp) {
        self.refused.insert(given_up.letter.way.clone(), given_up.because.clone());
    }

    /// Whether `next` need not be kept: all is as it was, and was seen so before, not long ago.
    pub fn says_as_much_as(&self, next: &Kept) -> bool {
        let seen_again = |(before, now): (&Told, &Told)| {
            let soon = now.seen_at.duration_since(before.seen_at).abs() < SEEN_EVERY;
            soon && *before == Told { seen_at: before.seen_at, ..now.clone() }
        };
        self.told.len() == next.told.len()
            && self.told.iter().zip(&next.told).all(seen_again)
            && self.outbox == next.outbox
            && self.refused == next.refused
            && self.summary_at == next.summary_at
    }
}

fn parsed<T: DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text).attempt(|| format!("read {what}"))
}
