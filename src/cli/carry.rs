//! Has work done: by the daemon of this installation, if one answers, and else right here.

use std::path::Path;
use std::sync::Arc;

use super::Context;
use super::progress::Shown;
use crate::config::Config;
use crate::daemon::Parts;
use crate::daemon::control::client::Client;
use crate::daemon::control::wire::{Reply, Request};
use crate::daemon::work::{self, Report, Setting, Wish};
use crate::engines::progress::Progress;
use crate::error::{Error, Result};
use crate::evidence::drill_report::Trigger;

/// Does it, and shows how it comes along.
pub(super) async fn carry_out(
    wish: Wish,
    config: &Config,
    parts: &Parts,
    context: &Context,
) -> Result<Report> {
    let progress = Arc::new(Progress::default());
    let shown = Shown::start(Arc::clone(&progress), context.output);
    let done = match Client::find(config).await? {
        Some(client) => ask(client, wish, &progress, context).await,
        None => {
            let setting = Setting {
                parts,
                config,
                config_file: &context.config_file,
                progress,
                due_at: None,
                trigger: Trigger::Manual,
                operator: operator(),
                // Nobody comes after this process to undo anything.
                note_step: &|_, _| Ok(()),
            };
            Box::pin(work::carry_out(&wish, &setting)).await
        }
    };
    drop(shown);
    done
}

/// Lets the daemon do it. Interrupted, this command ends, and the daemon goes on.
async fn ask(client: Client, wish: Wish, progress: &Progress, context: &Context) -> Result<Report> {
    let mut told = |reply: &Reply| match reply {
        Reply::Waiting { because } => context.output.note(format_args!("waiting: {because}")),
        Reply::Begun { id } => context.output.note(format_args!(
            "the daemon does it as job {id}, and goes on if this command is interrupted"
        )),
        Reply::Progress(now) => progress.show(&now.phase, now.done_bytes, now.expected_bytes),
        _ => {}
    };
    match client.ask(&Request::Do(wish), &mut told).await? {
        Reply::Reported(report) => Ok(report),
        _ => Err(unexpected()),
    }
}

/// The daemon answered something else than it was asked.
pub(super) fn unexpected() -> Error {
    Error::failed("the daemon gave an answer that this program does not know")
        .hint("Is it of another version? Restart it.")
}

/// Who ordered it, as the system knows them.
pub(super) fn operator() -> String {
    let name = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    name.unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// Notes no step: nobody comes after this process to undo anything.
pub(super) fn terms_of<'a>(context: &'a Context, dir: Option<&'a Path>) -> work::drill::Terms<'a> {
    work::drill::Terms {
        config_file: &context.config_file,
        dir,
        operator: operator(),
        trigger: Trigger::Manual,
        note_step: &|_, _| Ok(()),
    }
}
