//! What a webhook is given: the body, and by whom it is signed. Pure.
//!
//! The signature is that of docs/formats/webhook.md: an HMAC-SHA256 (RFC 2104) over the instant of
//! the try and the body, so that neither can be changed, and an old request not be played again.

use std::time::Duration;

use aws_lc_rs::hmac;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::notice::Notice;
use super::{wire, words};
use crate::error::{Error, Result};
use crate::model::WebhookFormat;
use crate::ports::http::Answer;

/// The header with the signature: `t=1790000000,v1=…`.
pub const SIGNATURE: &str = "Fenice-Signature";
/// The header with the letter's id, the same over all tries.
pub const EVENT_ID: &str = "Fenice-Event-Id";

/// Slack cuts longer texts (its documentation of `chat.postMessage` recommends 4,000).
const SLACK_CHARS_MAX: usize = 3_500;
/// Of a server's words in a message.
const ANSWER_CHARS_MAX: usize = 200;

/// The body of a request.
pub fn body(format: WebhookFormat, id: &str, notice: &Notice, zone: &TimeZone) -> String {
    match format {
        WebhookFormat::Json => wire::document(id, notice).to_string(),
        WebhookFormat::Slack => json!({ "text": slack_text(notice, zone) }).to_string(),
    }
}

/// Slack reads three characters as its own (its documentation, "Formatting text").
fn slack_text(notice: &Notice, zone: &TimeZone) -> String {
    let text = format!("*{}*\n{}", words::subject(notice), words::text(notice, zone));
    let mut shown = String::new();
    for (number, character) in text.trim_end().chars().enumerate() {
        match character {
            _ if number == SLACK_CHARS_MAX => {
                shown.push('…');
                break;
            }
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            plain => shown.push(plain),
        }
    }
    shown
}

/// The value of [`SIGNATURE`] for a body that is sent at `now`.
pub fn sign(secret: &SecretString, body: &str, now: Timestamp) -> String {
    let seconds = now.as_second();
    let tag = hmac::sign(&key(secret), signed(seconds, body).as_bytes());
    format!("t={seconds},v1={}", hex::encode(tag.as_ref()))
}

/// Whether a receiver that knows `secret` should believe a request: the header is made of this
/// body and this secret, and no more than `tolerance` before or after `now`.
///
/// # Errors
/// Of kind `Refused`, with what is wrong.
pub fn verify(
    secret: &SecretString,
    header: &str,
    body: &str,
    now: Timestamp,
    tolerance: Duration,
) -> Result<()> {
    let value = |name: &str| {
        let mut parts = header.split(',').filter_map(|part| part.trim().split_once('='));
        parts.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let seconds = value("t").and_then(|t| t.parse::<i64>().ok());
    let mac = value("v1").and_then(|v1| hex::decode(v1).ok());
    let (Some(seconds), Some(mac)) = (seconds, mac) else {
        return Err(Error::refused("this is not a signature of version 1"));
    };
    if hmac::verify(&key(secret), signed(seconds, body).as_bytes(), &mac).is_err() {
        return Err(Error::refused("the signature is not of this body and this secret"));
    }
    match now.as_second().abs_diff(seconds) <= tolerance.as_secs() {
        true => Ok(()),
        false => Err(Error::refused("the signature is of another time")),
    }
}

fn key(secret: &SecretString) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes())
}

fn signed(seconds: i64, body: &str) -> String {
    format!("{seconds}.{body}")
}

/// Whether the server took the request: an answer of 2xx.
///
/// # Errors
/// `Retry::Later` after 408, 429 and 5xx (RFC 9110, sections 15.5.9 and 15.6; RFC 6585, section
/// 4); `Retry::Never` after anything else, redirects too: they are not followed.
pub fn accepted(answer: &Answer) -> Result<()> {
    let status = answer.status;
    let said = match words::one_line(&answer.text, ANSWER_CHARS_MAX) {
        nothing if nothing.is_empty() => format!("it answers {status}"),
        text => format!("it answers {status}: {text}"),
    };
    match status {
        200..=299 => Ok(()),
        408 | 429 | 500..=599 => Err(Error::failed(said).later()),
        300..=399 => {
            Err(Error::failed(said).hint("Redirects are not followed: write where it leads."))
        }
        401 | 403 | 404 | 410 => {
            Err(Error::failed(said).hint("Is the URL right and whole, and does it still exist?"))
        }
        _ => Err(Error::failed(said)),
    }
}
