//! The log of real servers: every commit and abort as `pg_waldump` prints them, line by line.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fenice::model::wal_record::{LogEvent, Progress, Recorded, Scanner};
use fenice::model::{Lsn, SegmentSize, SystemId, WalName};
use jiff::Timestamp;

/// A server of one version in a directory of its own, reached over a socket in there.
struct Server {
    programs: PathBuf,
    home: tempfile::TempDir,
    owner: (u32, u32),
}

impl Server {
    fn start(programs: &Path, segment_mib: u64) -> Server {
        let home = tempfile::tempdir().unwrap();
        let owner = postgres_user();
        chown(home.path(), Some(owner.0), Some(owner.1)).unwrap();
        let server = Server { programs: programs.to_owned(), home, owner };
        let data = server.data();
        let data = data.to_str().unwrap();
        server.run(
            "initdb",
            &[
                "-D",
                data,
                "-N",
                "-A",
                "trust",
                "-U",
                "postgres",
                "--wal-segsize",
                &segment_mib.to_string(),
            ],
        );
        let settings = "listen_addresses = ''\nmax_prepared_transactions = 5\nfsync = off\n\
             wal_keep_size = '1GB'\nmax_wal_size = '64MB'\nwal_compression = on\n";
        let file = server.data().join("postgresql.auto.conf");
        let sockets = server.home.path().display();
        fs::write(&file, format!("{settings}unix_socket_directories = '{sockets}'\n")).unwrap();
        let log = server.home.path().join("log");
        server.run("pg_ctl", &["-D", data, "-w", "-l", log.to_str().unwrap(), "start"]);
        server
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments).uid(self.owner.0).gid(self.owner.1).stdin(Stdio::null());
        command.env("PGHOST", self.home.path()).env("PGUSER", "postgres").env("TZ", "UTC");
        command.env("PGDATABASE", "postgres").current_dir(self.home.path());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        // Into files: a server that starts would keep a pipe open.
        let path = self.home.path().join("output");
        let file = fs::File::create(&path).unwrap();
        let mut command = self.command(program, arguments);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let passed = command.status().unwrap().success();
        let text = fs::read_to_string(&path).unwrap();
        assert!(passed, "{program} {arguments:?}: {text}");
        text
    }

    fn sql(&self, statements: &[&str]) {
        let mut arguments = vec!["-X", "-q", "-v", "ON_ERROR_STOP=1"];
        for statement in statements {
            arguments.extend(["-c", statement]);
        }
        self.run("psql", &arguments);
    }

    fn stop(&self) {
        let data = self.data();
        let _ = self
            .command("pg_ctl", &["-D", data.to_str().unwrap(), "-m", "fast", "stop"])
            .stdout(Stdio::null())
            .status();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn postgres_user() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with("postgres:")).expect("user postgres");
    let ids: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
    (ids[0], ids[1])
}

/// One line of `pg_waldump`, as far as we compare it.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    start: Lsn,
    xid: u32,
    operation: &'static str,
    at: Timestamp,
}

fn ours(event: &LogEvent) -> Option<Line> {
    let (operation, xid, at) = match event.what {
        Recorded::Commit { xid, at, prepared: false } => ("COMMIT", xid, at),
        Recorded::Commit { xid, at, prepared: true } => ("COMMIT_PREPARED", xid, at),
        Recorded::Abort { xid, at, prepared: false } => ("ABORT", xid, at),
        Recorded::Abort { xid, at, prepared: true } => ("ABORT_PREPARED", xid, at),
        _ => return None,
    };
    Some(Line { start: event.start, xid, operation, at })
}

/// `rmgr: Transaction len …, tx: 734, lsn: 0/0152A9F8, prev …, desc: COMMIT 2024-01-01 12:00:00.1 UTC; …`
fn theirs(line: &str) -> Option<Line> {
    let between = |from: &str, to: &str| {
        let rest = line.split_once(from)?.1;
        Some(rest.split_once(to).map_or(rest, |(head, _)| head).trim())
    };
    let what = line.split_once("desc: ")?.1;
    let (name, rest) = what.split_once(' ')?;
    let operation = ["COMMIT", "ABORT", "COMMIT_PREPARED", "ABORT_PREPARED"]
        .into_iter()
        .find(|operation| *operation == name)?;
    let (xid, rest) = match operation.ends_with("PREPARED") {
        true => rest.split_once(": ")?,
        false => (between("tx:", ",")?, rest),
    };
    let stamp = rest.split_once(" UTC")?.0.replacen(' ', "T", 1);
    Some(Line {
        start: between("lsn: ", ",")?.parse().unwrap(),
        xid: xid.parse().unwrap(),
        operation,
        at: format!("{stamp}Z").parse().unwrap(),
    })
}

fn load(server: &Server) {
    let space = server.home.path().join("space");
    fs::create_dir(&space).unwrap();
    chown(&space, Some(server.owner.0), Some(server.owner.1)).unwrap();
    server.sql(&[
        &format!("CREATE TABLESPACE apart LOCATION '{}'", space.display()),
        "CREATE TABLE t (id bigserial PRIMARY KEY, body text) TABLESPACE apart",
        "CREATE TABLE doomed (id int)",
    ]);
    server.run("pgbench", &["-i", "-q", "-s", "1"]);
    server.run("pgbench", &["-n", "-c", "4", "-t", "400"]);
    server.sql(&[
        "BEGIN; INSERT INTO t (body) VALUES ('undone'); SAVEPOINT a; \
         INSERT INTO t (body) VALUES ('deeper'); ROLLBACK",
        "BEGIN; INSERT INTO t (body) VALUES ('kept'); SAVEPOINT a; \
         INSERT INTO t (body) VALUES ('kept'); COMMIT",
        "BEGIN; DROP TABLE doomed; INSERT INTO t (body) VALUES ('two'); SAVEPOINT a; \
         INSERT INTO t (body) VALUES ('two'); PREPARE TRANSACTION 'p1'",
        "BEGIN; INSERT INTO t (body) VALUES ('three'); PREPARE TRANSACTION 'p2'",
        "COMMIT PREPARED 'p1'",
        "ROLLBACK PREPARED 'p2'",
        "SELECT pg_switch_wal()",
        "CHECKPOINT",
        "INSERT INTO t (body) SELECT repeat(md5(i::text), 40) FROM generate_series(1, 3000) i",
        "SELECT pg_logical_emit_message(false, 'x', repeat('y', 3000000))",
        "CREATE INDEX ON t (body)",
        "VACUUM FULL t",
        "SELECT pg_switch_wal()",
    ]);
    server.run("pgbench", &["-n", "-c", "4", "-t", "100"]);
}

fn compare(programs: &Path, segment_mib: u64) {
    let server = Server::start(programs, segment_mib);
    load(&server);
    server.stop();
    let size = SegmentSize::try_from(segment_mib << 20).unwrap();
    let wal = server.data().join("pg_wal");
    let mut segments: Vec<(u64, PathBuf)> = fs::read_dir(&wal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            match WalName::parse(&name, size) {
                Ok(WalName::Segment(_, number)) => Some((number, path)),
                _ => None,
            }
        })
        .collect();
    segments.sort();
    let first = size.start_of(segments[0].0).to_string();
    // It always fails in the end: it looks for the record after the last one.
    let dumped = server
        .command("pg_waldump", &["-p", wal.to_str().unwrap(), "-t", "1", "-s", &first])
        .output()
        .unwrap();
    let dumped = String::from_utf8(dumped.stdout).unwrap();
    let expected: Vec<Line> = dumped.lines().filter_map(theirs).collect();
    for operation in ["COMMIT", "ABORT", "COMMIT_PREPARED", "ABORT_PREPARED"] {
        assert!(expected.iter().any(|line| line.operation == operation), "no {operation}");
    }
    let last = dumped.lines().last().unwrap();
    let last: Lsn = last.split_once("lsn: ").unwrap().1.split(',').next().unwrap().parse().unwrap();

    for skip in [0, 1, segments.len() / 2] {
        let mut scanner = Scanner::new(size);
        let mut events = Vec::new();
        let mut ended = None;
        for (number, path) in &segments[skip..] {
            let image = fs::read(path).unwrap();
            let progress = scanner.feed(*number, &image, &mut |event| events.push(event)).unwrap();
            if let Progress::Ended(end) = progress {
                ended = Some(end);
                break;
            }
        }
        let from = size.start_of(segments[skip].0);
        let found: Vec<Line> = events.iter().filter_map(ours).collect();
        let expected: Vec<&Line> = expected.iter().filter(|line| line.start >= from).collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "from segment {skip}");
        let control = server.run("pg_controldata", &["-D", server.data().to_str().unwrap()]);
        let id = control.lines().find_map(|l| l.strip_prefix("Database system identifier:"));
        assert_eq!(scanner.system_id(), Some(SystemId(id.unwrap().trim().parse().unwrap())));
        let ended = ended.expect("the log ends");
        assert!(ended.at > last && ended.at.since(last) < 256, "{ended:?}, last record at {last}");
        assert_eq!(events.last().map(|e| e.start), Some(last), "the shutdown checkpoint is last");
        if skip == 0 {
            let spaces = |e: &&LogEvent| matches!(e.what, Recorded::CreateTablespace { .. });
            let space = events.iter().find(spaces).map(|e| e.what.clone());
            let path = server.home.path().join("space").display().to_string();
            assert!(matches!(space, Some(Recorded::CreateTablespace { path: p, .. }) if p == path));
        }
    }
}

#[test]
fn every_commit_is_found_in_segments_of_1_mib() {
    compare(Path::new("/usr/lib/postgresql/15/bin"), 1);
}

#[test]
fn every_commit_is_found_in_segments_of_16_mib() {
    compare(Path::new("/usr/lib/postgresql/15/bin"), 16);
}
