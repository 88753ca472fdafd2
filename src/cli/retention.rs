//! `fenice retention`: what stays, what goes and why; with `--apply`, what has no place left goes.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::carry::{carry_out, unexpected};
use super::exit::Done;
use super::list::local;
use super::{Context, locking};
use crate::config::{Config, Resource};
use crate::daemon::work::retention::Ruled;
use crate::daemon::work::{Report, Wish};
use crate::daemon::{self, Parts, Purpose};
use crate::engines::postgres::expire::Applied;
use crate::error::{Attempt, Error, Result};
use crate::evidence::plain::{Cell, Column, Row, Table, Tone, clean};
use crate::model::{ByteSize, ResourceName};
use crate::plan::retention::{Closing, RetentionPlan, Ruling, Verdict};
use crate::repository::vault::prune::Pruned;

/// Show what stays and what goes, and why; remove it with --apply
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this resource [default: all]
    resource: Option<String>,
    /// Remove what has no place left
    #[arg(long)]
    apply: bool,
    /// Remove it although the plan is unusual
    #[arg(long, requires = "apply")]
    confirm: bool,
}

/// One repository of one resource: the plan, and what was removed by it.
struct Shown<'c> {
    resource: &'c ResourceName,
    ruled: Ruled,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let chosen: Vec<_> = match &args.resource {
        Some(name) => vec![daemon::resource_of(&config, name)?],
        None => config.resources.iter().collect(),
    };
    let (mut all, mut failures): (Vec<Shown<'_>>, Vec<Error>) = (Vec::new(), Vec::new());
    for resource in chosen {
        let (ruled, failed) = match args.apply {
            true => apply(&args, &parts, &config, resource, context).await,
            false => plan(&parts, &config, resource),
        };
        let resource = &resource.name;
        all.extend(ruled.into_iter().map(|ruled| Shown { resource, ruled }));
        failures.extend(failed);
    }
    let zone = &config.daemon.timezone;
    if !all.is_empty() {
        context.output.answer(
            || Value::Array(all.iter().map(value).collect()),
            || all.iter().map(|shown| text(shown, zone, context)).collect::<Vec<_>>().join("\n"),
        )?;
    }
    // One that fails does not hold up the others; the last one told decides how this ends.
    if let Some(last) = failures.pop() {
        failures.iter().for_each(|error| context.output.error(error));
        return Err(last);
    }
    Ok(if all.iter().all(|shown| shown.ruled.is_kept()) { Done::Well } else { Done::NotMet })
}

/// What would be done in each repository of a resource.
fn plan(parts: &Parts, config: &Config, resource: &Resource) -> (Vec<Ruled>, Vec<Error>) {
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    for (repository, role) in daemon::places(config, resource) {
        let planned = parts
            .expiry_of(config, resource, role, Purpose::Look)
            .and_then(|expiry| expiry.plan())
            .attempt(|| format!("rule on {} in `{repository}`", resource.name));
        match planned {
            Ok(plan) => {
                let repository = repository.to_owned();
                all.push(Ruled { repository, plan, applied: None, locked: None });
            }
            Err(error) => failures.push(error),
        }
    }
    (all, failures)
}

async fn apply(
    args: &Args,
    parts: &Parts,
    config: &Config,
    resource: &Resource,
    context: &Context,
) -> (Vec<Ruled>, Vec<Error>) {
    let wish = Wish::Retention { resource: resource.name.clone(), confirm: args.confirm };
    match carry_out(wish, config, parts, context).await {
        Ok(Report::Retention(report)) => {
            (report.ruled, report.failed.into_iter().map(Error::from).collect())
        }
        Ok(_) => (Vec::new(), vec![unexpected()]),
        Err(error) => (Vec::new(), vec![error]),
    }
}

fn text(shown: &Shown<'_>, zone: &TimeZone, context: &Context) -> String {
    let Shown { resource, ruled } = shown;
    let (plan, terminal) = (&ruled.plan, context.output.terminal);
    let mut text = terminal.heading(&format!("{resource} in `{}`", ruled.repository));
    match plan.snapshots.is_empty() {
        true => text.push_str("no snapshots\n"),
        false => text.push_str(&terminal.table(&table(plan, zone))),
    }
    let (window, horizon) = (local(plan.window_start, zone), local(plan.horizon, zone));
    text.push_str(&format!("window from {window}; nothing of before {horizon} is promised\n"));
    let leaving = plan.log.iter().filter(|ruling| !ruling.stays).count();
    text.push_str(&format!("log: {leaving} of {} objects go\n", plan.log.len()));
    if let Some(first) = plan.strangers.first() {
        let (count, first) = (plan.strangers.len(), clean(first));
        text.push_str(&format!("never removed, being not understood: {count} keys, as {first}\n"));
    }
    text.push_str(&remains(plan, zone));
    text.push_str(&end(plan));
    for doubt in &plan.doubts {
        text.push_str(&format!("unusual: {doubt}\n"));
    }
    match &ruled.applied {
        None if plan.removed().next().is_some() || leaving > 0 || closes(plan) => {
            text.push_str("nothing was removed: this is the plan, --apply carries it out\n");
        }
        None => {}
        Some(applied) => text.push_str(&removed(applied, zone)),
    }
    if let Some(run) = &ruled.locked {
        text.push_str(&format!("locked: {}\n", locking::told(run, zone)));
    }
    text
}

/// Warnings of what the vault holds for nobody.
fn remains(plan: &RetentionPlan, zone: &TimeZone) -> String {
    let mut text = String::new();
    if plan.unnamed_snapshots > 0 {
        text.push_str(&format!(
            "warning: {} snapshots in the vault have no manifest: the next --apply removes what a \
             crash left\n",
            plan.unnamed_snapshots
        ));
    }
    if plan.overdue_packs > 0 {
        text.push_str(&format!(
            "warning: {} packs that were to be deleted within 48 hours were still there: --apply \
             deletes those that no lock keeps; run it every day\n",
            plan.overdue_packs
        ));
    }
    if let Some(until) = plan.locked_until {
        text.push_str(&format!(
            "locked by the store: {} packs that were to be deleted, the last until {}\n",
            plan.locked_packs,
            local(until, zone)
        ));
    }
    text
}

fn closes(plan: &RetentionPlan) -> bool {
    matches!(&plan.closing, Closing::Due(leftovers) if !leftovers.is_empty())
}

/// What becomes of the rest, where the resource is retired.
fn end(plan: &RetentionPlan) -> String {
    match &plan.closing {
        Closing::InUse => String::new(),
        Closing::Waits(because) => format!(
            "retired: records of gaps and clusters, histories and keys go when all data is gone: \
             {}\n",
            because.join("; ")
        ),
        Closing::Due(leftovers) if leftovers.is_empty() => {
            "retired: nothing is left but the evidence\n".to_owned()
        }
        Closing::Due(leftovers) => {
            format!("retired, and all data is gone: the last {} objects go\n", leftovers.len())
        }
    }
}

fn removed(applied: &Applied, zone: &TimeZone) -> String {
    let (snapshots, objects) = (applied.snapshots, applied.log_objects);
    let mut text = format!("removed: {snapshots} snapshots, {objects} objects of the log\n");
    if let Some(until) = applied.locked.until {
        text.push_str(&format!(
            "locked by the store, and not removed: {} objects of the log and the last ones, until \
             {}\n",
            applied.locked.objects,
            local(until, zone)
        ));
    }
    for who in &applied.arrived {
        text.push_str(&format!("meanwhile {who}: no log is removed now\n"));
    }
    for id in &applied.put_back {
        text.push_str(&format!("put back: snapshot {id}\n"));
    }
    text.push_str(&match &applied.vault {
        None => "vault: somebody reads or holds it, so nothing is pruned now\n".to_owned(),
        Some(pruned) => format!(
            "vault: {} packs deleted ({}), {} wait for their deletion{}\n",
            pruned.packs_deleted,
            ByteSize(pruned.bytes_deleted),
            pruned.packs_waiting,
            locks_of(pruned, zone)
        ),
    });
    if applied.vault.as_ref().is_some_and(|pruned| pruned.disturbed) {
        text.push_str("vault: somebody else wrote meanwhile; the next --apply goes on with it\n");
    }
    for epoch in &applied.epochs_removed {
        text.push_str(&format!("vault: epoch {epoch} had ended, and nothing of it is left\n"));
    }
    if applied.leftovers > 0 {
        let count = applied.leftovers;
        text.push_str(&format!("removed: the last {count} objects; the evidence stays\n"));
    }
    text
}

/// What of a vault the store locks, as the end of a sentence.
fn locks_of(pruned: &Pruned, zone: &TimeZone) -> String {
    let Some(until) = pruned.locked_until else { return String::new() };
    let (packs, until) = (pruned.packs_locked, local(until, zone));
    let snapshots = match pruned.snapshots_locked {
        0 => String::new(),
        count => format!(" and {count} snapshots without a manifest"),
    };
    format!("; the store locks {packs} of them{snapshots}, the last until {until}")
}

fn table(plan: &RetentionPlan, zone: &TimeZone) -> Table {
    let row = |ruling: &Ruling| Row {
        cells: vec![
            Cell::plain(&ruling.id),
            Cell::plain(local(ruling.stopped_at, zone)),
            Cell::plain(ruling.leaves_at.to_zoned(zone.clone()).date().to_string()),
            state(ruling),
        ],
        detail: Some(ruling.verdict.to_string()),
    };
    Table {
        columns: vec![
            Column::word("SNAPSHOT"),
            Column::word("ENDED"),
            Column::word("LEAVES"),
            Column::word("STATE"),
        ],
        rows: plan.snapshots.iter().map(row).collect(),
    }
}

fn state(ruling: &Ruling) -> Cell {
    match &ruling.verdict {
        Verdict::Guarded(_) => Cell::toned("OVERDUE", Tone::Bad),
        Verdict::Remove { .. } => Cell::toned("goes", Tone::Warn),
        Verdict::Window | Verdict::Anchor | Verdict::Weekly => Cell::plain("stays"),
    }
}

fn value(shown: &Shown<'_>) -> Value {
    let Shown { resource, ruled } = shown;
    let plan = &ruled.plan;
    let snapshot = |ruling: &Ruling| {
        json!({
            "id": ruling.id,
            "stopped_at": ruling.stopped_at,
            "leaves_at": ruling.leaves_at,
            "stays": ruling.stays(),
            "overdue": ruling.is_overdue(),
            "because": ruling.verdict.to_string(),
        })
    };
    let log = |stays: bool| plan.log.iter().filter(|ruling| ruling.stays == stays).count();
    json!({
        "resource": resource,
        "repository": ruled.repository,
        "now": plan.now,
        "window_start": plan.window_start,
        "horizon": plan.horizon,
        "snapshots": plan.snapshots.iter().map(snapshot).collect::<Vec<_>>(),
        "log_objects_staying": log(true),
        "log_objects_leaving": log(false),
        "strangers": plan.strangers,
        "unnamed_snapshots": plan.unnamed_snapshots,
        "overdue_packs": plan.overdue_packs,
        "locked_packs": plan.locked_packs,
        "locked_until": plan.locked_until,
        "closing": closing(plan),
        "doubts": plan.doubts,
        "applied": ruled.applied,
        "locked": ruled.locked,
    })
}

fn closing(plan: &RetentionPlan) -> Value {
    match &plan.closing {
        Closing::InUse => Value::Null,
        Closing::Waits(because) => json!({ "due": false, "because": because, "objects": null }),
        Closing::Due(leftovers) => {
            json!({ "due": true, "because": [], "objects": leftovers.len() })
        }
    }
}
