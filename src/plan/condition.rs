//! Whether a resource is protected as promised: what is red, each with its kind and its reason.
//! Pure.
//!
//! What cannot be told is red.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::{ByteSize, Span};

/// Snapshots are daily; two days without one mean that one failed.
const SNAPSHOT_AGE_MAX: Span = Span::seconds(2 * 86_400);

/// What a red is about. Names are stable: messages of two times are of one matter if they are of
/// one kind.
pub mod kind {
    /// None, too old a one, or one that cannot be recovered from.
    pub const SNAPSHOT: &str = "snapshot";
    /// Pages whose checksum is wrong at the source.
    pub const DAMAGE: &str = "damage";
    pub const EXPOSURE: &str = "exposure";
    pub const SHIPPING: &str = "shipping";
    pub const GAP: &str = "gap";
    pub const COPIES: &str = "copies";
    /// What is kept beyond its date.
    pub const RETENTION: &str = "retention";
    /// Passwords of vaults that do not open.
    pub const KEYS: &str = "keys";
    /// What is stored and is not as it was stored.
    pub const VERIFY: &str = "verify";
    /// How the resource stands cannot be told.
    pub const STATUS: &str = "status";
    /// Standing orders that fail.
    pub const JOBS: &str = "jobs";
}

/// The kinds that [`reds`] tells, and nobody else does.
pub const KINDS: [&str; 5] =
    [kind::SNAPSHOT, kind::DAMAGE, kind::EXPOSURE, kind::SHIPPING, kind::GAP];

/// One reason why a resource is not as promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Red {
    /// One of [`kind`].
    pub kind: &'static str,
    /// A clause.
    pub text: String,
}

impl Red {
    pub fn new(kind: &'static str, text: impl Into<String>) -> Red {
        Red { kind, text: text.into() }
    }
}

/// What is known of a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// When the newest snapshot was finished.
    pub snapshot_at: Option<Timestamp>,
    /// Its pages whose checksum is wrong.
    pub damaged_pages: u64,
    /// Whether it can be recovered from: undamaged, with its log.
    pub usable: bool,
    /// The newest heartbeat that is provably recoverable.
    pub heartbeat_at: Option<Timestamp>,
    /// What the last shipper complained of.
    pub trouble: Option<String>,
    /// When the newest gap in the log was recorded, and how much is missing.
    pub gap: Option<(Timestamp, u64)>,
    /// It is out of use: nothing new is stored of it, and what there is leaves in time.
    pub retired: bool,
}

/// How much of the newest data a loss of the source would cost now; `None` if it cannot be told.
pub fn exposure(seen: &Seen, now: Timestamp) -> Option<Span> {
    seen.heartbeat_at.map(|at| age(at, now))
}

/// How long ago; nothing, if it lies ahead by a clock's whim.
pub fn age(at: Timestamp, now: Timestamp) -> Span {
    Span(Duration::try_from(now.duration_since(at)).unwrap_or_default())
}

/// How much log is missing after the newest snapshot; nothing once a snapshot follows the gap.
pub fn missing_bytes(seen: &Seen) -> u64 {
    let open = |(at, _): &(Timestamp, u64)| seen.snapshot_at.is_none_or(|snapshot| snapshot < *at);
    seen.gap.filter(open).map_or(0, |(_, bytes)| bytes)
}

/// Everything that is not as promised; empty is green. Nothing of this is promised of a retired
/// resource.
pub fn reds(seen: &Seen, rpo: Span, now: Timestamp) -> Vec<Red> {
    let mut reds = Vec::new();
    if seen.retired {
        return reds;
    }
    let mut red = |kind: &'static str, text: String| reds.push(Red { kind, text });
    match seen.snapshot_at.map(|at| age(at, now)) {
        None => red(kind::SNAPSHOT, "there is no snapshot".to_owned()),
        Some(age) if age > SNAPSHOT_AGE_MAX => {
            red(kind::SNAPSHOT, format!("the last snapshot is {age} old"));
        }
        Some(_) => {}
    }
    if seen.damaged_pages > 0 {
        let pages = seen.damaged_pages;
        red(kind::DAMAGE, format!("the last snapshot has {pages} damaged pages"));
    } else if seen.snapshot_at.is_some() && !seen.usable {
        red(kind::SNAPSHOT, "the last snapshot cannot be recovered from".to_owned());
    }
    match exposure(seen, now) {
        None => {
            let text = "the exposure cannot be told: no stored heartbeat is known";
            red(kind::EXPOSURE, text.to_owned());
        }
        Some(exposure) if exposure > rpo => {
            let text = format!("the exposure is {exposure}, more than the RPO of {rpo}");
            red(kind::EXPOSURE, text);
        }
        Some(_) => {}
    }
    if let Some(trouble) = &seen.trouble {
        red(kind::SHIPPING, format!("shipping is in trouble: {trouble}"));
    }
    let missing = missing_bytes(seen);
    if missing > 0 {
        let missing = ByteSize(missing);
        red(kind::GAP, format!("{missing} of log are missing since the last snapshot"));
    }
    reds
}

#[cfg(test)]
mod tests {
    use super::*;

    const RPO: Span = Span::seconds(3_600);

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + hour * 3_600).unwrap()
    }

    fn green() -> Seen {
        Seen {
            snapshot_at: Some(at(0)),
            usable: true,
            heartbeat_at: Some(at(10)),
            gap: Some((at(-1), 5)),
            ..Seen::default()
        }
    }

    #[test]
    fn green_needs_everything() {
        assert!(reds(&green(), RPO, at(11)).is_empty());
        type Spoil = fn(&mut Seen);
        let spoil: [(Spoil, &str, &str); 8] = [
            (|s| s.snapshot_at = None, kind::SNAPSHOT, "no snapshot"),
            (|s| s.snapshot_at = Some(at(-38)), kind::SNAPSHOT, "old"),
            (|s| s.damaged_pages = 1, kind::DAMAGE, "damaged"),
            (|s| s.usable = false, kind::SNAPSHOT, "cannot be recovered from"),
            (|s| s.heartbeat_at = None, kind::EXPOSURE, "cannot be told"),
            (|s| s.heartbeat_at = Some(at(9)), kind::EXPOSURE, "more than the RPO"),
            (|s| s.trouble = Some("full".to_owned()), kind::SHIPPING, "full"),
            (|s| s.gap = Some((at(1), 5)), kind::GAP, "missing"),
        ];
        for (spoil, kind, word) in spoil {
            let mut seen = green();
            spoil(&mut seen);
            let reds = reds(&seen, RPO, at(11));
            let is_told = |red: &Red| red.kind == kind && red.text.contains(word);
            assert!(reds.iter().any(is_told), "{kind}, {word}: {reds:?}");
            assert!(reds.iter().all(|red| KINDS.contains(&red.kind)), "{reds:?}");
            let retired = Seen { retired: true, ..seen };
            assert!(super::reds(&retired, RPO, at(11)).is_empty(), "{word}");
        }
    }

    #[test]
    fn a_gap_is_closed_by_the_snapshot_after_it() {
        let since = |snapshot, gap| missing_bytes(&Seen { snapshot_at: snapshot, gap, ..green() });
        assert_eq!(since(Some(at(2)), Some((at(1), 7))), 0);
        assert_eq!(since(Some(at(1)), Some((at(1), 7))), 0);
        assert_eq!(since(Some(at(0)), Some((at(1), 7))), 7);
        assert_eq!(since(None, Some((at(1), 7))), 7);
        assert_eq!(since(None, None), 0);
    }

    #[test]
    fn a_clock_that_is_behind_gives_no_age() {
        assert_eq!(age(at(2), at(1)), Span::default());
    }
}
