//! The recovery kit alone brings everything back: age, zstd, restic, PostgreSQL, and the script
//! that the kit prints. No program of ours takes part.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fenice::model::Extent;
use fenice::model::wal_name::segment_name;
use fenice::repository::{format, kit};

use super::compare::{Reach, assert_same_dumps};
use super::forked::forked;
use super::isolation::ship_all;
use super::rig::Rig;
use crate::support::{Cluster, Finished, run, wait_for};

/// Somebody with the printed kit and a copy of the repository, and nothing else.
struct Holder<'a> {
    like: &'a Cluster,
    /// Holds `repo`, `identity.txt`, `password`, `fetch.sh`, `new` (restored files).
    dir: PathBuf,
    wal: PathBuf,
}

impl Holder<'_> {
    /// Copies the repository and takes the script out of the kit's text.
    fn of<'a>(rig: &Rig, like: &'a Cluster) -> Holder<'a> {
        let file = format::read_format(rig.repository.store.as_ref()).unwrap();
        let text = kit::text(&file, Some(&rig.identity), "the copy in folder repo");
        let dir = rig.scratch.path().join("kit");
        fs::create_dir(&dir).unwrap();
        let identity = text.lines().find_map(|line| line.strip_prefix("identity     ")).unwrap();
        fs::write(dir.join("identity.txt"), format!("{identity}\n")).unwrap();
        let wal = dir.join(format!("repo/postgres/registro/wal/{}", rig.archive().system_id));
        let holder = Holder { like, dir, wal };
        rig.home.copy_to(&holder.dir.join("repo"));
        holder.save_script(&text);
        holder
    }

    fn save_script(&self, kit: &str) {
        let begin = kit.find("      #!/bin/sh").unwrap();
        let end = kit.find(" 7. In DIR").unwrap();
        let lines = kit[begin..end].lines().map(|line| line.strip_prefix("      ").unwrap_or(line));
        let script: String = lines.map(|line| format!("{line}\n")).collect();
        assert!(script.lines().count() < 60, "the script should stay short");
        let places = format!(
            "W='{}'; K='{}'; S=1048576",
            self.wal.display(),
            self.dir.join("identity.txt").display()
        );
        assert_eq!(script.matches("W=…; K=…; S=16777216").count(), 1);
        let script = script.replace("W=…; K=…; S=16777216", &places);
        fs::write(self.dir.join("fetch.sh"), script).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.dir.join("fetch.sh"), mode).unwrap();
    }

    /// Runs a line of shell in this directory, with the public tools only.
    #[track_caller]
    fn shell(&self, line: &str) -> String {
        self.try_shell(line).expect_success(line)
    }

    fn try_shell(&self, line: &str) -> Finished {
        let mut command = Command::new("/bin/sh");
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
        command.env("RESTIC_PASSWORD_FILE", "password").args(["-ec", line]);
        run(command.current_dir(&self.dir), "")
    }

    /// Steps 2 to 5 and 7 of the kit.
    fn restore_files(&self) {
        assert!(!self.try_shell("command -v fenice").success());
        self.shell("age -d -i identity.txt repo/keys/postgres.registro.vault-1.age > password");
        let restic = "restic --no-cache -r repo/postgres/registro/vault --no-lock";
        let checked = self.shell(&format!("{restic} check --read-data"));
        assert!(checked.contains("no errors were found"), "{checked}");
        self.shell(
            "for m in repo/postgres/registro/snapshots/*.age; do \
             age -d -i identity.txt \"$m\" | zstd -dc; done | grep start_lsn",
        );
        self.shell(&format!("{restic} restore latest --target new"));
        assert!(self.dir.join("new/pgdata/backup_label").is_file());
        let fetch = self.dir.join("fetch.sh");
        let settings = format!(
            "restore_command = '\"{}\" %f %p'\nrecovery_target_timeline = 'latest'\n\
             archive_mode = off\nprimary_conninfo = ''\nprimary_slot_name = ''\n\
             synchronous_standby_names = ''\nlisten_addresses = ''\n",
            fetch.display()
        );
        fs::write(self.dir.join("new/pgdata/postgresql.auto.conf"), settings).unwrap();
        self.shell("touch new/pgdata/recovery.signal; mkdir socket");
        self.shell("if [ $(id -u) = 0 ]; then chown -R postgres .; fi; chmod 700 new/pgdata");
    }

    /// Step 8; whether the server opened.
    fn start(&self) -> (bool, String) {
        let at = |name: &str| self.dir.join(name).display().to_string();
        let options = format!("-k '{}' -p 5432", at("socket"));
        let (data, log) = (at("new/pgdata"), at("log"));
        let start = ["-D", &data, "-o", &options, "-l", &log, "-w", "-t", "120", "start"];
        let started = self.like.program("pg_ctl", &start).success();
        let log = || fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let open = || log().contains("ready to accept connections");
        if started {
            // A hot standby first; the kit says what to wait for.
            wait_for("the end of recovery", || open() || log().contains("is shut down"));
        }
        (open(), log())
    }

    fn stop(&self) {
        let data = self.dir.join("new/pgdata").display().to_string();
        let stop = ["-D", &data, "-w", "-m", "immediate", "stop"];
        self.like.program("pg_ctl", &stop).expect_success("pg_ctl stop");
    }

    fn reach(&self) -> Reach {
        Reach { bin_dir: self.like.bin_dir(), socket_dir: self.dir.join("socket"), port: 5432 }
    }
}

/// One whole stored segment through `age | zstd` is the server's own file.
fn compare_a_segment(rig: &Rig, holder: &Holder<'_>, wal: &Path) {
    let inventory = rig.archive().inventory().unwrap();
    let mut compared = 0;
    for object in inventory.objects.iter().filter(|object| object.extent == Extent::Whole) {
        let name = segment_name(object.timeline, object.segment, inventory.segment_size);
        if !wal.join(&name).exists() {
            continue;
        }
        holder.shell(&format!("age -d -i identity.txt 'repo/{}' | zstd -dc > segment", object.key));
        assert!(
            fs::read(holder.dir.join("segment")).unwrap() == fs::read(wal.join(&name)).unwrap()
        );
        compared += 1;
    }
    assert!(compared > 2, "only {compared} segments could be compared");
}

#[test]
fn the_kit_alone_brings_a_cluster_back() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    let space = cluster.subdirectory("a space");
    cluster.psql("postgres", &format!("create tablespace ts location '{}'", space.display()));
    cluster.psql("postgres", "create table moved tablespace ts as select generate_series(1, 99) n");
    cluster.pgbench_init(2);
    let rig = Rig::new();
    let shipping = rig.ship(&rig.source(&[cluster.conninfo()]), Duration::from_millis(200));
    let load = cluster.pgbench(&["-T", "60", "-c", "2"]);
    rig.snapshot(&cluster);
    std::thread::sleep(Duration::from_secs(2));
    load.kill();
    cluster.psql("postgres", "update moved set n = -n; create table last_of_all as select 1");
    ship_all(&cluster, &shipping);
    shipping.stop(&rig).unwrap();
    let parts = rig.archive().inventory().unwrap();
    assert!(parts.objects.iter().any(|object| object.extent != Extent::Whole), "no parts");

    let holder = Holder::of(&rig, &cluster);
    holder.restore_files();
    compare_a_segment(&rig, &holder, &cluster.data_dir().join("pg_wal"));
    let (started, log) = holder.start();
    assert!(started, "{log}");
    let (ours, theirs) = (holder.reach(), cluster.reach());
    let place = ours.psql(
        "postgres",
        "select pg_tablespace_location(oid) from pg_tablespace \
                                       where spcname = 'ts'",
    );
    assert!(!place.contains("a space"), "{place}");
    assert_same_dumps(&theirs.dump("none"), &ours.dump("none"));
    ours.amcheck();
    holder.stop();
}

#[test]
fn the_kits_script_follows_a_switch_and_never_serves_the_abandoned_log() {
    let forked = forked();
    let holder = Holder::of(&forked.rig, &forked.old);
    holder.restore_files();
    // What the script says of each request decides what PostgreSQL opens.
    let ask = |name: &str| holder.try_shell(&format!("./fetch.sh {name} asked")).code;
    let size = forked.rig.archive().segment_size;
    let name = |timeline: u32, segment: u64| {
        segment_name(fenice::model::Timeline(timeline), segment, size)
    };
    let switch = forked.switch_segment;
    assert_eq!(ask(&name(1, switch - 1)), Some(0));
    assert_eq!(ask(&name(2, switch - 1)), Some(1), "timeline 2 begins later");
    assert_eq!(ask(&name(2, switch)), Some(0));
    assert_eq!(ask("00000002.history"), Some(0));
    for absent in ["00000001.history", "00000003.history"] {
        assert_eq!(ask(absent), Some(1), "PostgreSQL looks for {absent} too");
    }
    for refused in [name(1, switch), name(1, switch + 1), name(3, switch)] {
        assert_ne!(ask(&refused), Some(1), "{refused}");
        assert_ne!(ask(&refused), Some(0), "{refused}");
    }
    assert_eq!(ask(&name(2, switch + 1000)), Some(1), "the log ends before");
    holder.shell("cp -r new spare; cp -rp repo whole");

    let (started, log) = holder.start();
    assert!(started, "{log}");
    let rows = "select what, count(*) from t group by 1 order by 1";
    assert_eq!(holder.reach().psql("postgres", rows), "common|30000\nkept|60000");
    assert_same_dumps(&forked.new.reach().dump("none"), &holder.reach().dump("none"));
    holder.stop();

    // The first segment of timeline 2 is missing: the parent's must not stand in.
    holder.shell("rm -r new log; mv spare new; if [ $(id -u) = 0 ]; then chown -R postgres .; fi");
    let lost = holder.wal.join(format!("00000002/{}.zst.age", name(2, switch)));
    fs::remove_file(lost).unwrap();
    let (started, log) = holder.start();
    assert!(!started, "it opened:\n{log}");
    assert!(log.contains("is missing"), "{log}");
}
