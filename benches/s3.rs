//! An empty bucket of a real S3 server on this machine, started as the tests start it.

#[path = "../tests/support/seaweed.rs"]
mod seaweed; // the server
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/support/servers.rs"]
mod servers; // where it is installed
#[path = "../tests/support/wait.rs"]
mod wait; // bounded polls

use std::fs;
use std::path::{Path, PathBuf};

use fenice::adapters::private;

use seaweed::Seaweed;

const NAME: &str = "bench";

/// A bucket with a server of its own, which ends when this is dropped. Nothing stands between the
/// server and its clients.
pub struct Bucket {
    server: Seaweed,
    credentials: PathBuf,
}

impl Bucket {
    /// Starts a server that keeps everything in `dir`, which is emptied before.
    pub fn fresh(dir: &Path) -> Bucket {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).expect("make a directory");
        let server = Seaweed::start(dir);
        let made = seaweed::client(server.port).create_bucket().bucket(NAME).send();
        seaweed::block_on(made).expect("make a bucket");
        let credentials = dir.join("credentials");
        private::create_file(&credentials, &seaweed::credentials()).expect("write the key");
        Bucket { server, credentials }
    }

    /// Lines of a repository's section.
    pub fn configuration(&self) -> String {
        format!(
            "bucket = \"{NAME}\"\nprefix = \"fenice/main\"\npath_style = true\n\
             endpoint = \"http://127.0.0.1:{}\"\ncredentials = {{ file = \"{}\" }}\n",
            self.server.port,
            self.credentials.display()
        )
    }
}
