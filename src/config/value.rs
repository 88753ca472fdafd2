//! From a TOML value to a checked one; each conversion reports its own problem.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use toml::Spanned;
use toml::de::DeValue;

use super::cron::Cron;
use super::nearest::suggestion;
use super::problem::Report;
use super::section::described;
use super::window::Window;
use crate::error::Error;
use crate::model::{ByteSize, MailAddress, ResourceName, SecretRef, Span};

/// A hundred years; longer is a slip, and would overflow dates.
const SPAN_MAX: Span = Span::seconds(36_500 * 86_400);

const SECRET_HINT: &str = "Secrets never stand in this file. Write { credential = \"name\" }, \
    { file = \"/path\" } or { env = \"NAME\" }.";

/// What a key's value can become.
pub(super) trait FromToml: Sized {
    /// The value, or nothing after telling `report` why.
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<Self>;
}

/// Notes that `value` has the wrong type. `wanted` completes "expected".
fn wrong_type<T>(value: &Spanned<DeValue<'_>>, report: &Report<'_>, wanted: &str) -> Option<T> {
    let what = format!("expected {wanted}, found {}", described(value.get_ref()));
    let hint = match value.get_ref() {
        DeValue::Integer(_) | DeValue::Float(_) if wanted.starts_with("text") => {
            "Put it in double quotes, with its unit where it has one: \"5m\", \"64MiB\"."
        }
        _ if wanted.starts_with("text") => "Put one text in double quotes.",
        _ if wanted.starts_with("true") => "Write true or false, without quotes.",
        _ if wanted.starts_with("a list") => "Write a list in brackets: [\"one\", \"two\"].",
        _ => "Write a whole number without quotes.",
    };
    report.wrong(value.span(), what, hint);
    None
}

/// A text that `T` reads itself; its error brings the hint.
fn from_text<T: FromStr<Err = Error>>(
    value: &Spanned<DeValue<'_>>,
    report: &Report<'_>,
) -> Option<T> {
    let text = String::from_toml(value, report)?;
    let note = |error: Error| {
        let hint = error.hint_text().unwrap_or("See docs/CONFIGURATION.md.").to_owned();
        report.wrong(value.span(), error.to_string(), hint);
    };
    text.parse().map_err(note).ok()
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(
    value: &Spanned<DeValue<'_>>,
    report: &Report<'_>,
    words: &[(&str, T)],
) -> Option<T> {
    let text = String::from_toml(value, report)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let what = format!("`{text}` is not one of the words known here");
        report.wrong(value.span(), what, suggestion(&text, &known));
    }
    found
}

impl FromToml for String {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => wrong_type(value, report, "text"),
        }
    }
}

impl FromToml for bool {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<bool> {
        let found = value.get_ref().as_bool();
        found.or_else(|| wrong_type(value, report, "true or false"))
    }
}

impl FromToml for u32 {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<u32> {
        let DeValue::Integer(number) = value.get_ref() else {
            return wrong_type(value, report, "a number");
        };
        let parsed = u32::from_str_radix(number.as_str(), number.radix()).ok();
        if parsed.is_none() {
            let what = format!("{number} is out of range");
            report.wrong(value.span(), what, "Write a whole number from 0 to 4294967295.");
        }
        parsed
    }
}

impl FromToml for u16 {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<u16> {
        let number = u32::from_toml(value, report)?;
        let parsed = u16::try_from(number).ok();
        if parsed.is_none() {
            let what = format!("{number} is out of range");
            report.wrong(value.span(), what, "Write a whole number from 0 to 65535.");
        }
        parsed
    }
}

impl FromToml for Span {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<Span> {
        let span: Span = from_text(value, report)?;
        if span > SPAN_MAX {
            let what = format!("{} is too long", span.to_config());
            report.wrong(value.span(), what, "Write at most 36500d.");
            return None;
        }
        Some(span)
    }
}

impl FromToml for ByteSize {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<ByteSize> {
        from_text(value, report)
    }
}

impl FromToml for Cron {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<Cron> {
        from_text(value, report)
    }
}

impl FromToml for Option<Cron> {
    /// A schedule, or `never`.
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<Option<Cron>> {
        match value.get_ref().as_str() {
            Some("never") => Some(None),
            _ => Cron::from_toml(value, report).map(Some),
        }
    }
}

impl FromToml for Window {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<Window> {
        from_text(value, report)
    }
}

impl FromToml for ResourceName {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<ResourceName> {
        from_text(value, report)
    }
}

impl FromToml for MailAddress {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<MailAddress> {
        from_text(value, report)
    }
}

impl FromToml for PathBuf {
    /// Absolute: the daemon and the commands run in different directories.
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<PathBuf> {
        let text = String::from_toml(value, report)?;
        if !Path::new(&text).is_absolute() {
            let what = format!("`{text}` is not an absolute path");
            report.wrong(value.span(), what, "Write the whole path, from `/`.");
            return None;
        }
        Some(PathBuf::from(text))
    }
}

impl FromToml for SocketAddr {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<SocketAddr> {
        let text = String::from_toml(value, report)?;
        let address = text.parse().ok();
        if address.is_none() {
            let hint = "Write a numeric address and a port: \"127.0.0.1:9797\" or \"[::1]:9797\".";
            report.wrong(value.span(), format!("`{text}` is not an address to listen on"), hint);
        }
        address
    }
}

impl FromToml for TimeZone {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<TimeZone> {
        let text = String::from_toml(value, report)?;
        let zone = TimeZone::get(&text).ok();
        if zone.is_none() {
            let hint = "Write a name of the IANA time zone database, such as \"Europe/Rome\".";
            report.wrong(value.span(), format!("there is no time zone `{text}`"), hint);
        }
        zone
    }
}

impl FromToml for Weekday {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<Weekday> {
        let words = [
            ("monday", Weekday::Monday),
            ("tuesday", Weekday::Tuesday),
            ("wednesday", Weekday::Wednesday),
            ("thursday", Weekday::Thursday),
            ("friday", Weekday::Friday),
            ("saturday", Weekday::Saturday),
            ("sunday", Weekday::Sunday),
        ];
        one_of(value, report, &words)
    }
}

impl FromToml for SecretRef {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<SecretRef> {
        let DeValue::Table(table) = value.get_ref() else {
            let what = "a reference to a secret is needed here, not a value".to_owned();
            report.secret(value.span(), what, SECRET_HINT);
            return None;
        };
        let mut entries = table.iter();
        let (Some((key, held)), None) = (entries.next(), entries.next()) else {
            let what = "a reference to a secret has exactly one key".to_owned();
            report.secret(value.span(), what, SECRET_HINT);
            return None;
        };
        let kind: &str = key.get_ref();
        let invalid = |what: &str, hint: &str| {
            report.secret(held.span(), what.to_owned(), hint);
            None
        };
        match kind {
            "file" => PathBuf::from_toml(held, report).map(SecretRef::File),
            "credential" => match String::from_toml(held, report)? {
                name if name.is_empty() || name.starts_with('.') || name.contains('/') => {
                    invalid("this is not the name of a credential", "Write its name, not a path.")
                }
                name => Some(SecretRef::Credential(name)),
            },
            "env" => match String::from_toml(held, report)? {
                name if name.is_empty() || name.contains(['=', '\0', ' ', '$']) => {
                    invalid("this is not the name of a variable", "Write its name, without `$`.")
                }
                name => Some(SecretRef::Env(name)),
            },
            _ => {
                let what = format!("a reference to a secret has no key `{kind}`");
                report.secret(value.span(), what, SECRET_HINT);
                None
            }
        }
    }
}

impl<T: FromToml> FromToml for Vec<T> {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<Vec<T>> {
        let DeValue::Array(items) = value.get_ref() else {
            return wrong_type(value, report, "a list");
        };
        // All of them first: each item reports for itself.
        let read: Vec<Option<T>> = items.iter().map(|item| T::from_toml(item, report)).collect();
        read.into_iter().collect()
    }
}
