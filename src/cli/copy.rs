//! `fenice copy`: brings what is due into the repository of the copies.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::carry::{carry_out, unexpected};
use super::exit::Done;
use super::{Context, locking};
use crate::daemon::work::{CopyReport, Report, Wish};
use crate::daemon::{self, Purpose};
use crate::engines::blocking::blocking;
use crate::engines::postgres::copy::{CopyPlan, CopyRun};
use crate::engines::postgres::locking::LockRun;
use crate::error::{Attempt, Result};
use crate::model::ByteSize;
use crate::plan::retention::CopyDue;

/// Copy what is due into the repository named by `copy_to`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The resource, as the configuration names it
    resource: String,
    /// Only print what would be copied, and why
    #[arg(long)]
    plan: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let resource = daemon::resource_of(&config, &args.resource)?;
    if args.plan {
        let job = parts.copy_job_of(&config, resource, Purpose::Look)?;
        let to = config.policy_of(resource).copy_to.clone().unwrap_or_default();
        let plan = blocking(move || job.plan()).await?;
        let value = || plan_value(&args.resource, &to, &plan);
        return super::well(context.output.answer(value, || plan_text(&to, &plan)));
    }
    let wish = Wish::Copy { resource: resource.name.clone() };
    let report = carry_out(wish, &config, &parts, context).await?;
    let Report::Copy(CopyReport { to, run, locked, lock_failed }) = report else {
        return Err(unexpected());
    };
    if locking::answers_first(lock_failed.as_ref(), context) {
        let zone = &config.daemon.timezone;
        context.output.answer(
            || run_value(&args.resource, &to, &run, locked),
            || run_text(&to, &run, locked, zone),
        )?;
    }
    let what = || format!("lock the copies in `{to}`, which are there");
    locking::must_be_locked(lock_failed).attempt(what)?;
    Ok(if run.failed.is_empty() { Done::Well } else { Done::NotMet })
}

fn plan_text(to: &str, plan: &CopyPlan) -> String {
    let mut text = match plan.snapshots.is_empty() {
        true => format!("`{to}` has every snapshot that is due\n"),
        false => String::new(),
    };
    for due in &plan.snapshots {
        text.push_str(&format!("snapshot {} to `{to}`: {}\n", due.id, due.because));
    }
    if plan.log {
        text.push_str("and all of the log of the window (`replicate = \"all\"`)\n");
    }
    text
}

fn run_text(to: &str, run: &CopyRun, locked: Option<LockRun>, zone: &TimeZone) -> String {
    let mut text = String::new();
    for copied in &run.snapshots {
        let (id, new, objects) = (&copied.id, ByteSize(copied.new_bytes), copied.log_objects);
        text.push_str(&format!(
            "snapshot {id} is in `{to}`, read back: {new} new, {objects} objects of its log\n"
        ));
    }
    for (id, reason) in &run.failed {
        text.push_str(&format!("{id} was NOT COPIED: {reason}\n"));
    }
    if run.log_objects > 0 {
        text.push_str(&format!("{} more objects of the log are in `{to}`\n", run.log_objects));
    }
    if text.is_empty() {
        text = format!("`{to}` had everything that is due\n");
    }
    if let Some(run) = locked {
        text.push_str(&format!("locked in `{to}`: {}\n", locking::told(&run, zone)));
    }
    text
}

fn plan_value(resource: &str, to: &str, plan: &CopyPlan) -> Value {
    let due = |due: &CopyDue| json!({ "id": due.id, "because": due.because });
    json!({
        "resource": resource,
        "to": to,
        "now": plan.now,
        "snapshots": plan.snapshots.iter().map(due).collect::<Vec<_>>(),
        "log": plan.log,
    })
}

fn run_value(resource: &str, to: &str, run: &CopyRun, locked: Option<LockRun>) -> Value {
    let failed = |(id, reason): &(String, String)| json!({ "id": id, "because": reason });
    json!({
        "resource": resource,
        "to": to,
        "snapshots": run.snapshots,
        "failed": run.failed.iter().map(failed).collect::<Vec<_>>(),
        "log_objects": run.log_objects,
        "locked": locked,
    })
}
