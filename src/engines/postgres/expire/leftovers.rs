//! What lies in a repository besides manifests of snapshots, log and evidence. Of a retired
//! resource it goes last (`plan::retention::closing`), of an ended epoch of the vault in the same
//! order (`ended`).

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::model::ResourceName;
use crate::plan::retention::{Leftover, LeftoverKind};
use crate::repository::vault::Id;
use crate::repository::{Repository, layout, secrets};

/// Lists them. `histories` are the keys of timeline histories, which the log's own listing gave.
pub(super) fn list(
    repository: &Repository,
    resource: &ResourceName,
    histories: Vec<String>,
) -> Result<Vec<Leftover>> {
    let store = &repository.store;
    let mut listed = store.list(&layout::resource(resource))?;
    listed.extend(store.list(layout::SECRETS)?);
    let known = listed.into_iter().filter_map(|entry| {
        kind_of(resource, &entry.key).map(|kind| Leftover { kind, key: entry.key })
    });
    let histories = histories.into_iter().map(|key| Leftover { kind: LeftoverKind::History, key });
    Ok(known.chain(histories).collect())
}

/// Everything of the resource's vaults by epoch, each in the order in which it goes.
pub(super) fn of_vaults(
    repository: &Repository,
    resource: &ResourceName,
) -> Result<BTreeMap<u32, BTreeSet<Leftover>>> {
    let mut listed = repository.store.list(&layout::resource(resource))?;
    listed.extend(repository.store.list(layout::SECRETS)?);
    let epoch = |key: &str| match layout::in_vault(resource, key) {
        Some((epoch, _)) => Some(epoch),
        None => secrets::vault_epoch(resource, layout::secret_name(key)?),
    };
    let mut parts: BTreeMap<u32, BTreeSet<Leftover>> = BTreeMap::new();
    for key in listed.into_iter().map(|entry| entry.key) {
        if let (Some(epoch), Some(kind)) = (epoch(&key), kind_of(resource, &key)) {
            parts.entry(epoch).or_default().insert(Leftover { kind, key });
        }
    }
    Ok(parts)
}

/// What a key is; `None` for snapshots, log, evidence, secrets of others, and for strangers.
fn kind_of(resource: &ResourceName, key: &str) -> Option<LeftoverKind> {
    if let Some(path) = layout::within_vault(resource, key) {
        return Some(part_of_vault(path));
    }
    if let Some(name) = layout::secret_name(key) {
        let heartbeat = name == secrets::heartbeat_key(resource);
        let password = secrets::is_vault_password(resource, name);
        return match (password, heartbeat) {
            (true, _) => Some(LeftoverKind::VaultPassword),
            (_, true) => Some(LeftoverKind::HeartbeatKey),
            (false, false) => None,
        };
    }
    let known = [
        (layout::gaps(resource), LeftoverKind::Gap),
        (layout::clusters(resource), LeftoverKind::Cluster),
    ];
    known.into_iter().find(|(prefix, _)| key.starts_with(prefix)).map(|(_, kind)| kind)
}

/// A pack or a snapshot has an id for a name. What has not is an unfinished upload of another
/// program, which pruning does not see.
fn part_of_vault(path: &str) -> LeftoverKind {
    let is_named = path.rsplit('/').next().is_some_and(|name| name.parse::<Id>().is_ok());
    let is_data = path.starts_with("data/") || path.starts_with("snapshots/");
    match path {
        "config" => LeftoverKind::VaultConfig,
        _ if is_data && is_named => LeftoverKind::Data,
        _ => LeftoverKind::VaultPart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SystemId;

    #[test]
    fn everything_is_known_for_what_it_is_and_evidence_is_nothing_of_it() {
        let of: ResourceName = "registro".parse().unwrap();
        let other: ResourceName = "registro-2".parse().unwrap();
        let id = "ab".repeat(32);
        let vault = layout::vault(&of, 1);
        let secret =
            |of: &ResourceName, epoch: u32| layout::secret(&secrets::vault_password(of, epoch));
        for (key, kind) in [
            (format!("{vault}config"), Some(LeftoverKind::VaultConfig)),
            (format!("{vault}data/ab/{id}"), Some(LeftoverKind::Data)),
            (format!("{vault}snapshots/{id}"), Some(LeftoverKind::Data)),
            (format!("{}data/ab/{id}", layout::vault(&of, 2)), Some(LeftoverKind::Data)),
            (format!("{vault}data/ab/{id}.tmp"), Some(LeftoverKind::VaultPart)),
            (format!("{vault}index/{id}"), Some(LeftoverKind::VaultPart)),
            (format!("{vault}keys/{id}"), Some(LeftoverKind::VaultPart)),
            (secret(&of, 1), Some(LeftoverKind::VaultPassword)),
            (secret(&of, 2), Some(LeftoverKind::VaultPassword)),
            (secret(&other, 1), None),
            (layout::secret(&secrets::heartbeat_key(&of)), Some(LeftoverKind::HeartbeatKey)),
            (layout::secret(&secrets::heartbeat_key(&other)), None),
            (layout::gap(&of, "x"), Some(LeftoverKind::Gap)),
            (layout::cluster(&of, SystemId(7)), Some(LeftoverKind::Cluster)),
            (layout::cluster(&other, SystemId(7)), None),
            (layout::snapshot(&of, "x"), None),
            (format!("{}x", layout::wal(&of, SystemId(7))), None),
            (layout::hold(&of, "x"), None),
            (layout::hold_release(&of, "x"), None),
            (layout::retirement(&of, "x"), None),
            (layout::reinstatement(&of, "x"), None),
            (layout::drill(&of, "x"), None),
            (layout::resource(&of) + "notes.txt", None),
        ] {
            assert_eq!(kind_of(&of, &key), kind, "{key}");
        }
    }
}
