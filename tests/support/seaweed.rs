//! A real S3 server (SeaweedFS) on 127.0.0.1, for the tests and for the benchmarks.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};

use super::servers::s3_server;
use super::wait::wait_for;

pub(super) const ACCESS_KEY: &str = "fenice-test";
pub(super) const SECRET_KEY: &str = "only-for-tests";

/// Ports that are free are found by asking; another may take one before the server does.
const TRIES: u32 = 5;

/// A server of its own, without buckets; killed when dropped.
#[derive(Debug)]
pub struct Seaweed {
    pub port: u16,
    child: Child,
}

impl Seaweed {
    /// Starts a server that keeps everything below `dir`, which is empty.
    pub fn start(dir: &Path) -> Seaweed {
        for number in 1..=TRIES {
            let dir = dir.join(number.to_string());
            fs::create_dir(&dir).expect("make a directory");
            let (child, port, log) = launch(&dir);
            let mut server = Seaweed { port, child };
            let mut ended = false;
            wait_for("an S3 server", || {
                ended = server.child.try_wait().expect("look at the S3 server").is_some();
                ended || answers(port, &log)
            });
            if !ended {
                return server;
            }
        }
        panic!("no S3 server came up");
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        // It may have ended by itself; nothing it holds is needed any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A client of the server, or of whatever stands before it, at `port`.
pub fn client(port: u16) -> Client {
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .force_path_style(true)
        .credentials_provider(credentials);
    Client::from_conf(config.build())
}

/// Waits for the answer to a request.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// As the lines of a credentials file.
pub fn credentials() -> String {
    format!("aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
}

fn launch(dir: &Path) -> (Child, u16, PathBuf) {
    let ports: Vec<TcpListener> =
        (0..8).map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("bind a port")).collect();
    let ports: Vec<u16> =
        ports.iter().map(|port| port.local_addr().expect("an address").port()).collect();
    let identities = format!(
        r#"{{"identities":[{{"name":"test","credentials":[{{"accessKey":"{ACCESS_KEY}",
        "secretKey":"{SECRET_KEY}"}}],"actions":["Admin","Read","Write","List","Tagging"]}}]}}"#
    );
    fs::write(dir.join("s3.json"), identities).expect("write the identities");
    fs::create_dir(dir.join("data")).expect("make a directory");
    let log = dir.join("log");
    let mut weed = Command::new(s3_server());
    // Telemetry is on by default, and so are listeners on every address.
    weed.args(["server", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-filer"]);
    weed.args([
        "-master.telemetry=false",
        "-s3.config=s3.json",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]);
    weed.args(["-master.volumeSizeLimitMB=1024", "-volume.max=5000", "-s3.iam=false"]);
    let names = ["master", "volume", "filer", "s3"];
    for (number, name) in names.iter().enumerate() {
        weed.arg(format!("-{name}.port={}", ports[2 * number]));
        weed.arg(format!("-{name}.port.grpc={}", ports[2 * number + 1]));
    }
    let output = File::create(&log).expect("make a log");
    weed.current_dir(dir).env("HOME", dir).stdin(Stdio::null());
    weed.stdout(output.try_clone().expect("a log")).stderr(output);
    (weed.spawn().expect("start weed"), ports[6], log)
}

/// It listens early, and is ready when its log says so.
fn answers(port: u16, log: &Path) -> bool {
    let ready = fs::read_to_string(log).unwrap_or_default().contains("Start Seaweed S3 API Server");
    ready && TcpStream::connect(("127.0.0.1", port)).is_ok()
}
