//! Whether the recovery kit would work: the identity it holds, alone, opens what a recovery begins
//! with, and the vault opens with what it finds there. It reads like one who has only the page.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::engines::postgres::vaults::Epochs;
use crate::error::{Attempt, Error, Result};
use crate::model::ResourceName;
use crate::ports::Store;
use crate::ports::store::Entry;
use crate::repository::format::{Repository, read_format};
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::seal::Identities;
use crate::repository::vault::{BlobType, Id, NodeKind, Vault};
use crate::repository::{layout, secrets, wal_codec};

/// The largest segment that PostgreSQL knows.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// What the kit was found to open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KitCheck {
    /// To be compared with the kit's.
    pub repository_id: String,
    /// Recipients of the repository whose identity the kit holds.
    pub recipients: Vec<String>,
    pub findings: Vec<Finding>,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `None` for what concerns the repository as a whole.
    pub resource: Option<ResourceName>,
    pub what: &'static str,
    /// Key of the object that was read.
    pub object: Option<String>,
    /// Why it failed; `None` if it went well.
    pub failed_because: Option<String>,
}

impl KitCheck {
    /// Whether everything that was tried went well.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.failed_because.is_none())
    }
}

/// Tries `identities` alone on the newest of everything. `printed_id` is what the kit says of the
/// repository. Reads one pack's blob, one tree, one object of the log and the index of each
/// resource's vault.
///
/// # Errors
/// There is no repository, or it cannot be listed. That something does not open is no error.
pub fn check_kit(
    store: Arc<dyn Store>,
    identities: Identities,
    printed_id: Option<&str>,
) -> Result<KitCheck> {
    let file = read_format(store.as_ref())?;
    let mut recipients = identities.recipients();
    recipients.retain(|own| file.recipients.contains(own));
    let repository = Repository::open_as_it_is(store, identities)?;
    let listed = repository.store.list("")?;
    let mut tried = Tried { repository, listed, findings: Vec::new() };
    if let Some(printed) = printed_id {
        let same = match printed.trim() == file.repository_id {
            true => Ok(()),
            false => Err(Error::failed(format!("the kit is of the repository {printed}"))),
        };
        tried.note(None, "the repository's id", None, same);
    }
    let known = match recipients.is_empty() {
        true => Err(Error::failed("the identity is of none of the repository's recipients")),
        false => Ok(()),
    };
    tried.note(None, "the recipients in fenice.json", Some(layout::FORMAT), known);
    let resources: BTreeSet<ResourceName> =
        tried.listed.iter().filter_map(|entry| layout::resource_of(&entry.key)).collect();
    if resources.is_empty() {
        let nothing = Err(Error::failed("nothing is stored yet"));
        tried.note::<()>(None, "what a recovery begins with", None, nothing);
    }
    for resource in &resources {
        tried.resource(resource);
    }
    Ok(KitCheck { repository_id: file.repository_id, recipients, findings: tried.findings })
}

/// What is known, and what was found so far.
struct Tried {
    repository: Repository,
    listed: Vec<Entry>,
    findings: Vec<Finding>,
}

impl Tried {
    fn note<T>(
        &mut self,
        resource: Option<&ResourceName>,
        what: &'static str,
        object: Option<&str>,
        tried: Result<T>,
    ) -> Option<T> {
        let (done, failed_because) = match tried {
            Ok(done) => (Some(done), None),
            Err(error) => (None, Some(error.chain())),
        };
        let (resource, object) = (resource.cloned(), object.map(str::to_owned));
        self.findings.push(Finding { resource, what, object, failed_because });
        done
    }

    fn resource(&mut self, resource: &ResourceName) {
        let manifest = self.manifest(resource);
        let epochs = self.epochs(resource, manifest.as_ref());
        let newest = manifest.as_ref().map_or(epochs.current(), |manifest| manifest.vault.epoch);
        let opened = self.vault(resource, newest, manifest.is_some());
        if let (Some(manifest), Some(vault)) = (&manifest, opened) {
            let read = read_one_of_each(&vault, &manifest.vault.snapshot);
            let what = "a tree and a piece of a file in the vault";
            self.note(Some(resource), what, Some(vault.layout().prefix()), read);
        }
        for epoch in epochs.all().filter(|epoch| *epoch != newest) {
            // One that has just begun has no vault yet, one that has ended none any more.
            let config = layout::vault(resource, epoch) + "config";
            let has_vault = self.listed.iter().any(|entry| entry.key == config);
            self.vault(resource, epoch, has_vault);
        }
        self.log(resource, manifest.as_ref());
    }

    /// Every epoch of which anything is listed, or which the newest manifest names.
    fn epochs(&self, resource: &ResourceName, newest: Option<&SnapshotManifest>) -> Epochs {
        let keys = self.listed.iter().map(|entry| entry.key.as_str());
        let folders = keys.clone().filter_map(|key| layout::in_vault(resource, key));
        let named = newest.map(|manifest| manifest.vault.epoch);
        let named: BTreeSet<u32> = folders.map(|(epoch, _)| epoch).chain(named).collect();
        Epochs::of(resource, keys, named)
    }

    /// The password of an epoch, and, where there must be one, its vault.
    fn vault(&mut self, resource: &ResourceName, epoch: u32, has_vault: bool) -> Option<Vault> {
        let name = secrets::vault_password(resource, epoch);
        let password = secrets::read(&self.repository, &name)
            .and_then(|password| password.ok_or_else(|| Error::failed("it is not there")));
        let key = layout::secret(&name);
        let password = self.note(Some(resource), "the vault's password", Some(&key), password)?;
        if !has_vault {
            return None;
        }
        let prefix = layout::vault(resource, epoch);
        let opened = Vault::open(self.repository.store.clone(), &prefix, &password);
        self.note(Some(resource), "the vault", Some(&prefix), opened)
    }

    /// The newest one.
    fn manifest(&mut self, resource: &ResourceName) -> Option<SnapshotManifest> {
        let prefix = layout::snapshots(resource);
        let is_one = |key: &str| key.starts_with(&prefix) && key.ends_with(".json.age");
        let keys = self.listed.iter().map(|entry| &entry.key);
        let newest = keys.filter(|key| is_one(key)).max().cloned();
        let read = match &newest {
            Some(key) => manifest::read(&self.repository, key),
            None => Err(Error::failed("no snapshot was taken yet")),
        };
        self.note(Some(resource), "the newest snapshot's manifest", newest.as_deref(), read)
    }

    /// The newest object of it.
    fn log(&mut self, resource: &ResourceName, manifest: Option<&SnapshotManifest>) {
        let prefix = layout::wals(resource);
        let is_log = |entry: &&Entry| {
            entry.key.starts_with(&prefix) && layout::wal_file_name(&entry.key).is_some()
        };
        let by_age = |a: &&Entry, b: &&Entry| (a.stored_at, &a.key).cmp(&(b.stored_at, &b.key));
        let newest = self.listed.iter().filter(is_log).max_by(by_age);
        let newest = newest.map(|entry| entry.key.clone());
        let segment = manifest.map(|manifest| manifest.cluster.wal_segment_size.bytes());
        let read = match &newest {
            Some(key) => self.read_log(key, segment.unwrap_or(SEGMENT_BYTES_MAX)),
            None => Err(Error::failed("no log was stored yet")),
        };
        self.note(Some(resource), "the newest object of the log", newest.as_deref(), read);
    }

    fn read_log(&self, key: &str, limit_bytes: u64) -> Result<()> {
        let sealed = self.repository.store.get(key)?;
        let sealed = sealed.ok_or_else(|| Error::failed("it is not there any more"))?;
        wal_codec::check(self.repository.identities()?, &sealed, limit_bytes).map(drop)
    }
}

/// The root of a snapshot, and the first piece of the first file that has any.
fn read_one_of_each(vault: &Vault, snapshot: &str) -> Result<()> {
    let id: Id = snapshot.parse().attempt(|| "find the snapshot in the vault".to_owned())?;
    let index = vault.load_index()?;
    let root = vault.snapshot(&id)?.tree;
    for entry in vault.walk(&index, &root) {
        let (_, node) = entry?;
        let NodeKind::File { content, .. } = &node.kind else { continue };
        if let Some(first) = content.first() {
            return vault.read_blob(&index, BlobType::Data, first).map(drop);
        }
    }
    Err(Error::failed("no file of the snapshot has any content"))
}
