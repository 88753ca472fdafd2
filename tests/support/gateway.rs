//! An HTTP gateway on 127.0.0.1 in front of a server, which fails the requests it is told to fail.
//!
//! Every request has a connection of its own, so that each can be cut without touching another.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const TICK: Duration = Duration::from_millis(10);
/// A server that says nothing for so long says nothing any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Passes it and its answer.
    Pass,
    /// Answers 503; the server never hears of it.
    Refuse,
    /// Lets the server do it, then answers 503.
    DoneButRefused,
    /// Lets the server do it, then closes without an answer.
    DoneButSilent,
    /// Passes so many bytes of the answer, then closes.
    CutAnswer(usize),
    /// Passes so many bytes of the request's body, then closes.
    CutRequest(u64),
    /// Passes it, with this header line more in the answer.
    Adding(&'static str),
}

type Rule = Box<dyn FnMut(&str) -> Deed + Send>;

/// The gateway. Dropping it ends its threads.
pub struct Gateway {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    rule: Mutex<Rule>,
    heads: Mutex<Vec<String>>,
    closing: AtomicBool,
}

impl Gateway {
    /// A gateway that passes everything to 127.0.0.1:`port`.
    pub fn to(port: u16) -> Gateway {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind a port");
        listener.set_nonblocking(true).expect("a listener that can be left");
        let pass: Rule = Box::new(|_| Deed::Pass);
        let shared = Arc::new(Shared {
            server: SocketAddr::from(([127, 0, 0, 1], port)),
            rule: Mutex::new(pass),
            heads: Mutex::default(),
            closing: AtomicBool::new(false),
        });
        let port = listener.local_addr().expect("an address").port();
        let accepting = Arc::clone(&shared);
        let acceptor = Some(thread::spawn(move || accept(&listener, &accepting)));
        Gateway { port, shared, acceptor }
    }

    /// Where clients connect, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on `rule` decides of each request, by its head: the request line, then the header
    /// lines, their names in lower case.
    pub fn set(&self, rule: impl FnMut(&str) -> Deed + Send + 'static) {
        *held(&self.shared.rule) = Box::new(rule);
    }

    /// The first request that `is_meant` suffers `deed`, all others pass.
    pub fn once(&self, is_meant: fn(&str) -> bool, deed: Deed) {
        let mut left = Some(deed);
        self.set(move |head| match is_meant(head) {
            true => left.take().unwrap_or(Deed::Pass),
            false => Deed::Pass,
        });
    }

    /// Every request that `is_meant` suffers `deed`.
    pub fn always(&self, is_meant: fn(&str) -> bool, deed: Deed) {
        self.set(move |head| if is_meant(head) { deed } else { Deed::Pass });
    }

    /// The heads of all requests since this was last asked.
    pub fn heads(&self) -> Vec<String> {
        std::mem::take(&mut *held(&self.shared.heads))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn held<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut serving = Vec::new();
    while !shared.closing.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((client, _)) => {
                let shared = Arc::clone(shared);
                serving.push(thread::spawn(move || {
                    // The client notices, which is what is tested.
                    let _ = serve(&client, &shared);
                    let _ = client.shutdown(Shutdown::Both);
                }));
            }
            Err(_) => thread::sleep(TICK),
        }
    }
    for thread in serving {
        let _ = thread.join();
    }
}

/// Takes one request and does with it what the rule says.
fn serve(client: &TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let mut from = BufReader::new(client);
    let (head, body_bytes) = read_head(&mut from)?;
    held(&shared.heads).push(head.clone());
    let deed = {
        let mut rule = held(&shared.rule);
        (*rule)(&head)
    };
    let mut body = from.take(body_bytes);
    if deed == Deed::Refuse {
        io::copy(&mut body, &mut io::sink())?;
        return refuse(client);
    }
    let mut server = TcpStream::connect_timeout(&shared.server, PATIENCE)?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.write_all(head.as_bytes())?;
    if let Deed::CutRequest(bytes) = deed {
        io::copy(&mut body.take(bytes), &mut server)?;
        return server.shutdown(Shutdown::Both);
    }
    io::copy(&mut body, &mut server)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    match deed {
        Deed::DoneButRefused => refuse(client),
        Deed::DoneButSilent => Ok(()),
        Deed::CutAnswer(bytes) => pass(client, &answer[..bytes.min(answer.len())]),
        Deed::Adding(line) => {
            let after = answer.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            answer.splice(after..after, format!("{line}\r\n").into_bytes());
            pass(client, &answer)
        }
        Deed::Pass | Deed::Refuse | Deed::CutRequest(_) => pass(client, &answer),
    }
}

/// The head to send on, which asks for a connection of its own, and the length of what follows.
fn read_head(from: &mut impl BufRead) -> io::Result<(String, u64)> {
    let mut head = String::new();
    let mut body_bytes: u64 = 0;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let lower = line.to_ascii_lowercase();
        if line.trim().is_empty() {
            head.push_str("connection: close\r\n\r\n");
            return Ok((head, body_bytes));
        }
        if let Some(length) = lower.strip_prefix("content-length:") {
            body_bytes = length.trim().parse::<u64>().map_err(io::Error::other)?;
        }
        assert!(!lower.starts_with("transfer-encoding:"), "bodies come with their length");
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
}

fn pass(mut client: &TcpStream, answer: &[u8]) -> io::Result<()> {
    client.write_all(answer)
}

fn refuse(client: &TcpStream) -> io::Result<()> {
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    pass(client, head.as_bytes())
}
