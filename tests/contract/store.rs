//! What every `Store` must do, over each of them.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use fenice::adapters::folder::FolderStore;
use fenice::adapters::memory::MemoryStore;
use fenice::error::{Error, Kind};
use fenice::ports::Store;
use fenice::ports::store::{Put, Replaced};

use crate::support::Bucket;

/// Runs `test` over an empty store of each kind.
fn each(test: impl Fn(Arc<dyn Store>)) {
    test(Arc::new(MemoryStore::new()));
    let dir = tempfile::tempdir().unwrap();
    test(Arc::new(FolderStore::open(dir.path()).unwrap()));
    test(Arc::new(Bucket::new().store()));
    test(Arc::new(Bucket::versioned().store()));
}

fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.list(prefix).unwrap().into_iter().map(|entry| entry.key).collect()
}

#[test]
fn an_object_is_written_once_and_never_changed() {
    each(|store| {
        assert_eq!(store.put_new("a/b/one", b"first").unwrap(), Put::Created);
        assert_eq!(store.put_new("a/b/one", b"second").unwrap(), Put::Exists);
        assert_eq!(store.get("a/b/one").unwrap().unwrap(), b"first");
        assert_eq!(store.put_new("empty", b"").unwrap(), Put::Created);
        assert_eq!(store.get("empty").unwrap().unwrap(), b"");
    });
}

#[test]
fn what_is_absent_is_a_value() {
    each(|store| {
        assert_eq!(store.get("a/b").unwrap(), None);
        assert_eq!(store.list("").unwrap(), []);
        assert_eq!(store.list("no/such/").unwrap(), []);
        store.remove("a/b").unwrap();
    });
}

#[test]
fn a_range_is_delivered_whole_or_not_at_all() {
    each(|store| {
        store.put_new("d/range", b"0123456789").unwrap();
        let mut into = [0; 4];
        store.read_range("d/range", 3, &mut into).unwrap();
        assert_eq!(&into, b"3456");
        store.read_range("d/range", 6, &mut into).unwrap();
        assert_eq!(&into, b"6789");
        store.read_range("d/range", 10, &mut []).unwrap();
        for offset in [7, 10, 11, 1 << 40] {
            assert!(store.read_range("d/range", offset, &mut into).is_err(), "{offset}");
        }
        assert!(store.read_range("d/absent", 0, &mut into).is_err());
    });
}

#[test]
fn a_listing_has_every_object_in_byte_order_with_its_size() {
    each(|store| {
        for key in ["p/b", "p/a-1", "p/a/2", "p/a.3", "px", "q/1", "p/a/B"] {
            store.put_new(key, key.as_bytes()).unwrap();
        }
        assert_eq!(keys(store.as_ref(), "p/"), ["p/a-1", "p/a.3", "p/a/2", "p/a/B", "p/b"]);
        assert_eq!(keys(store.as_ref(), "p/a/"), ["p/a/2", "p/a/B"]);
        assert_eq!(keys(store.as_ref(), "").len(), 7);
        for entry in store.list("").unwrap() {
            assert_eq!(entry.bytes, entry.key.len() as u64);
            assert!(entry.stored_at > "2020-01-01T00:00:00Z".parse().unwrap());
        }
        assert!(store.list("p").is_err(), "a prefix ends with a slash");
    });
}

#[test]
fn what_is_removed_is_gone_and_its_key_free() {
    each(|store| {
        store.put_new("x/one", b"1").unwrap();
        store.put_new("x/two", b"2").unwrap();
        store.remove("x/one").unwrap();
        store.remove("x/one").unwrap();
        assert_eq!(keys(store.as_ref(), "x/"), ["x/two"]);
        assert_eq!(store.get("x/one").unwrap(), None);
        assert_eq!(store.put_new("x/one", b"again").unwrap(), Put::Created);
        assert_eq!(store.get("x/one").unwrap().unwrap(), b"again");
    });
}

#[test]
fn an_object_is_replaced_by_what_is_made_of_it_and_stays_as_old() {
    each(|store| {
        store.put_new("a/b/one", b"first").unwrap();
        store.put_new("a/b/two", b"another").unwrap();
        let before = store.list("a/").unwrap();
        // Longer than a store's clock needs to tick.
        thread::sleep(Duration::from_millis(1_100));
        for (was, is) in [("first", "second, longer"), ("second, longer", "3")] {
            let replaced = store.replace("a/b/one", &mut |found| {
                assert_eq!(found, was.as_bytes());
                Ok(is.as_bytes().to_vec())
            });
            assert_eq!(replaced.unwrap(), Replaced::Done);
            assert_eq!(store.get("a/b/one").unwrap().unwrap(), is.as_bytes());
            let after = store.list("a/").unwrap();
            assert_eq!(after[0].bytes, is.len() as u64);
            // A bucket may know it to the second only.
            let shift = before[0].stored_at.duration_since(after[0].stored_at);
            assert!((0..1_000).contains(&shift.as_millis()), "{before:?} {after:?}");
            assert_eq!(after[1], before[1]);
            assert_eq!(keys(store.as_ref(), ""), ["a/b/one", "a/b/two"]);
        }
        assert_eq!(store.put_new("a/b/one", b"third").unwrap(), Put::Exists);
        store.remove("a/b/one").unwrap();
        assert_eq!(keys(store.as_ref(), ""), ["a/b/two"]);
    });
}

#[test]
fn replacing_makes_nothing_and_undoes_nothing() {
    each(|store| {
        let never = store.replace("a/b", &mut |_| panic!("there is nothing to change"));
        assert_eq!(never.unwrap(), Replaced::Absent);
        store.put_new("a/b", b"here").unwrap();
        let failed = store.replace("a/b", &mut |_| Err(Error::refused("not that")));
        assert_eq!(failed.unwrap_err().kind(), Kind::Refused);
        assert_eq!(store.get("a/b").unwrap().unwrap(), b"here");
        // Removed by another while it is made.
        let removed = store.replace("a/b", &mut |_| {
            store.remove("a/b")?;
            Ok(b"again".to_vec())
        });
        assert_eq!(removed.unwrap(), Replaced::Absent);
        assert_eq!(store.list("").unwrap(), []);
        assert!(store.replace("../a", &mut |_| Ok(Vec::new())).is_err());
        // What is made anew is new.
        store.put_new("a/b", b"new").unwrap();
        assert!(store.list("a/").unwrap()[0].stored_at > "2020-01-01T00:00:00Z".parse().unwrap());
    });
}

#[test]
fn of_two_that_replace_none_undoes_the_other() {
    each(|store| {
        store.put_new("count.json", b"0").unwrap();
        let count = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().parse::<u32>().unwrap();
        let work = || {
            for _ in 0..5 {
                let mut next = |was: &[u8]| Ok((count(was) + 1).to_string().into_bytes());
                while let Err(error) = store.replace("count.json", &mut next) {
                    assert_eq!(error.kind(), Kind::Busy, "{error:?}");
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(work);
            }
        });
        assert_eq!(count(&store.get("count.json").unwrap().unwrap()), 15);
    });
}

#[test]
fn who_reads_while_an_object_is_replaced_gets_it_whole() {
    each(|store| {
        store.put_new("k/x", &[0; 50_000]).unwrap();
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                for round in 1..=20 {
                    let replaced = store.replace("k/x", &mut |_| Ok(vec![round; 50_000]));
                    assert_eq!(replaced.unwrap(), Replaced::Done);
                }
            });
            while !writing.is_finished() {
                let read = store.get("k/x").unwrap().expect("it is always there");
                assert!(read.len() == 50_000 && read.iter().all(|byte| *byte == read[0]));
                assert_eq!(keys(store.as_ref(), "k/"), ["k/x"]);
            }
        });
        assert_eq!(store.get("k/x").unwrap().unwrap(), vec![20; 50_000]);
    });
}

#[test]
fn keys_that_leave_the_store_are_refused() {
    each(|store| {
        for key in ["", "/", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a b", "é", ".hidden"] {
            assert!(store.put_new(key, b"x").is_err(), "{key}");
            assert!(store.get(key).is_err(), "{key}");
            assert!(store.remove(key).is_err(), "{key}");
            assert!(store.lock(key).is_err(), "{key}");
        }
        assert_eq!(store.list("").unwrap(), []);
    });
}

#[test]
fn of_many_writers_of_one_key_exactly_one_wins() {
    each(|store| {
        for round in 0..4 {
            let key = format!("race/{round}");
            let barrier = Barrier::new(4);
            let won: Vec<u8> = thread::scope(|scope| {
                let write = |writer: u8| {
                    let (store, key, barrier) = (&store, &key, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        let put = store.put_new(key, &[writer; 100_000]).unwrap();
                        (put == Put::Created).then_some(writer)
                    })
                };
                let threads: Vec<_> = (0..4).map(write).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(won.len(), 1, "{won:?}");
            assert_eq!(store.get(&key).unwrap().unwrap(), vec![won[0]; 100_000]);
        }
    });
}

#[test]
fn a_lock_is_held_by_one_and_freed_with_its_value() {
    each(|store| {
        let held = store.lock("lease/main").unwrap();
        let error = store.lock("lease/main").err().unwrap();
        assert_eq!(error.kind(), Kind::Busy);
        drop(store.lock("lease/other").unwrap());
        drop(held);
        drop(store.lock("lease/main").unwrap());
        assert_eq!(store.list("").unwrap(), [], "locks are not objects");
    });
}
