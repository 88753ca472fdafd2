//! How a connection string is written: `key=value` pairs by libpq's rules (PostgreSQL manual,
//! "Keyword/Value Connection Strings"). URIs are not supported.

/// Splits into pairs: blanks around `=` are allowed, values may stand in single quotes, a
/// backslash makes the next character plain; a key given twice counts where it is last.
///
/// # Errors
/// What is wrong with the text; never a value, which may be a password.
pub fn parse_pairs(text: &str) -> std::result::Result<Vec<(String, String)>, String> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return Err("URIs are not supported".to_owned());
    }
    if text.contains('\0') {
        return Err("it contains a zero byte".to_owned());
    }
    let mut rest = text.trim_start_matches(is_blank);
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let end = rest.find(|c| c == '=' || is_blank(c)).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(value) = after.trim_start_matches(is_blank).strip_prefix('=') else {
            let number = pairs.len() + 1;
            return Err(format!("there is no `=` after word {number}"));
        };
        if key.is_empty() {
            return Err("there is a `=` without a key".to_owned());
        }
        let (value, after) = take_value(value.trim_start_matches(is_blank))
            .ok_or_else(|| format!("the quoted value of `{key}` does not end"))?;
        pairs.push((key.to_owned(), value));
        rest = after.trim_start_matches(is_blank);
    }
    Ok(pairs)
}

/// What C's `isspace` says.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// The value at the start of `text` and what follows it; `None` if a quote stays open.
fn take_value(text: &str) -> Option<(String, &str)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, plain)| plain)),
            '\'' if quoted => return Some((value, &text[at + 1..])),
            blank if !quoted && is_blank(blank) => return Some((value, &text[at..])),
            other => value.push(other),
        }
    }
    if quoted { None } else { Some((value, "")) }
}
