//! Answers those who speak to the daemon over its control socket.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::{Notify, mpsc, oneshot};

use super::message::{Asking, Message, TOLD_MOST, Told};
use super::post::Post;
use super::shipping::Shipments;
use crate::catalog::journal::PauseRow;
use crate::daemon::control::server::Desk;
use crate::daemon::control::wire::{ProgressNow, Reply, Request};
use crate::daemon::resource_of;
use crate::daemon::work::Wish;
use crate::engines::progress::Progress;
use crate::error::{Error, Kind, Result};
use crate::model::ResourceName;

const PROGRESS_EVERY: Duration = Duration::from_millis(500);

pub(super) struct FrontDesk {
    pub post: Arc<Post>,
    pub scheduler: Sender<Message>,
    pub shipments: Arc<Shipments>,
    /// Wakes who reloads the configuration.
    pub reload: Arc<Notify>,
}

#[async_trait]
impl Desk for FrontDesk {
    async fn serve(&self, request: Request, say: mpsc::Sender<Reply>) -> Reply {
        match self.answer(request, &say).await {
            Ok(reply) => reply,
            Err(error) => Reply::Failed((&error).into()),
        }
    }
}

impl FrontDesk {
    async fn answer(&self, request: Request, say: &mpsc::Sender<Reply>) -> Result<Reply> {
        match request {
            Request::Do(wish) => self.carry_out(wish, say).await,
            Request::Ship { resource } => {
                self.must_be_known(&resource)?;
                let shipped = self.shipments.ship_now(&resource).await?;
                Ok(Reply::Done(shipped.value(&resource)))
            }
            Request::Jobs { most } => {
                let jobs = self.ask(|answer| Message::Jobs { most, answer }).await??;
                Ok(Reply::Jobs(jobs))
            }
            Request::Cancel { id } => {
                let told = self.ask(|answer| Message::Cancel { id, answer }).await??;
                Ok(Reply::Done(json!({ "id": id, "told": told })))
            }
            Request::Pause { resource, why, until } => {
                self.must_be_known(&resource)?;
                let pause = PauseRow { resource: resource.clone(), why, until };
                self.ask(|answer| Message::Pause { pause, answer }).await??;
                Ok(Reply::Done(json!({ "resource": resource, "paused": true, "until": until })))
            }
            Request::Resume { resource } => {
                self.must_be_known(&resource)?;
                let name = resource.clone();
                let was = self.ask(|answer| Message::Resume { resource: name, answer }).await??;
                Ok(Reply::Done(json!({ "resource": resource, "was_paused": was })))
            }
            Request::Restoring { resource } => self.make_room(resource, say).await,
            Request::Reload => {
                self.reload.notify_one();
                Ok(Reply::Done(json!({ "reloading": true })))
            }
        }
    }

    fn must_be_known(&self, resource: &ResourceName) -> Result<()> {
        resource_of(&self.post.config(), resource.as_str()).map(drop)
    }

    /// Sends a message and waits for the answer to it.
    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T> {
        let ending = || Error::new(Kind::Busy, "the daemon is ending").later();
        let (answer, answered) = oneshot::channel();
        self.scheduler.send(message(answer)).map_err(|_| ending())?;
        answered.await.map_err(|_| ending())
    }

    /// Has something done, and tells how it comes along. If whoever asked goes away before it has
    /// begun, it is taken back; what has begun goes on.
    async fn carry_out(&self, wish: Wish, say: &mpsc::Sender<Reply>) -> Result<Reply> {
        self.must_be_known(wish.resource())?;
        let (told, mut news) = mpsc::channel(TOLD_MOST);
        let asking = Asking { operator: "hand".to_owned(), told };
        let ending = || Error::new(Kind::Busy, "the daemon is ending").later();
        self.scheduler.send(Message::Ask { wish, asking }).map_err(|_| ending())?;
        let (mut ticket, mut progress): (Option<u64>, Option<Arc<Progress>>) = (None, None);
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        loop {
            let reply = tokio::select! {
                () = say.closed() => {
                    if let Some(ticket) = ticket.filter(|_| progress.is_none()) {
                        drop(self.scheduler.send(Message::Withdraw { ticket }));
                    }
                    return Err(Error::failed("whoever asked is gone"));
                }
                one = news.recv() => match one.ok_or_else(ending)? {
                    Told::Ticket(known) => { ticket = Some(known); continue }
                    Told::Waiting(because) => Reply::Waiting { because },
                    Told::Begun { id, progress: its } => {
                        progress = Some(its);
                        Reply::Begun { id }
                    }
                    Told::Over(reply) => return Ok(reply),
                },
                _ = ticks.tick() => match &progress {
                    None => continue,
                    Some(progress) => Reply::Progress(progress_now(progress)),
                },
            };
            // One that is not read, or cannot be, is of no use later.
            drop(say.try_send(reply));
        }
    }

    /// Lets nothing else begin as long as whoever restores stays connected.
    async fn make_room(&self, resource: ResourceName, say: &mpsc::Sender<Reply>) -> Result<Reply> {
        let ticket = self.ask(|answer| Message::Restoring { resource, answer }).await?;
        say.closed().await;
        drop(self.scheduler.send(Message::Restored { ticket }));
        Ok(Reply::Done(json!({ "restored": true })))
    }
}

pub(super) fn progress_now(progress: &Progress) -> ProgressNow {
    let (done_bytes, expected) = progress.bytes();
    let expected_bytes = (expected > 0).then_some(expected);
    ProgressNow { phase: progress.phase(), done_bytes, expected_bytes }
}
