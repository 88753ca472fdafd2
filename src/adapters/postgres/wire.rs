//! Messages over one connection: frames in and out, results of commands, errors of the server.
//! Every message is bounded before memory is taken for it; a read may be abandoned at any await
//! and goes on where it was.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use postgres_protocol::message::frontend;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::adapters::postgres::error::from_server;
use crate::adapters::postgres::message::{self, Frame, RawRow, Reader, unexpected, violation};
use crate::adapters::postgres::stream::Stream;
use crate::error::{Error, Result};

/// Until the server has proven itself, and for messages that are always short (libpq: 30,000).
const SHORT_MESSAGE_BYTES: usize = 32 << 10;
/// Rows, data and errors. The server's own limit is 1 GiB; nothing Fenice asks for comes near.
const LONG_MESSAGE_BYTES: usize = 64 << 20;
/// All rows of one command together.
const RESULT_BYTES: usize = 256 << 20;
/// Room asked for at a time when the size of what comes is unknown.
const READ_BYTES: usize = 64 << 10;
/// A server that takes nothing for so long is gone.
const WRITE_WAIT: Duration = Duration::from_secs(60);
/// Settings the server reports by itself: a dozen; more are not kept.
const PARAMETERS: usize = 64;

/// What a command ended with, or went over into.
pub(super) enum Reply {
    /// It is done: the rows of each result set.
    Done(Vec<Vec<RawRow>>),
    /// `COPY` out follows; the result sets came before it.
    CopyOut(Vec<Vec<RawRow>>),
    /// Streaming follows.
    CopyBoth,
}

/// One connection.
pub(super) struct Wire {
    stream: Stream,
    inbox: BytesMut,
    outbox: BytesMut,
    /// For messages: which server.
    peer: String,
    /// False before the server has proven itself.
    trusted: bool,
    /// False while a command runs, and for ever once one broke off half way.
    ready: bool,
    /// True while a message is being written; if that was abandoned, what follows would be
    /// taken for the rest of it.
    writing: bool,
    parameters: BTreeMap<String, String>,
    certificate: Option<CertificateDer<'static>>,
}

impl Wire {
    pub(super) fn new(stream: Stream, peer: String) -> Wire {
        Wire {
            stream,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            peer,
            trusted: false,
            ready: false,
            writing: false,
            parameters: BTreeMap::new(),
            certificate: None,
        }
    }

    /// Over TLS, with the certificate that the server showed.
    pub(super) fn showing(self, certificate: Option<CertificateDer<'static>>) -> Wire {
        Wire { certificate, ..self }
    }

    /// What the server showed, over TLS.
    pub(super) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    pub(super) fn peer(&self) -> &str {
        &self.peer
    }

    /// From now on long messages are taken.
    pub(super) fn trust(&mut self) {
        self.trusted = true;
    }

    /// A setting the server reported, such as `in_hot_standby`.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The next message that answers something. Notices, settings and notifications, which may
    /// come at any time, are taken on the way.
    pub(super) async fn read(&mut self) -> Result<Frame> {
        loop {
            while let Some(frame) = self.take_frame()? {
                match frame.tag {
                    b'N' => self.note(frame)?,
                    b'S' => self.keep_parameter(frame)?,
                    b'A' => {}
                    _ => return Ok(frame),
                }
            }
            // Safe to abandon: what was read is in `inbox`.
            let read = self.stream.read_buf(&mut self.inbox).await;
            match read {
                Ok(0) => return Err(self.lost(closed())),
                Ok(_) => {}
                Err(cause) => return Err(self.lost(cause)),
            }
        }
    }

    /// Takes a whole message off the front of `inbox`, or makes room for the rest of it.
    fn take_frame(&mut self) -> Result<Option<Frame>> {
        let Some(head) = self.inbox.first_chunk::<5>() else {
            self.inbox.reserve(READ_BYTES);
            return Ok(None);
        };
        let [tag, a, b, c, d] = *head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let long = self.trusted && b"DdTENA".contains(&tag);
        let most = if long { LONG_MESSAGE_BYTES } else { SHORT_MESSAGE_BYTES };
        if length < 4 || length > most {
            self.ready = false;
            let tag = tag.escape_ascii();
            return Err(violation(format!("message `{tag}` says it has {length} bytes")));
        }
        let whole = length + 1;
        if self.inbox.len() < whole {
            self.inbox.reserve((whole - self.inbox.len()).max(READ_BYTES));
            return Ok(None);
        }
        let mut body = self.inbox.split_to(whole).freeze();
        body.advance(5);
        Ok(Some(Frame { tag, body }))
    }

    fn note(&self, frame: Frame) -> Result<()> {
        let notice = message::server_error(frame.body)?;
        tracing::debug!(server = %self.peer, "{}: {}", notice.severity, notice.message);
        Ok(())
    }

    fn keep_parameter(&mut self, frame: Frame) -> Result<()> {
        let mut reader = Reader(frame.body);
        let (name, value) = (reader.text()?, reader.text()?);
        if self.parameters.len() < PARAMETERS || self.parameters.contains_key(&name) {
            self.parameters.insert(name, value);
        }
        Ok(())
    }

    /// Sends what `build` writes.
    pub(super) async fn send(
        &mut self,
        build: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<()> {
        if self.writing {
            return Err(self.lost(io::Error::other("a message was left half written")));
        }
        self.outbox.clear();
        if let Err(cause) = build(&mut self.outbox) {
            return Err(Error::usage("the message cannot be sent").because(cause));
        }
        self.writing = true;
        let sent = timeout(WRITE_WAIT, async {
            self.stream.write_all(&self.outbox).await?;
            self.stream.flush().await
        });
        match sent.await {
            Ok(Ok(())) => {
                self.writing = false;
                Ok(())
            }
            Ok(Err(cause)) => Err(self.lost(cause)),
            Err(_) => Err(self.lost(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Starts a command; until it is done no other can start.
    ///
    /// # Errors
    /// The session is in the middle of something, or was lost.
    pub(super) async fn command(&mut self, sql: &str) -> Result<()> {
        if !self.ready {
            let what = format!("the session with {} cannot take a command", self.peer);
            return Err(Error::failed(what)
                .later()
                .hint("It ended, or was left in the middle of another; make a new session."));
        }
        if sql.contains('\0') {
            return Err(Error::usage("a command cannot contain a zero byte"));
        }
        self.ready = false;
        self.send(|buffer| frontend::query(sql, buffer)).await
    }

    /// Waits for what the running command gives.
    pub(super) async fn reply(&mut self, wait: Duration) -> Result<Reply> {
        match timeout(wait, self.collect()).await {
            Ok(reply) => reply,
            Err(_) => Err(self.lost(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn collect(&mut self) -> Result<Reply> {
        let mut sets: Vec<Vec<RawRow>> = Vec::new();
        let mut bytes = 0;
        loop {
            let frame = self.read().await?;
            bytes += frame.body.len() + 64;
            if bytes > RESULT_BYTES {
                return Err(Error::failed(format!("the result exceeds {RESULT_BYTES} bytes"))
                    .hint("Ask for less at a time."));
            }
            match frame.tag {
                b'T' => sets.push(Vec::new()),
                b'D' => {
                    let set = sets.last_mut().ok_or_else(|| violation("a row without columns"))?;
                    set.push(message::row(frame.body)?);
                }
                b'C' | b'I' => {}
                b'H' => return Ok(Reply::CopyOut(sets)),
                b'W' => return Ok(Reply::CopyBoth),
                b'E' => return Err(self.failed(frame).await),
                b'Z' => {
                    self.ready = true;
                    return Ok(Reply::Done(sets));
                }
                b'G' => {
                    let what = "data can only be copied in by a tool made for it";
                    self.send(|buffer| frontend::copy_fail(what, buffer)).await?;
                }
                other => return Err(unexpected(other)),
            }
        }
    }

    /// The error in `frame`, once the server is ready again (or is known not to be).
    pub(super) async fn failed(&mut self, frame: Frame) -> Error {
        let cause = match message::server_error(frame.body) {
            Ok(cause) => cause,
            Err(error) => return error,
        };
        let ends_session = cause.severity == "FATAL" || cause.severity == "PANIC";
        if !ends_session && self.trusted {
            // If the connection breaks here the session stays unusable, which the next use says.
            let _ = timeout(WRITE_WAIT, self.drain_to_ready()).await;
        }
        from_server(cause)
    }

    async fn drain_to_ready(&mut self) -> Result<()> {
        while self.read().await?.tag != b'Z' {}
        self.ready = true;
        Ok(())
    }

    /// Reads to the end of the start of the session.
    pub(super) async fn until_ready(&mut self) -> Result<()> {
        loop {
            let frame = self.read().await?;
            match frame.tag {
                b'K' => {}
                b'E' => return Err(self.failed(frame).await),
                b'Z' => {
                    self.ready = true;
                    return Ok(());
                }
                other => return Err(unexpected(other)),
            }
        }
    }

    /// The connection is of no further use, for this reason.
    pub(super) fn lost(&mut self, cause: io::Error) -> Error {
        self.ready = false;
        Error::failed(format!("the connection to {} was lost", self.peer)).because(cause).later()
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it")
}
