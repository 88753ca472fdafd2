//! `fenice copy`: brings what is due into the repository of the copies.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Context;
use super::exit::Done;
use super::progress::Shown;
use crate::daemon::{self, Purpose};
use crate::engines::blocking::blocking;
use crate::engines::postgres::copy::{CopyPlan, CopyRun};
use crate::error::Result;
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
    let purpose = if args.plan { Purpose::Look } else { Purpose::Write };
    let job = parts.copy_job_of(&config, resource, purpose)?;
    let to = config.policy_of(resource).copy_to.clone().unwrap_or_default();
    if args.plan {
        let plan = blocking(move || job.plan()).await?;
        let value = || plan_value(&args.resource, &to, &plan);
        return super::well(context.output.answer(value, || plan_text(&to, &plan)));
    }
    let shown = Shown::start(Arc::clone(&job.progress), context.output);
    let copied = blocking(move || job.run()).await;
    drop(shown);
    let run = copied?;
    context.output.answer(|| run_value(&args.resource, &to, &run), || run_text(&to, &run))?;
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

fn run_text(to: &str, run: &CopyRun) -> String {
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
    match text.is_empty() {
        true => format!("`{to}` had everything that is due\n"),
        false => text,
    }
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

fn run_value(resource: &str, to: &str, run: &CopyRun) -> Value {
    let failed = |(id, reason): &(String, String)| json!({ "id": id, "because": reason });
    json!({
        "resource": resource,
        "to": to,
        "snapshots": run.snapshots,
        "failed": run.failed.iter().map(failed).collect::<Vec<_>>(),
        "log_objects": run.log_objects,
    })
}
