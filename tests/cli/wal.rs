//! Log that PostgreSQL hands over and asks for.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::rig::{Place, RESOURCE, signal_of};
use crate::support::{Cluster, wait_for};

const KILLED: Option<i32> = Some(9);
const FIRST: &str = "000000010000000000000001";

/// A registered cluster whose first segment is finished, and that segment.
fn with_finished_segment() -> (Cluster, Place, PathBuf) {
    let cluster = Cluster::builder().segment_size_mib(1).start();
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    let (name, _) = finish_segment(&cluster);
    let path = cluster.data_dir().join("pg_wal").join(name);
    (cluster, place, path)
}

/// Ends the current segment; its name, and the next one's.
fn finish_segment(cluster: &Cluster) -> (String, String) {
    let name = "select pg_walfile_name(pg_current_wal_insert_lsn())";
    cluster.psql("postgres", "create table if not exists t (g int); insert into t values (1)");
    let finished = cluster.psql("postgres", name);
    cluster.psql("postgres", "select pg_switch_wal()");
    cluster.psql("postgres", "insert into t values (2)");
    (finished, cluster.psql("postgres", name))
}

#[test]
fn pushing_stores_once_and_never_another_content() {
    let (_cluster, place, segment) = with_finished_segment();
    let path = segment.to_str().unwrap();
    assert_eq!(place.json(0, &["wal", "push", path])["created"], true);
    assert_eq!(place.json(0, &["wal", "push", path, "--resource", RESOURCE])["created"], false);
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let changed = place.path(segment.file_name().unwrap().to_str().unwrap());
    fs::write(&changed, &bytes).unwrap();
    let refused = place.ends(4, &["wal", "push", changed.to_str().unwrap()]);
    assert!(refused.stderr.contains("another content"), "{}", refused.stderr);
    fs::write(&changed, &bytes[..last]).unwrap();
    place.ends(4, &["wal", "push", changed.to_str().unwrap()]);
    place.ends(2, &["wal", "push", "/tmp/pg_control"]);
}

#[test]
fn foreign_log_and_strange_timelines_are_refused() {
    let (_cluster, place, segment) = with_finished_segment();
    let other = Cluster::builder().segment_size_mib(1).start();
    let (name, _) = finish_segment(&other);
    let foreign = other.data_dir().join("pg_wal").join(name);
    let refused = place.ends(4, &["wal", "push", foreign.to_str().unwrap()]);
    assert!(refused.stderr.contains("another cluster"), "{}", refused.stderr);
    // The same bytes under a name of timeline 3, whose history nobody knows.
    let name = segment.file_name().unwrap().to_str().unwrap();
    let strange = place.path(&name.replacen("00000001", "00000003", 1));
    fs::copy(&segment, &strange).unwrap();
    let refused = place.ends(4, &["wal", "push", strange.to_str().unwrap()]);
    assert!(refused.stderr.contains("history of timeline 3"), "{}", refused.stderr);
    place.write("00000003.history", "2\t0/5000000\tno recovery target specified\n");
    let refused = place.ends(4, &["wal", "push", strange.to_str().unwrap()]);
    assert!(refused.stderr.contains("does not descend"), "{}", refused.stderr);
    let history = place.path("00000003.history");
    place.ends(4, &["wal", "push", history.to_str().unwrap()]);
    // Once the history leads to the registered timeline, both are welcome.
    place.write("00000003.history", "1\t0/5000000\tno recovery target specified\n");
    place.does(&["wal", "push", history.to_str().unwrap()]);
    place.does(&["wal", "push", strange.to_str().unwrap()]);
}

#[test]
fn partial_segments_and_labels_are_taken() {
    let (_cluster, place, segment) = with_finished_segment();
    let name = segment.file_name().unwrap().to_str().unwrap();
    let partial = place.path(&format!("{name}.partial"));
    fs::copy(&segment, &partial).unwrap();
    place.does(&["wal", "push", partial.to_str().unwrap()]);
    let label = place.path(&format!("{name}.00000028.backup"));
    fs::write(&label, "START WAL LOCATION: 0/2000028\n").unwrap();
    place.does(&["wal", "push", label.to_str().unwrap()]);
}

#[test]
fn fetching_without_a_restore_gives_what_is_stored_or_proves_absence() {
    let (cluster, place, _) = with_finished_segment();
    place.does(&["snapshot", RESOURCE]);
    let (finished, _) = finish_segment(&cluster);
    place.does(&["ship", RESOURCE, "--once"]);
    let to = place.path("fetched");
    let to = to.to_str().unwrap();
    place.does(&["wal", "fetch", &finished, to]);
    let original = fs::read(cluster.data_dir().join("pg_wal").join(&finished)).unwrap();
    assert_eq!(fs::read(to).unwrap(), original);
    for absent in ["00000002.history", "0000000100000000000000F0", "000000020000000000000009"] {
        place.ends(1, &["wal", "fetch", absent, to]);
    }
    // A hole in what is stored is no absence.
    let store = place.home.store();
    let objects = store.list(&format!("postgres/{RESOURCE}/wal/")).unwrap();
    let name = format!("/{finished}.zst.age");
    let object = objects.iter().find(|object| object.key.ends_with(&name)).unwrap();
    store.remove(&object.key).unwrap();
    let mut command = place.command(&["wal", "fetch", &finished, to]);
    assert_eq!(signal_of(&mut command), KILLED);
}

#[test]
fn every_other_end_of_a_fetch_is_death() {
    let place = Place::without_server();
    let killed = |arguments: &[&str]| signal_of(&mut place.command(arguments)) == KILLED;
    // Nothing stored, no repository, no identity, no configuration.
    assert!(killed(&["wal", "fetch", FIRST, "x"]), "no identity");
    place.does(&["init"]);
    assert!(killed(&["wal", "fetch", FIRST, "x"]), "nothing stored");
    let usage: [&[&str]; 9] = [
        &["wal", "fetch"],
        &["wal", "fetch", FIRST],
        &["wal", "fetch", FIRST, "x", "y"],
        &["wal", "fetch", "--nonsense", FIRST, "x"],
        &["wal", "fetch", "--help", FIRST, "x"],
        &["wal", "fetch", FIRST, "x", "--timeline", "two"],
        &["wal", "fetch", FIRST, "x", "--resource", "nobody"],
        &["wal", "fecth", FIRST, "x"],
        &["--json", "wal", "--config", "/nonexistent", "fetch", FIRST, "x"],
    ];
    for arguments in usage {
        assert!(killed(arguments), "{arguments:?}");
    }
    place.ends(0, &["wal", "fetch", "--help"]);
    place.home.take_away();
    assert!(killed(&["wal", "fetch", FIRST, "x"]), "repository away");
    place.home.give_back();
    let other = Place::without_server();
    other.does(&["init"]);
    fs::copy(other.path("identity.age"), place.path("identity.age")).unwrap();
    assert!(killed(&["wal", "fetch", FIRST, "x"]), "wrong key");
    place.write("fenice.toml", "nonsense");
    assert!(killed(&["wal", "fetch", FIRST, "x"]), "broken configuration");
}

#[test]
fn a_restore_is_served_by_one_and_again_after_a_kill() {
    let cluster = Cluster::builder().segment_size_mib(1).start();
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    place.does(&["snapshot", RESOURCE]);
    place.does(&["ship", RESOURCE, "--once"]);
    let target = place.path("restored");
    let target = target.to_str().unwrap();
    let plan = place.json(0, &["restore", RESOURCE, "--target", target, "--plan"]);
    place.does(&["restore", RESOURCE, "--target", target]);
    let side = place.path("restored.fenice");
    let serve = ["wal", "serve", RESOURCE, "--target", target];
    let answers = || UnixStream::connect(side.join("wal.sock")).is_ok();
    let mut first = place.start(&serve);
    wait_for("the log is served", answers);
    place.ends(5, &serve);
    first.kill().unwrap();
    first.wait().unwrap();
    let mut second = place.start(&serve);
    wait_for("the log is served again", answers);
    let sql = format!("select pg_walfile_name('{}')", plan["start_lsn"].as_str().unwrap());
    let (name, to) = (cluster.psql("postgres", &sql), place.path("fetched"));
    let socket = side.join("wal.sock");
    for _ in 0..2 {
        let (to, socket) = (to.to_str().unwrap(), socket.to_str().unwrap());
        place.ends(0, &["wal", "fetch", "--socket", socket, &name, to]);
        let (fetched, original) = (fs::read(to).unwrap(), cluster.data_dir().join("pg_wal"));
        let original = fs::read(original.join(&name)).unwrap();
        // The server may have written more since.
        let stored = fetched.iter().rposition(|byte| *byte != 0).unwrap();
        assert!(fetched.len() == 1 << 20 && fetched[..=stored] == original[..=stored]);
    }
    kill_process(Pid::from_child(&second), Signal::TERM).unwrap();
    assert!(second.wait().unwrap().success());
    assert!(!socket.exists() && !side.join("wal-ahead").exists(), "something is left");
}

/// Takes one question, gives `answer`, hangs up.
fn answer_once(listener: &UnixListener, answer: &str) {
    let (stream, _) = listener.accept().unwrap();
    let mut question = String::new();
    BufReader::new(&stream).read_line(&mut question).unwrap();
    assert_eq!(question.trim_end(), FIRST);
    (&stream).write_all(answer.as_bytes()).unwrap();
}

/// Runs itself as a process that is armed as `wal fetch` is, and panics.
#[test]
fn a_panic_is_death() {
    const ROLE: &str = "FENICE_TEST_PANICS";
    if std::env::var_os(ROLE).is_some() {
        fenice::cli::lethal::arm(&["fenice", "wal", "fetch", "a", "b"].map(Into::into));
        thread::spawn(|| panic!("anywhere")).join().unwrap_err();
        unreachable!("the panic of a thread was survived");
    }
    let mut own = Command::new(std::env::current_exe().unwrap());
    own.args(["--exact", "cli::wal::a_panic_is_death"]).env(ROLE, "1");
    assert_eq!(signal_of(&mut own), KILLED);
}

#[test]
fn a_socket_that_is_gone_or_talks_nonsense_is_death() {
    let place = Place::without_server();
    let to = place.path("fetched");
    let to = to.to_str().unwrap();
    let fetch = |socket: &str| place.command(&["wal", "fetch", FIRST, to, "--socket", socket]);
    let gone = place.path("gone");
    assert_eq!(signal_of(&mut fetch(gone.to_str().unwrap())), KILLED);
    let mut from_environment = place.command(&["wal", "fetch", FIRST, to]);
    from_environment.env("FENICE_WAL_SOCKET", &gone);
    assert_eq!(signal_of(&mut from_environment), KILLED);
    fs::write(place.path("short"), "short").unwrap();
    let short = format!("file 16 {}\n", place.path("short").display());
    let missing = format!("file 16 {}\n", place.path("missing").display());
    let answers = ["", "nonsense\n", "ok 16\nshort", "ok many\n", "stop it\n", "absent"];
    let files = [&short, &missing, "file 5\n", "file\n"];
    for (number, answer) in answers.into_iter().chain(files).map(str::to_owned).enumerate() {
        let socket = place.path(&format!("s{number}"));
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            answer_once(&listener, &answer);
            answer
        });
        let ended = signal_of(&mut fetch(socket.to_str().unwrap()));
        let answer = server.join().unwrap();
        assert_eq!(ended, KILLED, "{answer:?}");
        assert!(!PathBuf::from(to).exists(), "{answer:?}");
    }
}

#[test]
fn what_the_socket_says_is_done() {
    let place = Place::without_server();
    let to = place.path("fetched");
    fs::write(place.path("spooled"), "there").unwrap();
    let file = format!("file 5 {}\n", place.path("spooled").display());
    let answers = [("absent\n".to_owned(), 1), ("ok 5\nhello".to_owned(), 0), (file, 0)];
    for (number, (answer, code)) in answers.into_iter().enumerate() {
        let socket = place.path(&format!("s{number}"));
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            answer_once(&listener, &answer);
        });
        let (to, socket) = (to.to_str().unwrap(), socket.to_str().unwrap());
        place.ends(code, &["wal", "fetch", FIRST, to, "--socket", socket]);
        server.join().unwrap();
    }
    assert_eq!(fs::read_to_string(to).unwrap(), "there");
    assert!(!place.path("spooled").exists(), "it was taken over, not copied");
}
