//! Committing a snapshot: its manifest, written under the generation of the lease, and what was
//! written only acknowledged once it is certain to count (RULES 21).

use crate::error::{Error, Kind, Result};
use crate::ports::store::Put;
use crate::repository::generation;
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::{Repository, layout};

/// This installation begins generations of its own only where a writer died.
const ROUNDS: u32 = 3;

/// Writes the manifest of a snapshot whose data is stored. `may_commit` is asked just before:
/// whether this process may still write, and in which generation. It is that of the writer's pin,
/// and never a newer one that the lease has meanwhile: whoever removed the pin may have removed
/// what the snapshot uses, and made sure only that nothing of the pin's generation counts any more.
///
/// # Errors
/// There is one of that id; those of `may_commit`. `Kind::Busy` if another installation took over
/// meanwhile: the manifest that may be there then does not count.
pub fn snapshot(
    repository: &Repository,
    manifest: &SnapshotManifest,
    may_commit: &dyn Fn() -> Result<u64>,
) -> Result<SnapshotManifest> {
    let key = layout::snapshot(&manifest.resource, &manifest.id);
    for _ in 0..ROUNDS {
        let generation = may_commit()?;
        let record = SnapshotManifest { generation, ..manifest.clone() };
        if manifest::create(repository, &key, &record)? == Put::Exists {
            let what = format!("a manifest of snapshot {} exists already", manifest.id);
            return Err(Error::failed(what));
        }
        if counts(repository, &record)? {
            return Ok(record);
        }
        // Nor will it ever: written anew, in the generation that began meanwhile.
        if let Some(lease) = repository.lease() {
            lease.renew()?;
        }
        repository.store.remove(&key)?;
    }
    let what = format!("snapshot {} could not be committed", manifest.id);
    Err(Error::new(Kind::Busy, what).because("each time another generation began meanwhile"))
}

/// Whether what was just committed counts for good. A takeover that is seen here may have come
/// before or after: what it recorded tells.
fn counts(repository: &Repository, record: &SnapshotManifest) -> Result<bool> {
    let Some(lease) = repository.lease() else { return Ok(true) };
    if lease.is_still(record.generation)? {
        return Ok(true);
    }
    match generation::newest(repository.store.as_ref())? {
        Some(newest) if newest.generation > record.generation => Ok(newest.counts(record)),
        _ => Err(Error::new(Kind::Busy, "another generation is just beginning")
            .because(format!("it is not recorded yet whether snapshot {} counts", record.id))
            .hint("`fenice list` shows it if it does.")),
    }
}
