//! `--to`: an instant as an operator writes it, never guessed at. Pure.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, tz};

use crate::error::{Error, Result};
use crate::plan::facts::Target;

/// Reads `latest`, an instant with an offset or `Z`, or a local time that `zone` knows exactly
/// once.
///
/// # Errors
/// Of kind `Usage`: anything else, a local time that the change of clocks skips or repeats.
pub fn target(text: &str, zone: &TimeZone) -> Result<Target> {
    match text {
        "latest" => Ok(Target::Latest),
        _ => instant(text, zone).map(Target::At),
    }
}

/// Reads an instant, as [`target`] does.
pub fn instant(text: &str, zone: &TimeZone) -> Result<Timestamp> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let not_an_instant = || {
        Error::usage(format!("`{text}` is not an instant")).hint(
            "Write 2026-11-22T14:30:00+01:00, 2026-11-22T13:30:00Z, \"2026-11-22 14:30\" in the \
             configured zone, or latest.",
        )
    };
    // A date alone would mean its first moment; hardly anyone means that.
    let local: DateTime =
        text.parse().ok().filter(|_| text.contains(':')).ok_or_else(not_an_instant)?;
    let zone_name = zone.iana_name().unwrap_or("the configured zone");
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let with = |offset: tz::Offset| format!("{local}{offset}");
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => {
            ambiguous.unambiguous().map_err(|cause| not_an_instant().because(cause))
        }
        AmbiguousOffset::Gap { before, after } => {
            Err(Error::usage(format!("{local} does not exist in {zone_name}: the clocks skip it"))
                .hint(format!("Write it with its offset: {} or {}.", with(before), with(after))))
        }
        AmbiguousOffset::Fold { before, after } => {
            Err(Error::usage(format!("{local} comes twice in {zone_name}: the clocks repeat it"))
                .hint(format!("Write it with its offset: {} or {}.", with(before), with(after))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn rome() -> TimeZone {
        TimeZone::get("Europe/Rome").unwrap()
    }

    #[test]
    fn instants_and_unambiguous_local_times_are_read() {
        for (text, utc) in [
            ("2026-11-22T14:30:00+01:00", "2026-11-22T13:30:00Z"),
            ("2026-11-22T13:30:00.25Z", "2026-11-22T13:30:00.25Z"),
            ("2026-11-22 14:30", "2026-11-22T13:30:00Z"),
            ("2026-07-01T14:30:15", "2026-07-01T12:30:15Z"),
            ("2026-03-29T01:59:59", "2026-03-29T00:59:59Z"),
            ("2026-03-29T03:00", "2026-03-29T01:00:00Z"),
            ("2026-10-25T03:00", "2026-10-25T02:00:00Z"),
            ("2026-10-25T02:30:00+01:00", "2026-10-25T01:30:00Z"),
        ] {
            let expected = Target::At(utc.parse().unwrap());
            assert_eq!(target(text, &rome()).unwrap(), expected, "{text}");
        }
        assert_eq!(target("latest", &rome()).unwrap(), Target::Latest);
    }

    #[test]
    fn a_local_time_that_the_clocks_skip_or_repeat_is_not_guessed() {
        for (text, word, hint) in [
            ("2026-03-29T02:30", "skip", "2026-03-29T02:30:00+01"),
            ("2026-10-25T02:00", "repeat", "2026-10-25T02:00:00+02"),
            ("2026-10-25 02:59:59", "repeat", "2026-10-25T02:59:59+01"),
        ] {
            let error = target(text, &rome()).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            assert!(error.chain().contains(word), "{error:?}");
            assert!(error.hint_text().unwrap().contains(hint), "{error:?}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "now", "yesterday", "2026-11-22", "14:30", "2026-13-01T00:00", "Latest"] {
            assert_eq!(target(text, &rome()).unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }
}
