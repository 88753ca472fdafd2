//! File names inside trees: bytes, written as the inside of a Go string literal so that JSON can
//! hold names that are not UTF-8 (restic design document, "Trees and Data"; Go specification,
//! "String literals").

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::{Error, Result};

/// Whether a file may have this name: not empty, `.` or `..`, without `/` and NUL.
pub fn is_valid(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !matches!(bytes, b"" | b"." | b"..") && !bytes.contains(&b'/') && !bytes.contains(&0)
}

/// As in a Go string literal, without the quotes.
pub fn quote(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\0'..='\x1f' | '\x7f' => text.push_str(&format!("\\x{:02x}", u32::from(char))),
                _ => text.push(char),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The name that `text` stands for.
///
/// # Errors
/// `text` is not the inside of a Go string literal.
pub fn unquote(text: &str) -> Result<OsString> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let unescaped = match char {
            '\\' => unescape(&mut chars),
            // A bare quote would have ended the literal, a newline is not allowed in one.
            '"' | '\n' => None,
            _ => Some(Unescaped::Char(char)),
        };
        match unescaped {
            Some(Unescaped::Byte(byte)) => bytes.push(byte),
            Some(Unescaped::Char(char)) => bytes.extend(char.encode_utf8(&mut [0; 4]).as_bytes()),
            None => {
                let shown = text.escape_debug();
                return Err(Error::failed(format!("the name `{shown}` is not quoted")));
            }
        }
    }
    Ok(OsString::from_vec(bytes))
}

/// What an escape stands for: `\xff` is a byte, `\u00ff` a character of two bytes.
enum Unescaped {
    Byte(u8),
    Char(char),
}

fn unescape(chars: &mut std::str::Chars<'_>) -> Option<Unescaped> {
    let byte = match chars.next()? {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '"' => b'"',
        'x' => u8::try_from(digits(chars, 2, 16)?).ok()?,
        'u' => return char::from_u32(digits(chars, 4, 16)?).map(Unescaped::Char),
        'U' => return char::from_u32(digits(chars, 8, 16)?).map(Unescaped::Char),
        first @ '0'..='3' => {
            let high = first.to_digit(8)?;
            u8::try_from(high * 64 + digits(chars, 2, 8)?).ok()?
        }
        _ => return None,
    };
    Some(Unescaped::Byte(byte))
}

fn digits(chars: &mut std::str::Chars<'_>, count: usize, radix: u32) -> Option<u32> {
    (0..count).try_fold(0u32, |value, _| {
        value.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_as_go_quotes_them_are_read() {
        let cases: [(&str, &[u8]); 7] = [
            ("base", b"base"),
            (r#"a\"b\\c"#, b"a\"b\\c"),
            (r"x\xff\ny\x01é", b"x\xff\ny\x01\xc3\xa9"),
            (r"\a\b\f\r\t\v", b"\x07\x08\x0c\r\t\x0b"),
            (r"\u0085\U0001f525", "\u{85}\u{1f525}".as_bytes()),
            (r"\101\377", b"A\xff"),
            ("è ü", "è ü".as_bytes()),
        ];
        for (text, bytes) in cases {
            assert_eq!(unquote(text).unwrap().as_bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn text_that_go_would_refuse_is_refused() {
        for text in [r"\", r"\q", r"\x1", r"\u12", "a\"b", r"\ud800", r"\400", "a\nb", r"\'"] {
            assert!(unquote(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_name_survives(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let name = OsString::from_vec(bytes);
            prop_assert_eq!(unquote(&quote(&name)).unwrap(), name);
        }
    }
}
