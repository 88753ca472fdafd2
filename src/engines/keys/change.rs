//! Adding and removing recipients: `fenice.json` first, so that whatever is written from then on is
//! sealed to the new ones, then every object that is there, one after another.
//!
//! Killed anywhere, it leaves each object sealed to the recipients of before or to those of now,
//! and the same command run again seals all of them anew. The vault's locks are held all the while:
//! no manifest that was made before can come later, and retention puts nothing old back.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::engines::postgres::vaults;
use crate::engines::progress::Progress;
use crate::error::{Attempt, Error, Result};
use crate::model::ResourceName;
use crate::ports::store::{Entry, Lock};
use crate::ports::{Clock, Store};
use crate::repository::Repository;
use crate::repository::format::{change_format, read_format};
use crate::repository::layout;
use crate::repository::lease::Lease;
use crate::repository::reseal::{Resealed, reseal};
use crate::repository::seal::{Identities, Recipients};

/// Keeps two changes of the same repository apart.
const LOCK: &str = "keys";
/// Objects sealed anew between two looks at the locks.
const BATCH: usize = 50;
/// Listings that are gone through. What the second one names for the first time was being written
/// when the recipients changed, or is sealed to the new ones already.
const ROUNDS: usize = 2;
/// How many objects that cannot be opened are told by name.
const NAMED: usize = 100;

const OTHER_IDENTITY: &str = "Configure the identity of a recipient that stays, then try again.";

/// What is to become of the recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Add(String),
    Remove(String),
}

impl Change {
    /// Who comes or goes.
    pub fn who(&self) -> &String {
        let (Change::Add(who) | Change::Remove(who)) = self;
        who
    }

    /// The recipients after it, sorted. Done before, it changes nothing. `own` are those of the
    /// identities at hand, which have to open what is sealed anew.
    ///
    /// # Errors
    /// Refused if nobody would be left, if one of `own` would go, or if none of `own` opens both
    /// what is there and what it becomes.
    pub fn of(&self, present: &[String], own: &[String]) -> Result<Vec<String>> {
        let mut after: BTreeSet<&String> = present.iter().collect();
        match self {
            Change::Add(added) => {
                after.insert(added);
            }
            Change::Remove(removed) => {
                after.remove(removed);
                if after.is_empty() {
                    return Err(Error::refused(format!("{removed} is the last recipient"))
                        .because("without one, nothing could be read ever again")
                        .hint("Add another one first."));
                }
                if own.contains(removed) {
                    let what = format!("the identity configured here is that of {removed}");
                    return Err(Error::refused(what)
                        .because("what is written here is sealed to it as well")
                        .hint(OTHER_IDENTITY));
                }
            }
        }
        if !own.iter().any(|own| present.contains(own) && after.contains(own)) {
            let what = "the identity configured here does not open what is there, or not what it \
                        becomes";
            return Err(Error::refused(what)
                .because(format!("its recipient is {}", own.join(", ")))
                .hint(OTHER_IDENTITY));
        }
        Ok(after.into_iter().cloned().collect())
    }
}

/// What changing the recipients of one repository works with.
pub struct KeyChange {
    pub store: Arc<dyn Store>,
    /// Under which the other writers are kept out, if there is one.
    pub lease: Option<Arc<Lease>>,
    /// They open what is there, and what it becomes.
    pub identities: Identities,
    pub change: Change,
    pub clock: Arc<dyn Clock>,
    pub progress: Arc<Progress>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub recipients: Vec<String>,
    /// Whether they were others before.
    pub changed: bool,
    pub objects: u64,
    /// Sealed, as stored before.
    pub bytes: u64,
    /// Versions of before that the store locks: whoever could open them still can.
    pub versions_kept: u64,
    /// When the last of those locks ends.
    pub kept_until: Option<Timestamp>,
    /// Objects that the identity does not open: they are sealed as they were.
    pub unreadable: u64,
    /// The first of them.
    pub named: Vec<Unreadable>,
}

/// An object that cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    pub key: String,
    pub because: String,
}

impl KeyChange {
    /// Changes the recipients and seals everything anew; done before, it seals anew all the same.
    ///
    /// # Errors
    /// Refused as [`Change::of`] says; `Busy` while a snapshot, a copy or retention is at work,
    /// and then nothing was changed. Any other failure leaves some objects sealed as before: run it
    /// again.
    pub fn run(&self) -> Result<Changed> {
        let store = self.store.as_ref();
        let mut locks = vec![store.lock(LOCK)?];
        let before = read_format(store)?.recipients;
        let after = self.change.of(&before, &self.identities.recipients())?;
        let recipients = Recipients::parse(&after)?;
        locks.extend(self.lock_vaults()?);
        let now = self.clock.now();
        let begin = change_format(store, |file| {
            file.recipients.clone_from(&after);
            file.resealing_since = Some(now);
        });
        begin.attempt(|| "change the recipients".to_owned())?;
        let mut changed = Changed {
            changed: before != after,
            recipients: after,
            objects: 0,
            bytes: 0,
            versions_kept: 0,
            kept_until: None,
            unreadable: 0,
            named: Vec::new(),
        };
        self.progress.enter("sealing anew");
        self.reseal_all(&recipients, &locks, &mut changed)?;
        if changed.unreadable == 0 {
            check(&locks)?;
            change_format(store, |file| file.resealing_since = None)
                .attempt(|| "note that everything is sealed anew".to_owned())?;
        }
        Ok(changed)
    }

    /// Keeps snapshots, copies and retention out, for every resource that anything is stored of.
    fn lock_vaults(&self) -> Result<Vec<Box<dyn Lock>>> {
        let listed = self.store.list("")?;
        let resources: BTreeSet<ResourceName> =
            listed.iter().filter_map(|entry| layout::resource_of(&entry.key)).collect();
        let repository = Repository::open_as_it_is(self.store.clone(), self.identities.clone())?;
        let repository = match &self.lease {
            Some(lease) => repository.under(lease.clone()),
            None => repository,
        };
        resources.iter().map(|resource| vaults::lock(&repository, resource)).collect()
    }

    fn reseal_all(
        &self,
        recipients: &Recipients,
        locks: &[Box<dyn Lock>],
        changed: &mut Changed,
    ) -> Result<()> {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for _ in 0..ROUNDS {
            let mut listed = self.store.list("")?;
            listed.retain(|entry| layout::is_sealed(&entry.key) && !seen.contains(&entry.key));
            self.progress.expect(listed.iter().map(|entry| entry.bytes).sum());
            for (number, entry) in listed.into_iter().enumerate() {
                if number % BATCH == 0 {
                    check(locks)?;
                }
                self.reseal_one(&entry, recipients, changed)?;
                self.progress.add(entry.bytes);
                seen.insert(entry.key);
            }
        }
        Ok(())
    }

    fn reseal_one(
        &self,
        entry: &Entry,
        recipients: &Recipients,
        changed: &mut Changed,
    ) -> Result<()> {
        let Entry { key, bytes, .. } = entry;
        let resealed = reseal(self.store.as_ref(), key, &self.identities, recipients)?;
        if matches!(resealed, Resealed::Done | Resealed::Kept { .. }) {
            changed.objects += 1;
            changed.bytes += bytes;
        }
        match resealed {
            Resealed::Done | Resealed::Gone => {}
            Resealed::Kept { versions, until } => {
                changed.versions_kept += versions;
                changed.kept_until = changed.kept_until.max(Some(until));
            }
            Resealed::Unreadable(because) => {
                changed.unreadable += 1;
                if changed.named.len() < NAMED {
                    changed.named.push(Unreadable { key: key.clone(), because });
                }
            }
        }
        Ok(())
    }
}

fn check(locks: &[Box<dyn Lock>]) -> Result<()> {
    locks.iter().try_for_each(|lock| lock.check())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn recipients_after_a_change() {
        let add = |who: &str| Change::Add(who.to_owned());
        let remove = |who: &str| Change::Remove(who.to_owned());
        type Case<'t> = (Change, &'t [&'t str], &'t [&'t str], Option<&'t [&'t str]>);
        let cases: [Case<'_>; 9] = [
            (add("b"), &["c"], &["c"], Some(&["b", "c"])),
            (add("b"), &["b", "c"], &["c"], Some(&["b", "c"])),
            (add("b"), &["a"], &["c"], None),
            (add("b"), &["a"], &["b"], None),
            (remove("a"), &["a", "b"], &["b"], Some(&["b"])),
            (remove("a"), &["b"], &["b"], Some(&["b"])),
            (remove("a"), &["a"], &["a"], None),
            (remove("a"), &["a", "b"], &["a", "b"], None),
            (remove("a"), &["a", "b"], &["c"], None),
        ];
        for (change, present, own, after) in cases {
            let decided = change.of(&texts(present), &texts(own));
            match after {
                Some(after) => assert_eq!(decided.unwrap(), texts(after), "{change:?}"),
                None => assert_eq!(decided.unwrap_err().kind(), Kind::Refused, "{change:?}"),
            }
        }
    }
}
