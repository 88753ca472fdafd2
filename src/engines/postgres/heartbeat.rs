//! Heartbeats: one row a beat in the source, the marker by which restored data is dated.
//!
//! The number is the last one plus one, taken in the inserting transaction: a sequence would jump
//! after a recovery (RULES 14). The MAC binds number and time to the cluster, so that a row
//! written by anybody else does not count.

use aws_lc_rs::hmac;
use jiff::Timestamp;

use crate::error::{Attempt, Error, Result};
use crate::model::{Lsn, SystemId};
use crate::ports::postgres::{Row, Session};

use super::source::field;

/// Rows are kept this long, the newest always.
const KEPT_DAYS: u32 = 3;

/// What `prepare` creates; the role that beats owns it.
pub const SCHEMA_SQL: &str = "\
create schema if not exists fenice;
create table if not exists fenice.heartbeat (
    seq bigint primary key,
    at timestamptz not null,
    mac text not null
);
comment on table fenice.heartbeat is 'Written by Fenice; dates restored data.';";

/// One beat, as written or as found in restored data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    pub seq: u64,
    pub at: Timestamp,
}

/// Signs and checks beats of one cluster.
pub struct HeartbeatKey {
    key: hmac::Key,
    system_id: SystemId,
}

/// What restored data says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatState {
    /// The newest genuine beat.
    pub newest: Option<Heartbeat>,
    pub found: u64,
    /// Numbers missing between the oldest and the newest.
    pub missing: u64,
    /// First and last missing number of each hole, at most a hundred.
    pub holes: Vec<(u64, u64)>,
    /// Rows whose MAC is wrong.
    pub forged: u64,
}

impl HeartbeatKey {
    /// `secret` is the text of the sealed secret.
    pub fn new(secret: &str, system_id: SystemId) -> HeartbeatKey {
        HeartbeatKey { key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), system_id }
    }

    /// The MAC of a beat, hexadecimal; over system id, number, and microseconds since 1970.
    pub fn mac(&self, beat: &Heartbeat) -> String {
        hex::encode(hmac::sign(&self.key, self.message(beat).as_bytes()).as_ref())
    }

    fn is_genuine(&self, beat: &Heartbeat, mac: &str) -> bool {
        let Ok(mac) = hex::decode(mac) else { return false };
        hmac::verify(&self.key, self.message(beat).as_bytes(), &mac).is_ok()
    }

    fn message(&self, beat: &Heartbeat) -> String {
        format!("{}:{}:{}", self.system_id, beat.seq, beat.at.as_microsecond())
    }
}

/// Writes one beat on the primary. Returns it with a position its commit lies before.
pub async fn beat(session: &mut dyn Session, key: &HeartbeatKey) -> Result<(Heartbeat, Lsn)> {
    let what = || "write a heartbeat".to_owned();
    // Durable at once, whatever the database's default; exclusive, so that numbers have no holes.
    let next = "begin; set local synchronous_commit = on; set local lock_timeout = '10s'; \
                lock table fenice.heartbeat in exclusive mode; \
                select coalesce(max(seq), 0) + 1, \
                (extract(epoch from clock_timestamp()) * 1000000)::bigint from fenice.heartbeat";
    let rows = session.query(next).await.map_err(unprepared).attempt(what)?;
    let beat = read_beat(rows.first().unwrap_or(&Vec::new())).attempt(what)?;
    let micros = beat.at.as_microsecond();
    let insert = format!(
        "insert into fenice.heartbeat values ({seq}, \
         timestamptz 'epoch' + {micros} * interval '1 microsecond', '{mac}'); \
         delete from fenice.heartbeat where seq < {seq} \
         and at < clock_timestamp() - interval '{KEPT_DAYS} days'; commit; \
         select pg_current_wal_flush_lsn()",
        seq = beat.seq,
        mac = key.mac(&beat),
    );
    let rows = session.query(&insert).await.attempt(what)?;
    let committed_before: Lsn = field(rows.first().unwrap_or(&Vec::new()), 0)?;
    Ok((beat, committed_before))
}

/// Reads every beat a database holds and judges them together.
pub async fn read_state(session: &mut dyn Session, key: &HeartbeatKey) -> Result<HeartbeatState> {
    let sql = "select seq, (extract(epoch from at) * 1000000)::bigint, mac \
               from fenice.heartbeat order by seq";
    let rows = session.query(sql).await.attempt(|| "read the heartbeats".to_owned())?;
    let mut beats = Vec::with_capacity(rows.len());
    let mut forged = 0;
    for row in &rows {
        let beat = read_beat(row)?;
        match key.is_genuine(&beat, &field::<String>(row, 2)?) {
            true => beats.push(beat),
            false => forged += 1,
        }
    }
    Ok(judge(beats, forged))
}

/// Empties the table of beats that another repository wrote, or this one for another cluster: they
/// can never be told from forged ones, and would turn every drill red. With `replace` only;
/// numbers begin at 1 again. Tells how many rows went.
///
/// # Errors
/// Refused if there are such rows and `replace` is not set.
pub async fn settle(session: &mut dyn Session, key: &HeartbeatKey, replace: bool) -> Result<u64> {
    let state = read_state(session, key).await.map_err(unprepared)?;
    match state.forged {
        0 => Ok(0),
        _ if replace => {
            let delete = session.query("delete from fenice.heartbeat").await;
            delete.attempt(|| "empty the table of heartbeats".to_owned())?;
            Ok(state.found + state.forged)
        }
        forged => Err(Error::refused(format!(
            "fenice.heartbeat holds {forged} rows that are not of this repository and cluster"
        ))
        .hint(
            "If no other Fenice writes there any more (an earlier repository, the cluster before \
             pg_upgrade), run `fenice prepare RESOURCE --new-heartbeats`, which empties the table.",
        )),
    }
}

/// Pure part of [`read_state`]: `beats` ascend by number.
fn judge(beats: Vec<Heartbeat>, forged: u64) -> HeartbeatState {
    let found = beats.len() as u64;
    let span = match (beats.first(), beats.last()) {
        (Some(first), Some(last)) => last.seq - first.seq + 1,
        _ => 0,
    };
    let holes = beats.windows(2).filter(|pair| pair[1].seq > pair[0].seq + 1);
    let holes = holes.map(|pair| (pair[0].seq + 1, pair[1].seq - 1)).take(100).collect();
    let newest = beats.into_iter().next_back();
    HeartbeatState { newest, found, missing: span - found, holes, forged }
}

fn read_beat(row: &Row) -> Result<Heartbeat> {
    let micros: i64 = field(row, 1)?;
    let at =
        Timestamp::from_microsecond(micros).attempt(|| "read a heartbeat's time".to_owned())?;
    Ok(Heartbeat { seq: field(row, 0)?, at })
}

fn unprepared(error: Error) -> Error {
    match error.chain().contains("fenice.heartbeat") {
        true => error.hint("`fenice prepare RESOURCE` makes the heartbeat table and grants."),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(seq: u64) -> Heartbeat {
        let at = Timestamp::from_second(1_790_000_000 + seq as i64 * 60).unwrap();
        Heartbeat { seq, at }
    }

    #[test]
    fn holes_between_beats_are_counted() {
        let state = judge(vec![beat(3), beat(4), beat(7)], 0);
        assert_eq!((state.found, state.missing), (3, 2));
        assert_eq!(state.holes, [(5, 6)]);
        assert_eq!(state.newest, Some(beat(7)));
        assert_eq!(judge(Vec::new(), 2).newest, None);
    }

    #[test]
    fn a_mac_belongs_to_its_number_time_and_cluster() {
        let key = HeartbeatKey::new("secret", SystemId(42));
        let mac = key.mac(&beat(5));
        assert!(key.is_genuine(&beat(5), &mac));
        assert!(!key.is_genuine(&beat(6), &mac));
        assert!(!HeartbeatKey::new("secret", SystemId(43)).is_genuine(&beat(5), &mac));
        assert!(!key.is_genuine(&beat(5), "not hex"));
    }
}
