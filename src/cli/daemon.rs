//! `fenice daemon`: looks after everything that is configured, until it is told to end.

use super::exit::Done;
use super::{Context, well};
use crate::config;
use crate::daemon::service::{Beginning, run as run_service};
use crate::error::Result;

/// Run in the foreground: ship, snapshot, copy, expire, verify, rehearse, watch, tell
///
/// Everything that the configuration orders, for all of its resources, when it is due. SIGTERM ends
/// it in order, SIGHUP lets it read its configuration again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where another installation writes to a repository, wait until it ends or dies: for a second
    /// host
    #[arg(long)]
    stand_by: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Done> {
    let file = context.config_file.clone();
    let reread = move || {
        let name = file.display().to_string();
        let text = super::read_config(&file)?;
        Ok(config::parse(&text, &name)?)
    };
    let beginning = Beginning {
        parts: context.parts()?,
        config: context.config()?,
        config_file: context.config_file.clone(),
        reread: Box::new(reread),
        stands_by: args.stand_by,
    };
    well(Box::pin(run_service(beginning)).await)
}
