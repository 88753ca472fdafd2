//! What of a data directory does not belong to a base backup. Pure.
//!
//! Source: PostgreSQL manual, section "Making a Base Backup Using the Low Level API", and what
//! `BASE_BACKUP` itself leaves out. Unlogged tables are left out but for their `_init` forks, from
//! which recovery makes them anew, empty.

use std::collections::HashSet;

/// Directories that recovery needs, but empty.
const EMPTIED: [&str; 9] = [
    "pg_wal",
    "pg_replslot",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
    "pgsql_tmp",
];

/// Directories below an emptied one that a server expects to be there.
pub const KEPT_BELOW_EMPTIED: [&str; 2] = ["pg_wal/archive_status", "pg_wal/summaries"];

/// Files of the running server, or of an earlier backup or recovery.
const LEFT_OUT: [&str; 13] = [
    "postmaster.pid",
    "postmaster.opts",
    "postgresql.auto.conf.tmp",
    "current_logfiles.tmp",
    "backup_label",
    "backup_label.old",
    "backup_manifest",
    "tablespace_map",
    "tablespace_map.old",
    "recovery.signal",
    "standby.signal",
    "recovery.done",
    "pg_internal.init",
];

/// Whether the directory `name` (at the top of the data directory if `top`) is stored empty.
pub fn is_emptied(name: &str, top: bool) -> bool {
    let listed = EMPTIED.contains(&name);
    listed && (top || name == "pgsql_tmp")
}

/// Whether the file `name` is left out. `top`: directly in the data directory.
pub fn is_left_out(name: &str, top: bool) -> bool {
    if name.starts_with("pgsql_tmp") || name.starts_with("pg_internal.init") {
        return true;
    }
    top && LEFT_OUT.contains(&name)
}

/// Whether what a base backup sends under `path`, relative to the data directory (or to a
/// tablespace, where nothing is at the `top`), belongs to the snapshot. Temporary and unlogged
/// relations the server leaves out by itself.
pub fn is_wanted(path: &str, is_dir: bool, in_tablespace: bool) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let is_top = |depth: usize| depth == 0 && !in_tablespace;
    let (name, above) = match parts.split_last() {
        Some((name, above)) => (*name, above),
        None => return false,
    };
    let below_emptied = above.iter().enumerate().any(|(at, part)| is_emptied(part, is_top(at)));
    match (below_emptied, is_dir) {
        (true, true) => !in_tablespace && KEPT_BELOW_EMPTIED.contains(&path),
        (true, false) => false,
        (false, true) => true,
        (false, false) => !is_left_out(name, is_top(above.len())),
    }
}

/// A file of a relation, as its name tells: `16384`, `16384_fsm`, `16384.2`, `t3_16385`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationFile<'a> {
    pub number: &'a str,
    /// `main`, `fsm`, `vm` or `init`.
    pub fork: &'a str,
    /// Which file of 1 GiB (by default), from 0.
    pub segment: u64,
    /// Belongs to one session's temporary table.
    pub temporary: bool,
}

impl<'a> RelationFile<'a> {
    /// Reads a file name of a database directory; `None` if it is no relation's.
    pub fn parse(name: &'a str) -> Option<RelationFile<'a>> {
        let (rest, temporary) = match name.strip_prefix('t').and_then(|rest| rest.split_once('_')) {
            Some((backend, rest)) if is_number(backend) => (rest, true),
            _ => (name, false),
        };
        let (stem, segment) = match rest.split_once('.') {
            Some((stem, segment)) if is_number(segment) => (stem, segment.parse().ok()?),
            Some(_) => return None,
            None => (rest, 0),
        };
        let (number, fork) = stem.split_once('_').unwrap_or((stem, "main"));
        let known = ["main", "fsm", "vm", "init"].contains(&fork);
        (is_number(number) && known).then_some(RelationFile { number, fork, segment, temporary })
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Of the file names of one database directory, those that a base backup leaves out: temporary
/// tables, and every fork but `init` of unlogged ones.
pub fn volatile_relations<'a>(names: impl Iterator<Item = &'a str> + Clone) -> HashSet<&'a str> {
    let relations = || names.clone().filter_map(|n| RelationFile::parse(n).map(|r| (n, r)));
    let inits = relations().filter(|(_, relation)| relation.fork == "init");
    let unlogged: HashSet<&str> = inits.map(|(_, relation)| relation.number).collect();
    let volatile = relations().filter(|(_, relation)| {
        relation.temporary || relation.fork != "init" && unlogged.contains(relation.number)
    });
    volatile.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relation_names_are_told_from_others() {
        let file = |name| RelationFile::parse(name).map(|r| (r.number, r.fork, r.segment));
        assert_eq!(file("16384"), Some(("16384", "main", 0)));
        assert_eq!(file("16384.12"), Some(("16384", "main", 12)));
        assert_eq!(file("16384_vm.1"), Some(("16384", "vm", 1)));
        assert_eq!(file("t5_16384_fsm"), Some(("16384", "fsm", 0)));
        for stranger in ["PG_VERSION", "pg_filenode.map", "16384_x", "1a", "16384.", "pg_control"] {
            assert_eq!(file(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn what_a_server_sends_is_sorted_out_like_what_a_directory_holds() {
        for (path, is_dir, in_tablespace, wanted) in [
            ("base", true, false, true),
            ("base/1/1259", false, false, true),
            ("base/pgsql_tmp/pgsql_tmp1.0", false, false, false),
            ("pg_wal", true, false, true),
            ("pg_wal/archive_status", true, false, true),
            ("pg_wal/other", true, false, false),
            ("pg_wal/000000010000000000000001", false, false, false),
            ("pg_subtrans/0000", false, false, false),
            ("standby.signal", false, false, false),
            ("mine/standby.signal", false, false, true),
            ("PG_15_202209061/5/pg_internal.init", false, true, false),
            ("PG_15_202209061/5/pg_wal", true, true, true),
            ("pg_wal/archive_status", true, true, true),
        ] {
            assert_eq!(is_wanted(path, is_dir, in_tablespace), wanted, "{path}");
        }
    }

    #[test]
    fn unlogged_and_temporary_relations_are_left_out() {
        let names = ["1", "2", "2_init", "2_fsm", "2.1", "t3_4", "PG_VERSION"];
        let mut out: Vec<_> = volatile_relations(names.into_iter()).into_iter().collect();
        out.sort_unstable();
        assert_eq!(out, ["2", "2.1", "2_fsm", "t3_4"]);
    }
}
