//! The only place that spells keys (DESIGN.md section 4). Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Error, Result};
use crate::model::wal_name::segment_name;
use crate::model::{Extent, ResourceName, SegmentSize, SystemId, Timeline};

/// Format, repository id, public recipients: the only clear text.
pub const FORMAT: &str = "fenice.json";

/// A secret sealed to the recovery recipients.
pub fn secret(name: &str) -> String {
    format!("keys/{name}.age")
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
    fn instants_sort_as_time() {
        let early: Timestamp = "2026-11-22T02:00:00.5Z".parse().unwrap();
        let late: Timestamp = "2026-11-22T02:00:01Z".parse().unwrap();
        assert_eq!(instant(early), "20261122T020000.500Z");
        assert!(instant(early) < instant(late));
    }
}
