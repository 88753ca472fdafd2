//! A rehearsal of a recovery, kept as evidence; and what a rehearsal that was cut short left
//! behind, taken away.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::Setting;
use crate::adapters::{left_behind, programs};
use crate::config::Config;
use crate::daemon::{Parts, Protected};
use crate::drill::{Drill, run::keep};
use crate::engines::blocking::blocking;
use crate::engines::postgres::restore::place::Place;
use crate::engines::postgres::restore::teardown::tear_down;
use crate::error::{Attempt, Error, Result};
use crate::evidence::drill_report::{DrillReport, Trigger};
use crate::evidence::plain::Colour;
use crate::evidence::words::ENGLISH;
use crate::evidence::{html, json as json_face, text};
use crate::model::ResourceName;
use crate::plan::facts::Target;
use crate::ports::Clock;
use crate::repository::{layout, wal_codec};

/// The step that is noted before a rehearsal makes its directory.
pub const STEP: &str = "drill";
const LOSS_OF_HOST: &str = "loss of host";
const PREFIX: &str = "fenice-drill-";
/// Where they are made by root, whose servers run as somebody else who must get there.
const OPEN_PARENT: &str = "/var/tmp";

/// What a rehearsal is made of, besides the resource.
pub struct Terms<'a> {
    pub config_file: &'a Path,
    /// Where its directory is made; `None` for the usual place.
    pub dir: Option<&'a Path>,
    pub operator: String,
    pub trigger: Trigger,
    pub note_step: &'a (dyn Fn(&str, &str) -> Result<()> + Send + Sync),
}

/// A drill of a resource, in a new directory of its own.
///
/// # Errors
/// The directory could not be made, or the step not be noted.
pub fn drill_of<'a>(
    parts: &Parts,
    config: &Config,
    protected: &'a Protected<'a>,
    terms: &Terms<'_>,
) -> Result<Drill<'a>> {
    let tools = parts.tools_of(protected)?;
    // Where this process is root the server runs as somebody else, who must be able to get there.
    let open = tools.launcher.runs_as().is_some();
    let parent = match (terms.dir, open) {
        (Some(dir), _) => dir.to_owned(),
        (None, true) => PathBuf::from(OPEN_PARENT),
        (None, false) => config.daemon.state_dir.join("drills"),
    };
    let (name, at) = (&protected.resource.name, layout::instant(parts.clock.now()));
    let base = parent.join(format!("{PREFIX}{name}-{at}"));
    (terms.note_step)(STEP, &base.display().to_string())?;
    let mode = if open { 0o755 } else { 0o700 };
    let what = || format!("make the directory {}", base.display());
    fs::DirBuilder::new().recursive(true).mode(mode).create(&parent).attempt(what)?;
    // Never one that is there: what a step names is removed after a crash.
    fs::DirBuilder::new().mode(mode).create(&base).attempt(what)?;
    let text = fs::read(terms.config_file).unwrap_or_default();
    Ok(Drill {
        tools,
        resource: protected.resource,
        policy: protected.policy,
        user: parts.role_of(protected.resource)?,
        base,
        operator: terms.operator.clone(),
        host: programs::host_name(),
        configuration_hash: wal_codec::sha256_hex(&text),
        trigger: terms.trigger,
        scenario: LOSS_OF_HOST,
        disrupted: None,
        questions: Vec::new(),
    })
}

/// Rehearses the recovery to the end of the log, and keeps the report.
pub(super) async fn rehearse(name: &ResourceName, setting: &Setting<'_>) -> Result<DrillReport> {
    let Setting { parts, config, .. } = setting;
    let protected = parts.recoverable(config, name.as_str(), None)?;
    let terms = Terms {
        config_file: setting.config_file,
        dir: None,
        operator: setting.operator.clone(),
        trigger: setting.trigger,
        note_step: setting.note_step,
    };
    let mut drill = drill_of(parts, config, &protected, &terms)?;
    drill.tools.progress = setting.progress.clone();
    rehearse_to(&drill, None, &protected, config).await
}

/// Rehearses, keeps the report in the repository, and writes its faces beside the state.
///
/// # Errors
/// It was cancelled: then there is no report, for it failed by nobody's fault.
pub async fn rehearse_to(
    drill: &Drill<'_>,
    target: Option<Target>,
    protected: &Protected<'_>,
    config: &Config,
) -> Result<DrillReport> {
    let to = match target {
        Some(Target::At(at)) => Some(at),
        Some(Target::Latest | Target::Consistent { .. }) | None => None,
    };
    let report = drill.run(to).await?.report;
    drill.tools.progress.checked()?;
    let (repository, kept) = (protected.repository.clone(), report.clone());
    blocking(move || keep(&repository, &kept)).await?;
    write_faces(&config.daemon.state_dir, &report)?;
    Ok(report)
}

/// The page of a report, beside the state.
pub fn page_of(state_dir: &Path, report: &DrillReport) -> PathBuf {
    let identity = &report.identity;
    state_dir.join("reports").join(format!("{}-{}.html", identity.resource, identity.drill_id))
}

/// Writes the report beside the state, for people; the repository holds the one that counts.
pub fn write_faces(state_dir: &Path, report: &DrillReport) -> Result<PathBuf> {
    let dir = state_dir.join("reports");
    let what = || format!("write the report into {}", dir.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).attempt(what)?;
    let page = page_of(state_dir, report);
    fs::write(&page, html::render(report, &ENGLISH)).attempt(what)?;
    fs::write(page.with_extension("json"), json_face::render(report)).attempt(what)?;
    let plain = text::render(report, &ENGLISH, Colour::None);
    fs::write(page.with_extension("txt"), plain).attempt(what)?;
    Ok(page)
}

/// Why a rehearsal did not pass, in a clause.
pub(super) fn told(report: &DrillReport) -> String {
    let id = &report.identity.drill_id;
    format!("the rehearsal {id} did not pass: `fenice drill show {id}`")
}

/// Takes away what a step left whose job was cut short: the server that may still run there, and
/// everything below its directory.
///
/// # Errors
/// Refused if the step is not one of a rehearsal; something could not be removed.
pub fn undo(what: &str, detail: &str, clock: &dyn Clock) -> Result<()> {
    let base = Path::new(detail);
    let named = base.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    if what != STEP || !named || !base.is_absolute() {
        return Err(Error::refused(format!("nobody knows how to undo the step {what} {detail}")));
    }
    let place = Place::of_target(base.join("data"));
    left_behind::stop(&place.target)?;
    let removed = tear_down(None, &place, &[base.to_owned()], clock);
    let left = removed.iter().filter(|one| one.gone_at.is_none());
    let left: Vec<String> = left.map(|one| format!("{}: {}", one.what, one.seen_by)).collect();
    match left.is_empty() {
        true => Ok(()),
        false => Err(Error::failed(format!("cannot remove what a rehearsal left in {detail}"))
            .because(left.join("; "))),
    }
}
