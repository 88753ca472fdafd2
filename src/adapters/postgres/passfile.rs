//! The password file (PostgreSQL manual, "The Password File"): lines
//! `host:port:database:user:password`, first match counts, `*` matches anything, a backslash makes
//! `:` and `\` plain. A file that others can read is not used.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use secrecy::SecretString;

use crate::adapters::postgres::conninfo::{Host, Place};

/// Directories whose sockets a password file calls `localhost`.
const DEFAULT_DIRS: [&str; 3] = ["/var/run/postgresql", "/run/postgresql", "/tmp"];

/// Whose password is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub host: &'a Host,
    pub dbname: &'a str,
    pub user: &'a str,
}

/// The password in the file at `path`.
///
/// # Errors
/// Why there is none, as a clause for a message: "/x/.pgpass can be read by others".
pub fn read(path: &Path, wanted: Wanted<'_>) -> Result<SecretString, String> {
    let shown = path.display();
    let facts = fs::metadata(path).map_err(|cause| format!("{shown} cannot be read: {cause}"))?;
    if !facts.is_file() {
        return Err(format!("{shown} is not a plain file"));
    }
    if facts.mode() & 0o077 != 0 {
        return Err(format!("{shown} can be read by others (it needs mode 0600)"));
    }
    let text =
        fs::read_to_string(path).map_err(|cause| format!("{shown} cannot be read: {cause}"))?;
    let found = find(&text, wanted).map(SecretString::from);
    found.ok_or_else(|| format!("{shown} has no line for this server, database and user"))
}

/// The password of the first line that matches.
pub fn find(text: &str, wanted: Wanted<'_>) -> Option<String> {
    let host = match &wanted.host.place {
        Place::DefaultSocket => "localhost".to_owned(),
        Place::Socket(dir) if DEFAULT_DIRS.iter().any(|usual| dir == Path::new(usual)) => {
            "localhost".to_owned()
        }
        Place::Socket(dir) => dir.display().to_string(),
        Place::Tcp { name, .. } => name.clone(),
    };
    let port = wanted.host.port.to_string();
    let keys = [host.as_str(), &port, wanted.dbname, wanted.user];
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut found = lines.filter_map(|line| password_if_matching(line, &keys));
    found.next().filter(|password| !password.is_empty())
}

fn password_if_matching(line: &str, keys: &[&str; 4]) -> Option<String> {
    let mut rest = line;
    for key in keys {
        let (written, field, after) = take_field(rest);
        if written != "*" && field != *key {
            return None;
        }
        rest = after?;
    }
    // Only the last field may hold plain colons, as in libpq.
    Some(unescape(rest))
}

/// The field at the start as written and as meant, and what follows its colon.
fn take_field(text: &str) -> (&str, String, Option<&str>) {
    let mut escaped = false;
    let end = text.find(|c| {
        let ends = c == ':' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let (written, after) = match end {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    (written, unescape(written), after)
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next().unwrap_or('\\')),
            other => plain.push(other),
        }
    }
    plain
}
