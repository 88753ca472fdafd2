//! What facts say of a resource beyond what is judged red, each by a threshold. Pure.
//!
//! Wherever `config/prometheus/fenice.rules.yml` has an alert for the same fact, it has the same
//! threshold, so that mail and Prometheus agree; each names its alert.

use jiff::Timestamp;

use super::said::Slot;
use super::source::{SourceFacts, Unheard};
use crate::model::{ByteSize, Span};
use crate::notify::Severity;
use crate::plan::condition::age;
use crate::web::{Fact, ResourceFacts};

const DAY_SECONDS: u64 = 86_400;

/// Of what the source keeps at most for the slot: beyond it log is lost soon. FeniceSlotLagHigh.
pub const SLOT_PART_MOST: f64 = 0.7;
/// A server that restarts is back by then. FeniceCannotTell waits as long.
pub const SILENT_MOST: Span = Span::seconds(15 * 60);
/// Exposure is wrong by as much. FeniceClockOffset.
pub const CLOCK_OFFSET_MOST_SECONDS: f64 = 5.0;
/// Time to renew a certificate. FeniceCertificateEnds.
pub const CERTIFICATE_LEFT_LEAST: Span = Span::seconds(14 * DAY_SECONDS);
/// NIST SP 800-57 part 1 lets a symmetric key for stored data be used for up to two years.
/// FeniceVaultKeyOld.
pub const VAULT_KEY_AGE_MOST: Span = Span::seconds(730 * DAY_SECONDS);
/// Drills are monthly; ten days more for one that was put off. FeniceProofTooOld.
pub const PROOF_AGE_MOST: Span = Span::seconds(40 * DAY_SECONDS);
/// A run that was put off by a day is no news. FeniceVerifyTooOld allows as much.
pub const VERIFY_GRACE: Span = Span::seconds(DAY_SECONDS);
/// What was stored within the last day need not be proven or verified yet: the alerts
/// FeniceProofTooOld and FeniceVerifyTooOld wait as long.
pub const NEW_FOR: Span = Span::seconds(DAY_SECONDS);

/// Everything that is known of a resource besides its reds.
pub(super) struct Known<'a> {
    pub facts: &'a ResourceFacts,
    pub source: &'a SourceFacts,
    pub now: Timestamp,
}

/// What is not good, in words; empty if all is. `None`: it cannot be told.
pub(super) type Told = Option<Vec<(Severity, String)>>;

fn warning(text: String) -> Told {
    Some(vec![(Severity::Warning, text)])
}

fn red(text: String) -> Told {
    Some(vec![(Severity::Red, text)])
}

const WELL: Told = Some(Vec::new());

/// FenicePagesDamaged counts these, and those of the newest snapshot, which are judged.
pub(super) fn checksums(known: &Known<'_>) -> Told {
    match known.facts.checksum_failures {
        Fact::Known(0) | Fact::Absent => WELL,
        Fact::Known(count) => red(format!("the source met {count} pages with a wrong checksum")),
        Fact::Unknown => None,
    }
}

pub(super) fn slot(known: &Known<'_>) -> Told {
    let (lag, limit) = (known.facts.slot_lag_bytes, known.facts.slot_limit_bytes);
    match known.source.said.slot {
        Fact::Unknown => None,
        Fact::Absent => WELL,
        Fact::Known(Slot::Lost) => {
            red("the source has let go of log that its slot was to keep".to_owned())
        }
        Fact::Known(Slot::AtRisk) => {
            red("the source lets go of log with its next checkpoint".to_owned())
        }
        Fact::Known(Slot::Kept) => match (lag, limit) {
            (Fact::Known(lag), Fact::Known(limit)) if is_much(lag, limit) => {
                let (lag, limit) = (ByteSize(lag), ByteSize(limit));
                red(format!("the source keeps {lag} of log for its slot, and at most {limit}"))
            }
            _ => WELL,
        },
    }
}

fn is_much(lag: u64, limit: u64) -> bool {
    lag as f64 > SLOT_PART_MOST * limit as f64
}

/// FeniceRetentionOverdue.
pub(super) fn overdue(known: &Known<'_>) -> Told {
    match known.facts.overdue {
        Fact::Known(0) | Fact::Absent => WELL,
        Fact::Known(count) => {
            warning(format!("{count} snapshots are there beyond the date of their removal"))
        }
        Fact::Unknown => None,
    }
}

pub(super) fn vault_key(known: &Known<'_>) -> Told {
    match known.facts.vault_key_at {
        Fact::Known(at) if age(at, known.now) > VAULT_KEY_AGE_MOST => {
            warning(format!("the key of its vault is {} old", age(at, known.now)))
        }
        Fact::Known(_) | Fact::Absent => WELL,
        Fact::Unknown => None,
    }
}

pub(super) fn verified(known: &Known<'_>) -> Told {
    let promise = known.facts.promise?;
    let most = Span(promise.verify_within.0.saturating_add(VERIFY_GRACE.0));
    match known.facts.verified_since {
        Fact::Known(since) if age(since, known.now) > most => {
            let age = age(since, known.now);
            warning(format!("what is stored was last read back in full {age} ago"))
        }
        Fact::Known(_) => WELL,
        // Whether the last one met something unread is told of its job.
        Fact::Absent if is_new(known.facts.last_verify_at, known) => WELL,
        Fact::Absent if has_been_there(known)? => {
            warning("not everything that is stored was read back".to_owned())
        }
        Fact::Absent => WELL,
        Fact::Unknown => None,
    }
}

pub(super) fn proof(known: &Known<'_>) -> Told {
    match known.facts.last_proof_at {
        Fact::Known(at) if age(at, known.now) > PROOF_AGE_MOST => {
            warning(format!("its recovery was last proven {} ago", age(at, known.now)))
        }
        Fact::Known(_) => WELL,
        Fact::Absent if has_been_there(known)? => {
            warning("no drill has ever proven that it can be recovered".to_owned())
        }
        // There is nothing yet to be proven.
        Fact::Absent | Fact::Unknown => None,
    }
}

/// FeniceDrillFailed and FeniceRtoOverTarget.
pub(super) fn drill(known: &Known<'_>) -> Told {
    let promise = known.facts.promise?;
    let drill = match known.facts.drill {
        Fact::Known(drill) => drill,
        Fact::Absent => return WELL,
        Fact::Unknown => return None,
    };
    let ago = age(drill.ended_at, known.now);
    match drill.rto.filter(|rto| *rto > promise.rto) {
        _ if !drill.passed => red(format!("its last drill failed, {ago} ago")),
        Some(rto) => {
            let target = promise.rto;
            warning(format!("its last drill took {rto}, more than the RTO of {target}"))
        }
        None => WELL,
    }
}

pub(super) fn source(known: &Known<'_>) -> Told {
    let unheard = known.source.unheard.iter();
    let long = unheard.filter(|host| age(host.since, known.now) > SILENT_MOST);
    let long = long.map(|Unheard { host, because, since }| {
        let silent = age(*since, known.now);
        format!("{host} has not answered for {silent}: {because}")
    });
    match known.source.silent_since.map(|since| age(since, known.now)) {
        // Another host answers; after a failover these would be missed.
        None => Some(long.map(|text| (Severity::Warning, text)).collect()),
        Some(silent) if silent <= SILENT_MOST => None,
        Some(silent) => {
            let first = format!("no server has answered for {silent}");
            Some([first].into_iter().chain(long).map(|text| (Severity::Red, text)).collect())
        }
    }
}

pub(super) fn clock(known: &Known<'_>) -> Told {
    match known.facts.clock_offset_seconds {
        Fact::Known(offset) if offset.abs() > CLOCK_OFFSET_MOST_SECONDS => {
            let way = if offset > 0.0 { "ahead of" } else { "behind" };
            let by = offset.abs();
            warning(format!("its clock is {by:.1} s {way} that of this host"))
        }
        Fact::Known(_) | Fact::Absent => WELL,
        Fact::Unknown => None,
    }
}

pub(super) fn certificate(known: &Known<'_>) -> Told {
    let until = match known.facts.certificate_until {
        Fact::Known(until) => until,
        Fact::Absent => return WELL,
        Fact::Unknown => return None,
    };
    // From now to its end.
    let left = age(known.now, until);
    if until <= known.now {
        return red(format!("its certificate ended {} ago", age(until, known.now)));
    }
    match left < CERTIFICATE_LEFT_LEAST {
        true => warning(format!("its certificate ends in {left}")),
        false => WELL,
    }
}

fn is_new(at: Fact<Timestamp>, known: &Known<'_>) -> bool {
    matches!(at, Fact::Known(at) if age(at, known.now) <= NEW_FOR)
}

/// Whether anything recoverable has been there for more than a day; `None` if it cannot be told.
fn has_been_there(known: &Known<'_>) -> Option<bool> {
    match known.facts.window_start {
        Fact::Known(from) => Some(age(from, known.now) > NEW_FOR),
        Fact::Absent => Some(false),
        Fact::Unknown => None,
    }
}
