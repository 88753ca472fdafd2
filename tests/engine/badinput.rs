//! Whatever is wrong with the input, the error says so with a hint and the right kind, nothing is
//! damaged by trying, and a server never opens on it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use fenice::error::{Error, Kind};
use fenice::model::{Extent, Timeline, WalObject};
use fenice::plan::facts::Target;
use fenice::ports::Store;
use fenice::repository::Repository;
use fenice::repository::manifest::{self, SnapshotManifest};
use fenice::repository::seal::{Identities, Recipients};
use jiff::{SignedDuration, Timestamp};

use super::isolation::ship_all;
use super::rig::Rig;
use crate::support::{Cluster, Stop, cut, damaged, flip};

/// One snapshot and some segments of log, the last one in parts.
struct Stored {
    cluster: Cluster,
    rig: Rig,
    snapshot: SnapshotManifest,
}

fn stored() -> Stored {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    cluster.psql("postgres", "create table t as select generate_series(1, 10) n");
    let rig = Rig::new();
    let shipping = rig.ship(&rig.source(&[cluster.conninfo()]), Duration::from_millis(200));
    let snapshot = rig.snapshot(&cluster);
    cluster.psql("postgres", "insert into t select generate_series(1, 100000)");
    ship_all(&cluster, &shipping);
    shipping.stop(&rig).unwrap();
    Stored { cluster, rig, snapshot }
}

/// The error says `words`, is of `kind` and tells what to do.
#[track_caller]
fn assert_error(error: &Error, kind: Kind, words: &str) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.chain().contains(words), "{error:?} lacks `{words}`");
    assert!(error.hint_text().is_some_and(|hint| hint.ends_with('.')), "no hint: {error:?}");
}

impl Stored {
    fn objects(&self) -> Vec<WalObject> {
        self.rig.archive().inventory().unwrap().objects
    }

    fn store(&self) -> &dyn Store {
        self.rig.repository.store.as_ref()
    }

    /// The good state restores, to the last row.
    #[track_caller]
    fn assert_good(&self, name: &str) {
        let restored = self.rig.restore(&self.cluster, name, Target::Latest).unwrap();
        assert_eq!(restored.query("postgres", "select count(*) from t"), ["100010"]);
        drop(restored.stop());
    }

    /// Key of the largest pack of the vault.
    fn pack(&self) -> String {
        let packs = self.store().list("postgres/registro/vault/data/").unwrap();
        packs.into_iter().max_by_key(|pack| pack.bytes).unwrap().key
    }
}

#[test]
fn damaged_packs_are_named_and_harm_nothing_else() {
    let stored = stored();
    let pack = stored.pack();
    for (name, damage) in [("cut", cut as fn(&mut Vec<u8>)), ("flipped", flip)] {
        damaged(stored.store(), &pack, damage, || {
            let tried = stored.rig.restore_files(&stored.cluster, name, Target::Latest);
            let Err(error) = tried.map(drop) else { panic!("restored from a {name} pack") };
            assert_error(&error, Kind::Failed, "");
            let control = stored.rig.scratch.path().join(name).join("global/pg_control");
            assert!(!control.exists(), "what is incomplete could be started");
        });
    }
    stored.assert_good("good");
}

#[test]
fn a_wrong_key_a_foreign_cluster_and_a_used_target_are_refused() {
    let stored = stored();
    let (rig, cluster) = (&stored.rig, &stored.cluster);
    let store = rig.home.store();
    let (wrong, recipient) = Identities::generate();
    let identities = Some(Identities::parse(&wrong).unwrap());
    let recipients = rig.repository.recipients.clone();
    let error = Repository::open(store.clone(), recipients, identities.clone()).err().unwrap();
    assert_error(&error, Kind::Refused, "opens nothing");
    let recipients = Recipients::parse(&[recipient]).unwrap();
    let error = Repository::open(store, recipients, identities).err().unwrap();
    assert_error(&error, Kind::Refused, "not the repository's own");

    let foreign = Cluster::builder().version(15).segment_size_mib(1).start();
    let error = rig.try_snapshot(&foreign).unwrap_err();
    assert_error(&error, Kind::Refused, "");
    assert_eq!(manifest::snapshots(&rig.repository, &rig.resource).unwrap().len(), 1);

    let used = rig.scratch.path().join("used");
    fs::create_dir(&used).unwrap();
    fs::write(used.join("precious"), "mine").unwrap();
    let error = rig.restore_files(cluster, "used", Target::Latest).err().unwrap();
    assert_error(&error, Kind::Refused, "is not empty");
    assert_eq!(fs::read_to_string(used.join("precious")).unwrap(), "mine");
    assert_eq!(fs::read_dir(&used).unwrap().count(), 1);
    stored.assert_good("good");
}

#[test]
fn targets_outside_the_window_are_refused_each_with_its_reason() {
    let stored = stored();
    let now = Timestamp::now();
    let hour = SignedDuration::from_hours(1);
    let table = [
        (stored.snapshot.stopped_at - hour, "no snapshot was finished by"),
        (now, "later than the stored log"),
        (now + hour, "in the future"),
    ];
    for (target, words) in table {
        let error = stored.rig.plan(Target::At(target)).unwrap_err();
        assert_error(&error, Kind::Refused, words);
    }
    let unknown = Target::Consistent { snapshot: "20200101T000000.000Z".to_owned() };
    assert_error(&stored.rig.plan(unknown).unwrap_err(), Kind::Usage, "there is no snapshot");
}

#[test]
fn a_missing_segment_is_a_gap_and_a_cut_part_is_not_the_end() {
    let stored = stored();
    let objects = stored.objects();
    let whole = objects.iter().filter(|object| object.extent == Extent::Whole).count();
    assert!(whole > 4 && whole < objects.len(), "{objects:#?}");
    let middle = &objects[whole / 2].key;
    let good = stored.store().get(middle).unwrap().unwrap();
    stored.store().remove(middle).unwrap();
    let error = stored.rig.plan(Target::Latest).unwrap_err();
    assert_error(&error, Kind::Refused, "gap");
    stored.store().put_new(middle, &good).unwrap();

    let part = objects.iter().rfind(|object| object.extent != Extent::Whole).unwrap();
    damaged(stored.store(), &part.key, cut, || {
        let tried = stored.rig.restore(&stored.cluster, "cut-part", Target::Latest);
        assert_error(&tried.err().unwrap(), Kind::Failed, &part.key);
    });
    stored.assert_good("good");
}

/// Objects damaged after planning: the server ends, its log says why, nothing opens.
#[test]
fn log_damaged_after_planning_never_lets_the_server_open() {
    let stored = stored();
    let objects = stored.objects();
    let wholes: Vec<&WalObject> =
        objects.iter().filter(|object| object.extent == Extent::Whole).collect();
    let victim = wholes[wholes.len() - 2];
    for (name, damage) in
        [("cut", cut as fn(&mut Vec<u8>)), ("flipped", flip), ("emptied", Vec::clear)]
    {
        let files = stored.rig.restore_files(&stored.cluster, name, Target::Latest).unwrap();
        let log = files.place.log_file();
        damaged(stored.store(), &victim.key, damage, || {
            let tried = stored.rig.start(&stored.cluster, files);
            let Err(error) = tried.map(drop) else { panic!("it opened on {name} log") };
            assert_error(&error, Kind::Failed, &victim.key);
        });
        let log = fs::read_to_string(log).unwrap();
        assert!(!log.contains("ready to accept connections"), "{log}");
        assert!(log.contains(&victim.key) && log.contains("exit code 137"), "{log}");
    }
    stored.assert_good("good");
}

#[test]
fn what_cannot_be_read_fails_the_snapshot_and_leaves_none() {
    let mut cluster = Cluster::builder()
        .version(15)
        .segment_size_mib(1)
        .setting("include_if_exists", "more.conf")
        .start();
    let rig = Rig::new();
    rig.snapshot(&cluster);
    let count = || manifest::snapshots(&rig.repository, &rig.resource).unwrap().len();

    // A link to itself in a data file's place: even root cannot read it.
    let strange = cluster.data_dir().join("base/1/99999");
    std::os::unix::fs::symlink("99999", &strange).unwrap();
    assert_error(&rig.try_snapshot(&cluster).unwrap_err(), Kind::Failed, "base/1/99999");
    assert_eq!(count(), 1);
    fs::remove_file(&strange).unwrap();

    // A directory in the place of an included file of configuration.
    let include = cluster.data_dir().join("more.conf");
    fs::create_dir(&include).unwrap();
    assert_error(&rig.try_snapshot(&cluster).unwrap_err(), Kind::Failed, "more.conf");
    assert_eq!(count(), 1);
    fs::remove_dir(&include).unwrap();

    rig.snapshot(&cluster);
    assert_eq!(count(), 2);
    cluster.stop(Stop::Fast);
    assert!(rig.try_snapshot(&cluster).unwrap_err().hint_text().is_some());
    assert_eq!(count(), 2);
}

#[test]
fn a_corrupt_page_marks_the_snapshot_and_the_plan_prefers_the_one_before() {
    let mut stored = stored();
    let (cluster, rig) = (&mut stored.cluster, &stored.rig);
    let file = cluster.psql("postgres", "checkpoint; select pg_relation_filepath('t')");
    cluster.stop(Stop::Fast);
    let path = cluster.data_dir().join(&file);
    let open = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut byte = [0];
    open.read_exact_at(&mut byte, 3 * 8192 + 5000).unwrap();
    open.write_all_at(&[byte[0] ^ 0xFF], 3 * 8192 + 5000).unwrap();
    drop(open);
    cluster.restart();

    let marked = rig.snapshot(cluster);
    assert_eq!(marked.pages.damaged_count, 1, "{:?}", marked.pages);
    let found = &marked.pages.damaged[0];
    assert_eq!((found.file.as_str(), found.page), (file.as_str(), 3));
    assert_eq!(manifest::snapshots(&rig.repository, &rig.resource).unwrap().len(), 2);
    let plan = rig.plan(Target::Latest).unwrap();
    assert_eq!(plan.snapshot.id, stored.snapshot.id, "the undamaged one");
    assert_eq!(plan.history.timeline, Timeline(1));
    stored.assert_good("good");
}
