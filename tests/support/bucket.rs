//! A real S3 server (SeaweedFS), one for the whole test run, and buckets in it.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use fenice::adapters::s3::{self, S3Store};
use fenice::error::Result;
use fenice::model::{BucketPlace, Checksums, LockMode};

use super::gateway::Gateway;
use super::proxy::Proxy;
use super::scratch::Scratch;
use super::servers::s3_server;
use super::wait::wait_for;

pub(super) const ACCESS_KEY: &str = "fenice-test";
pub(super) const SECRET_KEY: &str = "only-for-tests";

/// The server; it ends with the test run (its directory's guard).
#[derive(Debug)]
struct Server {
    scratch: Scratch,
    port: u16,
    _child: Child,
}

/// An empty bucket of its own.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub name: String,
    pub port: u16,
}

impl Bucket {
    /// A new bucket, without versions.
    pub fn new() -> Bucket {
        let bucket = Bucket::named();
        let made = bucket.client().create_bucket().bucket(&bucket.name).send();
        block_on(made).expect("make a bucket");
        bucket
    }

    /// One that is not made yet, under a name that no other has.
    fn named() -> Bucket {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let name = format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Bucket { name, port: server().port }
    }

    /// A new bucket that keeps every version.
    pub fn versioned() -> Bucket {
        let bucket = Bucket::new();
        let enabled =
            VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let request = bucket.client().put_bucket_versioning().bucket(&bucket.name);
        block_on(request.versioning_configuration(enabled).send()).expect("keep versions");
        bucket
    }

    /// A new bucket that keeps every version and can lock it.
    pub fn lockable() -> Bucket {
        let bucket = Bucket::named();
        let made = bucket.client().create_bucket().bucket(&bucket.name);
        block_on(made.object_lock_enabled_for_bucket(true).send()).expect("make a bucket");
        bucket
    }

    /// The same bucket behind a network that can fail.
    pub fn through(&self, proxy: &Proxy) -> Bucket {
        Bucket { name: self.name.clone(), port: proxy.port() }
    }

    /// The same bucket behind a gateway that can fail single requests.
    pub fn behind(&self, gateway: &Gateway) -> Bucket {
        Bucket { name: self.name.clone(), port: gateway.port() }
    }

    /// How Fenice reaches it, below `prefix`.
    pub fn place(&self, prefix: &str) -> BucketPlace {
        BucketPlace {
            bucket: self.name.clone(),
            prefix: prefix.to_owned(),
            region: None,
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            path_style: true,
            sse: None,
            checksums: Checksums::WhenSupported,
            allowed_regions: Vec::new(),
        }
    }

    pub fn store(&self) -> S3Store {
        self.store_below("fenice/main")
    }

    pub fn store_below(&self, prefix: &str) -> S3Store {
        self.try_store(prefix).unwrap()
    }

    pub fn try_store(&self, prefix: &str) -> Result<S3Store> {
        Bucket::open(self.place(prefix))
    }

    /// Opens a store as it is described, with the key of the tests.
    pub fn open(place: BucketPlace) -> Result<S3Store> {
        let credentials = s3::Credentials::parse(&credentials().into()).unwrap();
        S3Store::open(place, Some(credentials))
    }

    /// A store that locks objects; for less than a bucket that can, an error.
    pub fn locking(&self, mode: LockMode) -> Result<S3Store> {
        let credentials = s3::Credentials::parse(&credentials().into()).unwrap();
        S3Store::open_locking(self.place("fenice/main"), Some(credentials), Some(mode))
    }

    /// Writes an object as another client does, whether or not it is there.
    pub fn put(&self, key: &str, body: &str) {
        let body = body.as_bytes().to_vec().into();
        let request = self.client().put_object().bucket(&self.name).key(key).body(body);
        block_on(request.send()).expect("write an object");
    }

    /// Deletes as another client does: with versions kept, this only marks it as deleted.
    pub fn delete(&self, key: &str) {
        let request = self.client().delete_object().bucket(&self.name).key(key);
        block_on(request.send()).expect("delete an object");
    }

    /// How many versions and how many delete markers there are in all.
    pub fn versions(&self) -> (usize, usize) {
        let request = self.client().list_object_versions().bucket(&self.name);
        let found = block_on(request.send()).expect("list versions");
        (found.versions().len(), found.delete_markers().len())
    }

    /// Begins an upload in parts, as a process does that is then killed.
    pub fn begin_upload(&self, key: &str) {
        let request = self.client().create_multipart_upload().bucket(&self.name).key(key);
        block_on(request.send()).expect("begin an upload");
    }

    /// The keys of uploads that were begun and neither completed nor aborted.
    pub fn uploads(&self) -> Vec<String> {
        let request = self.client().list_multipart_uploads().bucket(&self.name);
        let found = block_on(request.send()).expect("list uploads");
        found.uploads().iter().filter_map(|upload| upload.key().map(str::to_owned)).collect()
    }

    fn client(&self) -> Client {
        let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://127.0.0.1:{}", self.port))
            .force_path_style(true)
            .credentials_provider(credentials);
        Client::from_conf(config.build())
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// As the lines of a credentials file.
pub fn credentials() -> String {
    format!("aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start)
}

/// Ports that are free are found by asking; another may take one before the server does.
fn start() -> Server {
    for _ in 0..5 {
        let scratch = Scratch::new();
        let (child, port, log) = launch(scratch.path());
        let mut server = Server { scratch, port, _child: child };
        let mut ended = false;
        wait_for("an S3 server", || {
            ended = server._child.try_wait().expect("look at the S3 server").is_some();
            ended || answers(port, &log)
        });
        if !ended {
            return server;
        }
    }
    panic!("no S3 server came up");
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
