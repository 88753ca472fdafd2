//! The only place that spells keys (DESIGN.md section 4). Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Error, Result};
use crate::model::wal_name::segment_name;
use crate::model::{Extent, ResourceName, SegmentSize, SystemId, Timeline};

/// Format, repository id, public recipients: the only clear text.
pub const FORMAT: &str = "fenice.json";

/// Who may write.
pub const LEASE: &str = "lease.json";

/// Prefix of [`generation`].
pub const GENERATIONS: &str = "generations/";

/// What there was when a generation of writers began. Sorts by its number.
pub fn generation(number: u64) -> String {
    format!("{GENERATIONS}{number:020}.json")
}

/// The number within [`generation`]'s key; `None` for strangers.
pub fn generation_number(key: &str) -> Option<u64> {
    key.strip_prefix(GENERATIONS)?.strip_suffix(".json")?.parse().ok()
}

/// Prefix of [`secret`].
pub const SECRETS: &str = "keys/";

/// A secret sealed to the recovery recipients.
pub fn secret(name: &str) -> String {
    format!("{SECRETS}{name}.age")
}

/// The name within [`secret`]'s key.
pub fn secret_name(key: &str) -> Option<&str> {
    key.strip_prefix(SECRETS)?.strip_suffix(".age")
}

/// Whether the object of that key is sealed to the recovery recipients.
pub fn is_sealed(key: &str) -> bool {
    key.ends_with(".age")
}

/// The resource whose recovery is made from the object of that key, if any is.
pub fn resource_of(key: &str) -> Option<ResourceName> {
    let (name, _) = key.strip_prefix("postgres/")?.split_once('/')?;
    name.parse().ok()
}

/// Prefix of everything that a PostgreSQL resource's recovery is made from.
pub fn resource(resource: &ResourceName) -> String {
    format!("postgres/{resource}/")
}

/// Prefix of a cluster's vault, a restic v2 repository. `epoch` counts vault keys from 1.
pub fn vault(resource: &ResourceName, epoch: u32) -> String {
    match epoch {
        1 => format!("postgres/{resource}/vault/"),
        later => format!("postgres/{resource}/vault-{later}/"),
    }
}

/// The epoch of the vault that a key lies in, and what follows [`vault`] in it; `None` for keys of
/// no vault of `of`.
pub fn in_vault<'k>(of: &ResourceName, key: &'k str) -> Option<(u32, &'k str)> {
    let (folder, path) = key.strip_prefix(resource(of).as_str())?.split_once('/')?;
    let epoch = match folder.strip_prefix("vault")? {
        "" => 1,
        suffix => suffix.strip_prefix('-')?.parse().ok()?,
    };
    // One epoch has one spelling.
    (epoch > 0 && key.starts_with(&vault(of, epoch))).then_some((epoch, path))
}

/// What follows [`vault`] in a key, of whatever epoch; `None` for keys of no vault of `of`.
pub fn within_vault<'k>(of: &ResourceName, key: &'k str) -> Option<&'k str> {
    in_vault(of, key).map(|(_, path)| path)
}

/// What was learnt of a cluster when it was first met.
pub fn cluster(resource: &ResourceName, system_id: SystemId) -> String {
    format!("{}{system_id}.json.age", clusters(resource))
}

/// Prefix of [`cluster`].
pub fn clusters(resource: &ResourceName) -> String {
    format!("postgres/{resource}/clusters/")
}

/// Prefix of the log of every cluster that ever bore a resource's name.
pub fn wals(resource: &ResourceName) -> String {
    format!("postgres/{resource}/wal/")
}

/// Prefix of everything stored of one cluster's log.
pub fn wal(resource: &ResourceName, system_id: SystemId) -> String {
    format!("{}{system_id}/", wals(resource))
}

/// One stored stretch of log. Parts carry their range in eight hexadecimal digits each, so that
/// they sort by it.
pub fn wal_object(
    resource: &ResourceName,
    system_id: SystemId,
    timeline: Timeline,
    segment: u64,
    size: SegmentSize,
    extent: Extent,
) -> String {
    let name = segment_name(timeline, segment, size);
    match extent {
        Extent::Whole => wal_file(resource, system_id, timeline, &name),
        Extent::Part { from, to } => {
            wal_file(resource, system_id, timeline, &format!("{name}.{from:08X}-{to:08X}"))
        }
    }
}

/// A file of `pg_wal` under its own name: a segment, a history, a label.
pub fn wal_file(
    resource: &ResourceName,
    system_id: SystemId,
    timeline: Timeline,
    name: &str,
) -> String {
    format!("{}{:08X}/{name}.zst.age", wal(resource, system_id), timeline.0)
}

/// The file name within [`wal_file`]'s key, without folder and suffix; `None` for strangers.
pub fn wal_file_name(key: &str) -> Option<&str> {
    key.rsplit('/').next()?.strip_suffix(".zst.age")
}

/// The range in a part's file name: `("000…5", from, to)`.
pub fn part_range(name: &str) -> Option<(&str, u64, u64)> {
    let (segment, range) = name.split_once('.')?;
    let (from, to) = range.split_once('-')?;
    let digits = |text: &str| match text.len() {
        8 => u64::from_str_radix(text, 16).ok(),
        _ => None,
    };
    let (from, to) = (digits(from)?, digits(to)?);
    (from < to).then_some((segment, from, to))
}

/// Prefix of the manifests of a resource's snapshots.
pub fn snapshots(resource: &ResourceName) -> String {
    format!("postgres/{resource}/snapshots/")
}

/// A snapshot's manifest, its commit point. `id` is [`instant`] of the snapshot's start.
pub fn snapshot(resource: &ResourceName, id: &str) -> String {
    format!("{}{id}.json.age", snapshots(resource))
}

/// Prefix of a resource's recorded gaps.
pub fn gaps(resource: &ResourceName) -> String {
    format!("postgres/{resource}/gaps/")
}

/// A stretch of log that is missing for ever.
pub fn gap(resource: &ResourceName, id: &str) -> String {
    format!("{}{id}.json.age", gaps(resource))
}

/// Prefix of the reports of a resource's drills.
pub fn drills(resource: &ResourceName) -> String {
    format!("drills/{resource}/")
}

/// The report of one drill.
pub fn drill(resource: &ResourceName, id: &str) -> String {
    format!("{}{id}.json.age", drills(resource))
}

/// Prefix of the orders to keep things of a resource.
pub fn holds(resource: &ResourceName) -> String {
    format!("postgres/{resource}/holds/given/")
}

/// An order to keep.
pub fn hold(resource: &ResourceName, id: &str) -> String {
    format!("{}{id}.json.age", holds(resource))
}

/// Prefix of the ends of such orders.
pub fn hold_releases(resource: &ResourceName) -> String {
    format!("postgres/{resource}/holds/released/")
}

/// The end of the order `id`.
pub fn hold_release(resource: &ResourceName, id: &str) -> String {
    format!("{}{id}.json.age", hold_releases(resource))
}

/// Prefix of the orders that took a resource out of use.
pub fn retirements(resource: &ResourceName) -> String {
    format!("postgres/{resource}/retirements/given/")
}

/// An order that took a resource out of use.
pub fn retirement(resource: &ResourceName, id: &str) -> String {
    format!("{}{id}.json.age", retirements(resource))
}

/// Prefix of the ends of such orders.
pub fn reinstatements(resource: &ResourceName) -> String {
    format!("postgres/{resource}/retirements/ended/")
}

/// The end of the order `id`: the resource is in use again.
pub fn reinstatement(resource: &ResourceName, id: &str) -> String {
    format!("{}{id}.json.age", reinstatements(resource))
}

/// Prefix of [`pin`].
pub const PINS: &str = "pins/";

/// What a reader needs to stay while it reads.
pub fn pin(id: &str) -> String {
    format!("{PINS}{id}.json")
}

/// The id within a manifest's key.
pub fn manifest_id(key: &str) -> Result<&str> {
    let name = key.rsplit('/').next().and_then(|name| name.strip_suffix(".json.age"));
    name.ok_or_else(|| Error::failed(format!("{key} is not the key of a manifest")))
}

/// An instant as it stands in keys: `20261122T020000.123Z`, sorted as time.
pub fn instant(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parts_name_gives_back_its_range() {
        let resource: ResourceName = "registro".parse().unwrap();
        let extent = Extent::Part { from: 0x10, to: 0xABCD };
        let key = wal_object(&resource, SystemId(7), Timeline(2), 5, SegmentSize::DEFAULT, extent);
        assert_eq!(
            key,
            "postgres/registro/wal/7/00000002/000000020000000000000005.00000010-0000ABCD.zst.age"
        );
        let name = wal_file_name(&key).unwrap();
        assert_eq!(part_range(name), Some(("000000020000000000000005", 0x10, 0xABCD)));
        assert_eq!(part_range("000000020000000000000005.00000010-00000010"), None);
    }

    #[test]
    fn vaults_of_every_epoch_are_known_by_their_keys() {
        let of: ResourceName = "registro".parse().unwrap();
        for (key, path) in [
            (vault(&of, 1) + "config", Some("config")),
            (vault(&of, 12) + "data/ab/abc", Some("data/ab/abc")),
            ("postgres/registro/vault-1/config".to_owned(), None),
            ("postgres/registro/vault-02/config".to_owned(), None),
            ("postgres/registro/vault-0/config".to_owned(), None),
            ("postgres/registro/vaults/config".to_owned(), None),
            ("postgres/registro-2/vault/config".to_owned(), None),
            (snapshot(&of, "vault"), None),
        ] {
            assert_eq!(within_vault(&of, &key), path, "{key}");
        }
        assert_eq!(in_vault(&of, &(vault(&of, 1) + "config")), Some((1, "config")));
        assert_eq!(in_vault(&of, &(vault(&of, 12) + "keys/ab")), Some((12, "keys/ab")));
        assert_eq!(secret_name(&secret("postgres.registro.x")), Some("postgres.registro.x"));
        assert_eq!(secret_name("keys/notes.txt"), None);
    }

    #[test]
    fn instants_sort_as_time() {
        let early: Timestamp = "2026-11-22T02:00:00.5Z".parse().unwrap();
        let late: Timestamp = "2026-11-22T02:00:01Z".parse().unwrap();
        assert_eq!(instant(early), "20261122T020000.500Z");
        assert!(instant(early) < instant(late));
    }
}
