//! Connection strings of libpq's `key=value` form, checked for words and for passwords
//! (PostgreSQL manual, section "Connection Strings").

use std::ops::Range;

use super::nearest::suggestion;
use super::problem::Report;
use super::section::Section;

/// The parameters of PostgreSQL 18's libpq that make sense in a file without secrets.
const KEYWORDS: [&str; 40] = [
    "host",
    "hostaddr",
    "port",
    "user",
    "dbname",
    "passfile",
    "require_auth",
    "channel_binding",
    "connect_timeout",
    "client_encoding",
    "options",
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "gssencmode",
    "sslmode",
    "sslnegotiation",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslcertmode",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "requirepeer",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "min_protocol_version",
    "max_protocol_version",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "service",
    "target_session_attrs",
    "load_balance_hosts",
];

const PASSWORD_HINT: &str = "Put the password into a file in the format of .pgpass, mode 0600, \
                             and write `passfile=/path` instead.";

const FORM_HINT: &str =
    "Write key=value pairs: \"host=/run/postgresql port=5432 user=fenice dbname=postgres\".";

/// Checks the connection string of `key`. Values are never repeated in messages.
pub(super) fn check(section: &Section<'_>, key: &'static str, report: &Report<'_>) {
    let Some(text) = section.text(key) else { return };
    let span: Range<usize> = section.place(key);
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let what = format!("`{key}` is a URI, which may carry a password");
        report.secret(span, what, FORM_HINT);
        return;
    }
    let words = match keywords(text) {
        Ok(words) => words,
        Err(why) => return report.secret(span, format!("`{key}` {why}"), FORM_HINT),
    };
    for (index, word) in words.iter().enumerate() {
        if matches!(word.as_str(), "password" | "sslpassword" | "oauth_client_secret") {
            let what = format!("`{key}` contains `{word}=`: secrets are never in this file");
            report.secret(span.clone(), what, PASSWORD_HINT);
        } else if !KEYWORDS.contains(&word.as_str()) {
            let what = format!("libpq knows no connection parameter `{word}`");
            report.secret(span.clone(), what, hint_for(word));
        } else if words[..index].contains(word) {
            let what = format!("`{key}` says `{word}=` twice");
            report.wrong(span.clone(), what, "Hosts, ports and the like take lists: host=a,b.");
        }
    }
}

fn hint_for(word: &str) -> String {
    match super::nearest::nearest(word, KEYWORDS) {
        Some(_) => suggestion(word, &KEYWORDS),
        None => FORM_HINT.to_owned(),
    }
}

/// The keywords of a connection string, in order. A value may stand in single quotes; `\` takes
/// the next character as it is.
fn keywords(text: &str) -> Result<Vec<String>, &'static str> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    if rest.is_empty() {
        return Err("is empty");
    }
    while !rest.is_empty() {
        let (word, after) = rest.split_once('=').ok_or("has a word without `=`")?;
        let word = word.trim_end();
        // Also keeps a misplaced value, which may be a secret, out of messages.
        if word.is_empty() || !word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return Err("is not made of key=value pairs");
        }
        found.push(word.to_owned());
        rest = skip_value(after.trim_start())?.trim_start();
    }
    Ok(found)
}

/// What follows the value that `text` begins with.
fn skip_value(text: &str) -> Result<&str, &'static str> {
    let quoted = text.starts_with('\'');
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '\'' if quoted => return Ok(&text[at + 1..]),
            c if !quoted && c.is_whitespace() => return Ok(&text[at..]),
            _ => {}
        }
    }
    match quoted {
        true => Err("has a quote that is not closed"),
        false => Ok(""),
    }
}
