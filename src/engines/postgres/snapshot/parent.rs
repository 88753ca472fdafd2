//! Which files need not be read again (RULES 10). Pure.

use jiff::{SignedDuration, Timestamp};

use crate::repository::manifest::{HostMark, Method, SnapshotManifest};

use super::scan::Stat;

/// The wall clock may drift against the monotonic one this much between two snapshots.
const CLOCK_STEP_MS: i64 = 1_000;
/// File times are as coarse as the kernel's tick; a change within the parent's own start could
/// hide behind an equal time.
const CLEARLY_BEFORE: SignedDuration = SignedDuration::from_secs(2);

/// Whether `parent` may lend its unread files to a snapshot that begins now, in the vault of
/// `epoch`, or why not.
pub fn is_lender(
    parent: &SnapshotManifest,
    epoch: u32,
    here: &HostMark,
    timeline: crate::model::Timeline,
    full_read_due: bool,
) -> Result<(), String> {
    let refuse = |why: &str| Err(why.to_owned());
    if parent.vault.epoch != epoch {
        return refuse("the vault's key was rotated: all of it is stored anew");
    }
    if full_read_due {
        return refuse("a full read is due");
    }
    if parent.method != Method::Files {
        return refuse("the last snapshot was not read from files");
    }
    if parent.timeline != timeline {
        return refuse("the timeline changed");
    }
    let theirs = &parent.host;
    if theirs.machine.is_empty() || theirs.machine != here.machine {
        return refuse("the last snapshot was read on another host");
    }
    if theirs.data_dir != here.data_dir {
        return refuse("the data directory moved");
    }
    if theirs.boot != here.boot {
        return refuse("the host was restarted, so that a step of its clock would go unseen");
    }
    if (theirs.clock_offset_ms - here.clock_offset_ms).abs() > CLOCK_STEP_MS {
        return refuse("the host's clock was set");
    }
    Ok(())
}

/// Whether a file is the one the parent stored, unchanged since.
pub fn is_unchanged(now: &Stat, then: &Stat, parent_started_at: Timestamp) -> bool {
    let clearly_before = |at: Timestamp| parent_started_at.duration_since(at) > CLEARLY_BEFORE;
    now.size == then.size
        && now.mtime == then.mtime
        && now.ctime == then.ctime
        && now.inode == then.inode
        && now.device == then.device
        && clearly_before(now.mtime)
        && clearly_before(now.ctime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(mtime: i64) -> Stat {
        let at = Timestamp::from_second(mtime).unwrap();
        Stat {
            size: 8_192,
            mtime: at,
            ctime: at,
            inode: 7,
            device: 1,
            permissions: 0o600,
            uid: 0,
            gid: 0,
        }
    }

    #[test]
    fn any_difference_means_read_again() {
        let parent = Timestamp::from_second(1_000).unwrap();
        assert!(is_unchanged(&stat(900), &stat(900), parent));
        let changes: [fn(&mut Stat); 5] = [
            |s| s.size += 1,
            |s| s.mtime = Timestamp::from_second(901).unwrap(),
            |s| s.ctime = Timestamp::from_second(901).unwrap(),
            |s| s.inode += 1,
            |s| s.device += 1,
        ];
        for change in changes {
            let mut now = stat(900);
            change(&mut now);
            assert!(!is_unchanged(&now, &stat(900), parent));
        }
    }

    #[test]
    fn a_time_near_the_parents_start_proves_nothing() {
        let parent = Timestamp::from_second(1_000).unwrap();
        assert!(is_unchanged(&stat(997), &stat(997), parent));
        for near in [998, 999, 1_000, 1_005] {
            assert!(!is_unchanged(&stat(near), &stat(near), parent), "{near}");
        }
    }
}
