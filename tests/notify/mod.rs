//! Who is told what: decisions as tables and properties; mail by a real server, webhooks by a small
//! one.

pub mod receiver; // the small one

mod decide; // what is news
mod outbox; // what is tried when
mod signature; // against OpenSSL
mod words; // what messages say

mod command; // `fenice notify test`
mod post; // webhooks and the heartbeat URL
mod smtp; // mail
mod starttls; // what an impostor may try

mod telling; // the daemon's loop: once, in order, over restarts
mod unable; // its ways, its memory: what it does without

use fenice::model::MailAddress;
use fenice::notify::decide::{Telling, Why};
use fenice::notify::{Event, Key, Severity};
use jiff::Timestamp;

/// So many minutes after some instant.
fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + 60 * minute).unwrap()
}

fn address(text: &str) -> MailAddress {
    text.parse().unwrap()
}

/// How `kind` of the resource `registro` stands at a minute.
fn event(kind: &str, severity: Severity, minute: i64) -> Event {
    let resource = "registro".parse().unwrap();
    Event {
        key: Key::new(Some(&resource), kind),
        resource: Some(resource),
        severity,
        title: format!("the {kind} is {}", severity.as_str()),
        details: Vec::new(),
        at: at(minute),
    }
}

fn telling(event: Event, why: Why, was: Severity, changes: u32) -> Telling {
    Telling { event, why, was, changes }
}
