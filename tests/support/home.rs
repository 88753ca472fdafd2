//! Where a test's repository lies: a folder, or with `FENICE_TEST_STORE=bucket` a real bucket, so
//! that the same tests run on both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fenice::adapters::folder::FolderStore;
use fenice::ports::Store;
use secrecy::{ExposeSecret, SecretString};

use super::bucket::Bucket;
use super::command::run;
use super::proxy::{Fault, Proxy};
use super::scratch::write_private;
use super::seaweed::{ACCESS_KEY, SECRET_KEY, credentials};

const PREFIX: &str = "registro/main";

/// A place for one repository, empty at first.
#[derive(Debug)]
pub enum Home {
    Folder(PathBuf),
    /// Reached through a network that can fail.
    Bucket(Bucket, Proxy),
}

impl Home {
    /// Below `dir`, or in a bucket of its own.
    pub fn new(dir: &Path) -> Home {
        match std::env::var("FENICE_TEST_STORE").as_deref() {
            Err(_) | Ok("folder") => Home::Folder(dir.join("repository")),
            Ok("bucket") => Home::in_bucket(),
            Ok(other) => panic!("FENICE_TEST_STORE={other}: folder or bucket"),
        }
    }

    /// In a bucket of its own, whatever the other tests use.
    pub fn in_bucket() -> Home {
        let bucket = Bucket::new();
        let proxy = Proxy::to(bucket.port);
        Home::Bucket(bucket, proxy)
    }

    /// Makes a lock look as if a machine elsewhere had taken it and never let it go.
    pub fn lock_elsewhere(&self, name: &str) {
        let Home::Bucket(bucket, _) = self else { panic!("a folder has no machines elsewhere") };
        let claim = r#"{"v":1,"token":"00","renewal":7,"boot":"of another machine","process":1,
            "began":1,"released":false}"#;
        bucket.put(&format!("{PREFIX}/.locks/{name}.json"), claim);
    }

    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Home::Folder(dir) => Arc::new(FolderStore::create(dir).unwrap()),
            Home::Bucket(bucket, proxy) => Arc::new(bucket.through(proxy).store_below(PREFIX)),
        }
    }

    /// The same without the network that can fail.
    pub fn straight(&self) -> Arc<dyn Store> {
        match self {
            Home::Folder(_) => self.store(),
            Home::Bucket(bucket, _) => Arc::new(bucket.store_below(PREFIX)),
        }
    }

    /// The lines of `[repository.main]`; the bucket's key is in `file`.
    pub fn configuration(&self, file: &Path) -> String {
        match self {
            Home::Folder(dir) => format!("path = \"{}\"\n", dir.display()),
            Home::Bucket(bucket, proxy) => {
                write_private(file, &credentials());
                format!(
                    "bucket = \"{}\"\nprefix = \"{PREFIX}\"\npath_style = true\n\
                     endpoint = \"http://127.0.0.1:{}\"\ncredentials = {{ file = \"{}\" }}\n",
                    bucket.name,
                    proxy.port(),
                    file.display()
                )
            }
        }
    }

    /// The folder, if it is one.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Home::Folder(dir) => Some(dir),
            Home::Bucket(..) => None,
        }
    }

    /// The repository cannot be reached from now on.
    pub fn take_away(&self) {
        match self {
            Home::Folder(dir) => fs::rename(dir, dir.with_extension("away")).unwrap(),
            Home::Bucket(_, proxy) => proxy.set(Fault::Refuse),
        }
    }

    /// It is back as it was.
    pub fn give_back(&self) {
        match self {
            Home::Folder(dir) => fs::rename(dir.with_extension("away"), dir).unwrap(),
            Home::Bucket(_, proxy) => proxy.set(Fault::None),
        }
    }

    /// Everything in it is gone for good.
    pub fn lose(&self) {
        match self {
            Home::Folder(dir) => fs::remove_dir_all(dir).unwrap(),
            Home::Bucket(..) => {
                let store = self.store();
                store.list("").unwrap().iter().for_each(|entry| store.remove(&entry.key).unwrap());
            }
        }
    }

    /// `restic`, on the vault at `path` of the repository; it never writes.
    pub fn restic(&self, path: &str) -> Command {
        let mut restic = Command::new("restic");
        restic.args(["--no-cache", "--no-lock", "-o", "s3.bucket-lookup=path", "-r"]);
        match self {
            Home::Folder(dir) => restic.arg(dir.join(path)),
            Home::Bucket(bucket, _) => restic
                .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
                .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
                .arg(format!(
                    "s3:http://127.0.0.1:{}/{}/{PREFIX}/{path}",
                    bucket.port, bucket.name
                )),
        };
        restic
    }

    /// `restic check --read-data` finds no error in the vault at `path`.
    #[track_caller]
    pub fn restic_check(&self, path: &str, password: &SecretString, file: &Path) {
        write_private(file, password.expose_secret());
        let mut restic = self.restic(path);
        let ended = run(restic.arg("--password-file").arg(file).args(["check", "--read-data"]), "");
        let text = ended.expect_success("restic check");
        assert!(text.contains("no errors were found"), "{text}");
    }

    /// Brings every object into a folder.
    pub fn copy_to(&self, dir: &Path) {
        let store = self.store();
        for entry in store.list("").unwrap() {
            let to = dir.join(&entry.key);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, store.get(&entry.key).unwrap().unwrap()).unwrap();
        }
    }
}
