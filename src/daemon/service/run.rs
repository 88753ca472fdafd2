//! How the daemon begins and how it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

use super::charge::Charges;
use super::desk::FrontDesk;
use super::measuring::Measuring;
use super::message::Message;
use super::post::Post;
use super::reload::Reload;
use super::scheduler::{Scheduler, limits};
use super::shipping::Shipments;
use super::state::State;
use super::tell::Telling;
use super::undo::undo_open_steps;
use crate::adapters::systemd;
use crate::config::Config;
use crate::daemon::Parts;
use crate::daemon::control::server::ControlSocket;
use crate::daemon::{control, standings};
use crate::error::{Attempt, Error, Result};
use crate::jobs::Order;
use crate::web::{Limits, Server};

/// What was received is stored, and what runs comes to an end, within this long; what does not is
/// cut short, as by a crash.
const DRAIN_WITHIN: Duration = Duration::from_secs(45);
/// Leases are let go within this long.
const LEAVE_WITHIN: Duration = Duration::from_secs(15);
/// The address may be somebody else's for a while.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What a daemon begins with.
pub struct Beginning {
    pub parts: Parts,
    pub config: Config,
    pub config_file: PathBuf,
    /// Reads and checks the configuration again.
    pub reread: Box<dyn Fn() -> Result<Config> + Send + Sync>,
    /// Where another installation writes, this one is meant to wait for its turn.
    pub stands_by: bool,
}

/// Everything that was begun and is to be ended.
struct Household {
    post: Arc<Post>,
    charges: Arc<Charges>,
    shipments: Arc<Shipments>,
    scheduler: Sender<Message>,
    /// Comes when the scheduler's loop has ended.
    ended: oneshot::Receiver<()>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    reload: Reload,
    reloads: Arc<Notify>,
}

/// Runs until SIGTERM or SIGINT, then ends in order. SIGHUP has the configuration read again.
///
/// # Errors
/// It cannot begin: the catalog is not readable, or of a newer version (refused); another daemon
/// of this installation runs (`Kind::Busy`). Or the scheduler broke off.
pub async fn run(beginning: Beginning) -> Result<()> {
    let what = || "listen for signals".to_owned();
    let mut terminate = signal(SignalKind::terminate()).attempt(what)?;
    let mut interrupt = signal(SignalKind::interrupt()).attempt(what)?;
    let mut hangup = signal(SignalKind::hangup()).attempt(what)?;
    let mut household = Household::set_up(beginning).await?;
    systemd::notify(&format!("READY=1\nSTATUS={}", household.reload.status()))?;
    tracing::info!("{}", household.reload.status());
    let broken = household.keep(&mut terminate, &mut interrupt, &mut hangup).await;
    drop(systemd::notify("STOPPING=1\nSTATUS=storing what was received, then ending"));
    tracing::info!("storing what was received, then ending");
    household.drain().await;
    match broken {
        false => Ok(()),
        true => Err(Error::failed("the loop that begins all work broke off")
            .hint("The log tells why. Whatever was under way is tried again after a restart.")),
    }
}

impl Household {
    async fn set_up(beginning: Beginning) -> Result<Household> {
        let Beginning { parts, config, config_file, reread, stands_by } = beginning;
        let config = Arc::new(config);
        let catalog = Arc::new(parts.catalog(&config)?);
        let socket = ControlSocket::bind(&control::path(&config))?;
        let post = Post::new(parts, catalog.clone(), config_file, stands_by, config.clone());
        let post = Arc::new(post);
        let (charges, shipments) = (Arc::new(Charges::default()), Arc::new(Shipments::default()));
        let state = Arc::new(State::new(post.clone(), charges.clone()));
        undo_open_steps(&post, &state)?;
        let now = post.parts.clock.now();
        let (order, interrupted) = Order::open(catalog, standings(&config), limits(&config), now)?;
        for job in interrupted {
            let (id, work, resource) = (job.id, &job.work, &job.resource);
            let then = if job.due_at.is_some() { "is tried again" } else { "is not tried again" };
            tracing::warn!(id, work, %resource, then, "was cut short");
        }
        state.expect_jobs(&config);
        // Before anything can begin: without it nothing may.
        charges.adopt(&post, &config)?;
        let (scheduler, messages) = channel();
        let loop_of = Scheduler::new(
            order,
            post.clone(),
            state.clone(),
            charges.clone(),
            Handle::current(),
            scheduler.clone(),
        );
        let (over, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("scheduler".to_owned());
        let spawned = thread.spawn(move || {
            // Dropped however the loop ends, a panic included.
            let _over = over;
            loop_of.run(&messages);
        });
        spawned.attempt(|| "start the scheduler's thread".to_owned())?;
        shipments.adopt(&post, &charges, &config).await;

        let (stop, stopped) = watch::channel(false);
        let telling = Arc::new(Telling::open(&post, &state)?);
        let reloads = Arc::new(Notify::new());
        let desk = FrontDesk {
            post: post.clone(),
            scheduler: scheduler.clone(),
            shipments: shipments.clone(),
            reload: reloads.clone(),
        };
        let measuring = Measuring::new(post.clone(), state.clone(), shipments.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(socket.run(Arc::new(desk), stopped.clone()));
        tasks.spawn(listen(post.clone(), state.clone(), stopped.clone()));
        tasks.spawn(measuring.run(stopped.clone()));
        tasks.spawn(telling.clone().run(stopped.clone()));
        tasks.spawn(telling.clone().beat_on(stopped));
        let reload = Reload {
            post: post.clone(),
            state,
            charges: charges.clone(),
            shipments: shipments.clone(),
            scheduler: scheduler.clone(),
            telling,
            reread,
        };
        Ok(Household { post, charges, shipments, scheduler, ended, stop, tasks, reload, reloads })
    }

    /// Returns when it is to end; whether because the scheduler broke off.
    async fn keep(
        &mut self,
        terminate: &mut Signal,
        interrupt: &mut Signal,
        hangup: &mut Signal,
    ) -> bool {
        loop {
            tokio::select! {
                _ = terminate.recv() => return false,
                _ = interrupt.recv() => return false,
                _ = &mut self.ended => return true,
                _ = hangup.recv() => self.reload.reload().await,
                () = self.reloads.notified() => self.reload.reload().await,
            }
        }
    }

    /// Stores what was received and lets what runs come to an end; then lets the leases go.
    async fn drain(mut self) {
        self.stop.send_replace(true);
        drop(self.scheduler.send(Message::Drain));
        let in_order = async {
            self.shipments.stop().await;
            // Its sender is dropped when it has ended.
            let _ = (&mut self.ended).await;
            while self.tasks.join_next().await.is_some() {}
        };
        let in_order = tokio::time::timeout(DRAIN_WITHIN, in_order).await.is_ok();
        if !in_order {
            tracing::warn!("not everything came to its end in time; it goes on after the start");
            drop(self.scheduler.send(Message::End));
        }
        // Whoever still waits for a lease gives up, and is waited for: a thread at work while the
        // process is torn down may find what it uses gone.
        let (parts, charges) = (self.post.parts.clone(), self.charges.clone());
        let left = tokio::task::spawn_blocking(move || {
            parts.patience.end();
            charges.end();
            // What is still under way may believe that it writes under a lease.
            if in_order {
                parts.leases.forget_all();
            }
        });
        if tokio::time::timeout(LEAVE_WITHIN, left).await.is_err() {
            tracing::warn!("a repository does not answer: its lease ends by itself");
        }
    }
}

/// Answers HTTP where the configuration says. Where it cannot, everything else goes on, and it is
/// tried again.
async fn listen(post: Arc<Post>, state: Arc<State>, mut stop: watch::Receiver<bool>) {
    let address = post.config().daemon.listen;
    while !*stop.borrow() {
        match Server::bind(address, Limits::default()).await {
            Ok(server) => {
                state.trouble("listen", None);
                let address = server.address();
                tracing::info!(%address, "answers /metrics, /healthz, /readyz");
                return server.run(state, stop).await;
            }
            Err(error) => {
                let hint = error.hint_text().unwrap_or_default();
                tracing::error!(error = %error.chain(), hint, "nobody can watch this daemon");
                state.trouble("listen", Some(error.chain()));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LISTEN_AGAIN_AFTER) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}
