//! The order of a drill.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use crate::config;
use crate::engines::blocking::blocking;
use crate::engines::postgres::heartbeat::HeartbeatKey;
use crate::engines::postgres::restore::place::Place;
use crate::engines::postgres::restore::recover::{
    FilesInPlace, Reached, Recovered, StartRequest, Tools, plan_recovery, restore_files,
};
use crate::engines::postgres::restore::sources::Listing;
use crate::engines::postgres::restore::teardown::tear_down;
use crate::error::{Error, Result};
use crate::evidence::drill_report::{
    DrillReport, Identity, Phase, PhaseKind, PhaseOutcome, Restored, SkippedStep, Trigger,
};
use crate::model::{Extent, Span};
use crate::plan::facts::{Request, Target};
use crate::plan::objective::{Moment, Targets};
use crate::ports::postgres::Row;
use crate::ports::store::Put;
use crate::repository::manifest::{self, SnapshotManifest};
use crate::repository::{Repository, layout, secrets};

use super::checks::{Subject, superuser};
use super::measure::{Seen, recovery_point};

/// The port of a drill's private socket; nothing listens on the network.
const PORT: u16 = 5432;

/// A drill of one resource.
pub struct Drill<'a> {
    pub tools: Tools,
    pub resource: &'a config::Resource,
    pub policy: &'a config::Policy,
    /// The role that the restored cluster lets in.
    pub user: String,
    /// An empty or new directory in which the drill may do as it likes; removed at the end.
    pub base: PathBuf,
    pub operator: String,
    pub host: String,
    pub configuration_hash: String,
    pub trigger: Trigger,
    /// What is rehearsed.
    pub scenario: &'static str,
    /// When the loss really happened, if this is no rehearsal of one.
    pub disrupted: Option<Moment>,
    /// Asked of the restored server once it has passed; for whoever compares further.
    pub questions: Vec<String>,
}

/// What a drill came to.
pub struct DrillOutcome {
    pub report: DrillReport,
    /// The rows that answer the questions, if the server was reached.
    pub answers: Option<Vec<Vec<Row>>>,
}

/// What is known of the recovery while it runs.
struct Running {
    files: FilesInPlace,
    recovered: Option<Recovered>,
}

impl Drill<'_> {
    /// Rehearses the recovery to `to`, or to the end of the log. A failure of what is rehearsed is
    /// the report's matter, not an error.
    ///
    /// # Errors
    /// Nothing could be rehearsed at all: the repository's listing cannot be read.
    pub async fn run(&self, to: Option<Timestamp>) -> Result<DrillOutcome> {
        let sources = self.tools.sources.clone();
        let name = self.resource.name.clone();
        let listing = blocking(move || sources.list(&name)).await?;
        // After the listing: whatever it names was stored before the disruption (RULES 15).
        let now = self.now();
        let rehearsed = self.disrupted.unwrap_or(now);
        let t_disrupt = to.map_or(rehearsed, |at| Moment { at, monotonic: None });
        let mut seen = Seen::begin(t_disrupt, now, to.is_some());
        let target = to.map_or(Target::Latest, Target::At);
        let running = self.recover(&mut seen, listing, target).await;
        if let Some(running) = &running {
            self.check(&mut seen, running).await;
        }
        if seen.all_passed() {
            seen.t_service = Some(self.now());
        }
        let answers = self.ask_questions(&mut seen, running.as_ref()).await;
        self.remove(&mut seen, running);
        seen.t_end = self.tools.clock.now();
        let targets = Targets { rto: self.policy.rto, rpo: self.policy.rpo };
        let id = layout::instant(now.at);
        let report = seen.report(self.identity(id), targets, self.policy.detection_allowance);
        Ok(DrillOutcome { report, answers })
    }

    fn identity(&self, drill_id: String) -> Identity {
        Identity {
            drill_id,
            resource: self.resource.name.clone(),
            kind: "postgres".to_owned(),
            scenario: self.scenario.to_owned(),
            trigger: self.trigger,
            operator: self.operator.clone(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration_hash: self.configuration_hash.clone(),
            host: self.host.clone(),
        }
    }

    fn data_dir(&self) -> PathBuf {
        self.base.join("data")
    }

    fn now(&self) -> Moment {
        let clock = &self.tools.clock;
        Moment { at: clock.now(), monotonic: Some(clock.monotonic()) }
    }

    /// Plans, restores, replays; what fails is noted and ends it.
    async fn recover(&self, seen: &mut Seen, listing: Listing, target: Target) -> Option<Running> {
        let (tools, name) = (self.tools.clone(), self.resource.name.clone());
        let begun = self.now();
        let planned = blocking(move || {
            let planned = plan_recovery(&tools, &name, &listing, &Request::to(target))?;
            planned.0.all_read()?;
            Ok(planned)
        })
        .await;
        let (stored, plan) = self.note(seen, PhaseKind::Plan, begun, planned)?;
        let manifest = stored.manifest(&plan.snapshot.id).ok()?.clone();
        seen.recovery_point = Some(recovery_point(&manifest, &plan, seen.t_disrupt.at));

        let begun = self.now();
        let (tools, to) = (self.tools.clone(), self.data_dir());
        let restored =
            blocking(move || restore_files(&tools, stored, plan, &to, &BTreeMap::new())).await;
        let files = self.note(seen, PhaseKind::RestoreFiles, begun, restored)?;

        let begun = self.now();
        let request = StartRequest {
            port: PORT,
            tcp: false,
            user: self.user.clone(),
            patience: self.resource.drill.max_duration.0,
        };
        let recovered = files.recover(&self.tools, &request).await;
        let recovered = self.note(seen, PhaseKind::ReplayLog, begun, recovered);
        if let Some(recovered) = &recovered {
            note_what_was_restored(seen, &files, recovered);
        }
        Some(Running { files, recovered })
    }

    async fn check(&self, seen: &mut Seen, running: &Running) {
        let Some(recovered) = &running.recovered else {
            seen.skipped.push(SkippedStep {
                step: "checks".to_owned(),
                because: "there is no server to ask".to_owned(),
            });
            return;
        };
        let begun = self.now();
        let asked = self.ask(seen, &running.files, recovered).await;
        self.note(seen, PhaseKind::Checks, begun, asked);
    }

    async fn ask(
        &self,
        seen: &mut Seen,
        files: &FilesInPlace,
        recovered: &Recovered,
    ) -> Result<()> {
        let superuser = superuser(recovered.host.as_ref()).await?;
        let request = StartRequest {
            port: PORT,
            tcp: false,
            user: superuser.clone(),
            patience: Duration::ZERO,
        };
        let manifest: &SnapshotManifest = &files.manifest;
        let subject = Subject {
            host: files.host(&self.tools, &request)?,
            socket_dir: &recovered.socket_dir,
            port: PORT,
            superuser: &superuser,
            data_dir: &files.place.target,
            bin_dir: &self.tools.bin_dir,
            launcher: self.tools.launcher.as_ref(),
            cluster: &manifest.cluster,
            workers: self.tools.workers,
            deadline: Instant::now() + self.resource.drill.max_duration.0,
        };
        let key = self.heartbeat_key(manifest).await?;
        let (beats, state) = subject.heartbeats(&key).await;
        seen.heartbeats = state;
        seen.checks.push(beats);
        let tolerance = self.resource.drill.row_count_tolerance_percent;
        let (rows, counts) = subject.tables(&manifest.tables, tolerance).await;
        seen.tables = counts;
        seen.checks.push(rows);
        for wanted in &self.resource.checks {
            seen.checks.push(subject.assertion(wanted).await);
        }
        seen.checks.push(subject.amcheck().await);
        let (pages, found) = subject.pages().await;
        seen.pages = found;
        seen.checks.push(pages);
        // Last: only a server that still answers after all this is in service.
        seen.checks.push(subject.answers().await);
        Ok(())
    }

    async fn ask_questions(
        &self,
        seen: &mut Seen,
        running: Option<&Running>,
    ) -> Option<Vec<Vec<Row>>> {
        let recovered = running?.recovered.as_ref()?;
        let asked = async {
            let mut session = recovered.host.session("fenice").await?;
            let mut answers = Vec::with_capacity(self.questions.len());
            for question in &self.questions {
                answers.push(session.query(question).await?);
            }
            Ok::<_, Error>(answers)
        };
        match asked.await {
            Ok(answers) => Some(answers),
            Err(error) => {
                seen.find(error.chain());
                None
            }
        }
    }

    async fn heartbeat_key(&self, manifest: &SnapshotManifest) -> Result<HeartbeatKey> {
        let repository = self.tools.sources.first.clone();
        let name = secrets::heartbeat_key(&self.resource.name);
        let secret = blocking(move || secrets::read(&repository, &name)).await?;
        let secret = secret.ok_or_else(|| {
            Error::failed("no heartbeat was ever written for this resource")
                .hint("The daemon writes them, and `fenice ship`: data is dated by them.")
        })?;
        Ok(HeartbeatKey::new(secret.expose_secret(), manifest.cluster.system_id))
    }

    /// Notes a phase; an error becomes a finding.
    fn note<T>(
        &self,
        seen: &mut Seen,
        kind: PhaseKind,
        begun: Moment,
        result: Result<T>,
    ) -> Option<T> {
        let ended = self.now();
        let duration = ended.monotonic.zip(begun.monotonic).map(|(end, begin)| end - begin);
        seen.phases.push(Phase {
            kind,
            outcome: if result.is_ok() { PhaseOutcome::Done } else { PhaseOutcome::Failed },
            start: begun.at,
            end: ended.at,
            duration: Span(duration.unwrap_or_default()),
        });
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let hint = error.hint_text().map(|hint| format!(" ({hint})")).unwrap_or_default();
                seen.find(format!("{}{hint}", error.chain()));
                None
            }
        }
    }

    fn remove(&self, seen: &mut Seen, running: Option<Running>) {
        let begun = self.now();
        let (server, place) = match running {
            Some(Running { files, recovered }) => (recovered.map(|r| r.server), files.place),
            // Whatever came to be of it lies below `base` as well.
            None => (None, Place::of_target(self.data_dir())),
        };
        let extra = [self.base.clone()];
        seen.teardown = tear_down(server, &place, &extra, self.tools.clock.as_ref());
        let left = seen.teardown.iter().filter(|removed| removed.gone_at.is_none());
        let left: Vec<String> = left.map(|r| format!("{}: {}", r.what, r.seen_by)).collect();
        let torn = match left.is_empty() {
            true => Ok(()),
            false => Err(Error::failed("something was left behind").because(left.join("; "))),
        };
        self.note(seen, PhaseKind::Teardown, begun, torn);
    }
}

fn note_what_was_restored(seen: &mut Seen, files: &FilesInPlace, recovered: &Recovered) {
    let objects = files.plan.segments.iter().flat_map(|segment| &segment.objects);
    let parts = objects.filter(|object| object.extent != Extent::Whole).count() as u64;
    if let Some(point) = &mut seen.recovery_point {
        point.restored = Some(Restored {
            log_end_lsn: files.end(),
            files: files.restored.files,
            bytes: files.restored.bytes,
            segments: recovered.segments_served,
            parts,
        });
    }
    if let Reached::EndOfLogBefore(at) = recovered.reached {
        seen.warnings
            .push(format!("no commit after {at} is in the stored log: all of it was replayed"));
    }
    if files.manifest.pages.damaged_count > 0 {
        let damaged = files.manifest.pages.damaged_count;
        seen.warnings.push(format!("the snapshot was damaged when it was taken: {damaged} pages"));
    }
}

/// Keeps a report in the repository, where no later drill can overwrite it.
pub fn keep(repository: &Repository, report: &DrillReport) -> Result<()> {
    let key = layout::drill(&report.identity.resource, &report.identity.drill_id);
    match manifest::create(repository, &key, report)? {
        Put::Created => Ok(()),
        Put::Exists => Err(Error::failed(format!("{key} exists already"))),
    }
}
