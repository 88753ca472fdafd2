//! Manifests: small JSON records, compressed and sealed, written once and last.

use std::io::Read;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Attempt, Error, Result};
use crate::model::{Lsn, ResourceName, SegmentSize, SystemId, Timeline};
use crate::ports::store::{Entry, Put};
use crate::repository::format::Repository;
use crate::repository::listing::{read_each, read_listed};
use crate::repository::{generation, layout};

/// No manifest is larger; also the bound on what a damaged one may unfold to.
const LIMIT_BYTES: u64 = 64 << 20;

/// Writes a manifest if its key is free.
pub fn create<T: Serialize>(repository: &Repository, key: &str, manifest: &T) -> Result<Put> {
    let json = serde_json::to_vec(manifest).attempt(|| format!("write the manifest {key}"))?;
    let compressed =
        zstd::encode_all(json.as_slice(), 3).attempt(|| format!("compress the manifest {key}"))?;
    let sealed = repository.recipients_now()?.seal(&compressed)?;
    repository.store.put_new(key, &sealed)
}

/// Reads a manifest.
///
/// # Errors
/// Absent, sealed to others, damaged, or not of this shape.
pub fn read<T: DeserializeOwned>(repository: &Repository, key: &str) -> Result<T> {
    read_if_sound(repository, key)?
}

/// Reads a manifest that may be damaged. The outer error says that it is not there, or that the
/// store failed; the inner one that it is there and cannot be read.
pub fn read_if_sound<T: DeserializeOwned>(repository: &Repository, key: &str) -> Result<Result<T>> {
    let sealed = repository.store.get(key)?.ok_or_else(|| absent(repository, key))?;
    Ok(decode(repository, key, &sealed))
}

fn absent(repository: &Repository, key: &str) -> Error {
    Error::failed(format!("the manifest {key} is not in {}", repository.store.describe()))
}

/// Opens and reads a manifest as it is stored.
///
/// # Errors
/// Sealed to others, damaged, or not of this shape.
pub fn decode<T: DeserializeOwned>(repository: &Repository, key: &str, sealed: &[u8]) -> Result<T> {
    let what = || format!("read the manifest {key}");
    let compressed = repository.identities()?.open(sealed, LIMIT_BYTES).attempt(what)?;
    let mut json = Vec::new();
    zstd::Decoder::new(compressed.as_slice())
        .and_then(|decoder| decoder.take(LIMIT_BYTES).read_to_end(&mut json))
        .attempt(what)?;
    serde_json::from_slice(&json).attempt(what)
}

/// Reads every manifest below `prefix`, by key. One that cannot be read is an error: an unread
/// manifest must never count as absent. One that retention removes meanwhile is left out.
pub fn read_all<T: DeserializeOwned + Send>(
    repository: &Repository,
    prefix: &str,
) -> Result<Vec<T>> {
    let list = || repository.store.list(prefix);
    read_listed(list, |entries| {
        let manifests = entries.iter().filter(|entry| entry.key.ends_with(".json.age"));
        let manifests: Vec<&Entry> = manifests.collect();
        read_each(&manifests, |entry| read(repository, &entry.key))
    })
}

/// The commit point of a snapshot. Times are UTC; positions are on `timeline`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotManifest {
    pub version: u32,
    /// The instant of its start, as in its key.
    pub id: String,
    pub resource: ResourceName,
    pub method: Method,
    pub cluster: ClusterFacts,
    pub timeline: Timeline,
    /// Where replay must begin: the checkpoint's redo position.
    pub start_lsn: Lsn,
    /// Where the copy becomes consistent.
    pub stop_lsn: Lsn,
    /// When its run was scheduled; `None` for one that nobody scheduled. Its civil date, not that
    /// of the start, makes a snapshot the weekly one (RULES 17).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// By the source's clock.
    pub started_at: Timestamp,
    pub stopped_at: Timestamp,
    /// Whether the source was a standby.
    pub from_standby: bool,
    pub vault: VaultRef,
    pub host: HostMark,
    pub tablespaces: Vec<TablespaceRef>,
    pub files: u64,
    pub bytes: u64,
    /// Plain bytes the vault did not hold before.
    pub new_bytes: u64,
    /// Bytes taken over unread from the snapshot before, its files being unchanged.
    pub unread_bytes: u64,
    /// Whether every file was read, none taken over.
    pub full_read: bool,
    pub pages: PageReport,
    /// Files of configuration outside the data directory, as stored below `config/`.
    pub config_files: Vec<String>,
    /// Tables with their estimated number of rows at the start, for drills.
    pub tables: Vec<TableEstimate>,
    /// Of the lease under which it was committed; 0 where there was none.
    #[serde(default)]
    pub generation: u64,
    /// Where it comes from, if it is a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<CopiedFrom>,
}

/// What a copy is a copy of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedFrom {
    /// The repository of the original.
    pub repository_id: String,
    /// When the copy was complete and read back.
    pub copied_at: Timestamp,
    /// The log that makes it consistent, brought with it.
    pub log: Vec<CopiedLog>,
}

/// An object of the log that was brought along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedLog {
    pub key: String,
    /// When the original was stored: nothing in it is later.
    pub stored_at: Timestamp,
}

/// How the files were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// From the data directory, on the database host.
    Files,
    /// By `BASE_BACKUP` over the replication protocol.
    Stream,
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Method::Files => "files",
            Method::Stream => "stream",
        })
    }
}

/// What a cluster is, from `pg_control` and its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    pub system_id: SystemId,
    /// As `server_version_num` says: 150018.
    pub version_num: u32,
    pub wal_segment_size: SegmentSize,
    /// Bytes of a page.
    pub block_size: u32,
    /// Pages of one file of a relation; 131072 pages of 8 KiB are 1 GiB.
    pub blocks_per_segment: u32,
    pub data_checksums: bool,
}

impl ClusterFacts {
    /// 15, 17, …
    pub fn major(&self) -> u32 {
        self.version_num / 10_000
    }
}

/// Where the vault keeps the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultRef {
    pub epoch: u32,
    /// The restic snapshot id, 64 hexadecimal digits.
    pub snapshot: String,
}

/// Tells a later snapshot whether file times can be compared with this one's (RULES 10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMark {
    /// `/etc/machine-id`, or empty if there is none: then nothing is comparable.
    pub machine: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// Wall clock minus monotonic clock at the start, in milliseconds; moves when the clock steps.
    pub clock_offset_ms: i64,
    /// The data directory's path.
    pub data_dir: String,
}

/// A tablespace outside the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablespaceRef {
    pub oid: u32,
    /// Where it was on the source; never written to by a restore.
    pub location: String,
}

/// What checking the pages found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageReport {
    /// Whether pages carry checksums at all; "not checkable" is not "clean".
    pub checkable: bool,
    pub checked: u64,
    /// The first of them, at most [`PageReport::LISTED`].
    pub damaged: Vec<DamagedPage>,
    pub damaged_count: u64,
}

impl PageReport {
    /// How many damaged pages are listed by name.
    pub const LISTED: usize = 1_000;
}

/// One page whose checksum is wrong, read twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DamagedPage {
    /// Relative to the data directory.
    pub file: String,
    /// Number of the page in this file, from 0.
    pub page: u64,
}

/// A table as the source's statistics saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableEstimate {
    pub database: String,
    /// Schema and name, quoted where PostgreSQL would.
    pub table: String,
    /// `reltuples`; negative if never analysed.
    pub rows: f64,
}

/// A cluster met for the first time under a resource's name; another system id is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterManifest {
    pub version: u32,
    pub registered_at: Timestamp,
    pub cluster: ClusterFacts,
    /// The timeline it was on; later ones must descend from it.
    pub timeline: Timeline,
}

/// A stretch of log that is missing for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapManifest {
    pub version: u32,
    pub recorded_at: Timestamp,
    pub system_id: SystemId,
    pub timeline: Timeline,
    /// First missing byte.
    pub from: Lsn,
    /// First byte that is stored again.
    pub to: Lsn,
    pub reason: String,
}

/// Every committed snapshot of a resource, oldest first, without those that were committed too
/// late: after another installation had taken over.
pub fn snapshots(
    repository: &Repository,
    resource: &ResourceName,
) -> Result<Vec<SnapshotManifest>> {
    snapshots_and_late(repository, resource).map(|(counting, _)| counting)
}

/// The same, and those that were committed too late.
pub fn snapshots_and_late(
    repository: &Repository,
    resource: &ResourceName,
) -> Result<(Vec<SnapshotManifest>, Vec<SnapshotManifest>)> {
    let all = read_all(repository, &layout::snapshots(resource))?;
    generation::split(repository, all)
}

/// Every recorded gap of a resource, oldest first.
pub fn gaps(repository: &Repository, resource: &ResourceName) -> Result<Vec<GapManifest>> {
    read_all(repository, &layout::gaps(resource))
}

/// The clusters met under a resource's name, oldest registration first; the last is its own now.
pub fn clusters(repository: &Repository, resource: &ResourceName) -> Result<Vec<ClusterManifest>> {
    let mut clusters: Vec<ClusterManifest> = read_all(repository, &layout::clusters(resource))?;
    clusters.sort_by_key(|cluster| cluster.registered_at);
    Ok(clusters)
}
