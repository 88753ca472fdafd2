//! What a daemon cannot begin with, each with its exit code; and what it begins in spite of.

use std::fs;
use std::net::TcpListener;

use super::rig::{edit, ended, listen_anywhere};
use super::{Daemon, RESOURCE, protecting, small};
use crate::cli::rig::Place;

/// How a daemon ends that cannot begin, and what it says.
#[track_caller]
fn refused(place: &Place) -> (Option<i32>, String) {
    let mut daemon = Daemon::begin(place, &[], &[]);
    let code = daemon.end();
    assert_eq!(daemon.systemd.next(), None, "it said that it is ready");
    (code, daemon.log())
}

#[test]
fn what_it_cannot_begin_with_has_an_error_a_hint_and_an_exit_code() {
    let place = Place::without_server();
    listen_anywhere(&place);
    place.does(&["init"]);
    let good = fs::read_to_string(place.path("fenice.toml")).unwrap();

    edit(&place.path("fenice.toml"), "ship_every", "ship_evry");
    let (code, log) = refused(&place);
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("ship_evry") && log.contains("fenice.toml:"), "{log}");
    place.write("fenice.toml", &good);

    let catalog = place.path("state/catalog.sqlite");
    fs::create_dir_all(place.path("state")).unwrap();
    let newer = rusqlite::Connection::open(&catalog).unwrap();
    newer.execute_batch("pragma user_version = 4711").unwrap();
    drop(newer);
    let (code, log) = refused(&place);
    assert_eq!(code, Some(4), "{log}");
    assert!(log.contains("4711") && log.contains("hint:"), "{log}");

    fs::write(&catalog, "this is no database, however one looks at it").unwrap();
    let (code, log) = refused(&place);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("catalog.sqlite") && log.contains("hint:"), "{log}");
}

#[test]
fn one_daemon_is_enough() {
    let place = Place::without_server();
    listen_anywhere(&place);
    place.does(&["init"]);
    let first = Daemon::start(&place);
    let mut second = place.command(&["daemon"]);
    let second = crate::support::run(&mut second, "");
    assert_eq!(second.code, Some(5), "{}", second.stderr);
    assert!(second.stderr.contains("hint:"), "{}", second.stderr);
    // The first one's socket is still its own.
    place.json(0, &["jobs"]);
    first.stop();
}

#[test]
fn a_port_in_use_a_lost_credential_and_a_lost_mail_server_hold_up_nobody_else() {
    let cluster = small().start();
    let place = protecting(&cluster, "");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let file = place.path("fenice.toml");
    edit(&file, "127.0.0.1:0", &port.to_string());
    let text = fs::read_to_string(&file).unwrap();
    let dir = place.dir().display().to_string();
    let more = format!(
        "[repository.other]\npath = \"{dir}/other\"\nidentity = {{ credential = \"nobody\" }}\n\
         [[resource]]\nname = \"catasto\"\nkind = \"postgres\"\nrepository = \"other\"\n\
         policy = \"standard\"\nconnection = \"{}\"\ndata_dir = \"{}\"\n\
         [notify.mail]\nserver = \"127.0.0.1\"\nport = 9\ntls = \"none\"\n\
         from = \"fenice@example.org\"\nto = [\"ops@example.org\"]\n",
        cluster.conninfo(),
        cluster.data_dir().display(),
    );
    place.write("fenice.toml", &(text + &more));
    let daemon = Daemon::start(&place);
    daemon.wait_for_jobs("the snapshot of the healthy resource", |jobs| {
        ended(jobs, "snapshot").any(|job| job["resource"] == RESOURCE && job["result"] == "done")
    });
    let shipped = place.json(0, &["ship", RESOURCE, "--once"]);
    assert!(shipped["stored_until"].is_string(), "{shipped}");
    let log = daemon.log();
    for told in [port.to_string().as_str(), "nobody", "`other`"] {
        assert!(log.contains(told), "nothing of {told}: {log}");
    }
    daemon.stop();
}
