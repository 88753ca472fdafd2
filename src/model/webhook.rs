//! Where webhooks lead, what they are given, and which news. Pure.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::error::Error;
use crate::model::host::is_loopback;

/// No service makes longer ones.
const LENGTH_MAX_BYTES: usize = 2_048;

/// A URL to be called: https, or http on this machine. Whoever knows the whole of it can often
/// call it too, so that only its [`WebAddress::origin`] is for messages.
#[derive(Clone, PartialEq, Eq)]
pub struct WebAddress(Url);

impl WebAddress {
    /// The whole, for the request alone.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Scheme, host and port: `https://hooks.example.org`.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

impl FromStr for WebAddress {
    type Err = Error;

    /// The text stays out of the error.
    fn from_str(text: &str) -> Result<WebAddress, Error> {
        let refused = |what: &str, hint: &str| Err(Error::usage(what).hint(hint));
        let hint = "Write it from the scheme: \"https://hooks.example.org/fenice\".";
        let Some(url) = Url::parse(text).ok().filter(|_| text.len() <= LENGTH_MAX_BYTES) else {
            return refused("this is not a URL", hint);
        };
        match (url.scheme(), url.host_str()) {
            ("https", Some(_)) => {}
            ("http", Some(host)) if is_loopback(host) => {}
            ("http", Some(_)) => {
                let hint = "Write `https://`: without TLS only this machine is called.";
                return refused("this URL leads elsewhere without TLS", hint);
            }
            _ => return refused("this is not an https URL", hint),
        }
        match url.username().is_empty() && url.password().is_none() {
            true => Ok(WebAddress(url)),
            false => {
                let hint = "Leave them out: a webhook is signed with its `secret`.";
                refused("this URL holds a user name or a password", hint)
            }
        }
    }
}

impl fmt::Debug for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebAddress({}/…)", self.origin())
    }
}

/// What a webhook is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// The generic JSON (docs/formats/webhook.md).
    Json,
    /// `{"text": …}`, which Slack, Mattermost and many others take.
    Slack,
}

/// Which news somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What is red, and its end.
    Red,
    /// Warnings and summaries too.
    All,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_this_machine_is_encrypted() {
        for (text, origin) in [
            ("https://hooks.example.org/a?b=c", "https://hooks.example.org"),
            ("https://hooks.example.org:8443", "https://hooks.example.org:8443"),
            ("http://127.0.0.1:9000/x", "http://127.0.0.1:9000"),
            ("http://[::1]:9000/x", "http://[::1]:9000"),
            ("http://localhost/x", "http://localhost"),
        ] {
            let address: WebAddress = text.parse().unwrap();
            assert_eq!(address.origin(), origin);
            assert_eq!(format!("{address:?}"), format!("WebAddress({origin}/…)"));
        }
    }

    #[test]
    fn anything_else_is_refused_without_repeating_it() {
        let long = format!("https://hooks.example.org/token{}", "x".repeat(2_048));
        for (text, word) in [
            ("", "not a URL"),
            ("hooks.example.org/token", "not a URL"),
            ("https://", "not a URL"),
            ("ftp://hooks.example.org/token", "not an https URL"),
            ("file:///token", "not an https URL"),
            ("http://hooks.example.org/token", "without TLS"),
            ("http://127.0.0.1.example.org/token", "without TLS"),
            ("http://token@127.0.0.1/", "user name"),
            ("https://user:token@hooks.example.org", "user name"),
            ("https://127.0.0.1@hooks.example.org/token", "user name"),
            (long.as_str(), "not a URL"),
        ] {
            let error = text.parse::<WebAddress>().unwrap_err();
            assert!(error.to_string().contains(word), "{text}: {error:?}");
            assert!(error.hint_text().is_some() && !format!("{error:?}").contains("token"));
        }
    }
}
