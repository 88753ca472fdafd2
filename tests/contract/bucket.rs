//! What only a bucket can do wrong: versions, pages, answers that get lost, foreign lock holders.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fenice::adapters::s3::{Credentials, S3Store};
use fenice::error::{Kind, Retry};
use fenice::ports::Store;
use fenice::ports::store::{Put, Replaced};

use crate::support::proxy::{Fault, Proxy};
use crate::support::{Bucket, wait_for};

#[test]
fn what_is_removed_leaves_no_version() {
    let bucket = Bucket::versioned();
    let store = bucket.store();
    for body in ["one", "two"] {
        store.put_new("a/b", body.as_bytes()).unwrap();
        // A stranger's deletion leaves a marker, and the version below it.
        bucket.delete("fenice/main/a/b");
        assert_eq!(store.get("a/b").unwrap(), None);
    }
    store.put_new("a/b", b"three").unwrap();
    store.put_new("a/b.longer", b"another").unwrap();
    store.remove("a/b").unwrap();
    assert_eq!(bucket.versions(), (1, 0), "only the longer key is left");
    assert_eq!(store.get("a/b.longer").unwrap().unwrap(), b"another");
}

#[test]
fn what_is_replaced_leaves_no_version_of_before() {
    let bucket = Bucket::versioned();
    let store = bucket.store();
    store.put_new("a/b", b"one").unwrap();
    store.put_new("a/b.longer", b"another").unwrap();
    for body in ["two", "three"] {
        store.replace("a/b", &mut |_| Ok(body.as_bytes().to_vec())).unwrap();
    }
    // Besides the two objects, the mark that tells how old the first one is.
    assert_eq!(bucket.versions(), (3, 0));
    assert_eq!(store.get("a/b").unwrap().unwrap(), b"three");
    store.remove("a/b").unwrap();
    assert_eq!(bucket.versions(), (1, 0));
    assert_eq!(store.get("a/b.longer").unwrap().unwrap(), b"another");
}

#[test]
fn what_another_replaced_meanwhile_is_not_overwritten() {
    let bucket = Bucket::versioned();
    let store = bucket.store();
    store.put_new("a/b", b"one").unwrap();
    let replaced = store.replace("a/b", &mut |_| {
        store.replace("a/b", &mut |_| Ok(b"theirs".to_vec()))?;
        Ok(b"ours".to_vec())
    });
    assert_eq!(replaced.unwrap_err().kind(), Kind::Busy);
    assert_eq!(store.get("a/b").unwrap().unwrap(), b"theirs");
}

#[test]
fn a_replacement_is_done_once_the_network_is_back() {
    let bucket = Bucket::new();
    let proxy = Arc::new(Proxy::to(bucket.port));
    let store = bucket.through(&proxy).store_below("far");
    store.put_new("k/own", b"before").unwrap();
    let watched = proxy.clone();
    let mut mending = None;
    let replaced = store.replace("k/own", &mut |_| {
        proxy.set(Fault::CutAfterBytes(0));
        let (watched, before) = (watched.clone(), proxy.accepted());
        mending = Some(thread::spawn(move || {
            wait_for("a second attempt", || watched.accepted() > before + 1);
            watched.set(Fault::None);
        }));
        Ok(b"after".to_vec())
    });
    assert_eq!(replaced.unwrap(), Replaced::Done);
    mending.unwrap().join().unwrap();
    assert_eq!(bucket.store_below("far").get("k/own").unwrap().unwrap(), b"after");
}

#[test]
fn a_listing_goes_on_over_all_pages() {
    let bucket = Bucket::new();
    let store = bucket.store();
    let count = 1_203;
    thread::scope(|scope| {
        for lane in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in (lane..count).step_by(4) {
                    store.put_new(&format!("many/{number:05}"), b"x").unwrap();
                }
            });
        }
    });
    let keys: Vec<String> = store.list("many/").unwrap().into_iter().map(|e| e.key).collect();
    let expected: Vec<String> = (0..count).map(|number| format!("many/{number:05}")).collect();
    assert_eq!(keys, expected);
}

#[test]
fn a_write_whose_answer_got_lost_is_found_to_be_ours() {
    let bucket = Bucket::new();
    let proxy = Arc::new(Proxy::to(bucket.port));
    let store = bucket.through(&proxy).store_below("far");
    let direct = bucket.store_below("far");
    assert_eq!(store.put_new("k/foreign", b"theirs").unwrap(), Put::Created);
    for (key, expected) in [("k/own", Put::Created), ("k/foreign", Put::Exists)] {
        proxy.set(Fault::CutAfterBytes(0));
        let watched = proxy.clone();
        let before = proxy.accepted();
        let mending = thread::spawn(move || {
            wait_for("a second attempt", || watched.accepted() > before + 1);
            watched.set(Fault::None);
        });
        assert_eq!(store.put_new(key, b"ours").unwrap(), expected, "{key}");
        mending.join().unwrap();
    }
    assert_eq!(direct.get("k/own").unwrap().unwrap(), b"ours");
    assert_eq!(direct.get("k/foreign").unwrap().unwrap(), b"theirs");
}

#[test]
fn a_body_that_is_cut_short_is_read_again_or_an_error() {
    let bucket = Bucket::new();
    let proxy = Proxy::to(bucket.port);
    let store = bucket.through(&proxy).store_below("far");
    let body: Vec<u8> = (0..3_000_000u32).map(|i| (i / 7) as u8).collect();
    store.put_new("large", &body).unwrap();
    proxy.set(Fault::CutAfterBytes(1_000_000));
    let error = store.get("large").unwrap_err();
    assert_eq!(error.retry(), Retry::Later, "{error:?}");
    assert!(store.read_range("large", 0, &mut vec![0; 2_000_000]).is_err());
    assert!(store.list("").is_err(), "nothing comes through any more");
    proxy.set(Fault::None);
    assert_eq!(store.get("large").unwrap().unwrap(), body);
}

#[test]
fn errors_tell_what_to_do() {
    let bucket = Bucket::new();
    let missing = Bucket { name: "not-there".to_owned(), port: bucket.port };
    let error = missing.try_store("").err().unwrap();
    assert!(error.hint_text().unwrap().contains("Create the bucket"), "{error:?}");
    let wrong = "aws_access_key_id = fenice-test\naws_secret_access_key = wrong";
    let wrong = Credentials::parse(&wrong.to_owned().into()).unwrap();
    let error = S3Store::open(bucket.place(""), Some(wrong)).err().unwrap();
    assert_eq!(error.hint_text(), Some("Check the credentials."), "{error:?}");
    assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    let error = Credentials::parse(&"aws_access_key_id = x".to_owned().into()).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    let proxy = Proxy::to(bucket.port);
    let store = bucket.through(&proxy).store_below("far");
    proxy.set(Fault::Refuse);
    let error = store.put_new("a", b"x").unwrap_err();
    assert_eq!(error.retry(), Retry::Later, "{error:?}");
}

/// The object behind a lock, as another process would have left it.
fn claim(boot: &str, process: u32) -> String {
    format!(
        r#"{{"v":1,"token":"00","renewal":3,"boot":"{boot}","process":{process},
            "began":1,"released":false}}"#
    )
}

fn this_boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

#[test]
fn the_lock_of_a_process_that_ended_here_is_taken_over_at_once() {
    let bucket = Bucket::new();
    let store = bucket.store();
    // This process lives, but it did not begin with the boot: its number was another's.
    for process in [std::process::id(), u32::MAX] {
        let left = claim(&this_boot(), process);
        bucket.put("fenice/main/.locks/postgres/x.json", &left);
        let held = store.lock("postgres/x").unwrap();
        assert_eq!(store.lock("postgres/x").err().unwrap().kind(), Kind::Busy);
        held.check().unwrap();
    }
}

#[test]
fn a_foreign_lock_is_watched_and_taken_over_only_unrenewed() {
    let bucket = Bucket::new();
    let path = "fenice/main/.locks/postgres/x.json";
    bucket.put(path, &claim("another-machine", 7));
    let store = Arc::new(bucket.store());
    // Renewed while it is watched.
    let taking = {
        let store = store.clone();
        thread::spawn(move || store.lock("postgres/x").err().unwrap().kind())
    };
    for renewal in 8.. {
        if taking.is_finished() {
            break;
        }
        bucket.put(path, &claim("another-machine", renewal));
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(taking.join().unwrap(), Kind::Busy);
    // Never again.
    store.lock("postgres/x").unwrap().check().unwrap();
}

#[test]
fn a_holder_notices_that_its_lock_was_taken() {
    let bucket = Bucket::new();
    let store = bucket.store();
    let held = store.lock("postgres/x").unwrap();
    bucket.put("fenice/main/.locks/postgres/x.json", &claim("other", 7));
    wait_for("the holder notices", || held.check().is_err());
    assert_eq!(held.check().unwrap_err().kind(), Kind::Busy);
}

#[test]
fn a_holder_that_cannot_renew_lets_go() {
    let bucket = Bucket::new();
    let proxy = Proxy::to(bucket.port);
    let store = bucket.through(&proxy).store_below("far");
    let held = store.lock("postgres/x").unwrap();
    proxy.set(Fault::Stall);
    held.check().unwrap();
    wait_for("it lets go", || held.check().is_err());
    assert_eq!(held.check().unwrap_err().kind(), Kind::Busy);
}
