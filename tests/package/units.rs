//! What systemd makes of the units.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::{package, source};
use crate::support::{Scratch, run};

/// What the issue allows; the units say themselves what they have.
const MOST: f64 = 2.0;

fn unit(name: &str) -> String {
    fs::read_to_string(source(&format!("systemd/{name}"))).unwrap()
}

/// The exposure that a unit's comment tells.
fn told(text: &str) -> &str {
    let line = text.lines().find(|line| line.starts_with("# Exposure by ")).unwrap();
    line.rsplit_once(": ").unwrap().1.trim_end_matches(" (OK).")
}

/// Its directives, with what differs between daemons put in place of `%i`.
fn directives(text: &str, instance: &str, main: [&str; 3]) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let [config, identity, folder] = main;
    lines
        .map(|line| {
            line.replace(&format!("/etc/fenice/{config}.toml"), "CONFIGURATION")
                .replace(&format!("/etc/fenice/{identity}.age"), "IDENTITY")
                .replace(&format!("=fenice{folder}"), "=STATE")
                .replace(&format!("/srv/fenice{folder}"), "REPOSITORY")
                .replace(instance, "")
        })
        .collect()
}

/// Makes a folder look like a host on which the package was installed, as far as units go.
fn host(drop_in: Option<&str>) -> Scratch {
    let scratch = Scratch::new();
    let units = scratch.path().join("lib/systemd/system");
    for folder in ["lib/systemd/system", "usr/bin", "bin"] {
        fs::create_dir_all(scratch.path().join(folder)).unwrap();
    }
    for name in ["fenice.service", "fenice@.service"] {
        fs::copy(package().root().join("lib/systemd/system").join(name), units.join(name)).unwrap();
        if let Some(text) = drop_in {
            let folder = units.join(format!("{name}.d"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("own-user.conf"), text).unwrap();
        }
    }
    for program in ["usr/bin/fenice", "bin/kill"] {
        let path = scratch.path().join(program);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    scratch
}

/// `systemd-analyze VERB …` on that host.
fn analyze(verb: &str, host: &Scratch, more: &[&str]) -> String {
    let mut command = Command::new("systemd-analyze");
    command.arg(verb).arg(format!("--root={}", host.path().display())).args(more);
    let found = run(&mut command, "");
    assert_eq!((found.code, found.stderr.as_str()), (Some(0), ""), "{verb}: {}", found.stdout);
    found.stdout
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let own_user = unit("own-user.conf");
    for drop_in in [None, Some(own_user.as_str())] {
        let more = ["--man=no", "--recursive-errors=no", "fenice.service", "fenice@one.service"];
        analyze("verify", &host(drop_in), &more);
    }
}

#[test]
fn the_units_are_as_closed_as_they_say() {
    let own_user = unit("own-user.conf");
    let cases = [
        ("fenice.service", None, unit("fenice.service")),
        ("fenice@one.service", None, unit("fenice@.service")),
        ("fenice.service", Some(own_user.as_str()), own_user.clone()),
    ];
    for (name, drop_in, says) in cases {
        let printed = analyze("security", &host(drop_in), &["--offline=true", name]);
        let last = printed.lines().rfind(|line| line.contains("exposure level")).unwrap();
        let figure = last.split(": ").nth(1).unwrap().split(' ').next().unwrap();
        assert_eq!(figure, told(&says), "{name}: {last}");
        assert!(figure.parse::<f64>().unwrap() <= MOST, "{name}: {last}");
    }
}

#[test]
fn an_instance_is_as_the_one_daemon_but_for_its_places() {
    let one = directives(&unit("fenice.service"), "\0", ["fenice", "identity", ""]);
    let several = directives(&unit("fenice@.service"), " (%i)", ["%i", "%i", "-%i"]);
    assert_eq!(one, several);
}

#[test]
fn what_the_daemon_promises_to_systemd_is_what_the_unit_expects() {
    let text = unit("fenice.service");
    let lines: BTreeSet<&str> = text.lines().collect();
    for expected in [
        "Type=notify",
        "ExecStart=/usr/bin/fenice daemon --config /etc/fenice/fenice.toml",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "WatchdogSec=60s",
        "Restart=on-failure",
        // Usage, refused, configuration.
        "RestartPreventExitStatus=2 4 78",
        // It drains within 60 s.
        "TimeoutStopSec=90s",
        "StateDirectory=fenice",
    ] {
        assert!(lines.contains(expected), "no `{expected}`");
    }
}
