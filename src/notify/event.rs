//! What can be told: one thing about one subject, and how bad it is.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::ResourceName;

/// What an event is about: two events of one key are the same matter at two times.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// `registro/exposure`; of no single resource: `-/catalog`, since no resource is named `-`.
    pub fn new(resource: Option<&ResourceName>, kind: &str) -> Key {
        Key(format!("{}/{kind}", resource.map_or("-", ResourceName::as_str)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How bad it is; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As promised.
    Good,
    /// As promised still, and not for long.
    Warning,
    /// Not as promised, or it cannot be told.
    Red,
}

impl Severity {
    /// As JSON writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Good => "good",
            Severity::Warning => "warning",
            Severity::Red => "red",
        }
    }
}

/// How one matter stands at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub key: Key,
    /// `None` if it concerns the installation as a whole.
    pub resource: Option<ResourceName>,
    pub severity: Severity,
    /// A clause, such as "the exposure is 20 min 0 s, more than the RPO of 15 min 0 s".
    pub title: String,
    /// What else is known, a line each.
    pub details: Vec<String>,
    /// When it was seen so.
    pub at: Timestamp,
}
