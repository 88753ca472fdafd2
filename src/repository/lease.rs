//! The lease: of all installations that could write to a repository, one does (RULES 21).
//!
//! `lease.json` names it, with a generation that counts takeovers; the processes of one
//! installation share it, each kept from the others' work by locks. Whoever finds it taken watches
//! it: unchanged for [`TTL`] by the watcher's own monotonic clock, it belongs to nobody; clocks of
//! two machines are never compared. A holder that could not renew it says so long before. What no
//! clock can prevent, a pause between a look and a write, `generation` and the pins of writers
//! make harmless.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Attempt, Error, Kind, Result};
use crate::model::ResourceName;
use crate::ports::store::{Put, Replaced};
use crate::ports::{Clock, Entropy, Store};
use crate::repository::{Repository, generation, layout};

/// Unchanged for so long, a lease belongs to nobody.
pub const TTL: Duration = Duration::from_secs(30);
/// Unrenewed for so long, its holder counts it as lost: what is under way then still ends before
/// another can have it.
pub const LOST_AFTER: Duration = Duration::from_secs(20);
/// How often a holder renews it.
pub const RENEW_EVERY: Duration = Duration::from_secs(7);
/// How often whoever waits for it looks.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Looks of one who does not stand by: more than a lease can go unchanged.
const LOOKS: u32 = 3 * (TTL.as_secs() / LOOK_EVERY.as_secs()) as u32;
/// Two processes that renew at once get in each other's way this often at most.
const TRIES: u32 = 5;
/// Processes named in a lease. Those that died without a word stay until it is taken over, or
/// until as many came after them.
const MEMBERS: usize = 64;

/// What `lease.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseFile {
    pub version: u32,
    /// Counts takeovers, from 1.
    pub generation: u64,
    /// Drawn once by each installation.
    pub installation: String,
    /// For people.
    pub host: String,
    pub taken_at: Timestamp,
    /// Counts renewals, so that each has another content.
    pub renewal: u64,
    /// A name of each process that shares it. With none, it is free.
    pub members: Vec<String>,
}

/// Who wants the lease, and how patiently.
pub struct Claimant<'a> {
    pub installation: &'a str,
    pub host: &'a str,
    pub clock: Arc<dyn Clock>,
    pub entropy: &'a dyn Entropy,
    /// Waits that long; `false` if the wait is to end.
    pub pause: &'a dyn Fn(Duration) -> bool,
    /// Waits on where another installation is at work, until it is free.
    pub stand_by: bool,
    /// The resources of which this repository may hold snapshots.
    pub resources: &'a [ResourceName],
}

/// A lease that this process shares in.
pub struct Lease {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    installation: String,
    member: String,
    resources: Vec<ResourceName>,
    generation: AtomicU64,
    deposed: AtomicBool,
    /// Monotonic reading when the last renewal that succeeded was asked for.
    renewed_at: Mutex<Duration>,
}

/// What to do about a lease as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Join,
    TakeOver,
    Watch,
}

fn next_move(found: &LeaseFile, installation: &str, unchanged_for: Option<Duration>) -> Move {
    match unchanged_for {
        _ if found.installation == installation => Move::Join,
        _ if found.members.is_empty() => Move::TakeOver,
        Some(unchanged) if unchanged >= TTL => Move::TakeOver,
        _ => Move::Watch,
    }
}

/// Takes the lease of a repository, or shares in it where this installation has it already.
///
/// # Errors
/// `Kind::Busy` while another installation is at work, and where the wait was ended; the identity
/// is lacking that a takeover needs.
pub fn take(repository: &Repository, by: &Claimant<'_>) -> Result<Lease> {
    let mut token = [0; 8];
    by.entropy.fill(&mut token);
    let member = hex::encode(token);
    let mut watched: Option<(Vec<u8>, Duration)> = None;
    let mut looks = 0;
    loop {
        let asked_at = by.clock.monotonic();
        let (held, body) = attempt(repository, by, &member, watched.as_ref(), asked_at)?;
        if let Some(file) = held {
            generation::begin(repository, &file, by.resources)?;
            return Ok(Lease {
                store: repository.store.clone(),
                clock: by.clock.clone(),
                installation: by.installation.to_owned(),
                member,
                resources: by.resources.to_vec(),
                generation: AtomicU64::new(file.generation),
                deposed: AtomicBool::new(false),
                renewed_at: Mutex::new(asked_at),
            });
        }
        if watched.as_ref().is_none_or(|(known, _)| *known != body) {
            // It is alive: whoever does not stand by has seen enough.
            if watched.is_some() && !by.stand_by {
                return Err(busy(&parse(&body)?));
            }
            watched = Some((body, asked_at));
        }
        looks += 1;
        let gives_up = !by.stand_by && looks > LOOKS;
        if gives_up || !(by.pause)(LOOK_EVERY) {
            let held = watched.map(|(body, _)| parse(&body)).transpose()?;
            return Err(held.map_or_else(contended, |file| busy(&file)));
        }
    }
}

/// One look, and what follows from it: the lease if it is ours now, and else what was found.
fn attempt(
    repository: &Repository,
    by: &Claimant<'_>,
    member: &str,
    watched: Option<&(Vec<u8>, Duration)>,
    now: Duration,
) -> Result<(Option<LeaseFile>, Vec<u8>)> {
    let store = repository.store.as_ref();
    let ours = |generation, renewal| LeaseFile {
        version: 1,
        generation,
        installation: by.installation.to_owned(),
        host: by.host.to_owned(),
        taken_at: by.clock.now(),
        renewal,
        members: vec![member.to_owned()],
    };
    let Some(body) = store.get(layout::LEASE)? else {
        // What counts is recorded under its number: numbers go on even if the lease was removed.
        let before = generation::newest(store)?.map_or(0, |record| record.generation);
        let file = ours(before + 1, 0);
        let made = store.put_new(layout::LEASE, &bytes(&file)?)? == Put::Created;
        return Ok((made.then_some(file), Vec::new()));
    };
    let found = parse(&body)?;
    let unchanged = watched.filter(|(known, _)| *known == body);
    let unchanged_for = unchanged.map(|(_, since)| now.saturating_sub(*since));
    let wanted = match next_move(&found, by.installation, unchanged_for) {
        Move::Watch => return Ok((None, body)),
        Move::Join => joined(&found, member),
        Move::TakeOver => ours(found.generation + 1, found.renewal + 1),
    };
    let replaced = store.replace(layout::LEASE, &mut |was| match was == body {
        true => bytes(&wanted),
        false => Err(contended()),
    });
    match replaced {
        Ok(Replaced::Done | Replaced::Kept { .. }) => Ok((Some(wanted), body)),
        Ok(Replaced::Absent) => Ok((None, Vec::new())),
        // Somebody else was quicker; the next look tells who.
        Err(error) if error.kind() == Kind::Busy => Ok((None, Vec::new())),
        Err(error) => Err(error),
    }
}

fn joined(found: &LeaseFile, member: &str) -> LeaseFile {
    let mut file = LeaseFile { renewal: found.renewal + 1, ..found.clone() };
    if !file.members.iter().any(|known| known == member) {
        file.members.push(member.to_owned());
    }
    let surplus = file.members.len().saturating_sub(MEMBERS);
    file.members.drain(..surplus);
    file
}

fn parse(body: &[u8]) -> Result<LeaseFile> {
    let parsed = serde_json::from_slice(body).attempt(|| format!("read {}", layout::LEASE));
    parsed.map_err(|error: Error| {
        error.hint(
            "It says who may write. If no other installation does, remove it: it is made anew.",
        )
    })
}

fn bytes(file: &LeaseFile) -> Result<Vec<u8>> {
    serde_json::to_vec(file).attempt(|| format!("write {}", layout::LEASE))
}

fn contended() -> Error {
    Error::new(Kind::Busy, "the lease of the repository is being taken by others").later()
}

fn busy(holder: &LeaseFile) -> Error {
    let what = format!("the installation on {} writes to this repository", holder.host);
    Error::new(Kind::Busy, what)
        .because(format!("it has the lease in generation {}", holder.generation))
        .hint(format!(
            "Only one installation writes. If that one is gone, this one takes over once the \
             lease was unchanged for {} s.",
            TTL.as_secs()
        ))
}

fn deposed(host: &str) -> Error {
    let what = format!("the installation on {host} took over the repository");
    Error::new(Kind::Busy, what)
        .hint("This installation writes no more. `fenice takeover` takes it back, if need be.")
}

impl Lease {
    /// The one that this process belongs to.
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// What commits of now are marked with.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Whether it is still held, by what is known here: no request is made.
    ///
    /// # Errors
    /// `Kind::Busy` once another took over; to be tried again while the store cannot be reached.
    pub fn check(&self) -> Result<()> {
        if self.deposed.load(Ordering::SeqCst) {
            return Err(deposed("another host"));
        }
        let renewed_at = *self.renewed_at.lock().unwrap_or_else(PoisonError::into_inner);
        let unrenewed = self.clock.monotonic().saturating_sub(renewed_at);
        match unrenewed < LOST_AFTER {
            true => Ok(()),
            false => Err(Error::new(Kind::Busy, "the lease could not be renewed")
                .because(format!("the last time was {} s ago", unrenewed.as_secs()))
                .later()
                .hint("Nothing was committed. Can the repository be reached?")),
        }
    }

    /// Whether another installation is known to have taken over. Sticky.
    pub fn is_deposed(&self) -> bool {
        self.deposed.load(Ordering::SeqCst)
    }

    /// Asks the store whether this installation is in charge, before anything is removed.
    pub fn ask(&self) -> Result<()> {
        self.is_still(self.generation()).map(drop)?;
        self.check()
    }

    /// Asks the store whether the lease still says `generation`; if this installation began a new
    /// one itself, the answer is no.
    ///
    /// # Errors
    /// `Kind::Busy` if another took over; the store's own.
    pub fn is_still(&self, generation: u64) -> Result<bool> {
        let body = self.store.get(layout::LEASE)?.ok_or_else(gone)?;
        let file = self.own(parse(&body)?)?;
        Ok(file.generation == generation)
    }

    fn own(&self, file: LeaseFile) -> Result<LeaseFile> {
        if file.installation == self.installation && !self.is_deposed() {
            return Ok(file);
        }
        self.deposed.store(true, Ordering::SeqCst);
        Err(deposed(&file.host))
    }

    /// Renews it. Call it every [`RENEW_EVERY`].
    ///
    /// # Errors
    /// `Kind::Busy` if another took over; the store's own, which may pass.
    pub fn renew(&self) -> Result<()> {
        self.change(|file| joined(&file, &self.member)).map(drop)
    }

    /// Begins a new generation of this installation's own: what was committed in the one before
    /// counts only if it is there by now.
    pub fn begin_generation(&self, repository: &Repository) -> Result<()> {
        let file = self.change(|file| {
            let generation = file.generation + 1;
            LeaseFile { generation, ..joined(&file, &self.member) }
        })?;
        generation::begin(repository, &file, &self.resources)
    }

    /// Shares in it no more. Best effort: unrenewed, it frees itself.
    pub fn leave(&self) {
        let left = self.change(|mut file| {
            file.members.retain(|member| *member != self.member);
            LeaseFile { renewal: file.renewal + 1, ..file }
        });
        if let Err(error) = left {
            tracing::debug!(error = %error.chain(), "the lease was not let go");
        }
    }

    fn change(&self, to: impl Fn(LeaseFile) -> LeaseFile) -> Result<LeaseFile> {
        for _ in 0..TRIES {
            let asked_at = self.clock.monotonic();
            let mut written = None;
            let replaced = self.store.replace(layout::LEASE, &mut |was| {
                let file = to(self.own(parse(was)?)?);
                let body = bytes(&file);
                written = Some(file);
                body
            });
            match (replaced, written) {
                (Ok(Replaced::Done | Replaced::Kept { .. }), Some(file)) => {
                    self.generation.store(file.generation, Ordering::SeqCst);
                    *self.renewed_at.lock().unwrap_or_else(PoisonError::into_inner) = asked_at;
                    return Ok(file);
                }
                (Ok(_), _) => return Err(gone()),
                // Another process of this installation renewed it in the same instant.
                (Err(error), _) if error.kind() == Kind::Busy && !self.is_deposed() => {}
                (Err(error), _) => return Err(error),
            }
        }
        Err(contended())
    }
}

fn gone() -> Error {
    Error::new(Kind::Busy, format!("{} is gone from the repository", layout::LEASE))
        .hint("Somebody removed it. Whoever writes next makes it anew.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_joined_by_its_own_and_taken_over_when_free_or_unchanged() {
        let file = |installation: &str, members: &[&str]| LeaseFile {
            version: 1,
            generation: 3,
            installation: installation.to_owned(),
            host: "db1".to_owned(),
            taken_at: Timestamp::UNIX_EPOCH,
            renewal: 9,
            members: members.iter().map(|&member| member.to_owned()).collect(),
        };
        let short = TTL.checked_sub(Duration::from_millis(1));
        let table = [
            (file("ours", &["a"]), None, Move::Join),
            (file("ours", &[]), Some(TTL), Move::Join),
            (file("theirs", &[]), None, Move::TakeOver),
            (file("theirs", &["a"]), None, Move::Watch),
            (file("theirs", &["a"]), short, Move::Watch),
            (file("theirs", &["a"]), Some(TTL), Move::TakeOver),
        ];
        for (found, unchanged, expected) in table {
            assert_eq!(next_move(&found, "ours", unchanged), expected, "{found:?}");
        }
    }

    #[test]
    fn the_members_of_a_lease_stay_bounded_and_the_newest_is_among_them() {
        let members = (0..MEMBERS).map(|number| number.to_string()).collect();
        let full = LeaseFile {
            version: 1,
            generation: 1,
            installation: String::new(),
            host: String::new(),
            taken_at: Timestamp::UNIX_EPOCH,
            renewal: 0,
            members,
        };
        let file = joined(&full, "new");
        assert_eq!(file.members.len(), MEMBERS);
        assert_eq!(file.members.last().unwrap(), "new");
        assert_eq!(joined(&file, "new").members, file.members);
    }
}
