//! `kill -9` of the real binary at fifty seeded instants: within every phase of snapshot, shipping
//! and restore, as the binary itself tells them with `-v`. After each the repository is whole and
//! the next command goes on by itself.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use fenice::model::Lsn;

use super::compare::BALANCED;
use super::witness::Witness;
use crate::cli::rig::{Place, RESOURCE};
use crate::support::{Cluster, Dice, PATIENCE, naming, run, stop_postmaster, wait_for};

const EACH: u32 = 5;
const KILLS: u32 = 50;
/// Instants that came too late for their phase are chosen again, up to this many in all.
const MOST_KILLS: u32 = 150;
const SEGMENT_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Snapshot,
    Ship,
    Restore,
}

/// A stretch of a command's work, which begins with one of the lines that bear a sign.
#[derive(Debug)]
struct Phase {
    verb: Verb,
    signs: &'static [&'static str],
}

const PHASES: [Phase; 10] = [
    Phase { verb: Verb::Snapshot, signs: &["phase: starting the backup"] },
    Phase { verb: Verb::Snapshot, signs: &["phase: reading files"] },
    Phase { verb: Verb::Snapshot, signs: &["phase: ending the backup"] },
    Phase { verb: Verb::Snapshot, signs: &["phase: checking and committing"] },
    Phase { verb: Verb::Snapshot, signs: &["phase: waiting for the log"] },
    Phase { verb: Verb::Ship, signs: &["connecting host="] },
    Phase { verb: Verb::Ship, signs: &["receiving the log", "the log is stored"] },
    Phase { verb: Verb::Ship, signs: &["storing the log"] },
    Phase { verb: Verb::Restore, signs: &["phase: restoring files"] },
    Phase { verb: Verb::Restore, signs: &["phase: replaying the log"] },
];

fn phase_of(verb: Verb, line: &str) -> Option<usize> {
    let begins = |phase: &Phase| phase.signs.iter().any(|sign| line.contains(sign));
    PHASES.iter().position(|phase| phase.verb == verb && begins(phase))
}

/// A command at work, with what it says on standard error.
struct Work {
    verb: Verb,
    child: Child,
    said: Receiver<String>,
    lines: Vec<String>,
}

impl Work {
    fn start(mut command: Command, verb: Verb) -> Work {
        command.arg("-v").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let from = BufReader::new(child.stderr.take().unwrap());
        let (sender, said) = channel();
        std::thread::spawn(move || {
            from.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Work { verb, child, said, lines: Vec::new() }
    }

    /// The next line; `None` at the end.
    #[track_caller]
    fn next(&mut self) -> Option<&str> {
        match self.said.recv_timeout(PATIENCE) {
            Ok(line) => self.lines.push(line),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => panic!("silent after {:#?}", self.lines),
        }
        self.lines.last().map(String::as_str)
    }

    /// Whether the phase began for the `times`th time before the command ended.
    fn reaches(&mut self, phase: usize, mut times: usize) -> bool {
        let verb = self.verb;
        while let Some(line) = self.next() {
            if phase_of(verb, line) == Some(phase) {
                times -= 1;
                if times == 0 {
                    return true;
                }
            }
        }
        false
    }

    /// How it ended, and in which phase. One that ended by itself must have succeeded.
    fn kill(mut self) -> Option<usize> {
        self.child.kill().unwrap();
        let status = self.end();
        if status.signal() == Some(9) {
            return self.lines.iter().rev().find_map(|line| phase_of(self.verb, line));
        }
        assert!(status.success(), "{status}: {:#?}", self.lines);
        None
    }

    fn end(&mut self) -> ExitStatus {
        while self.next().is_some() {}
        self.child.wait().unwrap()
    }
}

/// What became of targets whose restore was killed.
#[derive(Debug, Default)]
struct Targets {
    without_control: u32,
    refused: u32,
    opened_by_hand: u32,
    /// The server had been started and went on to the true end of the log by itself.
    opened: u32,
}

struct Kills {
    place: Place,
    cluster: Cluster,
    dice: Dice,
    /// At most this long after a phase began it is killed.
    durations: [Duration; PHASES.len()],
    hits: [u32; PHASES.len()],
    restores: u32,
    targets: Targets,
}

impl Kills {
    fn command(&mut self, verb: Verb, ship_for: &str) -> (Command, PathBuf) {
        self.restores += 1;
        let target = self.place.path(&format!("r{}", self.restores));
        let full = ["snapshot", RESOURCE, "--full"];
        let command = match verb {
            Verb::Snapshot => self.place.command(&full[..2 + self.dice.below(2)]),
            Verb::Ship => self.place.command(&["ship", RESOURCE, "--for", ship_for]),
            Verb::Restore => {
                let to = target.to_str().unwrap();
                self.place.command(&["restore", RESOURCE, "--start", "--target", to])
            }
        };
        (command, target)
    }

    /// Runs a command to its end and notes how long its phases take.
    fn measure(&mut self, verb: Verb) {
        let (command, target) = self.command(verb, "3s");
        let mut work = Work::start(command, verb);
        let mut present: Option<(usize, Instant)> = None;
        loop {
            let line = work.next().map(|line| phase_of(verb, line));
            if line == Some(None) {
                continue;
            }
            if let Some((phase, since)) = present {
                let took = since.elapsed();
                let known = &mut self.durations[phase];
                *known = if known.is_zero() { took } else { took.min(*known) };
            }
            match line.flatten() {
                Some(phase) => present = Some((phase, Instant::now())),
                None => break,
            }
        }
        let status = work.end();
        assert!(status.success(), "{status}: {:#?}", work.lines);
        if verb == Verb::Restore {
            self.check_open(&target, None);
            self.remove(&target);
        }
    }

    /// One kill, meant for `wanted`. Returns whether it hit work in progress.
    fn round(&mut self, wanted: usize) -> bool {
        let verb = PHASES[wanted].verb;
        let (command, target) = self.command(verb, "60s");
        let end = (verb == Verb::Restore).then(|| self.end_of_log(&target));
        let repeats = verb == Verb::Ship && wanted != 5;
        let times = if repeats { 1 + self.dice.below(6) } else { 1 };
        let mut work = Work::start(command, verb);
        if work.reaches(wanted, times) {
            let share = self.dice.below(1_000) as u32;
            std::thread::sleep(self.durations[wanted] * share / 1_000);
        }
        let hit = work.kill();
        if let Some(phase) = hit {
            self.hits[phase] += 1;
        }
        if hit != Some(wanted) {
            self.durations[wanted] /= 2;
        }
        if let Some(end) = end {
            self.check_target(&target, end);
        }
        hit.is_some()
    }

    fn end_of_log(&self, target: &Path) -> Lsn {
        let to = target.to_str().unwrap();
        let wanted = ["restore", RESOURCE, "--target", to, "--plan"];
        // Pieces of the log are stored a few at a time: a kill may leave a later one without an
        // earlier one. Recovery to the end is refused then, and the next command ships the rest.
        if self.place.run(&wanted).stderr.contains("the log has a gap at") {
            self.place.does(&["ship", RESOURCE, "--once"]);
        }
        let plan = self.place.json(0, &wanted);
        plan["end_lsn"].as_str().unwrap().parse().unwrap()
    }

    /// A target whose restore was killed is never taken for a complete one.
    fn check_target(&mut self, target: &Path, end: Lsn) {
        // A server started already ends, because nobody serves its log; or it had all of it.
        let socket = side_of(target);
        let mut open = false;
        wait_for("the left server ends or opens", || {
            open = self.ask(&socket, "select pg_is_in_recovery()") == "f";
            open || naming(target).is_empty()
        });
        check_disarmed(target);
        if is_used(target) || is_used(&side_of(target)) {
            let to = target.to_str().unwrap();
            self.place.ends(4, &["restore", RESOURCE, "--target", to]);
        }
        if open {
            self.targets.opened += 1;
            self.check_open(target, Some(end));
        } else if target.join("global/pg_control").exists() {
            self.check_by_hand(target, end);
        } else {
            self.targets.without_control += 1;
        }
        self.remove(target);
    }

    /// Started by hand, with nobody to serve log, PostgreSQL will not open what is not recovered.
    /// What had come to the end of the log before its server ended may open, and has everything.
    fn check_by_hand(&mut self, target: &Path, end: Lsn) {
        let (side, ordered) = (side_of(target), target.join("recovery.signal").exists());
        let socket = side.display();
        let options = format!("-p 5432 -c listen_addresses= -c unix_socket_directories={socket}");
        let (to, log) = (target.to_str().unwrap(), side.join("by-hand.log"));
        let arguments = ["-D", to, "-w", "-l", log.to_str().unwrap(), "-o", &options, "start"];
        let opened = self.cluster.program("pg_ctl", &arguments).success();
        let told = fs::read_to_string(&log).unwrap();
        if opened {
            assert!(!ordered, "{told}");
            self.targets.opened_by_hand += 1;
            return self.check_open(target, Some(end));
        }
        self.targets.refused += 1;
        assert!(told.contains("FATAL:") || told.contains("PANIC:"), "{told}");
        assert!(!told.contains("ready to accept connections"), "{told}");
    }

    /// Everything up to the end of the log is there, every transaction whole; then stops it.
    fn check_open(&self, target: &Path, end: Option<Lsn>) {
        assert_eq!(self.ask(&side_of(target), BALANCED), "t");
        let history = fs::read_to_string(target.join("pg_wal/00000002.history")).unwrap();
        let switch: Lsn = history.split_whitespace().nth(1).unwrap().parse().unwrap();
        if let Some(end) = end {
            // All but the record that the stored log ends in the middle of. What follows the end
            // of a segment that was left early is empty, stored or not (`pg_switch_wal`).
            let segment_end = Lsn(end.0.next_multiple_of(SEGMENT_BYTES));
            let all =
                if switch <= end { end.since(switch) < 64 << 10 } else { switch == segment_end };
            assert!(all, "{switch} of {end}");
        }
        stop_postmaster(target);
    }

    fn ask(&self, socket: &Path, sql: &str) -> String {
        let mut psql = Command::new(self.cluster.bin("psql"));
        psql.args(["-XAtq", "-p", "5432", "-U", "postgres", "-d", "postgres", "-c", sql]);
        run(psql.arg("-h").arg(socket), "").stdout.trim().to_owned()
    }

    fn remove(&self, target: &Path) {
        wait_for("nothing works there", || naming(target).is_empty());
        for made in [target, &side_of(target)].into_iter().filter(|dir| dir.exists()) {
            fs::remove_dir_all(made).unwrap();
        }
    }

    /// A restore to the end gives what the source has, and PostgreSQL's own checker is content.
    fn restore_at_last(&self) {
        let target = self.place.path("last");
        let to = target.to_str().unwrap();
        let restored = self.place.json(0, &["restore", RESOURCE, "--start", "--target", to]);
        let socket = PathBuf::from(restored["socket_dir"].as_str().unwrap());
        let facts = "select count(*), sum(delta) from pgbench_history";
        assert_eq!(self.ask(&socket, facts), self.cluster.psql("postgres", facts));
        assert_eq!(self.ask(&socket, BALANCED), "t");
        let socket = socket.to_str().unwrap();
        let at = ["-h", socket, "-p", "5432", "-U", "postgres", "--all", "--install-missing"];
        let checked = self.cluster.program("pg_amcheck", &at);
        assert!(checked.success(), "{checked:?}");
        stop_postmaster(&target);
    }
}

/// Stands in the source's settings.
const SECRET_OF_SOURCE: &str = "host=production.example";

/// Production's settings never lie in the target, and nothing starts there that does not recover.
#[track_caller]
fn check_disarmed(target: &Path) {
    let settings = target.join("postgresql.auto.conf");
    let armed = fs::read_to_string(&settings).is_ok_and(|text| text.contains(SECRET_OF_SOURCE));
    assert!(!armed, "{} is production's", settings.display());
    if target.join("global/pg_control").exists() && naming(target).is_empty() {
        let told = fs::read_to_string(side_of(target).join("postgres.log")).unwrap_or_default();
        // The server removes the order to recover when it has recovered all, and asks for a
        // history once more before it opens: without an answer it ends there.
        let recovered = told.contains("selected new timeline ID: 2");
        let ordered = target.join("recovery.signal").exists();
        assert!(settings.exists() && (ordered || recovered), "{target:?}: {told}");
    }
}

fn side_of(target: &Path) -> PathBuf {
    target.with_extension("fenice")
}

fn is_used(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

fn begin() -> Kills {
    let cluster =
        Cluster::builder().version(15).segment_size_mib(1).setting("wal_keep_size", "20GB").start();
    cluster.pgbench_init(4);
    let alter = format!("alter system set primary_conninfo = '{SECRET_OF_SOURCE}'");
    cluster.psql("postgres", &alter);
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    Kills {
        place,
        cluster,
        dice: Dice::seeded(),
        durations: Default::default(),
        hits: Default::default(),
        restores: 0,
        targets: Targets::default(),
    }
}

#[test]
fn killed_at_any_instant_it_loses_nothing_and_goes_on() {
    let started = Instant::now();
    let mut kills = begin();
    let load = kills.cluster.pgbench(&["-n", "-T", "3600", "-c", "2", "-R", "40"]);
    for verb in [Verb::Snapshot, Verb::Snapshot, Verb::Ship, Verb::Restore] {
        kills.measure(verb);
    }
    println!("phases last {:?}", kills.durations);
    let mut witness = Witness::of(&kills.place, &kills.cluster);
    witness.look();

    let (mut rounds, mut in_progress) = (0, 0);
    while rounds < MOST_KILLS && (rounds < KILLS || kills.hits.iter().any(|hits| *hits < EACH)) {
        let lacking: Vec<usize> = (0..PHASES.len()).filter(|p| kills.hits[*p] < EACH).collect();
        let wanted = match lacking.as_slice() {
            [] => kills.dice.below(PHASES.len()),
            some => some[kills.dice.below(some.len())],
        };
        rounds += 1;
        in_progress += u32::from(kills.round(wanted));
        witness.look();
    }
    load.kill();
    println!("{rounds} kills, {in_progress} in progress, by phase {:?}", kills.hits);
    println!("targets of killed restores: {:?}", kills.targets);
    assert!(in_progress >= 45, "{in_progress} of {rounds}");
    assert!(kills.hits.iter().all(|hits| *hits >= EACH), "{:?}", kills.hits);

    kills.place.does(&["snapshot", RESOURCE]);
    kills.place.does(&["ship", RESOURCE, "--once"]);
    witness.look_at_everything();
    kills.restore_at_last();
    println!("{:.0} s in all", started.elapsed().as_secs_f64());
}
