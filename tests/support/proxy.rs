//! A network that misbehaves: a TCP proxy on 127.0.0.1 in front of a server, which delays, cuts,
//! stalls or refuses on demand.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a thread looks whether its orders changed.
const TICK: Duration = Duration::from_millis(10);
/// Small, so that a cut falls near the byte asked for even in a fast stream.
const PIECE_BYTES: usize = 8 * 1024;

/// What the network does, to connections that are open and to new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Passes everything.
    None,
    /// Delays each piece, both ways.
    Latency(Duration),
    /// Passes so many more bytes from the server, counted over all connections, then closes.
    CutAfterBytes(u64),
    /// Passes nothing and closes nothing, as a cable pulled out.
    Stall,
    /// Closes open connections and new ones at once.
    Refuse,
}

/// The proxy. Dropping it closes everything and waits for its threads.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    line: Arc<Line>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Line {
    fault: Mutex<Fault>,
    closing: AtomicBool,
    /// Bytes that came from the server and went on, since the start.
    passed_bytes: AtomicU64,
    accepted: AtomicU64,
}

impl Proxy {
    /// A proxy without faults in front of 127.0.0.1:`port`.
    pub fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind a port");
        listener.set_nonblocking(true).expect("a listener that can be left");
        let line = Arc::new(Line {
            fault: Mutex::new(Fault::None),
            closing: AtomicBool::new(false),
            passed_bytes: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
        });
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::clone(&line);
        let acceptor = Some(thread::spawn(move || accept(&listener, server, &shared)));
        Proxy { port, line, acceptor }
    }

    /// Where clients connect, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what the network does, at once.
    pub fn set(&self, fault: Fault) {
        *self.line.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Bytes from the server that went through so far.
    pub fn passed_bytes(&self) -> u64 {
        self.line.passed_bytes.load(Ordering::Relaxed)
    }

    /// Connections taken so far, refused ones not counted.
    pub fn accepted(&self) -> u64 {
        self.line.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.closing.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Line {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> bool {
        self.closing.load(Ordering::Relaxed) || self.fault() == Fault::Refuse
    }

    /// How many of `wanted` bytes from the server may pass now; `None`: cut.
    fn allow(&self, wanted: usize) -> Option<usize> {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *fault {
            Fault::CutAfterBytes(0) => None,
            Fault::CutAfterBytes(left) => {
                let allowed = wanted.min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= allowed as u64;
                Some(allowed)
            }
            _ => Some(wanted),
        }
    }
}

fn accept(listener: &TcpListener, server: SocketAddr, line: &Arc<Line>) {
    let mut pumps = Vec::new();
    while !line.closing.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((client, _)) if !line.closed() => {
                if let Ok(upstream) = TcpStream::connect_timeout(&server, Duration::from_secs(5)) {
                    line.accepted.fetch_add(1, Ordering::Relaxed);
                    pumps.extend(connect(client, upstream, line));
                }
            }
            Ok(_) => {} // dropped: closed
            Err(_) => thread::sleep(TICK),
        }
    }
    for pump in pumps {
        let _ = pump.join();
    }
}

/// Two threads, one each way.
fn connect(client: TcpStream, server: TcpStream, line: &Arc<Line>) -> [JoinHandle<()>; 2] {
    for stream in [&client, &server] {
        stream.set_nonblocking(false).expect("a blocking stream");
        stream.set_read_timeout(Some(TICK)).expect("a bounded read");
        stream.set_write_timeout(Some(TICK)).expect("a bounded write");
        stream.set_nodelay(true).expect("no delay of its own");
    }
    let back = (server.try_clone().expect("a handle"), client.try_clone().expect("a handle"));
    let (there, here) = (Arc::clone(line), Arc::clone(line));
    [
        thread::spawn(move || pump(client, server, &there, false)),
        thread::spawn(move || pump(back.0, back.1, &here, true)),
    ]
}

/// Passes bytes until either end closes or the line says so; then closes both ends.
fn pump(mut from: TcpStream, mut to: TcpStream, line: &Line, from_server: bool) {
    let mut piece = vec![0; PIECE_BYTES];
    while !line.closed() {
        if line.fault() == Fault::Stall {
            thread::sleep(TICK);
            continue;
        }
        let read = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if waiting(&e) => continue,
            Err(_) => break,
        };
        if let Fault::Latency(delay) = line.fault() {
            thread::sleep(delay);
        }
        // A stall that began while we read holds back what was read.
        while line.fault() == Fault::Stall && !line.closed() {
            thread::sleep(TICK);
        }
        let allowed = if from_server { line.allow(read) } else { Some(read) };
        let Some(allowed) = allowed else { break };
        if !pass(&mut to, &piece[..allowed], line) {
            break;
        }
        if from_server {
            line.passed_bytes.fetch_add(allowed as u64, Ordering::Relaxed);
        }
        if allowed < read {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Writes everything, giving up when the line closes; whether it could.
fn pass(to: &mut TcpStream, mut bytes: &[u8], line: &Line) -> bool {
    while !bytes.is_empty() {
        if line.closed() {
            return false;
        }
        match to.write(bytes) {
            Ok(0) => return false,
            Ok(written) => bytes = &bytes[written..],
            Err(e) if waiting(&e) => {}
            Err(_) => return false,
        }
    }
    true
}

fn waiting(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
