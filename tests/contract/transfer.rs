//! Large objects between Fenice and a bucket: parts and ranges, single requests that fail, others
//! who write meanwhile; and where the bucket lies.

use std::thread;

use fenice::adapters::s3::S3Store;
use fenice::error::{Kind, Retry};
use fenice::ports::Store;
use fenice::ports::store::{Put, Replaced};
use jiff::{SignedDuration, Timestamp};

use crate::support::Bucket;
use crate::support::gateway::{Deed, Gateway};

const MIB: usize = 1024 * 1024;
/// Of parts and of ranges.
const PART_BYTES: usize = 8 * MIB;

/// Bytes of which no two ranges are alike.
fn body(bytes: usize, seed: u64) -> Vec<u8> {
    let word = |at: u64| (at ^ (seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let mut body: Vec<u8> =
        (0..bytes.div_ceil(8) as u64).flat_map(|at| word(at).to_le_bytes()).collect();
    body.truncate(bytes);
    body
}

/// A store in a new bucket, reached through a gateway and directly.
fn far() -> (Bucket, Gateway, S3Store, S3Store) {
    let bucket = Bucket::new();
    let gateway = Gateway::to(bucket.port);
    let (store, direct) = (bucket.behind(&gateway).store(), bucket.store());
    (bucket, gateway, store, direct)
}

fn is_begin(head: &str) -> bool {
    head.starts_with("POST ") && head.contains("uploads")
}

fn is_part(head: &str) -> bool {
    head.starts_with("PUT ") && head.contains("partNumber=")
}

fn is_second_part(head: &str) -> bool {
    head.starts_with("PUT ") && head.contains("partNumber=2")
}

fn is_completion(head: &str) -> bool {
    head.starts_with("POST ") && head.contains("uploadId=")
}

fn is_second_range(head: &str) -> bool {
    head.starts_with("GET ") && head.contains("range: bytes=8388608-")
}

fn is_get(head: &str) -> bool {
    head.starts_with("GET ") && !head.contains("list-type")
}

/// Which requests are meant, by their head.
type Chosen = fn(&str) -> bool;

#[test]
fn a_large_object_goes_up_in_parts_and_comes_back_in_ranges() {
    for bucket in [Bucket::new(), Bucket::versioned()] {
        let gateway = Gateway::to(bucket.port);
        let store = bucket.behind(&gateway).store();
        let body = body(40 * MIB + 5, 1);
        gateway.heads();
        assert_eq!(store.put_new("large/a", &body).unwrap(), Put::Created);
        assert_eq!(gateway.heads().iter().filter(|head| is_part(head)).count(), 6);
        assert!(store.get("large/a").unwrap().unwrap() == body);
        assert_eq!(gateway.heads().iter().filter(|head| is_get(head)).count(), 6);
        for (offset, bytes) in [
            (PART_BYTES - 3, 7),
            (PART_BYTES - 1, PART_BYTES),
            (2 * PART_BYTES - 1, 2 * PART_BYTES + 2),
            (5, 40 * MIB),
            (40 * MIB, 5),
        ] {
            let mut into = vec![0; bytes];
            store.read_range("large/a", offset as u64, &mut into).unwrap();
            assert!(into == body[offset..offset + bytes], "{bytes} bytes at {offset}");
        }
        let mut beyond = vec![0; PART_BYTES + 6];
        let offset = (body.len() - beyond.len() + 1) as u64;
        assert!(store.read_range("large/a", offset, &mut beyond).is_err());
        assert_eq!(store.list("large/").unwrap()[0].bytes, body.len() as u64);
        assert_eq!(store.put_new("large/a", &body[1..]).unwrap(), Put::Exists);
        assert!(store.get("large/a").unwrap().unwrap() == body);
        assert_eq!(bucket.uploads(), [""; 0]);
    }
}

#[test]
fn a_large_object_is_replaced_and_removed_as_any_other() {
    let bucket = Bucket::versioned();
    let store = bucket.store();
    store.put_new("large/a", &body(33 * MIB, 1)).unwrap();
    let other = body(9 * MIB, 2);
    assert_eq!(store.replace("large/a", &mut |_| Ok(other.clone())).unwrap(), Replaced::Done);
    assert!(store.get("large/a").unwrap().unwrap() == other);
    store.remove("large/a").unwrap();
    assert_eq!(store.get("large/a").unwrap(), None);
    assert_eq!(bucket.versions(), (0, 0));
}

#[test]
fn what_fits_into_a_range_costs_one_request() {
    let (_bucket, gateway, store, _direct) = far();
    for (key, bytes) in [("one", 1), ("some", 100_000), ("full", PART_BYTES)] {
        let body = body(bytes, 3);
        store.put_new(key, &body).unwrap();
        gateway.heads();
        assert!(store.get(key).unwrap().unwrap() == body);
        assert_eq!(gateway.heads().len(), 1, "{key}");
    }
    store.put_new("none", b"").unwrap();
    assert_eq!(store.get("none").unwrap().unwrap(), b"");
    assert_eq!(store.get("absent").unwrap(), None);
}

#[test]
fn one_failed_request_of_an_upload_changes_nothing() {
    let (bucket, gateway, store, direct) = far();
    let body = body(33 * MIB, 4);
    let cases: [(Chosen, Deed); 9] = [
        (is_begin, Deed::Refuse),
        (is_second_part, Deed::Refuse),
        (is_second_part, Deed::DoneButRefused),
        (is_second_part, Deed::DoneButSilent),
        (is_second_part, Deed::CutRequest(1_000_000)),
        (is_completion, Deed::Refuse),
        (is_completion, Deed::DoneButRefused),
        (is_completion, Deed::DoneButSilent),
        (is_completion, Deed::CutAnswer(20)),
    ];
    for (number, (is_meant, deed)) in cases.into_iter().enumerate() {
        let key = format!("large/{number}");
        gateway.heads();
        gateway.once(is_meant, deed);
        assert_eq!(store.put_new(&key, &body).unwrap(), Put::Created, "{number} {deed:?}");
        let tries = gateway.heads().iter().filter(|head| is_meant(head)).count();
        assert_eq!(tries, 2, "{number} {deed:?}");
        assert!(direct.get(&key).unwrap().unwrap() == body, "{number} {deed:?}");
        assert_eq!(bucket.uploads(), [""; 0], "{number} {deed:?}");
    }
}

#[test]
fn an_upload_that_cannot_go_on_is_an_error_and_leaves_nothing() {
    let cases: [(Chosen, Deed); 4] = [
        (is_second_part, Deed::Refuse),
        (is_second_part, Deed::CutRequest(1_000_000)),
        (is_second_part, Deed::DoneButSilent),
        (is_completion, Deed::Refuse),
    ];
    thread::scope(|scope| {
        for (is_meant, deed) in cases {
            scope.spawn(move || {
                let (bucket, gateway, store, direct) = far();
                gateway.always(is_meant, deed);
                let error = store.put_new("large/a", &body(33 * MIB, 5)).unwrap_err();
                assert_eq!(error.retry(), Retry::Later, "{deed:?}: {error:?}");
                assert_eq!(direct.get("large/a").unwrap(), None, "{deed:?}");
                assert_eq!(bucket.uploads(), [""; 0], "{deed:?}");
            });
        }
    });
}

#[test]
fn an_upload_whose_end_is_never_confirmed_is_found_to_be_ours_or_an_error() {
    let body = &body(33 * MIB, 6);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (bucket, gateway, store, direct) = far();
            gateway.always(is_completion, Deed::DoneButRefused);
            assert_eq!(store.put_new("large/a", body).unwrap(), Put::Created);
            assert!(direct.get("large/a").unwrap().unwrap() == *body);
            assert_eq!(bucket.uploads(), [""; 0]);
        });
        scope.spawn(|| {
            let (bucket, gateway, store, direct) = far();
            let mut is_completed = false;
            gateway.set(move |head| {
                is_completed |= is_completion(head);
                match head.starts_with("HEAD ") && is_completed {
                    true => Deed::Refuse,
                    false if is_completion(head) => Deed::DoneButSilent,
                    false => Deed::Pass,
                }
            });
            let error = store.put_new("large/a", body).unwrap_err();
            assert_eq!(error.retry(), Retry::Later, "{error:?}");
            assert!(direct.get("large/a").unwrap().unwrap() == *body, "whole, if it is there");
            assert_eq!(bucket.uploads(), [""; 0]);
        });
    });
}

#[test]
fn an_upload_does_not_overwrite_what_came_meanwhile() {
    for silent in [false, true] {
        let (bucket, gateway, store, direct) = far();
        let (other, mut left) = (bucket.clone(), 1);
        gateway.set(move |head| {
            if !is_completion(head) || left == 0 {
                return Deed::Pass;
            }
            left -= 1;
            other.put("fenice/main/large/a", "theirs");
            // The answer that says so gets lost, or does not.
            if silent { Deed::DoneButSilent } else { Deed::Pass }
        });
        assert_eq!(store.put_new("large/a", &body(33 * MIB, 7)).unwrap(), Put::Exists);
        assert_eq!(direct.get("large/a").unwrap().unwrap(), b"theirs");
        assert_eq!(bucket.uploads(), [""; 0]);
    }
}

#[test]
fn of_many_who_write_a_large_object_at_once_one_that_won_is_there() {
    for bucket in [Bucket::new(), Bucket::versioned()] {
        let store = bucket.store();
        let bodies: Vec<Vec<u8>> = (0..3).map(|seed| body(33 * MIB, seed)).collect();
        let won: Vec<usize> = thread::scope(|scope| {
            let write = |at: usize| {
                let (store, bodies) = (&store, &bodies);
                scope.spawn(move || {
                    let put = store.put_new("large/a", &bodies[at]).unwrap();
                    (put == Put::Created).then_some(at)
                })
            };
            let threads: Vec<_> = (0..bodies.len()).map(write).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        // This server can tell several that they won, which is no fault of this side.
        let found = store.get("large/a").unwrap().unwrap();
        assert!(won.iter().any(|at| bodies[*at] == found), "{won:?}");
        assert_eq!(bucket.uploads(), [""; 0]);
    }
}

#[test]
fn uploads_of_yesterday_below_the_prefix_are_aborted() {
    let bucket = Bucket::new();
    let store = bucket.store();
    bucket.begin_upload("fenice/main/large/a");
    bucket.begin_upload("fenice/mainly/large/a");
    let now = Timestamp::now();
    assert_eq!(store.abort_unfinished(now).unwrap(), 0);
    let tomorrow = now + SignedDuration::from_hours(25);
    assert_eq!(store.abort_unfinished(tomorrow).unwrap(), 1);
    assert_eq!(bucket.uploads(), ["fenice/mainly/large/a"]);
}

#[test]
fn a_range_that_fails_is_read_again_or_an_error() {
    let (_bucket, gateway, store, direct) = far();
    let body = body(20 * MIB, 8);
    direct.put_new("large/a", &body).unwrap();
    let mut into = vec![0; 18 * MIB];
    for deed in [Deed::Refuse, Deed::DoneButSilent, Deed::CutAnswer(100_000)] {
        gateway.once(is_second_range, deed);
        assert!(store.get("large/a").unwrap().unwrap() == body, "{deed:?}");
        gateway.once(is_second_range, deed);
        store.read_range("large/a", 0, &mut into).unwrap();
        assert!(into == body[..into.len()], "{deed:?}");
    }
    gateway.always(is_second_range, Deed::CutAnswer(100_000));
    assert_eq!(store.get("large/a").unwrap_err().retry(), Retry::Later);
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_comes_whole_all_the_same() {
    for times in [1, 2, u32::MAX] {
        let (bucket, gateway, store, direct) = far();
        direct.put_new("large/a", &body(20 * MIB, 0)).unwrap();
        let mut done = 0;
        gateway.set(move |head| {
            if is_second_range(head) && done < times {
                done += 1;
                let other = body(9 * MIB + done as usize, u64::from(done));
                bucket.store().replace("large/a", &mut |_| Ok(other.clone())).unwrap();
            }
            Deed::Pass
        });
        match (store.get("large/a"), times) {
            (Err(error), u32::MAX) => assert_eq!(error.retry(), Retry::Later, "{error:?}"),
            (Ok(Some(found)), 1 | 2) => {
                assert!(found == body(9 * MIB + times as usize, u64::from(times)));
            }
            (other, _) => panic!("{:?}", other.map(|found| found.map(|found| found.len()))),
        }
    }
}

#[test]
fn an_object_that_is_removed_while_it_is_read_is_absent() {
    let (bucket, gateway, store, direct) = far();
    direct.put_new("large/a", &body(20 * MIB, 9)).unwrap();
    gateway.set(move |head| {
        if is_second_range(head) {
            bucket.store().remove("large/a").unwrap();
        }
        Deed::Pass
    });
    assert_eq!(store.get("large/a").unwrap(), None);
}

#[test]
fn a_bucket_outside_the_allowed_regions_is_refused() {
    let bucket = Bucket::new();
    let gateway = Gateway::to(bucket.port);
    let mut place = bucket.behind(&gateway).place("");
    place.allowed_regions = vec!["eu-south-1".to_owned()];
    place.region = Some("eu-south-1".to_owned());
    // This server does not say where it is: what is configured counts.
    Bucket::open(place.clone()).unwrap();
    let is_bucket = |head: &str| head.starts_with("HEAD ");
    gateway.always(is_bucket, Deed::Adding("x-amz-bucket-region: eu-south-1"));
    Bucket::open(place.clone()).unwrap();
    gateway.always(is_bucket, Deed::Adding("x-amz-bucket-region: us-east-1"));
    let error = Bucket::open(place.clone()).err().unwrap();
    assert_eq!(error.kind(), Kind::Refused, "{error:?}");
    assert!(error.chain().contains("lies in us-east-1"), "{error:?}");
    // Nobody knows: the question fails, and that is no answer.
    gateway.always(is_bucket, Deed::Refuse);
    assert_eq!(Bucket::open(place.clone()).err().unwrap().retry(), Retry::Later);
    place.allowed_regions.clear();
    Bucket::open(place).unwrap();
}
