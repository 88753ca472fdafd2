//! Whether a resource is protected as promised: what is red, each with its reason. Pure.
//!
//! What cannot be told is red.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::{ByteSize, Span};

/// Snapshots are daily; two days without one mean that one failed.
const SNAPSHOT_AGE_MAX: Span = Span::seconds(2 * 86_400);

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

/// Everything that is not as promised; empty is green. Nothing of this is promised of a retired
/// resource.
pub fn reds(seen: &Seen, rpo: Span, now: Timestamp) -> Vec<String> {
    let mut reds = Vec::new();
    if seen.retired {
        return reds;
    }
    match seen.snapshot_at.map(|at| (at, age(at, now))) {
        None => reds.push("there is no snapshot".to_owned()),
        Some((_, age)) if age > SNAPSHOT_AGE_MAX => {
            reds.push(format!("the last snapshot is {age} old"));
        }
        Some(_) => {}
    }
    if seen.damaged_pages > 0 {
        reds.push(format!("the last snapshot has {} damaged pages", seen.damaged_pages));
    } else if seen.snapshot_at.is_some() && !seen.usable {
        reds.push("the last snapshot cannot be recovered from".to_owned());
    }
    match exposure(seen, now) {
        None => reds.push("the exposure cannot be told: no stored heartbeat is known".to_owned()),
        Some(exposure) if exposure > rpo => {
            reds.push(format!("the exposure is {exposure}, more than the RPO of {}", rpo));
        }
        Some(_) => {}
    }
    if let Some(trouble) = &seen.trouble {
        reds.push(format!("shipping is in trouble: {trouble}"));
    }
    if let Some((at, bytes)) = seen.gap
        && seen.snapshot_at.is_none_or(|snapshot| snapshot < at)
    {
        let bytes = ByteSize(bytes);
        reds.push(format!("{bytes} of log are missing since the last snapshot"));
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
        let spoil: [(Spoil, &str); 8] = [
            (|s| s.snapshot_at = None, "no snapshot"),
            (|s| s.snapshot_at = Some(at(-38)), "old"),
            (|s| s.damaged_pages = 1, "damaged"),
            (|s| s.usable = false, "cannot be recovered from"),
            (|s| s.heartbeat_at = None, "cannot be told"),
            (|s| s.heartbeat_at = Some(at(9)), "more than the RPO"),
            (|s| s.trouble = Some("full".to_owned()), "full"),
            (|s| s.gap = Some((at(1), 5)), "missing"),
        ];
        for (spoil, word) in spoil {
            let mut seen = green();
            spoil(&mut seen);
            let reds = reds(&seen, RPO, at(11));
            assert!(reds.iter().any(|red| red.contains(word)), "{word}: {reds:?}");
            let retired = Seen { retired: true, ..seen };
            assert!(super::reds(&retired, RPO, at(11)).is_empty(), "{word}");
        }
    }

    #[test]
    fn a_clock_that_is_behind_gives_no_age() {
        assert_eq!(age(at(2), at(1)), Span::default());
    }
}
