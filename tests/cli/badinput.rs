//! Bad input, as an operator gives it to the binary: the exit code, an error that says what and
//! why, a hint, and everything left as it was.

use std::collections::BTreeMap;
use std::fs;

use fenice::repository::layout;
use jiff::{SignedDuration, Timestamp};

use super::rig::{Place, RESOURCE};
use crate::support::{Cluster, cut, damaged, flip};

/// A cluster with a snapshot and log after it.
struct Stored {
    cluster: Cluster,
    place: Place,
}

fn stored() -> Stored {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    place.does(&["snapshot", RESOURCE]);
    cluster.psql("postgres", "create table t as select generate_series(1, 100000) n");
    place.does(&["ship", RESOURCE, "--once"]);
    Stored { cluster, place }
}

impl Stored {
    /// `restore` with `extra` ends with `code`; the error has `words` and a hint.
    #[track_caller]
    fn refused(&self, code: i32, extra: &[&str], words: &str) {
        let target = self.place.path("refused");
        let mut arguments = vec!["restore", RESOURCE];
        let to = target.to_str().unwrap();
        if !extra.contains(&"--target") {
            arguments.extend(["--target", to]);
        }
        arguments.extend(extra);
        self.fails(code, &arguments, words);
        assert!(!target.join("global/pg_control").exists(), "what is incomplete could be started");
        for made in [target.clone(), target.with_extension("fenice")] {
            let _ = fs::remove_dir_all(made);
        }
    }

    #[track_caller]
    fn fails(&self, code: i32, arguments: &[&str], words: &str) {
        let before = self.repository();
        let ended = self.place.ends(code, arguments);
        println!("{code} {}", ended.stderr.trim_end());
        for part in ["error: ", words, "hint: "] {
            assert!(ended.stderr.contains(part), "`{part}` is not in {}", ended.stderr);
        }
        let after = self.repository();
        let changed: Vec<_> = after.iter().filter(|(key, b)| before.get(*key) != Some(b)).collect();
        assert!(changed.is_empty() && before.len() == after.len(), "changed: {changed:?}");
    }

    /// Every object of the repository, with its bytes, but for the lease: whoever means to write
    /// takes it first.
    fn repository(&self) -> BTreeMap<String, Vec<u8>> {
        let store = self.place.home.store();
        let keys = store.list("").unwrap().into_iter().map(|entry| entry.key);
        let keys = keys.filter(|key| key != layout::LEASE);
        keys.map(|key| (key.clone(), store.get(&key).unwrap().unwrap())).collect()
    }

    /// Key of the largest object below a folder of the resource.
    fn largest(&self, folder: &str) -> String {
        let objects = self.place.home.store().list(&format!("postgres/{RESOURCE}/{folder}/"));
        objects.unwrap().into_iter().max_by_key(|entry| entry.bytes).unwrap().key
    }
}

#[test]
fn a_restore_that_cannot_be_right_ends_with_its_code() {
    let stored = stored();
    let place = &stored.place;
    let at = |seconds: i64| (Timestamp::now() + SignedDuration::from_secs(seconds)).to_string();
    stored.refused(4, &["--to", &at(-86_400)], "no snapshot was finished by");
    stored.refused(4, &["--to", &at(0)], "later than the stored log");
    stored.refused(4, &["--to", &at(86_400)], "in the future");
    stored.refused(2, &["--to", "yesterday"], "yesterday");

    let used = place.path("used");
    fs::create_dir(&used).unwrap();
    fs::write(used.join("precious"), "mine").unwrap();
    stored.refused(4, &["--target", used.to_str().unwrap()], "is not empty");
    assert_eq!(fs::read_dir(&used).unwrap().count(), 1);

    let store = place.home.store();
    let pack = stored.largest("vault/data");
    for damage in [cut as fn(&mut Vec<u8>), flip] {
        damaged(store.as_ref(), &pack, damage, || {
            stored.refused(1, &[], pack.rsplit('/').next().unwrap());
        });
    }

    let segment = stored.largest("wal");
    let good = store.get(&segment).unwrap().unwrap();
    store.remove(&segment).unwrap();
    stored.refused(4, &["--start"], "the log has a gap at");
    store.put_new(&segment, &good).unwrap();

    let own = fs::read(place.path("identity.age")).unwrap();
    let other = Place::without_server();
    other.does(&["init"]);
    fs::copy(other.path("identity.age"), place.path("identity.age")).unwrap();
    stored.refused(4, &[], "recipients");
    fs::write(place.path("identity.age"), own).unwrap();

    // None of this has harmed anything.
    let target = place.path("good");
    let restored = place.json(0, &["restore", RESOURCE, "--target", target.to_str().unwrap()]);
    assert!(target.join("global/pg_control").exists(), "{restored}");
}

#[test]
fn a_snapshot_that_cannot_be_whole_ends_with_its_code() {
    let stored = stored();
    let strange = stored.cluster.data_dir().join("base/1/99999");
    std::os::unix::fs::symlink("99999", &strange).unwrap();
    let before = stored.place.json(0, &["list", RESOURCE]);
    let ended = stored.place.ends(1, &["snapshot", RESOURCE]);
    for part in ["error: ", "base/1/99999", "hint: "] {
        assert!(ended.stderr.contains(part), "`{part}` is not in {}", ended.stderr);
    }
    fs::remove_file(&strange).unwrap();
    let after = stored.place.json(0, &["list", RESOURCE]);
    assert_eq!(before[0]["snapshots"], after[0]["snapshots"], "{after}");

    let foreign = Cluster::builder().version(15).segment_size_mib(1).start();
    stored.place.configure(&foreign.conninfo(), &foreign.data_dir(), "");
    stored.fails(4, &["snapshot", RESOURCE], "");
    stored.fails(4, &["ship", RESOURCE, "--once"], "");
}
