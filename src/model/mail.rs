//! Who takes mail for delivery, and who gets it: servers and addresses. Pure.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Error;
use crate::model::host::is_host;

/// A server that takes mail for delivery (RFC 6409), and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailServer {
    /// A host name or an IP address.
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    /// Certificates in PEM that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
}

/// How the way to the server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// From the first byte on (RFC 8314).
    Implicit,
    /// After `STARTTLS` (RFC 3207), without which nothing is sent.
    StartTls,
    /// Not at all: for a server on this machine.
    None,
}

impl MailTls {
    /// The registered port: submissions, submission, smtp.
    pub fn usual_port(self) -> u16 {
        match self {
            MailTls::Implicit => 465,
            MailTls::StartTls => 587,
            MailTls::None => 25,
        }
    }
}

/// The address of one mailbox, `local@domain` in ASCII, the local part without quotes (RFC 5321,
/// section 4.1.2, `Dot-string`), 254 bytes at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct MailAddress(String);

impl MailAddress {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands after the `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl FromStr for MailAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<MailAddress, Error> {
        let atom = |atom: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
            !atom.is_empty() && atom.bytes().all(allowed)
        };
        let sane = text.split_once('@').is_some_and(|(local, domain)| {
            let named = is_host(domain) && domain.parse::<IpAddr>().is_err();
            local.len() <= 64 && local.split('.').all(atom) && named
        });
        match sane && text.len() <= 254 {
            true => Ok(MailAddress(text.to_owned())),
            false => Err(Error::usage(format!("`{text}` is not an e-mail address"))
                .hint("Write the address alone, without a name: \"ops@example.org\".")),
        }
    }
}

impl<'de> serde::Deserialize<'de> for MailAddress {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<MailAddress, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_one_mailbox_each() {
        for (text, domain) in [
            ("ops@example.org", "example.org"),
            ("root@localhost", "localhost"),
            ("a.b+c_d@mail.example.org", "mail.example.org"),
        ] {
            assert_eq!(text.parse::<MailAddress>().unwrap().domain(), domain);
        }
        let long = format!("{}@example.org", "a".repeat(65));
        for text in [
            "",
            "ops",
            "@example.org",
            "ops@",
            "ops@example.org ",
            "Ops <ops@example.org>",
            "a@b@c",
            "a..b@example.org",
            ".a@example.org",
            "ops@[127.0.0.1]",
            "ops@127.0.0.1",
            "ops@exam ple.org",
            "ops@example.org\r\nBcc: x@example.org",
            "\u{f2}ps@example.org",
            &long,
        ] {
            let error = text.parse::<MailAddress>().unwrap_err();
            assert!(error.hint_text().is_some(), "{text}");
        }
    }
}
