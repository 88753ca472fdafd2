//! Over TCP: what is answered, and what becomes of clients that take too much, or too long.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fenice::error::{Error, Kind};
use fenice::web::metrics::text;
use fenice::web::{Limits, Measured, NotReady, Server, Watched};
use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::sample::{now, sample};
use crate::support::{PATIENCE, wait_for};

/// A daemon that says what it is told to say.
#[derive(Default)]
struct Told {
    idle_for: Mutex<Duration>,
    not_ready: Mutex<Vec<NotReady>>,
    /// Where set, a question for the measurements is announced, and answered once told.
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Watched for Told {
    fn measured(&self) -> Arc<Measured> {
        if let Some((asked, go_on)) = &*self.gate.lock().unwrap() {
            asked.send(()).unwrap();
            go_on.recv_timeout(PATIENCE).unwrap();
        }
        Arc::new(sample())
    }

    fn now(&self) -> Timestamp {
        now()
    }

    fn idle_for(&self) -> Duration {
        *self.idle_for.lock().unwrap()
    }

    fn not_ready(&self) -> Vec<NotReady> {
        self.not_ready.lock().unwrap().clone()
    }
}

/// A server at work, until it is dropped.
struct Served {
    told: Arc<Told>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    ended: JoinHandle<()>,
    runtime: Runtime,
}

impl Served {
    fn start(limits: Limits) -> Served {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let told = Arc::new(Told::default());
        let server = runtime.block_on(Server::bind(([127, 0, 0, 1], 0).into(), limits)).unwrap();
        let address = server.address();
        let (stop, stopped) = watch::channel(false);
        let ended = runtime.spawn(server.run(told.clone(), stopped));
        Served { told, address, stop, ended, runtime }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The whole answer to a request.
    fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(stream)
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: fenice\r\n\r\n"))
    }

    fn stop(self) {
        self.stop.send_replace(true);
        self.runtime.block_on(self.ended).unwrap();
    }
}

/// What came until the server closed the connection.
struct Answer {
    head: String,
    body: String,
}

impl Answer {
    fn read(mut stream: TcpStream) -> Answer {
        let mut bytes = Vec::new();
        // A server that closes with something unread may reset the connection: what came before
        // that counts. Waiting in vain does not.
        if let Err(error) = stream.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text.as_str(), ""));
        Answer { head: head.to_lowercase() + "\r\n", body: body.to_owned() }
    }

    #[track_caller]
    fn is(&self, status: u16, content_type: &str) {
        let expected = format!("http/1.1 {status} ");
        assert!(self.head.starts_with(&expected), "{status}: {}\n{}", self.head, self.body);
        let expected = format!("content-type: {content_type}\r\n");
        assert!(self.head.contains(&expected), "{content_type}: {}", self.head);
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

#[test]
fn metrics_are_served_as_prometheus_asks_for_them() {
    let served = Served::start(Limits::default());
    let answer = served.get("/metrics");
    answer.is(200, "text/plain; version=0.0.4");
    assert_eq!(answer.body, text(&sample(), now()).unwrap());
    served.stop();
}

#[test]
fn a_daemon_is_healthy_while_its_loop_turns() {
    let served = Served::start(Limits::default());
    let healthy = served.get("/healthz");
    healthy.is(200, TEXT);
    assert_eq!(healthy.body, "ok\n");
    *served.told.idle_for.lock().unwrap() = Duration::from_secs(60);
    served.get("/healthz").is(200, TEXT);
    *served.told.idle_for.lock().unwrap() = Duration::from_secs(61);
    let stuck = served.get("/healthz");
    stuck.is(503, TEXT);
    let expected = "the scheduler has not turned for 1 min 1 s, at most 1 min 0 s is usual\n";
    assert_eq!(stuck.body, expected);
    served.stop();
}

#[test]
fn a_daemon_is_ready_once_it_waits_for_nothing() {
    let served = Served::start(Limits::default());
    let reason =
        NotReady { what: "main".to_owned(), because: "its lease is not taken yet".to_owned() };
    served.told.not_ready.lock().unwrap().push(reason);
    let waiting = served.get("/readyz");
    waiting.is(503, "application/json");
    let value: serde_json::Value = serde_json::from_str(&waiting.body).unwrap();
    let reasons = [serde_json::json!({ "what": "main", "because": "its lease is not taken yet" })];
    assert_eq!(value, serde_json::json!({ "ready": false, "reasons": reasons }));
    served.told.not_ready.lock().unwrap().clear();
    let ready = served.get("/readyz");
    ready.is(200, "application/json");
    let value: serde_json::Value = serde_json::from_str(&ready.body).unwrap();
    assert_eq!(value, serde_json::json!({ "ready": true, "reasons": [] }));
    served.stop();
}

#[test]
fn nothing_else_is_served() {
    let served = Served::start(Limits::default());
    for path in ["/", "/metrics/", "/metrics/x", "/../etc/passwd", "/%2e%2e/metrics"] {
        let answer = served.get(path);
        assert!(answer.head.starts_with("http/1.1 404 "), "{path}: {}", answer.head);
    }
    let posted = served.ask("POST /metrics HTTP/1.1\r\nHost: fenice\r\nContent-Length: 0\r\n\r\n");
    assert!(posted.head.starts_with("http/1.1 405 "), "{}", posted.head);
    let nonsense = served.ask("what do you have?\r\n\r\n");
    assert!(nonsense.head.starts_with("http/1.1 400 "), "{}", nonsense.head);
    served.stop();
}

#[test]
fn a_header_that_is_too_large_is_refused() {
    let served = Served::start(Limits::default());
    let long = format!("X-Long: {}\r\n", "x".repeat(20_000));
    let many: String = (0..100).map(|number| format!("X-{number}: y\r\n")).collect();
    for headers in [long, many] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: fenice\r\n{headers}\r\n");
        let answer = served.ask(&request);
        assert!(answer.head.starts_with("http/1.1 431 "), "{}", answer.head);
    }
    served.get("/healthz").is(200, TEXT);
    served.stop();
}

#[test]
fn a_client_that_does_not_finish_its_request_is_cut_off() {
    let limits = Limits { header_time: Duration::from_millis(200), ..Limits::default() };
    let served = Served::start(limits);
    for begun in ["", "GET /metr", "GET /metrics HTTP/1.1\r\nHost: fenice\r\n"] {
        let mut stream = served.connect();
        stream.write_all(begun.as_bytes()).unwrap();
        let answer = Answer::read(stream);
        assert!(!answer.head.starts_with("http/1.1 200"), "{begun}: {}", answer.head);
    }
    served.stop();
}

#[test]
fn a_connection_lives_so_long_and_no_longer() {
    let short = Duration::from_millis(200);
    let served = Served::start(Limits { connection_time: short, ..Limits::default() });
    // Nothing is asked on it, and the time for headers is far away.
    let answer = Answer::read(served.connect());
    assert_eq!((answer.head.trim(), answer.body.as_str()), ("", ""));
    served.stop();
}

#[test]
fn whoever_comes_beyond_the_limit_waits_for_a_place() {
    let served = Served::start(Limits { connections: 1, ..Limits::default() });
    let first = served.connect();
    let mut second = served.connect();
    second.write_all(b"GET /healthz HTTP/1.1\r\nHost: fenice\r\n\r\n").unwrap();
    drop(first);
    Answer::read(second).is(200, TEXT);
    served.stop();
}

#[test]
fn an_end_in_order_answers_what_was_asked_and_takes_nothing_new() {
    let served = Served::start(Limits::default());
    let (asked, was_asked) = channel();
    let (go_on, gone_on) = channel();
    *served.told.gate.lock().unwrap() = Some((asked, gone_on));
    let mut stream = served.connect();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: fenice\r\n\r\n").unwrap();
    let silent = served.connect();
    was_asked.recv_timeout(PATIENCE).unwrap();
    served.stop.send_replace(true);
    // It listens no more, though a request is under way still.
    let address = served.address;
    wait_for("the port is given up", || TcpStream::connect(address).is_err());
    assert!(!served.ended.is_finished());
    go_on.send(()).unwrap();
    Answer::read(stream).is(200, "text/plain; version=0.0.4");
    assert_eq!(Answer::read(silent).head.trim(), "", "nobody asked anything there");
    served.stop();
}

#[test]
fn an_address_in_use_is_told_with_what_to_do() {
    let served = Served::start(Limits::default());
    let address = served.address;
    let again = Server::bind(address, Limits::default());
    let error: Error = served.runtime.block_on(again).err().unwrap();
    assert_eq!(error.kind(), Kind::Busy);
    let told = error.chain();
    assert!(told.starts_with(&format!("cannot listen on {address}: ")), "{told}");
    assert!(error.hint_text().unwrap().contains("`listen` in [daemon]"), "{error:?}");
    served.stop();
    // Once it is given up, whoever comes next has it.
    let runtime = Runtime::new().unwrap();
    runtime.block_on(Server::bind(address, Limits::default())).unwrap();
}
