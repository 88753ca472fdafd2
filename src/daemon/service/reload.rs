//! A new configuration: read and checked first; if it is wrong, everything stays as it was.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use tokio::sync::oneshot;

use super::charge::Charges;
use super::message::Message;
use super::post::Post;
use super::shipping::Shipments;
use super::state::State;
use super::tell::Telling;
use crate::adapters::systemd;
use crate::config::Config;
use crate::error::{Error, Kind, Result};

pub(super) struct Reload {
    pub post: Arc<Post>,
    pub state: Arc<State>,
    pub charges: Arc<Charges>,
    pub shipments: Arc<Shipments>,
    pub scheduler: Sender<Message>,
    pub telling: Arc<Telling>,
    pub reread: Box<dyn Fn() -> Result<Config> + Send + Sync>,
}

impl Reload {
    pub async fn reload(&self) {
        drop(systemd::notify_reloading());
        let status = match self.adopt().await {
            Ok(()) => {
                self.state.trouble("configuration", None);
                tracing::info!("{}", self.status());
                self.status()
            }
            Err(error) => {
                let told = error.chain();
                tracing::error!(error = %told, "the new configuration is not taken");
                let status = format!("{}; the new configuration is not taken", self.status());
                self.state.trouble("configuration", Some(told));
                status
            }
        };
        drop(systemd::notify(&format!("READY=1\nSTATUS={status}")));
    }

    /// For systemd, in one line.
    pub fn status(&self) -> String {
        match self.post.config().resources.len() {
            1 => "protecting one resource".to_owned(),
            count => format!("protecting {count} resources"),
        }
    }

    async fn adopt(&self) -> Result<()> {
        let new = Arc::new((self.reread)()?);
        let old = self.post.config();
        let (now, then) = (&new.daemon, &old.daemon);
        if now.state_dir != then.state_dir || now.listen != then.listen {
            return Err(Error::new(Kind::Config, "`state_dir` or `listen` of [daemon] changed")
                .hint("They are taken at the start: restart the daemon."));
        }
        let ending = || Error::new(Kind::Busy, "the daemon is ending").later();
        let (answer, answered) = oneshot::channel();
        let config = new.clone();
        self.scheduler.send(Message::Adopt { config, answer }).map_err(|_| ending())?;
        answered.await.map_err(|_| ending())??;
        self.post.adopt(new.clone());
        self.charges.adopt(&self.post, &new)?;
        self.shipments.adopt(&self.post, &self.charges, &new).await;
        self.state.keep_only(&new);
        // Not waited for: messages may be on their way.
        let telling = self.telling.clone();
        drop(tokio::task::spawn_blocking(move || telling.reconfigure(&new)));
        Ok(())
    }
}
