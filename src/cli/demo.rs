//! `fenice demo`: protects a throw-away PostgreSQL, loses it, gets it back, and shows how fast.
//!
//! Everything is real: the server, the commands that protect it, the kill, the recovery. Only the
//! schools are invented.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::Context;
use super::carry::terms_of;
use super::exit::Done;
use crate::adapters::programs;
use crate::config::{self, Config};
use crate::daemon::Parts;
use crate::daemon::work::drill::{drill_of, write_faces};
use crate::demo;
use crate::demo::cluster::DemoCluster;
use crate::demo::data::{DataSize, steps};
use crate::demo::load::Load;
use crate::demo::loss::{Loss, compare};
use crate::demo::writer::{TORN_WRITES_SQL, WRITES_SQL};
use crate::drill::DrillOutcome;
use crate::drill::run::keep;
use crate::engines::postgres::restore::facts;
use crate::engines::postgres::restore::sources::Sources;
use crate::engines::postgres::source::field;
use crate::error::{Attempt, Error, Result};
use crate::evidence::drill_report::{DrillReport, Measurement, Verdict};
use crate::evidence::plain::Tone;
use crate::model::{Extent, Span};
use crate::plan::objective::Moment;
use crate::ports::postgres::{Postgres, Row};

const SEED: u64 = 2026;
const CLIENTS: u32 = 4;
/// Writing before the snapshot, during it, and until the disaster.
const WORK_BEFORE: Duration = Duration::from_secs(3);
const WORK_AFTER: Duration = Duration::from_secs(8);
const SHIPPED_LIMIT: Duration = Duration::from_secs(60);

/// Protect a throw-away PostgreSQL, lose it, get it back, and show how fast
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where everything is made [default: a new directory in /var/tmp]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep the directory: repository, logs, report
    #[arg(long)]
    keep: bool,
    /// Delete a segment of the stored log before the recovery: it must fail, and say so
    #[arg(long)]
    break_wal: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Done> {
    let parts = context.parts()?;
    let dir = make_directory(args.dir.as_deref(), &parts)?;
    let story = Story { dir, keep: args.keep, parts, context, started: Instant::now() };
    let told = story.tell(args.break_wal).await;
    if !args.keep && told.is_ok() {
        fs::remove_dir_all(&story.dir).attempt(|| format!("remove {}", story.dir.display()))?;
    }
    told
}

fn make_directory(wanted: Option<&Path>, parts: &Parts) -> Result<PathBuf> {
    let dir = match wanted {
        Some(dir) => std::path::absolute(dir).attempt(|| "find the directory".to_owned())?,
        None => PathBuf::from(format!("/var/tmp/fenice-demo-{}", std::process::id())),
    };
    let occupied = fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        return Err(Error::refused(format!("{} is not empty", dir.display()))
            .hint("Name a new directory; nothing was written."));
    }
    let mode = if parts.launcher.runs_as().is_some() { 0o755 } else { 0o700 };
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(mode)
        .create(&dir)
        .attempt(|| format!("make {}", dir.display()))?;
    Ok(dir)
}

struct Story<'a> {
    dir: PathBuf,
    /// Whether the directory is there afterwards.
    keep: bool,
    parts: Parts,
    context: &'a Context,
    started: Instant,
}

/// A command of ours at work beside; killed if the story ends early.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        // It has ended already where the story went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Story<'_> {
    async fn tell(&self, break_wal: bool) -> Result<Done> {
        let (bin_dir, major) = programs::newest()?;
        self.say(&format!("a throw-away PostgreSQL {major} in {}", self.dir.display()));
        let (launcher, connector) = (&*self.parts.launcher, &*self.parts.connector);
        let mut cluster = DemoCluster::start(&self.dir, &bin_dir, launcher, connector).await?;
        let size = DataSize::default();
        self.load_schools(cluster.host.as_ref(), &size).await?;
        let config_file = self.write_config(&cluster, &bin_dir)?;
        self.fenice(&config_file, &["init", "--kit", &self.path("recovery-kit.txt")])?;
        self.fenice(&config_file, &["prepare", "registro"])?;
        self.say("protected: repository with its recovery kit, role, slot, heartbeats");
        let shipping = self.start_shipping(&config_file)?;
        let load = Load::start(&cluster.host, CLIENTS, &size, &self.parts.clock);
        self.say(&format!("{CLIENTS} writers at work; log shipped every second"));
        tokio::time::sleep(WORK_BEFORE).await;
        self.fenice(&config_file, &["snapshot", "registro"])?;
        self.say("snapshot taken while they write");
        tokio::time::sleep(WORK_AFTER).await;
        self.wait_for_first_part(&config_file).await?;

        cluster.kill()?;
        // After the kill: whatever was committed was committed before this instant.
        let clock = &self.parts.clock;
        let disrupted = Moment { at: clock.now(), monotonic: Some(clock.monotonic()) };
        cluster.delete()?;
        self.say("DISASTER: the server killed with SIGKILL, its data directory deleted");
        let acknowledged = load.end(&self.dir.join("acknowledged.csv")).await?;
        drop(shipping);
        if break_wal {
            let broken = self.break_wal(&config_file)?;
            self.say(&format!("and a segment of the stored log is deleted: {broken}"));
        }
        self.say("recovering from the repository alone");
        let outcome = self.recover(&config_file, disrupted).await?;
        let loss = match &outcome.answers {
            Some(answers) => Some(compare(&acknowledged, &found(answers)?)),
            None => None,
        };
        self.conclude(&config_file, &outcome.report, loss.as_ref())
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// A line of the story, with the time since its beginning.
    fn say(&self, what: &str) {
        let at = self.started.elapsed().as_secs_f64();
        self.context.output.note(format_args!("{at:6.1} s  {what}"));
    }

    async fn load_schools(&self, host: &dyn Postgres, size: &DataSize) -> Result<()> {
        let mut session = host.session("fenice_demo").await?;
        for step in steps(SEED, size) {
            session.query(&step.sql).await.attempt(|| format!("generate {}", step.name))?;
        }
        let rows: u64 = size.rows().iter().map(|(_, rows)| *rows).sum();
        self.say(&format!("{} schools, {rows} rows, all invented", size.schools));
        Ok(())
    }

    fn write_config(&self, cluster: &DemoCluster, bin_dir: &Path) -> Result<PathBuf> {
        let text = demo::config::text(&self.dir, cluster, bin_dir);
        let path = self.dir.join("fenice.toml");
        fs::write(&path, text).attempt(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    fn command(&self, config: &Path, arguments: &[&str]) -> Result<Command> {
        let own = std::env::current_exe().attempt(|| "find this program".to_owned())?;
        let mut command = Command::new(own);
        command.arg("--config").arg(config).args(arguments).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs one of our own commands to its end.
    fn fenice(&self, config: &Path, arguments: &[&str]) -> Result<()> {
        let what = || format!("run fenice {}", arguments.join(" "));
        let output = self.command(config, arguments)?.output().attempt(what)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Error::failed(format!("cannot {}", what()))
                .because(String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }

    fn start_shipping(&self, config: &Path) -> Result<Beside> {
        let log = self.dir.join("ship.log");
        let log = fs::File::create(&log).attempt(|| format!("write {}", log.display()))?;
        let mut command = self.command(config, &["ship", "registro"])?;
        let child = command.stdout(Stdio::null()).stderr(log).spawn();
        Ok(Beside(child.attempt(|| "start shipping".to_owned())?))
    }

    /// Waits until something was shipped after the snapshot, so that there is log to replay.
    async fn wait_for_first_part(&self, config_file: &Path) -> Result<()> {
        let config = read_config(config_file)?;
        let deadline = Instant::now() + SHIPPED_LIMIT;
        loop {
            let protected = self.parts.protected(&config, "registro")?;
            let stored =
                facts::read_now(&Sources::only(&protected.repository), &protected.resource.name)?;
            let last = stored.facts.wal.objects.last().map(|object| object.stored_at);
            let snapshot = stored.manifests.last().map(|manifest| manifest.stopped_at);
            match (last, snapshot) {
                (Some(last), Some(snapshot)) if last > snapshot => return Ok(()),
                _ if Instant::now() >= deadline => {
                    return Err(Error::failed("no log was shipped after the snapshot")
                        .hint(format!("{} tells why.", self.path("ship.log"))));
                }
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Deletes a stored stretch of log between the snapshot and the end.
    fn break_wal(&self, config_file: &Path) -> Result<String> {
        let config = read_config(config_file)?;
        let protected = self.parts.protected(&config, "registro")?;
        let stored =
            facts::read_now(&Sources::only(&protected.repository), &protected.resource.name)?;
        let after = stored.manifests.last().map(|s| s.stop_lsn).unwrap_or_default();
        let size = stored.archive.segment_size;
        let last = stored.facts.wal.objects.last().map_or(0, |object| object.segment);
        let wanted =
            (size.number_of(after) + 1).min(last.saturating_sub(1).max(size.number_of(after)));
        let victims = stored.facts.wal.objects.iter().filter(|object| object.segment == wanted);
        let victims: Vec<_> = victims.collect();
        // Parts of the last segment: one in the middle, or the first.
        let only_parts = victims.iter().all(|object| object.extent != Extent::Whole);
        let chosen: Vec<_> = match only_parts {
            true => victims.iter().take(1).collect(),
            false => victims.iter().collect(),
        };
        for object in &chosen {
            protected.repository.store.remove(&object.key)?;
        }
        let first = chosen.first().ok_or_else(|| Error::failed("there is no log to break"))?;
        Ok(first.key.clone())
    }

    async fn recover(&self, config_file: &Path, disrupted: Moment) -> Result<DrillOutcome> {
        let config = read_config(config_file)?;
        let protected = self.parts.protected(&config, "registro")?;
        let context = Context { config_file: config_file.to_owned(), output: self.context.output };
        let dir = self.dir.join("recovered");
        let terms = terms_of(&context, Some(&dir));
        let mut drill = drill_of(&self.parts, &config, &protected, &terms)?;
        drill.disrupted = Some(disrupted);
        drill.questions = vec![WRITES_SQL.to_owned(), TORN_WRITES_SQL.to_owned()];
        let outcome = drill.run(None).await?;
        keep(&protected.repository, &outcome.report)?;
        Ok(outcome)
    }

    fn conclude(
        &self,
        config_file: &Path,
        report: &DrillReport,
        loss: Option<&Loss>,
    ) -> Result<Done> {
        let config = read_config(config_file)?;
        let page = write_faces(&config.daemon.state_dir, report)?;
        // Kept outside what is removed at the end: the report is what the demo is for.
        let kept =
            std::env::temp_dir().join(format!("fenice-demo-report-{}.html", std::process::id()));
        fs::copy(&page, &kept).attempt(|| format!("keep the report as {}", kept.display()))?;
        let words = self.words(report, loss, &kept, config_file);
        let value = json!({
            "verdict": report.verdict,
            "rto_seconds": report.objectives.rto.achieved().map(Span::as_seconds),
            "rpo_seconds": report.objectives.rpo.achieved().map(Span::as_seconds),
            "acknowledged": loss.map(|loss| loss.acknowledged),
            "lost": loss.map(|loss| loss.lost),
            "report": kept,
        });
        self.context.output.answer(|| value, || words)?;
        Ok(match report.verdict {
            Verdict::Passed => Done::Well,
            Verdict::Failed => Done::NotMet,
        })
    }

    fn words(
        &self,
        report: &DrillReport,
        loss: Option<&Loss>,
        page: &Path,
        config_file: &Path,
    ) -> String {
        let colour = self.context.output.terminal.colour;
        let mut text = String::from("\n");
        let passed = report.verdict == Verdict::Passed;
        let (tone, verdict) = match passed {
            true => (Tone::Good, "RECOVERED"),
            false => (Tone::Bad, "NOT RECOVERED"),
        };
        let _ = writeln!(text, "  {}", colour.paint(tone, verdict));
        let allowance = report.objectives.detection_allowance;
        let _ = writeln!(text, "  RTO  {}", line(&report.objectives.rto, colour));
        if let Some(technical) = report.objectives.technical {
            let _ = writeln!(
                text,
                "       of which {technical} by machine, {allowance} allowed for noticing"
            );
        }
        let _ = writeln!(text, "  RPO  {}", line(&report.objectives.rpo, colour));
        match loss {
            Some(loss) => {
                let _ = writeln!(
                    text,
                    "  loss {} of {} acknowledged commits, by the writers' own log",
                    loss.lost, loss.acknowledged
                );
            }
            None => {
                let _ = writeln!(text, "  loss not known: nothing came back to compare");
            }
        }
        for finding in &report.findings {
            let _ = writeln!(text, "  {}", colour.paint(Tone::Bad, &finding.text));
        }
        let _ = writeln!(text, "\n  report  {}", page.display());
        if self.keep {
            let _ = writeln!(text, "  look    fenice --config {} list", config_file.display());
        } else {
            let _ = writeln!(
                text,
                "  look    fenice demo --keep --dir DIR, then: fenice --config DIR/fenice.toml list"
            );
        }
        text
    }
}

fn line(measurement: &Measurement, colour: crate::evidence::plain::Colour) -> String {
    let target = measurement.target;
    match (measurement.achieved(), measurement.met) {
        (Some(measured), Some(true)) => {
            format!("{measured} measured, target {target}: {}", colour.paint(Tone::Good, "met"))
        }
        (Some(measured), _) => {
            format!("{measured} measured, target {target}: {}", colour.paint(Tone::Bad, "MISSED"))
        }
        (None, _) => format!("{}, target {target}", colour.paint(Tone::Bad, "not achieved")),
    }
}

/// Client and serial of every write that came back; none may be half there.
fn found(answers: &[Vec<Row>]) -> Result<BTreeSet<(u32, u64)>> {
    let [writes, torn] = answers else {
        return Err(Error::failed("the recovered server did not answer what was asked"));
    };
    if !torn.is_empty() {
        return Err(Error::failed(format!("{} writes came back in halves", torn.len())));
    }
    writes.iter().map(|row| Ok((field(row, 0)?, field(row, 1)?))).collect()
}

fn read_config(path: &Path) -> Result<Config> {
    let text = fs::read_to_string(path).attempt(|| format!("read {}", path.display()))?;
    config::parse(&text, &path.display().to_string()).map_err(Error::from)
}
