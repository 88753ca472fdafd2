//! A configuration in a directory of its own, and the binary that reads it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::Value;

use crate::support::{Cluster, Finished, Home, Scratch, run};

pub const RESOURCE: &str = "registro";

/// A place with a configuration; repository, identity and state lie below it.
pub struct Place {
    scratch: Scratch,
    pub home: Arc<Home>,
}

impl Place {
    /// Protects `cluster` by method `files`.
    pub fn for_cluster(cluster: &Cluster) -> Place {
        Place::with_connection(&cluster.conninfo(), &cluster.data_dir())
    }

    pub fn with_connection(conninfo: &str, data_dir: &Path) -> Place {
        let place = Place::empty();
        place.configure(conninfo, data_dir, "");
        place
    }

    fn empty() -> Place {
        let scratch = Scratch::new();
        let home = Arc::new(Home::new(scratch.path()));
        Place { scratch, home }
    }

    /// Without a configuration; the repository is in a bucket, whatever the other tests use.
    pub fn in_bucket() -> Place {
        Place { scratch: Scratch::new(), home: Arc::new(Home::in_bucket()) }
    }

    /// Another host: it has the identity and the same repository, and nothing else.
    pub fn another_host(&self) -> Place {
        let other = Place { scratch: Scratch::new(), home: Arc::clone(&self.home) };
        fs::copy(self.path("identity.age"), other.path("identity.age")).unwrap();
        other
    }

    /// No server answers there.
    pub fn without_server() -> Place {
        let place = Place::empty();
        let nowhere = place.path("nowhere");
        place.configure(&format!("host={} user=x dbname=x", nowhere.display()), &nowhere, "");
        place
    }

    /// Writes the configuration; `extra` comes into `[policy.standard]`.
    pub fn configure(&self, conninfo: &str, data_dir: &Path, extra: &str) {
        let dir = self.dir().display().to_string();
        let data_dir = data_dir.display();
        let repository = self.home.configuration(&self.path("bucket.key"));
        self.write(
            "fenice.toml",
            &format!(
                r#"[daemon]
state_dir = "{dir}/state"
[repository.main]
{repository}identity = {{ file = "{dir}/identity.age" }}
[policy.standard]
ship_every = "1s"
heartbeat_every = "1s"
{extra}
[[resource]]
name = "{RESOURCE}"
kind = "postgres"
repository = "main"
policy = "standard"
connection = "{conninfo}"
data_dir = "{data_dir}"
"#
            ),
        );
    }

    /// Protects `cluster` and copies into a second repository, `offsite`; `terms` come into
    /// `[policy.standard]` besides.
    pub fn with_copies(cluster: &Cluster, terms: &str) -> (Place, Home) {
        let place = Place::empty();
        let terms = format!("copy_to = \"offsite\"\n{terms}");
        place.configure(&cluster.conninfo(), &cluster.data_dir(), &terms);
        fs::create_dir(place.path("far")).unwrap();
        let copies = Home::new(&place.path("far"));
        let lines = copies.configuration(&place.path("far.key"));
        let identity = place.path("far.age").display().to_string();
        let text = fs::read_to_string(place.path("fenice.toml")).unwrap();
        let offsite =
            format!("[repository.offsite]\n{lines}identity = {{ file = \"{identity}\" }}\n");
        place.write("fenice.toml", &(text + &offsite));
        (place, copies)
    }

    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The binary with arguments, reading this place's configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fenice"));
        command.args(arguments).current_dir("/").env_remove("NO_COLOR");
        command.env("FENICE_CONFIG", self.path("fenice.toml")).env("HOME", "/nonexistent");
        command.env_remove("FENICE_WAL_SOCKET").env_remove("NOTIFY_SOCKET");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Finished {
        run(&mut self.command(arguments), "")
    }

    /// The command's standard output; it must end with `code`.
    #[track_caller]
    pub fn ends(&self, code: i32, arguments: &[&str]) -> Finished {
        let ended = self.run(arguments);
        let (out, err) = (&ended.stdout, &ended.stderr);
        assert_eq!(ended.code, Some(code), "{arguments:?}\n{out}\n{err}");
        ended
    }

    #[track_caller]
    pub fn does(&self, arguments: &[&str]) -> String {
        self.ends(0, arguments).stdout
    }

    /// The JSON that the command answers, which must end with `code`.
    #[track_caller]
    pub fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let ended = self.ends(code, &arguments);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {}", ended.stdout))
    }

    /// Starts the command and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("start the binary")
    }
}

/// The signal that ended a command, if one did.
pub fn signal_of(command: &mut Command) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().expect("run the binary").signal()
}
