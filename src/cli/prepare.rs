//! `fenice prepare`: what a source needs, shown to a DBA or done.

use serde_json::json;

use super::Context;
use super::exit::Done;
use crate::config::Method;
use crate::daemon;
use crate::engines::blocking::blocking;
use crate::engines::postgres::cluster;
use crate::engines::postgres::heartbeat;
use crate::engines::postgres::prepare::{self, Findings, Wanted};
use crate::engines::postgres::ship::position::is_synchronous;
use crate::engines::postgres::source::Source;
use crate::error::{Attempt, Result};
use crate::evidence::plain::Cell;
use crate::model::ResourceName;

/// Prepare the source: role, grants, heartbeat table, slot
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The resource, as the configuration names it
    resource: ResourceName,
    /// Only print the SQL, for a DBA to run
    #[arg(long)]
    print_sql: bool,
    /// Let another cluster take over the name (after pg_upgrade or a new initdb)
    #[arg(long, conflicts_with = "print_sql")]
    new_cluster: bool,
    /// Empty the heartbeat table of what another repository or cluster wrote
    #[arg(long, conflicts_with = "print_sql")]
    new_heartbeats: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let resource = daemon::resource_of(&config, args.resource.as_str())?;
    let source = parts.source_of(resource)?;
    let wanted = Wanted {
        role: parts.role_of(resource)?,
        name: source.name(),
        slot: source.slot.clone(),
        stream: daemon::postgres_of(resource).method == Method::Stream,
    };
    if args.print_sql {
        let sql = prepare::sql(&wanted);
        return super::well(context.output.answer(|| json!({ "sql": sql }), || sql.clone()));
    }
    let protected = parts.protected(&config, args.resource.as_str())?;
    let findings = prepare_primary(&source, &wanted).await?;
    for advice in &findings.advice {
        context.output.warn(advice);
    }
    findings.verdict()?;
    let facts = source.session().await?.facts;
    let registered = {
        let (repository, clock) = (protected.repository.clone(), parts.clock.clone());
        let (name, facts) = (args.resource.clone(), facts.clone());
        let replace = args.new_cluster;
        blocking(move || {
            let (cluster, timeline) = (&facts.cluster, facts.timeline);
            cluster::register(&repository, &name, cluster, timeline, clock.as_ref(), replace)
        })
        .await?
    };
    let key = parts.heartbeat_key_of(&protected, registered.cluster.system_id)?;
    let mut primary = source.primary_session().await?;
    let replace = args.new_heartbeats || args.new_cluster;
    let removed = heartbeat::settle(primary.session.as_mut(), &key, replace).await?;
    if removed > 0 {
        context.output.note(format_args!("{removed} heartbeats of before were removed"));
    }
    drop(primary);
    let slots = make_slots(&source).await?;
    let system_id = registered.cluster.system_id;
    let value = || {
        json!({
            "resource": args.resource,
            "system_id": system_id,
            "timeline": registered.timeline,
            "version_num": facts.cluster.version_num,
            "slot": wanted.slot,
            "hosts": slots,
            "advice": findings.advice,
        })
    };
    let text = || {
        let rows = [
            ("resource", Cell::plain(args.resource.to_string())),
            ("cluster", Cell::plain(format!("{system_id}, PostgreSQL {}", facts.cluster.major()))),
            ("role", Cell::plain(&wanted.role)),
            ("slot", Cell::plain(format!("{} on {}", wanted.slot, slots.join("; ")))),
        ];
        format!("{} is prepared\n{}", args.resource, context.output.terminal.facts(&rows))
    };
    super::well(context.output.answer(value, text))
}

/// Does what a superuser can, and checks what came of it; a lesser role is only checked, because
/// a DBA may have run the SQL.
async fn prepare_primary(source: &Source, wanted: &Wanted) -> Result<Findings> {
    let mut primary = source.primary_session().await?;
    let session = primary.session.as_mut();
    // Where commits would wait for Fenice, they may be waiting for nobody already.
    let hangs = is_synchronous(&primary.facts.synchronous_standby_names, &wanted.name);
    if !hangs && prepare::is_superuser(session).await? {
        prepare::apply(session, wanted).await?;
    }
    prepare::check(session, wanted).await
}

/// Makes the slot on every host, and tells where it is.
async fn make_slots(source: &Source) -> Result<Vec<String>> {
    let mut hosts = Vec::new();
    for host in &source.hosts {
        let what = || format!("make the slot {} on {}", source.slot, host.describe());
        let mut server = host.walsender(&source.name()).await.attempt(what)?;
        if server.read_slot(&source.slot).await.attempt(what)?.is_none() {
            server.create_slot(&source.slot).await.attempt(what)?;
        }
        hosts.push(host.describe());
    }
    Ok(hosts)
}
