//! What a server says of itself: how much log it keeps for us, who else follows it, what its pages
//! and its clock are like. The question, and how its answer is read; pure.
//!
//! What the role may not see is unknown; `prepare` grants what it takes.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use crate::engines::postgres::source::field;
use crate::error::Result;
use crate::model::Span;
use crate::ports::postgres::Row;
use crate::web::{Fact, Replicas};

/// Half of it is how wrong the clock may be told; alerts count in seconds.
const ROUND_TRIP_MOST: Duration = Duration::from_secs(2);

/// `{slot}` and `{name}` are of `a-z`, `0-9` and `_`. Without `pg_read_all_stats` the columns of
/// other roles' walsenders are null. A standby that has replayed all there is tells no lag once
/// nothing is written; pg_basebackup and logical subscribers are no standbys.
const QUESTION: &str = "\
with here as (select case when pg_is_in_recovery() \
  then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) \
  else pg_current_wal_flush_lsn() end as lsn) \
select (extract(epoch from clock_timestamp()) * 1000000)::bigint, \
  slot.slot_name is not null, slot.wal_status, \
  case when slot.restart_lsn is not null \
    then greatest(pg_wal_lsn_diff(here.lsn, slot.restart_lsn), 0)::bigint end, \
  (select setting from pg_settings where name = 'max_slot_wal_keep_size'), \
  (select sum(checksum_failures) from pg_stat_database), \
  pg_has_role(current_user, 'pg_read_all_stats', 'usage'), \
  standby.connected, standby.lag \
from here \
left join pg_replication_slots slot on slot.slot_name = '{slot}' \
cross join lateral (select count(*) as connected, \
    max(case when sender.replay_lag is not null then extract(epoch from sender.replay_lag) \
      when sender.replay_lsn >= here.lsn then 0 end) as lag \
  from pg_stat_replication sender \
  where sender.state in ('streaming', 'catchup') \
    and sender.application_name is distinct from '{name}' \
    and not exists (select from pg_replication_slots other \
      where other.active_pid = sender.pid and other.slot_type = 'logical')) standby";

/// What the server says of our slot (`wal_status` of `pg_replication_slots`); the worst is the
/// greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// All the log that it needs is there, and stays.
    Kept,
    /// Some of it goes with the next checkpoint, unless it is shipped by then.
    AtRisk,
    /// Some of it is gone, or none was ever kept.
    Lost,
}

/// What the hosts that answered say, together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Said {
    /// Absent where there is none; the worst.
    pub slot: Fact<Slot>,
    /// How much log is kept for it; the most.
    pub slot_lag_bytes: Fact<u64>,
    /// `max_slot_wal_keep_size`, absent where it is unlimited; the least.
    pub slot_limit_bytes: Fact<u64>,
    pub replicas: Fact<Replicas>,
    /// Since the statistics were reset; absent without data checksums.
    pub checksum_failures: Fact<u64>,
    /// Theirs less ours; the one farthest off.
    pub clock_offset_seconds: Fact<f64>,
    /// Absent without TLS; the first to end.
    pub certificate_until: Fact<Timestamp>,
}

/// The question to a server that has the slot, by a session of that name.
pub(super) fn question(slot: &str, name: &str) -> String {
    QUESTION.replace("{slot}", slot).replace("{name}", name)
}

impl Said {
    /// Nobody said anything.
    pub const UNKNOWN: Said = Said {
        slot: Fact::Unknown,
        slot_lag_bytes: Fact::Unknown,
        slot_limit_bytes: Fact::Unknown,
        replicas: Fact::Unknown,
        checksum_failures: Fact::Unknown,
        clock_offset_seconds: Fact::Unknown,
        certificate_until: Fact::Unknown,
    };

    /// Reads the answer to [`question`], asked at `asked_at` of our clock, which `took` so long.
    pub(super) fn read(row: &Row, asked_at: Timestamp, took: Duration) -> Result<Said> {
        let lag = optional(row, 3)?;
        // In MiB, as the setting's unit is; -1 is unlimited.
        let limit = u64::try_from(field::<i64>(row, 4)?).ok();
        let slot = slot(row)?;
        Ok(Said {
            slot,
            // Of a slot that was lost nobody can tell.
            slot_lag_bytes: slot.and_then(|_| Fact::from(lag).required()),
            slot_limit_bytes: Fact::from(limit.map(|mib| mib.saturating_mul(1 << 20))),
            replicas: replicas(row)?,
            checksum_failures: Fact::from(optional(row, 5)?),
            clock_offset_seconds: offset(field(row, 0)?, asked_at, took),
            certificate_until: Fact::Unknown,
        })
    }

    /// What two hosts say.
    pub(super) fn and(self, other: Said) -> Said {
        let farther = |one: f64, other: f64| if one.abs() < other.abs() { other } else { one };
        let replicas = |one: Replicas, other: Replicas| Replicas {
            connected: one.connected + other.connected,
            lag: one.lag.max(other.lag),
        };
        Said {
            slot: both(self.slot, other.slot, Slot::max),
            slot_lag_bytes: both(self.slot_lag_bytes, other.slot_lag_bytes, u64::max),
            slot_limit_bytes: both(self.slot_limit_bytes, other.slot_limit_bytes, u64::min),
            replicas: both(self.replicas, other.replicas, replicas),
            checksum_failures: both(
                self.checksum_failures,
                other.checksum_failures,
                u64::saturating_add,
            ),
            clock_offset_seconds: both(
                self.clock_offset_seconds,
                other.clock_offset_seconds,
                farther,
            ),
            certificate_until: both(
                self.certificate_until,
                other.certificate_until,
                Timestamp::min,
            ),
        }
    }
}

/// What is absent on one host says nothing of the other; what is unknown of one is unknown.
fn both<T>(one: Fact<T>, other: Fact<T>, with: impl FnOnce(T, T) -> T) -> Fact<T> {
    match (one, other) {
        (Fact::Known(one), Fact::Known(other)) => Fact::Known(with(one, other)),
        (Fact::Absent, fact) | (fact, Fact::Absent) => fact,
        (Fact::Unknown, _) | (_, Fact::Unknown) => Fact::Unknown,
    }
}

fn slot(row: &Row) -> Result<Fact<Slot>> {
    let (is_there, status): (String, Option<String>) = (field(row, 1)?, optional(row, 2)?);
    Ok(match (is_there.as_str(), status.as_deref()) {
        ("t", Some("reserved" | "extended")) => Fact::Known(Slot::Kept),
        ("t", Some("unreserved")) => Fact::Known(Slot::AtRisk),
        ("t", _) => Fact::Known(Slot::Lost),
        _ => Fact::Absent,
    })
}

fn replicas(row: &Row) -> Result<Fact<Replicas>> {
    let may_see: String = field(row, 6)?;
    if may_see != "t" {
        return Ok(Fact::Unknown);
    }
    let seconds: Option<f64> = optional(row, 8)?;
    let lag = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
    Ok(Fact::Known(Replicas { connected: field(row, 7)?, lag: lag.map(Span) }))
}

/// The value in a column that may be null.
fn optional<T: FromStr>(row: &Row, index: usize) -> Result<Option<T>> {
    match row.get(index) {
        Some(None) => Ok(None),
        _ => field(row, index).map(Some),
    }
}

/// The server read its clock about half way between the question and the answer.
fn offset(server_micros: i64, asked_at: Timestamp, took: Duration) -> Fact<f64> {
    if took > ROUND_TRIP_MOST {
        return Fact::Unknown;
    }
    let apart = server_micros.saturating_sub(asked_at.as_microsecond());
    Fact::Known(apart as f64 / 1e6 - took.as_secs_f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: [Option<&str>; 9]) -> Result<Said> {
        let row: Row = values.into_iter().map(|value| value.map(str::to_owned)).collect();
        Said::read(&row, Timestamp::UNIX_EPOCH, Duration::ZERO)
    }

    #[test]
    fn an_answer_is_read_and_what_the_role_may_not_see_is_unknown() {
        let (t, f) = (Some("t"), Some("f"));
        let (kept, zero) = (Some("reserved"), Some("0"));
        let kept = [Some("9"), t, kept, Some("77"), Some("-1"), None, t, zero, None];
        let said = read(kept).unwrap();
        assert_eq!((said.slot, said.slot_lag_bytes), (Fact::Known(Slot::Kept), Fact::Known(77)));
        assert_eq!((said.slot_limit_bytes, said.checksum_failures), (Fact::Absent, Fact::Absent));
        assert_eq!(said.replicas, Fact::Known(Replicas { connected: 0, lag: None }));

        let lost = [Some("9"), t, Some("lost"), None, Some("64"), Some("3"), f, zero, None];
        let said = read(lost).unwrap();
        assert_eq!((said.slot, said.slot_lag_bytes), (Fact::Known(Slot::Lost), Fact::Unknown));
        assert_eq!(said.slot_limit_bytes, Fact::Known(64 << 20));
        assert_eq!((said.checksum_failures, said.replicas), (Fact::Known(3), Fact::Unknown));

        let none = [Some("9"), f, None, None, Some("-1"), None, t, Some("2"), Some("1.5")];
        let said = read(none).unwrap();
        assert_eq!((said.slot, said.slot_lag_bytes), (Fact::Absent, Fact::Absent));
        let lag = Some(Span(Duration::from_millis(1_500)));
        assert_eq!(said.replicas, Fact::Known(Replicas { connected: 2, lag }));
        assert!(read([None; 9]).is_err());
    }

    #[test]
    fn the_clock_is_compared_with_the_middle_of_the_round_trip() {
        let asked_at = Timestamp::from_second(1_000).unwrap();
        let told = |server: i64, took| offset(server, asked_at, Duration::from_millis(took));
        assert_eq!(told(1_000_500_000, 1_000), Fact::Known(0.0));
        assert_eq!(told(1_010_000_000, 0), Fact::Known(10.0));
        assert_eq!(told(990_000_000, 0), Fact::Known(-10.0));
        assert_eq!(told(1_000_000_000, 2_001), Fact::Unknown);
    }

    #[test]
    fn of_two_hosts_the_worse_counts() {
        let at = |second| Fact::Known(Timestamp::from_second(second).unwrap());
        let replicas = |connected, lag: Option<u64>| {
            Fact::Known(Replicas { connected, lag: lag.map(Span::seconds) })
        };
        let one = Said {
            slot: Fact::Known(Slot::Lost),
            slot_lag_bytes: Fact::Unknown,
            slot_limit_bytes: Fact::Known(7),
            replicas: replicas(1, None),
            checksum_failures: Fact::Known(2),
            clock_offset_seconds: Fact::Known(-3.0),
            certificate_until: at(50),
        };
        let other = Said {
            slot: Fact::Known(Slot::Kept),
            slot_lag_bytes: Fact::Known(5),
            slot_limit_bytes: Fact::Absent,
            replicas: replicas(2, Some(9)),
            checksum_failures: Fact::Known(1),
            clock_offset_seconds: Fact::Known(1.0),
            certificate_until: at(40),
        };
        let expected = Said {
            replicas: replicas(3, Some(9)),
            checksum_failures: Fact::Known(3),
            certificate_until: at(40),
            ..one
        };
        assert_eq!(one.and(other), expected);
        assert_eq!(other.and(one), expected);
    }
}
