//! The programs that are compared: Fenice's binary as users run it, and Debian's pgBackRest. Both
//! encrypt, compress with zstd 3, check pages, use two processes or threads, and write durably.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cluster::{Cluster, as_server, own_dir};
use super::s3::Bucket;
use super::{measure, program};

pub const RESOURCE: &str = "registro";
/// The same cluster where its repository lies in a bucket.
pub const IN_BUCKET: &str = "archivio";
const STANZA: &str = "bench";

/// Fenice with a repository of its own.
pub struct Fenice {
    dir: PathBuf,
}

impl Fenice {
    /// A fresh repository in `dir`, and the cluster prepared for it.
    pub fn fresh(dir: &Path, cluster: &Cluster) -> Fenice {
        let repository = format!("path = \"{}/repository\"\n", dir.display());
        Fenice::with(dir, cluster, RESOURCE, &repository)
    }

    /// The same with the repository in an empty bucket; everything else lies in `dir`.
    pub fn in_bucket(dir: &Path, cluster: &Cluster, bucket: &Bucket) -> Fenice {
        Fenice::with(dir, cluster, IN_BUCKET, &bucket.configuration())
    }

    fn with(dir: &Path, cluster: &Cluster, name: &str, repository: &str) -> Fenice {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).expect("make a directory");
        let (at, conninfo, data) = (dir.display(), cluster.conninfo(), cluster.data_dir());
        let config = format!(
            "[daemon]\nstate_dir = \"{at}/state\"\n[repository.main]\n{repository}\
             identity = {{ file = \"{at}/identity.age\" }}\n[policy.standard]\n\
             ship_every = \"10s\"\nheartbeat_every = \"10s\"\ncompression_level = 3\n\
             [[resource]]\nname = \"{name}\"\nkind = \"postgres\"\nrepository = \"main\"\n\
             policy = \"standard\"\nworkers = 2\nconnection = \"{conninfo}\"\ndata_dir = \"{}\"\n",
            data.display()
        );
        fs::write(dir.join("fenice.toml"), config).expect("write a configuration");
        let fenice = Fenice { dir: dir.to_owned() };
        fenice.run(&["init"]);
        fenice.run(&["prepare", name, "--new-heartbeats"]);
        fenice.run(&["ship", name, "--once"]);
        fenice
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        program::fenice(&self.config(), arguments)
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("fenice.toml")
    }

    pub fn repository(&self) -> PathBuf {
        self.dir.join("repository")
    }

    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> measure::Taken {
        measure::run(&mut self.command(arguments))
    }
}

/// pgBackRest with a repository of its own.
pub struct PgBackRest {
    dir: PathBuf,
}

impl PgBackRest {
    /// A fresh repository in `dir`; the cluster archives to it from now on.
    pub fn fresh(dir: &Path, cluster: &Cluster) -> PgBackRest {
        let _ = fs::remove_dir_all(dir);
        own_dir(dir);
        let at = dir.display();
        let config = format!(
            "[global]\nrepo1-path={at}/repository\nrepo1-cipher-type=aes-256-cbc\n\
             repo1-cipher-pass=k7Zp0cE5vQy3Wn8sLd2Ft6Rb1Hx9Ju4M\nrepo1-bundle=y\n\
             repo1-retention-full=9\ncompress-type=zst\ncompress-level=3\nprocess-max=2\n\
             start-fast=y\nexpire-auto=n\nlog-level-console=warn\nlog-level-file=off\n\
             lock-path={at}/lock\nspool-path={at}/spool\n\
             [{STANZA}]\npg1-path={}\npg1-port={}\npg1-socket-path={}\npg1-user=postgres\n",
            cluster.data_dir().display(),
            cluster.port(),
            cluster.dir().display()
        );
        let file = dir.join("pgbackrest.conf");
        fs::write(&file, config).expect("write a configuration");
        chown(&file, None, None).expect("keep the configuration");
        own_dir(&dir.join("spool"));
        let backrest = PgBackRest { dir: dir.to_owned() };
        backrest.run(&["stanza-create"]);
        cluster.archive_with(&backrest.archive_command());
        backrest.run(&["check"]);
        backrest
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = as_server("/usr/bin/pgbackrest");
        command.arg(format!("--config={}/pgbackrest.conf", self.dir.display()));
        command.arg(format!("--stanza={STANZA}")).args(arguments);
        command
    }

    fn archive_command(&self) -> String {
        let config = format!("--config={}/pgbackrest.conf", self.dir.display());
        format!("/usr/bin/pgbackrest {config} --stanza={STANZA} archive-push %p")
    }

    pub fn repository(&self) -> PathBuf {
        self.dir.join("repository")
    }

    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> measure::Taken {
        measure::run(&mut self.command(arguments))
    }
}
