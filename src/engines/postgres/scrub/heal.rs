//! Putting damage right, from what is left and from the other repository. Nothing is removed here
//! before what replaces it was read there; a kill leaves at worst something missing that the other
//! repository has, which the next run finds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::error::{Attempt, Error, Result};
use crate::plan::retention::CopyDue;
use crate::ports::store::{Lock, Put};
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::vault::copy::Copying;
use crate::repository::vault::layout::Part;
use crate::repository::vault::mend::{Mended, Mending};
use crate::repository::vault::restore::RestoreSettings;
use crate::repository::vault::{Id, Vault};
use crate::repository::wal::WalArchive;
use crate::repository::{Repository, layout, secrets};

use super::super::copy::CopyJob;
use super::super::restore::facts;
use super::super::restore::sources::Sources;
use super::super::vaults::{self, Writing};
use super::missing::readable;
use super::points::Affected;
use super::stored::{Stored, What};
use super::{Damage, Scrub};

const ONLY_HERE: &str = "nothing but this object held its content";
const NOT_THERE: &str = "the other repository does not have it";
const THERE: &str = "read it in the other repository";

impl Scrub {
    /// Tries everything; what fails is noted with the damage. Order: what identifies the resource,
    /// then its log, then the vault, then snapshots, which need all of that.
    pub(super) fn heal(&self, damage: &mut [Damage], affected: &[Affected], lock: &Writing) {
        let stored = match self.list() {
            Ok(stored) => stored,
            Err(error) => return damage.iter_mut().for_each(|one| one.not_healed(&error)),
        };
        for one in damage.iter_mut() {
            let healed = match stored.what(&one.key) {
                What::Secret => self.heal_secret(&one.key),
                What::Record => self.heal_record(&one.key),
                What::Vault { part: Part::Config | Part::Key(_), .. } => {
                    Err(Error::failed(ONLY_HERE))
                }
                _ => Ok(()),
            };
            one.tell(healed);
        }
        // With the records of clusters put right, their log can be told from strangers.
        let Ok(stored) = self.list() else { return };
        for one in damage.iter_mut() {
            if let What::Log { system_id, limit_bytes, exact_bytes } = stored.what(&one.key) {
                let archive = &stored.archives[&system_id];
                one.tell(self.heal_log(archive, &one.key, limit_bytes, exact_bytes, lock));
            }
        }
        for epoch in &stored.epochs {
            let healed = self.heal_vault(*epoch, &stored, damage, lock);
            for one in damage.iter_mut() {
                let What::Vault { epoch: of, part } = stored.what(&one.key) else { continue };
                match (&healed, part) {
                    _ if of != *epoch => {}
                    (Err(error), Part::Pack(_) | Part::Index(_)) => one.not_healed(error),
                    (Ok(mended), Part::Pack(id)) => {
                        if let Some(count) = mended.lost.get(&id) {
                            let lost = format!("{count} of its blobs are nowhere");
                            one.not_healed(&Error::failed(lost));
                        }
                    }
                    _ => {}
                }
            }
        }
        self.heal_snapshots(&stored, damage, affected, lock);
    }

    fn helper(&self) -> Result<&Repository> {
        self.other.as_ref().ok_or_else(|| {
            Error::failed("there is no other repository").hint("`copy_to` names one.")
        })
    }

    fn heal_secret(&self, key: &str) -> Result<()> {
        let heartbeat = secrets::heartbeat_key(&self.resource);
        if layout::secret(&heartbeat) != key {
            return Err(Error::failed(ONLY_HERE));
        }
        let theirs = secrets::read(self.helper()?, &heartbeat)?;
        let theirs = theirs.ok_or_else(|| Error::failed(NOT_THERE))?;
        self.repository.store.remove(key)?;
        secrets::keep(&self.repository, &heartbeat, &theirs).map(drop)
    }

    fn heal_record(&self, key: &str) -> Result<()> {
        let theirs: Value = manifest::read(self.helper()?, key).attempt(|| THERE.into())?;
        self.repository.store.remove(key)?;
        match manifest::create(&self.repository, key, &theirs)? {
            Put::Created | Put::Exists => Ok(()),
        }
    }

    fn heal_log(
        &self,
        archive: &WalArchive,
        key: &str,
        limit_bytes: u64,
        exact_bytes: Option<u64>,
        lock: &Writing,
    ) -> Result<()> {
        let there = WalArchive { repository: self.helper()?.clone(), ..archive.clone() };
        there.check_key(key, limit_bytes, exact_bytes).attempt(|| THERE.into())?;
        lock.check()?;
        self.repository.store.remove(key)?;
        archive.copy_key(&there, key, limit_bytes, exact_bytes).map(drop)
    }

    fn heal_vault(
        &self,
        epoch: u32,
        stored: &Stored,
        damage: &[Damage],
        lock: &Writing,
    ) -> Result<Mended> {
        let (mut index_files, mut packs) = (BTreeSet::new(), BTreeSet::new());
        for one in damage {
            match stored.what(&one.key) {
                What::Vault { epoch: of, .. } if of != epoch => {}
                What::Vault { part: Part::Index(id), .. } => drop(index_files.insert(id)),
                What::Vault { part: Part::Pack(id), .. } => drop(packs.insert(id)),
                _ => {}
            }
        }
        let vault = vaults::open(&self.repository, &self.resource, epoch)?;
        let allowed = || lock.check();
        let by =
            Mending { entropy: Arc::clone(&self.entropy), write: self.write, allowed: &allowed };
        // A lost index file leaves packs that no other names: those are entered anew as well.
        vault.mend_index(&index_files, &by)?;
        if packs.is_empty() {
            return Ok(Mended::default());
        }
        vault.mend_packs(&packs, &self.other_vaults(epoch, stored), &by)
    }

    /// The vaults of the other epochs here and of all of them in the other repository: a blob has
    /// the same id in each. Those that cannot be opened do not hold up what is intact here.
    fn other_vaults(&self, epoch: u32, stored: &Stored) -> Vec<Vault> {
        let open = |repository: &Repository, epoch: u32| {
            vaults::open(repository, &self.resource, epoch).ok()
        };
        let others = stored.epochs.iter().filter(|other| **other != epoch);
        let mut opened: Vec<Vault> =
            others.filter_map(|other| open(&self.repository, *other)).collect();
        if let Some(other) = &self.other {
            let known = readable(other, &self.resource)
                .and_then(|manifests| vaults::epochs(other, &self.resource, &manifests));
            let known = known.map(|epochs| epochs.all().collect::<Vec<u32>>()).unwrap_or_default();
            opened.extend(known.into_iter().filter_map(|epoch| open(other, epoch)));
        }
        opened
    }

    /// Snapshots that lack their manifest or anything of their files.
    fn heal_snapshots(
        &self,
        stored: &Stored,
        damage: &mut [Damage],
        affected: &[Affected],
        lock: &Writing,
    ) {
        let mut ids: BTreeSet<String> =
            affected.iter().map(|affected| affected.snapshot.clone()).collect();
        for one in damage.iter() {
            if let What::Snapshot(id) = stored.what(&one.key) {
                ids.insert(id.to_owned());
            }
        }
        if ids.is_empty() {
            return;
        }
        let mut failed: BTreeMap<String, Error> = BTreeMap::new();
        for id in ids {
            if let Err(error) = self.heal_snapshot(&id, lock) {
                failed.insert(id, error);
            }
        }
        for one in damage.iter_mut() {
            match stored.what(&one.key) {
                What::Snapshot(id) => {
                    if let Some(error) = failed.get(id) {
                        one.not_healed(error);
                    }
                }
                What::Vault { part: Part::Snapshot(id), .. } => {
                    one.tell(self.forget_vault_snapshot(&one.key, &id, lock));
                }
                _ => {}
            }
        }
    }

    /// Removes a damaged snapshot of the vault once no manifest names it.
    fn forget_vault_snapshot(&self, key: &str, id: &Id, lock: &Writing) -> Result<()> {
        let named = readable(&self.repository, &self.resource)?;
        if named.iter().any(|manifest| manifest.vault.snapshot == id.to_string()) {
            return Err(Error::failed(NOT_THERE));
        }
        lock.check()?;
        self.repository.store.remove(key)
    }

    fn heal_snapshot(&self, id: &str, lock: &Writing) -> Result<()> {
        let other = self.helper()?;
        let key = layout::snapshot(&self.resource, id);
        let theirs: SnapshotManifest = manifest::read(other, &key).attempt(|| THERE.into())?;
        let their_vault = facts::open_vault(other, &theirs)?;
        let original = their_vault.snapshot(&theirs.vault.snapshot.parse()?)?;
        let (expect, moved) =
            (|bytes| self.progress.expect(bytes), |bytes| self.progress.moved(bytes));
        let allowed = || lock.check();
        let copying = Copying {
            entropy: Arc::clone(&self.entropy),
            write: self.write,
            read: RestoreSettings { workers: self.workers, ..RestoreSettings::default() },
            expect: &expect,
            moved: &moved,
            allowed: &allowed,
        };
        if let Some((vault, tree)) = self.present(&key)
            && tree == original.tree
        {
            return vault.bring_from(&their_vault, &original, &copying).map(drop);
        }
        let (now, entropy) = (self.clock.now(), self.entropy.as_ref());
        let ours = vaults::open_or_make(&self.repository, &self.resource, now, entropy)?;
        // Its files first: what is damaged of it goes once all of it is here.
        ours.vault.bring_from(&their_vault, &original, &copying)?;
        lock.check()?;
        self.repository.store.remove(&key)?;
        let job = self.copy_job(other);
        let stored = facts::read_now_undated(&Sources::only(other), &self.resource)?;
        let due = CopyDue { id: id.to_owned(), because: "it is damaged".to_owned() };
        job.copy(&due, &stored, &ours, lock).map(drop)
    }

    /// The vault that a snapshot lies in, and its root there, as far as they can be read.
    fn present(&self, key: &str) -> Option<(Vault, Id)> {
        let manifest = manifest::read::<SnapshotManifest>(&self.repository, key).ok()?;
        let vault = facts::open_vault(&self.repository, &manifest).ok()?;
        let id: Id = manifest.vault.snapshot.parse().ok()?;
        let tree = vault.snapshot(&id).ok()?.tree;
        Some((vault, tree))
    }

    fn copy_job(&self, from: &Repository) -> CopyJob {
        CopyJob {
            from: from.clone(),
            to: self.repository.clone(),
            resource: self.resource.clone(),
            terms: self.terms.clone(),
            replicate: self.replicate,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            progress: self.progress.clone(),
            workers: self.workers,
            write: self.write,
        }
    }
}

impl Damage {
    pub(super) fn not_healed(&mut self, error: &Error) {
        self.unhealed_because = Some(error.chain());
    }

    fn tell(&mut self, healed: Result<()>) {
        if let Err(error) = healed {
            self.not_healed(&error);
        }
    }
}
