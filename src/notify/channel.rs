//! One way out, ready for use: writes a notice as it is wanted there, and sends what was written.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::SecretString;

use super::notice::{Notice, identify};
use super::outbox::{Letter, Way};
use super::{webhook, words};
use crate::error::{Attempt, Result};
use crate::model::{MailAddress, Wanted, WebAddress, WebhookFormat};
use crate::ports::mail::Message;
use crate::ports::{Http, Mail};

/// A way out. For each recipient of mail there is one: a server may take a mail for some and
/// refuse it for others.
pub struct Channel {
    way: Way,
    wanted: Wanted,
    outlet: Outlet,
}

enum Outlet {
    Mail { mail: Arc<dyn Mail>, from: MailAddress, to: MailAddress },
    Webhook { http: Arc<dyn Http>, url: WebAddress, terms: Terms },
}

/// What a webhook gets, and how.
pub struct Terms {
    pub format: WebhookFormat,
    /// Signs what is sent; without it, nobody can tell who sent it.
    pub secret: Option<SecretString>,
    pub wanted: Wanted,
}

impl Channel {
    /// Mail to one recipient, who is told everything.
    pub fn mail(mail: Arc<dyn Mail>, from: MailAddress, to: MailAddress) -> Channel {
        let way = Way::Mail { to: to.clone() };
        Channel { way, wanted: Wanted::All, outlet: Outlet::Mail { mail, from, to } }
    }

    pub fn webhook(name: String, http: Arc<dyn Http>, url: WebAddress, terms: Terms) -> Channel {
        let wanted = terms.wanted;
        Channel { way: Way::Webhook { name }, wanted, outlet: Outlet::Webhook { http, url, terms } }
    }

    pub fn way(&self) -> &Way {
        &self.way
    }

    /// Whom it speaks to, for messages: `mail.example.org:465`, `https://hooks.example.org`.
    pub fn describe(&self) -> String {
        match &self.outlet {
            Outlet::Mail { mail, .. } => mail.describe(),
            Outlet::Webhook { url, .. } => url.origin(),
        }
    }

    /// The notice as it goes this way, with instants in `zone`; `None` if nothing of it is wanted
    /// here. The same notice makes the same letter, id and all.
    pub fn write(&self, notice: &Notice, zone: &TimeZone) -> Option<Letter> {
        let notice = notice.for_who_wants(self.wanted)?;
        let id = identify(&format!("{}\n{}", notice.id(), self.way));
        let body = match &self.outlet {
            Outlet::Mail { .. } => words::text(&notice, zone),
            Outlet::Webhook { terms, .. } => webhook::body(terms.format, &id, &notice, zone),
        };
        let subject = words::subject(&notice);
        Some(Letter { id, way: self.way.clone(), written_at: notice.at, subject, body })
    }

    /// Sends a letter that was written for this way; `now` goes into the signature.
    ///
    /// # Errors
    /// It was not accepted, as far as is known; `Error::retry` tells whether another try may help.
    pub fn send(&self, letter: &Letter, now: Timestamp) -> Result<()> {
        match &self.outlet {
            Outlet::Mail { mail, from, to } => mail.send(&Message {
                from: from.clone(),
                to: to.clone(),
                subject: letter.subject.clone(),
                body: letter.body.clone(),
                message_id: message_id(letter, from),
                date: letter.written_at,
            }),
            Outlet::Webhook { http, url, terms } => {
                let mut headers = vec![
                    ("Content-Type", "application/json".to_owned()),
                    (webhook::EVENT_ID, letter.id.clone()),
                ];
                if let Some(secret) = &terms.secret {
                    headers.push((webhook::SIGNATURE, webhook::sign(secret, &letter.body, now)));
                }
                let answer = http.post(url, &headers, &letter.body);
                let accepted = answer.and_then(|answer| webhook::accepted(&answer));
                accepted.attempt(|| format!("post to {} at {}", self.way, url.origin()))
            }
        }
    }

    /// By what receivers know a letter again: its `Message-ID`, or its `Fenice-Event-Id`.
    pub fn id_of(&self, letter: &Letter) -> String {
        match &self.outlet {
            Outlet::Mail { from, .. } => message_id(letter, from),
            Outlet::Webhook { .. } => letter.id.clone(),
        }
    }
}

/// Calls the URL that somebody watches: a call says that all is well, and its absence raises the
/// alarm. So it is for a moment in which all is well, and for no other.
///
/// # Errors
/// The call was not answered with 2xx.
pub fn beat(http: &dyn Http, url: &WebAddress) -> Result<()> {
    let answered = http.get(url).and_then(|answer| webhook::accepted(&answer));
    answered.attempt(|| format!("call the heartbeat URL at {}", url.origin()))
}

fn message_id(letter: &Letter, from: &MailAddress) -> String {
    format!("<{}@{}>", letter.id, from.domain())
}
