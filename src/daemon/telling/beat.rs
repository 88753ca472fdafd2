//! The URL that somebody watches: called while all is well, so that its silence raises the alarm
//! when this daemon, or this machine, is gone as well.

use std::sync::Arc;

use crate::config::Config;
use crate::daemon::notify::heartbeat;
use crate::error::Result;
use crate::model::WebAddress;
use crate::notify::channel::beat;
use crate::notify::{Event, Severity};
use crate::ports::Http;

/// Calls the heartbeat URL.
#[derive(Clone)]
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
        Ok(heartbeat(&config.notify)?.map(|(http, url)| Beater { http, url }))
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
            None => match beat(self.http.as_ref(), &self.url) {
                Ok(()) => Beaten::Called,
                Err(error) => Beaten::Failed(error.chain()),
            },
        }
    }
}
