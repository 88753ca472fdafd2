//! A real S3 server (SeaweedFS), one for the whole test run, and buckets in it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use fenice::adapters::s3::{self, S3Store};
use fenice::error::Result;
use fenice::model::{BucketPlace, Checksums, LockMode};

use super::gateway::Gateway;
use super::proxy::Proxy;
use super::scratch::Scratch;
use super::seaweed::{self, Seaweed, block_on, credentials};

/// The server; it ends with the test run (its directory's guard).
#[derive(Debug)]
struct Server {
    _scratch: Scratch,
    _server: Seaweed,
    port: u16,
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
        seaweed::client(self.port)
    }
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let scratch = Scratch::new();
        let server = Seaweed::start(scratch.path());
        Server { port: server.port, _server: server, _scratch: scratch }
    })
}
