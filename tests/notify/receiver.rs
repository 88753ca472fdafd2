//! A web server for webhooks on 127.0.0.1: keeps what it is sent, and answers as it was told.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fenice::model::WebAddress;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::{PATIENCE, wait_for};

/// How often it looks whether it shall end.
const TICK: Duration = Duration::from_millis(10);
const HEAD_BYTES_MAX: usize = 16 << 10;

/// The server; ends when dropped.
pub(crate) struct Receiver {
    port: u16,
    scheme: &'static str,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    requests: Mutex<Vec<Request>>,
    replies: Mutex<VecDeque<Reply>>,
    closing: AtomicBool,
}

/// What it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `POST /path`.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// How it answers one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Status(u16),
    /// With a body of so many bytes.
    Long(usize),
    /// Elsewhere.
    Redirect(String),
    /// Closes the connection.
    HangUp,
    /// Not at all, and keeps the connection.
    Silence,
    /// With 200, once two that share the count were asked.
    Together(Arc<AtomicUsize>),
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }
}

impl Receiver {
    /// Answers with `replies`, in this order, and then with 200.
    pub(crate) fn start(replies: impl IntoIterator<Item = Reply>) -> Receiver {
        Receiver::with(replies, None)
    }

    /// The same within TLS, with `server.crt` and `server.key` of a directory.
    pub(crate) fn with_tls(dir: &Path) -> Receiver {
        let chain = CertificateDer::pem_file_iter(dir.join("server.crt")).unwrap();
        let chain: Vec<CertificateDer<'static>> = chain.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(chain, key).unwrap();
        Receiver::with([], Some(Arc::new(config)))
    }

    fn with(replies: impl IntoIterator<Item = Reply>, tls: Option<Arc<ServerConfig>>) -> Receiver {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            replies: Mutex::new(replies.into_iter().collect()),
            closing: AtomicBool::new(false),
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let serving = Arc::clone(&shared);
        let thread = Some(thread::spawn(move || serve(&listener, &serving, tls.as_ref())));
        Receiver { port, scheme, shared, thread }
    }

    pub(crate) fn url(&self, path: &str) -> WebAddress {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port).parse().unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, shared: &Shared, tls: Option<&Arc<ServerConfig>>) {
    let mut kept = Vec::new();
    while !shared.closing.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => kept.extend(answer(encrypted(stream, tls), shared)),
            Err(_) => thread::sleep(TICK),
        }
    }
}

fn encrypted(stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Box<dyn Stream> {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    match tls {
        None => Box::new(stream),
        Some(config) => {
            let connection = ServerConnection::new(Arc::clone(config)).unwrap();
            Box::new(StreamOwned::new(connection, stream))
        }
    }
}

/// Answers one request; returns the connection if it is to be kept.
fn answer(mut stream: Box<dyn Stream>, shared: &Shared) -> Option<Box<dyn Stream>> {
    let request = read(stream.as_mut())?;
    shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    let reply = shared.replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let (status, extra, body) = match reply.unwrap_or(Reply::Status(200)) {
        Reply::Silence => return Some(stream),
        Reply::HangUp => return None,
        Reply::Status(status) => (status, String::new(), "said so".to_owned()),
        Reply::Long(bytes) => (200, String::new(), "x".repeat(bytes)),
        Reply::Redirect(to) => (302, format!("Location: {to}\r\n"), String::new()),
        Reply::Together(asked) => {
            asked.fetch_add(1, Ordering::SeqCst);
            wait_for("two requests at once", || asked.load(Ordering::SeqCst) >= 2);
            (200, String::new(), String::new())
        }
    };
    let head = format!(
        "HTTP/1.1 {status} Whatever\r\nConnection: close\r\n{extra}Content-Length: {}\r\n\r\n",
        body.len()
    );
    // Whoever asked may have gone.
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
    let _ = stream.flush();
    None
}

/// The request, or nothing if it does not come whole, as when a handshake fails.
fn read(stream: &mut dyn Stream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
        assert!(head.len() < HEAD_BYTES_MAX, "a head without end");
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let target = lines.next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect();
    let mut request = Request { target, headers, body: String::new() };
    let length = request.header("Content-Length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).unwrap();
    Some(request)
}
