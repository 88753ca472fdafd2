//! Locks of objects, over every store: those that have them, and those that have none.

use std::sync::Arc;
use std::time::Duration;

use fenice::adapters::folder::FolderStore;
use fenice::adapters::memory::MemoryStore;
use fenice::adapters::system::SystemClock;
use fenice::error::Kind;
use fenice::model::LockMode;
use fenice::ports::Store;
use fenice::ports::store::{Put, Replaced, Retained, locked_until};
use jiff::Timestamp;

use crate::support::{Bucket, wait_for};

/// Runs `test` over an empty store of each kind that locks.
fn each_locking(test: impl Fn(Arc<dyn Store>)) {
    test(Arc::new(MemoryStore::with_locks(Arc::new(SystemClock))));
    for mode in [LockMode::Governance, LockMode::Compliance] {
        test(Arc::new(Bucket::lockable().locking(mode).unwrap()));
    }
}

/// In so many seconds, to the second: every store counts at least those.
fn after(seconds: u64) -> Timestamp {
    let at = Timestamp::now().checked_add(Duration::from_secs(seconds)).unwrap();
    Timestamp::from_second(at.as_second()).unwrap()
}

const HOUR: u64 = 3_600;

#[test]
fn a_store_without_locks_says_so_and_removes_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn Store>; 4] = [
        Arc::new(MemoryStore::new()),
        Arc::new(FolderStore::open(dir.path()).unwrap()),
        Arc::new(Bucket::new().store()),
        Arc::new(Bucket::lockable().store()),
    ];
    for store in stores {
        store.put_new("a/b", b"one").unwrap();
        assert!(!store.locks());
        for key in ["a/b", "a/c"] {
            assert_eq!(store.retain(key, after(HOUR)).unwrap(), Retained::NotLocking);
            assert_eq!(store.retained_until(key).unwrap(), None);
        }
        assert!(store.retain("../a", after(HOUR)).is_err());
        assert!(store.retained_until("../a").is_err());
        store.remove("a/b").unwrap();
        assert_eq!(store.get("a/b").unwrap(), None);
    }
}

#[test]
fn what_is_locked_is_not_removed() {
    each_locking(|store| {
        assert!(store.locks());
        store.put_new("a/b", b"one").unwrap();
        store.put_new("a/c", b"another").unwrap();
        assert_eq!(store.retained_until("a/b").unwrap(), None);
        let until = after(HOUR);
        assert_eq!(store.retain("a/b", until).unwrap(), Retained::Until(until));
        assert_eq!(store.retained_until("a/b").unwrap(), Some(until));
        let refused = store.remove("a/b").unwrap_err();
        assert_eq!(refused.kind(), Kind::Refused, "{refused:?}");
        assert_eq!(locked_until(&refused), Some(until), "{refused:?}");
        assert_eq!(store.get("a/b").unwrap().unwrap(), b"one");
        assert_eq!(store.list("a/").unwrap().len(), 2);
        assert_eq!(store.put_new("a/b", b"two").unwrap(), Put::Exists);
        // Nobody else's business.
        store.remove("a/c").unwrap();
        assert_eq!(store.get("a/c").unwrap(), None);
    });
}

#[test]
fn a_lock_is_extended_and_never_shortened() {
    each_locking(|store| {
        store.put_new("a/b", b"one").unwrap();
        let ends = [after(2 * HOUR), after(HOUR), after(2 * HOUR), after(3 * HOUR)];
        let mut latest = Timestamp::MIN;
        for until in ends {
            latest = latest.max(until);
            assert_eq!(store.retain("a/b", until).unwrap(), Retained::Until(latest));
            assert_eq!(store.retained_until("a/b").unwrap(), Some(latest));
        }
    });
}

#[test]
fn what_is_absent_is_told_to_be() {
    each_locking(|store| {
        assert_eq!(store.retain("a/b", after(HOUR)).unwrap(), Retained::Absent);
        assert_eq!(store.retained_until("a/b").unwrap(), None);
        store.remove("a/b").unwrap();
        store.put_new("a/b", b"one").unwrap();
        assert_eq!(store.retained_until("a/b").unwrap(), None);
    });
}

#[test]
fn once_its_lock_has_ended_it_goes() {
    each_locking(|store| {
        store.put_new("a/b", b"one").unwrap();
        let until = after(5);
        assert_eq!(store.retain("a/b", until).unwrap(), Retained::Until(until));
        wait_for("the end of a lock", || match store.remove("a/b") {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(locked_until(&error), Some(until), "{error:?}");
                assert_eq!(store.get("a/b").unwrap().unwrap(), b"one");
                false
            }
        });
        assert!(Timestamp::now() >= until, "it went before its time");
        assert_eq!(store.get("a/b").unwrap(), None);
        assert_eq!(store.put_new("a/b", b"two").unwrap(), Put::Created);
    });
}

#[test]
fn what_replaces_a_locked_object_is_locked_as_long_and_the_old_one_is_told() {
    each_locking(|store| {
        store.put_new("a/b", b"one").unwrap();
        let until = after(HOUR);
        store.retain("a/b", until).unwrap();
        for (versions, body) in [(1, b"two"), (2, b"new")] {
            let replaced = store.replace("a/b", &mut |_| Ok(body.to_vec())).unwrap();
            assert_eq!(replaced, Replaced::Kept { versions, until });
            assert_eq!(store.get("a/b").unwrap().unwrap(), body);
            assert_eq!(store.retained_until("a/b").unwrap(), Some(until));
        }
        assert_eq!(locked_until(&store.remove("a/b").unwrap_err()), Some(until));
        assert_eq!(store.get("a/b").unwrap().unwrap(), b"new");
        assert_eq!(store.list("").unwrap().len(), 1);
    });
}

#[test]
fn a_refused_removal_leaves_no_mark_of_deletion_on_top() {
    let bucket = Bucket::lockable();
    let store = bucket.locking(LockMode::Governance).unwrap();
    store.put_new("a/b", b"one").unwrap();
    let until = after(HOUR);
    store.retain("a/b", until).unwrap();
    store.remove("a/b").unwrap_err();
    // Nor by whoever is not configured to lock.
    let refused = bucket.store().remove("a/b").unwrap_err();
    assert_eq!(locked_until(&refused), Some(until), "{refused:?}");
    assert_eq!(bucket.versions(), (1, 0));
}

#[test]
fn a_bucket_that_cannot_lock_is_refused() {
    for bucket in [Bucket::new(), Bucket::versioned()] {
        let error = bucket.locking(LockMode::Compliance).err().unwrap();
        assert_eq!(error.kind(), Kind::Config, "{error:?}");
        assert!(error.hint_text().unwrap().contains("object_lock"), "{error:?}");
    }
}
