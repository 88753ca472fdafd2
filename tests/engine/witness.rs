//! What must be true of a repository at any instant, checked against the server's own log.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use fenice::engines::postgres::cluster;
use fenice::engines::postgres::restore::facts::open_vault;
use fenice::model::wal_name::segment_name;
use fenice::model::{Extent, ResourceName, WalInventory, WalObject};
use fenice::repository::manifest::{self, SnapshotManifest};
use fenice::repository::seal::{Identities, Recipients};
use fenice::repository::wal::WalArchive;
use fenice::repository::{Repository, secrets};

use crate::cli::rig::{Place, RESOURCE};
use crate::support::{Cluster, Home};

/// Looks at the repository of a place as a stranger would who has the recovery key.
pub struct Witness {
    repository: Repository,
    resource: ResourceName,
    archive: WalArchive,
    /// Where the server keeps every segment it ever wrote.
    pg_wal: PathBuf,
    home: Arc<Home>,
    password_file: PathBuf,
    /// Objects never change, so that each is read once until the end.
    seen: BTreeSet<String>,
}

impl Witness {
    /// The cluster must be registered, and keep all its log.
    pub fn of(place: &Place, server: &Cluster) -> Witness {
        let identity = std::fs::read_to_string(place.path("identity.age")).unwrap();
        let identities = Identities::parse(&identity).unwrap();
        let recipients = Recipients::parse(&identities.recipients()).unwrap();
        let repository =
            Repository::open(place.home.store(), recipients, Some(identities)).unwrap();
        let resource: ResourceName = RESOURCE.parse().unwrap();
        let registered = cluster::registered(&repository, &resource).unwrap();
        let archive = cluster::archive(&repository, &resource, &registered.cluster, 3);
        Witness {
            repository,
            resource,
            archive,
            pg_wal: server.data_dir().join("pg_wal"),
            home: place.home.clone(),
            password_file: place.path("vault-password"),
            seen: BTreeSet::new(),
        }
    }

    /// Every manifest is complete, every object of the log is the server's own bytes.
    pub fn look(&mut self) {
        let snapshots = manifest::snapshots(&self.repository, &self.resource).unwrap();
        let inventory = self.archive.inventory().unwrap();
        self.check_log(&inventory);
        self.check_snapshots(&snapshots, &inventory);
        let gaps = manifest::gaps(&self.repository, &self.resource).unwrap();
        assert!(gaps.is_empty(), "{gaps:?}");
    }

    /// The same, and every object is read again, and restic reads all data of the vault.
    pub fn look_at_everything(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        self.look();
        assert!(seen.is_subset(&self.seen), "objects of the log have vanished");
        println!("{} objects of the log are the server's own bytes", self.seen.len());
        self.check_by_restic();
    }

    fn check_snapshots(&self, snapshots: &[SnapshotManifest], inventory: &WalInventory) {
        let vault = open_vault(&self.repository, snapshots.last().unwrap()).unwrap();
        let findings = vault.check(false).unwrap();
        let damage: Vec<_> = findings.iter().filter(|finding| finding.is_damage()).collect();
        assert!(damage.is_empty(), "{damage:?}");
        for snapshot in snapshots {
            let restic = snapshot.vault.snapshot.parse().unwrap();
            vault.snapshot(&restic).unwrap();
            assert_eq!(snapshot.pages.damaged_count, 0, "{:?}", snapshot.pages);
            let history = inventory.history(snapshot.timeline).unwrap();
            let stored = inventory.stored_until(&history, snapshot.start_lsn);
            assert!(stored >= snapshot.stop_lsn, "{}: {stored}", snapshot.id);
        }
    }

    /// Whole segments and parts alike are what the server wrote there; so they agree.
    fn check_log(&mut self, inventory: &WalInventory) {
        for object in &inventory.objects {
            if self.seen.contains(&object.key) {
                continue;
            }
            let stored = self.archive.read(object).unwrap();
            assert!(stored == self.original(object), "{} is not the server's", object.key);
            self.seen.insert(object.key.clone());
        }
    }

    fn original(&self, object: &WalObject) -> Vec<u8> {
        let size = self.archive.segment_size;
        let (from, to) = match object.extent {
            Extent::Whole => (0, size.bytes()),
            Extent::Part { from, to } => (from, to),
        };
        let path = self.pg_wal.join(segment_name(object.timeline, object.segment, size));
        let mut bytes = vec![0; (to - from) as usize];
        let read = File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, from));
        read.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        bytes
    }

    fn check_by_restic(&self) {
        let name = secrets::vault_password(&self.resource, 1);
        let password = secrets::read(&self.repository, &name).unwrap().unwrap();
        let vault = format!("postgres/{RESOURCE}/vault");
        self.home.restic_check(&vault, &password, &self.password_file);
    }
}
