//! A repository in a bucket against one in a folder, the bucket's data on the same disk.

use super::{Bench, new_bytes};
use crate::contenders::{Fenice, IN_BUCKET, RESOURCE};
use crate::measure::Taken;
use crate::report;
use crate::s3::Bucket;

/// Shares of the folder's speed.
const SNAPSHOT_AT_LEAST: f64 = 0.8;
const RESTORE_AT_LEAST: f64 = 0.6;

/// The contenders: each protects the cluster under a name of its own, and so with a slot of its
/// own, that neither takes from the other what it has yet to ship.
struct Both {
    folder: Fenice,
    bucket: Fenice,
    _server: Bucket,
}

/// What they took.
#[derive(Default)]
struct Runs {
    folder: Vec<Taken>,
    bucket: Vec<Taken>,
}

impl Bench<'_> {
    /// All lines of a repository in a bucket.
    pub(super) fn bucket_lines(&mut self) {
        // Nobody else is at work when the log goes on to its next segment.
        self.cluster.archive_with("/bin/true");
        let both = self.full_in_both();
        self.second_in_both(&both);
        self.restores_from_both(&both);
        drop(both);
        // A slot that nobody reads would keep the log of all that follows.
        self.cluster.psql(&format!(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots
             where slot_name = 'fenice_{IN_BUCKET}' and not active"
        ));
    }

    fn full_in_both(&mut self) -> Both {
        println!("full snapshot, into a folder and into a bucket");
        let mut runs = Runs::default();
        let mut both: Option<Both> = None;
        for _ in 0..self.settings.runs {
            // Its server would go on writing where the next one begins.
            drop(both.take());
            let folder = Fenice::fresh(&self.place("in-folder"), &self.cluster);
            runs.folder.push(self.snapshot(&folder, RESOURCE));
            let server = Bucket::fresh(&self.place("s3"));
            let bucket = Fenice::in_bucket(&self.place("in-bucket"), &self.cluster, &server);
            runs.bucket.push(self.snapshot(&bucket, IN_BUCKET));
            both = Some(Both { folder, bucket, _server: server });
        }
        let line = "full snapshot, into a bucket";
        self.report.share(line, SNAPSHOT_AT_LEAST, &runs.bucket, &runs.folder);
        both.expect("at least one run")
    }

    fn second_in_both(&mut self, both: &Both) {
        println!("second snapshot, after a change of 1 % of the pages");
        let mut runs = Runs::default();
        for round in 0..self.settings.runs {
            self.change(round);
            runs.folder.push(self.snapshot(&both.folder, RESOURCE));
            runs.bucket.push(self.snapshot(&both.bucket, IN_BUCKET));
        }
        let line = "snapshot after 1 %, into a bucket";
        self.report.share(line, SNAPSHOT_AT_LEAST, &runs.bucket, &runs.folder);
    }

    fn restores_from_both(&mut self, both: &Both) {
        println!("restore, durable, from a folder and from a bucket");
        let mut runs = Runs::default();
        for _ in 0..self.settings.runs {
            runs.folder.push(self.restore(&both.folder, RESOURCE));
            runs.bucket.push(self.restore(&both.bucket, IN_BUCKET));
        }
        self.clear(&self.place("restored"));
        let line = "restore, from a bucket";
        self.report.share(line, RESTORE_AT_LEAST, &runs.bucket, &runs.folder);
    }

    /// What the other one's run left of log is shipped before, and not measured.
    fn snapshot(&self, fenice: &Fenice, name: &str) -> Taken {
        fenice.run(&["ship", name, "--once"]);
        self.cold();
        let taken = fenice.run(&["snapshot", name, "--json"]);
        report::say(&format!("fenice snapshot, {}", place_of(name)), self.bytes, &taken);
        println!("    {}", new_bytes(&taken.stdout));
        taken
    }

    fn restore(&self, fenice: &Fenice, name: &str) -> Taken {
        let to = self.place("restored");
        self.clear(&to);
        let taken = fenice.run(&["restore", name, "--target", &to.display().to_string()]);
        report::say(&format!("fenice restore, {}", place_of(name)), self.bytes, &taken);
        taken
    }
}

fn place_of(name: &str) -> &'static str {
    if name == IN_BUCKET { "bucket" } else { "folder" }
}
