//! What is to be done next about one work of one resource, and why.
//!
//! What was missed is caught up once, by the newest occurrence. A failure is tried again, later
//! and later, until the next occurrence takes over. No occurrence succeeds twice, nor an older one
//! after a newer one, whatever the clock does: after it went back, what it showed before is done.

use std::iter;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::occurrence::Occurrence;
use super::standing::{ATTEMPTS_MOST, Failure, Past, Pause, Standing, Work};
use crate::error::Retry;
use crate::model::{ResourceName, Span};
use crate::plan::condition::age;

/// After the first failure; twice as long after each further one.
const BACKOFF_FIRST_SECONDS: u64 = 60;
const BACKOFF_MOST_SECONDS: u64 = 3_600;
/// What begins so soon after it was to begin is not called late.
const ON_TIME: Duration = Duration::from_secs(60);
/// More missed occurrences than these are not counted.
const MISSED_MOST: usize = 100;

/// What comes next; each with the reason, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It is to begin, as soon as there is room.
    Run { due_at: Occurrence, reason: String },
    /// It is not to begin before `until`, and then, if nothing happens meanwhile, for `due_at`.
    Wait { until: Timestamp, due_at: Occurrence, reason: String },
    /// It is under way.
    Busy { reason: String },
    /// Somebody wants it so, until then or until they take it back.
    Paused { until: Option<Timestamp>, reason: String },
    /// Its schedule does not come again.
    Never { reason: String },
}

impl Next {
    pub fn reason(&self) -> &str {
        match self {
            Next::Run { reason, .. }
            | Next::Wait { reason, .. }
            | Next::Busy { reason }
            | Next::Paused { reason, .. }
            | Next::Never { reason } => reason,
        }
    }
}

/// An occurrence that is to be done, before window and jitter are asked.
struct Due {
    occurrence: Occurrence,
    /// Not before: it comes then, or is tried again.
    ready_at: Timestamp,
    jitter_most: Span,
    reason: String,
}

/// Decides. The same facts always give the same answer; a [`Next::Wait`] stays what it is until
/// its end comes or `past` changes.
pub fn decide(standing: &Standing, past: &Past, resource: &ResourceName, now: Timestamp) -> Next {
    if past.under_way {
        return Next::Busy { reason: "it is under way".to_owned() };
    }
    if let Some(pause) = past.paused.as_ref().filter(|pause| pause.holds(now)) {
        return Next::Paused { until: pause.until, reason: told_pause(standing, pause) };
    }
    match owed(standing, past, now).or_else(|| upcoming(standing, past, now)) {
        Some(due) => place(standing, resource, due, now),
        None => {
            let reason = format!("its schedule `{}` does not come again", standing.cron);
            Next::Never { reason }
        }
    }
}

/// What has come and is not settled: the newest occurrence, or the first snapshot of all. `None`
/// also if nothing more is tried before the next occurrence.
fn owed(standing: &Standing, past: &Past, now: Timestamp) -> Option<Due> {
    let newest = standing.last_until(now).filter(|newest| past.owes(newest.at, now));
    let (occurrence, jitter_most) = match newest {
        Some(newest) => (newest, standing.jitter_most),
        None => (first_snapshot(standing, past, now)?, Span::default()),
    };
    let tried = past.failed.filter(|failure| failure.due_at == occurrence.at);
    let (ready_at, reason) = match tried {
        Some(failure) => again(standing, occurrence, failure, now)?,
        None if newest.is_none() => (occurrence.at, "there is no snapshot yet".to_owned()),
        None => (occurrence.at, told_late(standing, past, occurrence, now)),
    };
    Some(Due { occurrence, ready_at, jitter_most, reason })
}

/// A resource that is new has its first snapshot at once, and not on its first night.
fn first_snapshot(standing: &Standing, past: &Past, now: Timestamp) -> Option<Occurrence> {
    let at = past.known_since;
    let is_new = past.settled_due_at.is_none() && at <= now;
    let is_first = is_new && standing.work == Work::Snapshot;
    is_first.then(|| Occurrence { civil: standing.zone.to_datetime(at), at })
}

/// When a failed occurrence is tried again; `None` if it is not, or the next one comes first.
fn again(
    standing: &Standing,
    occurrence: Occurrence,
    failure: Failure,
    now: Timestamp,
) -> Option<(Timestamp, String)> {
    if failure.is_final() {
        return None;
    }
    let doublings = failure.attempts.saturating_sub(1).min(6);
    let seconds = (BACKOFF_FIRST_SECONDS << doublings).min(BACKOFF_MOST_SECONDS);
    let backoff = Span::seconds(seconds);
    // After the clock went back, the time of the failure says nothing.
    let ready_at = if failure.at <= now { later(failure.at, backoff.0) } else { now };
    if standing.next_after(now).is_some_and(|next| next.at <= ready_at) {
        return None;
    }
    let reason = format!(
        "attempt {} of {ATTEMPTS_MOST} at the one due {} failed; it is tried again after {backoff}",
        failure.attempts,
        told(occurrence.civil),
    );
    Some((ready_at, reason))
}

/// The first occurrence that has neither come nor, by a clock that was ahead, is settled.
fn upcoming(standing: &Standing, past: &Past, now: Timestamp) -> Option<Due> {
    let ahead = past.settled_due_at.filter(|settled| now < *settled);
    let occurrence = standing.next_after(ahead.unwrap_or(now))?;
    let mut reason = format!("next due {}", told(occurrence.civil));
    if let Some(failure) = &past.failed {
        reason = format!("{}; {reason}", told_failure(standing, failure));
    }
    if let Some(settled) = ahead {
        let done = told(standing.zone.to_datetime(settled));
        reason = format!("the clock is behind what is done already, up to {done}; {reason}");
    }
    let jitter_most = standing.jitter_most;
    Some(Due { occurrence, ready_at: occurrence.at, jitter_most, reason })
}

/// Puts what is due into its window, and beginnings apart.
fn place(standing: &Standing, resource: &ResourceName, due: Due, now: Timestamp) -> Next {
    let from = due.ready_at.max(now);
    let open = standing.opening(from);
    let is_shut = from < open.from;
    // Whatever is the newest when the window opens is the one that is done then.
    let newest = is_shut.then(|| standing.last_until(open.from)).flatten();
    let newest = newest.filter(|newest| due.occurrence.at < newest.at);
    let (due_at, jitter_most) = match newest {
        Some(newest) => (newest, standing.jitter_most),
        None => (due.occurrence, due.jitter_most),
    };
    let base = due_at.at.max(open.from);
    let next = standing.next_after(due_at.at);
    let room = next.map_or(jitter_most, |next| age(base, next.at)).min(age(base, open.to));
    let jitter = jitter(resource, standing.work, due_at.at, jitter_most.min(room));
    let begins_at = later(base, jitter).max(due.ready_at);
    let mut reason = due.reason;
    if begins_at <= now {
        return Next::Run { due_at, reason };
    }
    if let Some(window) = standing.window.filter(|_| is_shut) {
        let opens = told(standing.zone.to_datetime(open.from));
        reason.push_str(&format!("; its window {window} opens {opens}"));
    } else if due.ready_at <= now {
        reason.push_str("; beginnings are spread by `jitter`");
    }
    Next::Wait { until: begins_at, due_at, reason }
}

/// Where in `[0, room)` an occurrence begins, in whole seconds: always the same, and different
/// from one resource to the next.
fn jitter(resource: &ResourceName, work: Work, due_at: Timestamp, room: Span) -> Duration {
    let instant = due_at.as_second().to_be_bytes();
    let bytes = resource.as_str().bytes().chain(work.name().bytes()).chain(instant);
    // FNV-1a of 64 bits, whose upper half is the better mixed.
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Duration::from_secs((hash >> 32) % room.0.as_secs().max(1))
}

/// How many occurrences before `due` were neither settled nor tried, and the first of them.
fn missed(standing: &Standing, past: &Past, due: Occurrence) -> Option<(usize, Occurrence)> {
    let before_known = past.known_since.checked_sub(Duration::from_nanos(1)).ok();
    let tried = past.failed.map(|failure| failure.due_at);
    let since = [before_known, tried, past.settled_due_at].into_iter().flatten().max()?;
    let next = |after: Timestamp| standing.next_after(after).filter(|next| next.at < due.at);
    let first = next(since)?;
    let all = iter::successors(Some(first), |missed| next(missed.at));
    Some((all.take(MISSED_MOST).count(), first))
}

fn told_late(standing: &Standing, past: &Past, due: Occurrence, now: Timestamp) -> String {
    let mut text = format!("due {}", told(due.civil));
    let late = age(due.at, now);
    if late.0 > standing.jitter_most.0 + ON_TIME {
        text.push_str(&format!(", {late} ago"));
    }
    if let Some((count, first)) = missed(standing, past, due) {
        let first = told(first.civil);
        text.push_str(&match count {
            1 => format!("; the one before it, due {first}, was missed"),
            2..MISSED_MOST => format!("; {count} before it were missed since {first}"),
            _ => format!("; {MISSED_MOST} or more before it were missed since {first}"),
        });
    }
    text
}

fn told_failure(standing: &Standing, failure: &Failure) -> String {
    let due = told(standing.zone.to_datetime(failure.due_at));
    match (failure.retry, failure.attempts) {
        (Retry::Never, _) => format!("the one due {due} failed, and trying again cannot help"),
        (Retry::Later, attempts) if failure.is_final() => {
            format!("the one due {due} was given up after {attempts} attempts")
        }
        (Retry::Later, 1) => format!("the one due {due} failed"),
        (Retry::Later, attempts) => format!("the one due {due} failed {attempts} times"),
    }
}

fn told_pause(standing: &Standing, pause: &Pause) -> String {
    let until = pause.until.map(|until| told(standing.zone.to_datetime(until)));
    match until {
        Some(until) => format!("paused until {until}: {}", pause.why),
        None => format!("paused until it is resumed: {}", pause.why),
    }
}

/// A civil time to the minute.
fn told(civil: DateTime) -> String {
    civil.strftime("%Y-%m-%d %H:%M").to_string()
}

/// The instant `wait` after `at`, or the latest there is.
fn later(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}
