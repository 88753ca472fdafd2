//! A real mail server (mail-devel) on 127.0.0.1: SMTP with login, TLS in both ways, and IMAP to
//! read what came. `nobody@…` it refuses for good, `full@…` for now.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::certificates;
use super::scratch::Scratch;
use super::servers::{Runner, mail_python};
use super::wait::{PATIENCE, wait_for};

pub const MAIL_USER: &str = "fenice@example.org";
pub const MAIL_PASSWORD: &str = "only-for-tests";

/// Ports that are free are found by asking; another may take one before the server does.
const TRIES: u32 = 5;

/// A server of its own; killed when dropped.
#[derive(Debug)]
pub struct MailServer {
    scratch: Scratch,
    child: Child,
    ports: [u16; 3],
}

impl MailServer {
    /// One that lets in who knows the password, and encrypts in both ways.
    pub fn start() -> MailServer {
        MailServer::with(true)
    }

    /// The same without any encryption.
    pub fn in_clear() -> MailServer {
        MailServer::with(false)
    }

    fn with(tls: bool) -> MailServer {
        let scratch = Scratch::new();
        let runner = Runner::find();
        runner.own(scratch.path());
        certificates::make(scratch.path(), runner);
        let log = scratch.path().join("log");
        let (mut child, mut ports) = launch(scratch.path(), &log, tls);
        for _ in 1..TRIES {
            let mut ended = false;
            wait_for("a mail server", || {
                ended = child.try_wait().expect("look at the mail server").is_some();
                ended || fs::read_to_string(&log).unwrap_or_default().contains("IMAP service [")
            });
            if !ended {
                return MailServer { scratch, child, ports };
            }
            (child, ports) = launch(scratch.path(), &log, tls);
        }
        panic!("no mail server came up: {}", fs::read_to_string(&log).unwrap_or_default());
    }

    /// For plain SMTP, and for STARTTLS where there is TLS.
    pub fn smtp_port(&self) -> u16 {
        self.ports[0]
    }

    /// For SMTP within TLS.
    pub fn smtps_port(&self) -> u16 {
        self.ports[1]
    }

    /// The certificate that signed the server's, which is for `localhost` and 127.0.0.1.
    pub fn ca_file(&self) -> PathBuf {
        self.scratch.path().join("ca.crt")
    }

    /// All mails of a recipient as they came, with what the server added to their heads.
    pub fn mails(&self, address: &str) -> Vec<String> {
        let mut imap = TcpStream::connect(("127.0.0.1", self.ports[2])).expect("reach IMAP");
        imap.set_read_timeout(Some(PATIENCE)).expect("a bounded read");
        let asked = format!(
            "a LOGIN \"{address}\" \"{MAIL_PASSWORD}\"\r\nb SELECT INBOX\r\n\
             c FETCH 1:* (BODY[])\r\nd LOGOUT\r\n"
        );
        imap.write_all(asked.as_bytes()).expect("ask IMAP");
        let mut answer = Vec::new();
        imap.read_to_end(&mut answer).expect("read IMAP");
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("\nd OK"), "{text}");
        literals(&answer)
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // It may have ended by itself; nothing it holds is needed any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What an IMAP server sends as `{LENGTH}` and so many bytes (RFC 9051, section 4.3).
fn literals(answer: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = answer;
    while let Some(at) = rest.windows(3).position(|window| window == b"}\r\n") {
        let before = String::from_utf8_lossy(&rest[..at]).into_owned();
        let length = before.rsplit_once('{').and_then(|(_, length)| length.parse::<usize>().ok());
        let length = length.expect("a length");
        let literal = &rest[at + 3..at + 3 + length];
        found.push(String::from_utf8_lossy(literal).replace("\r\n", "\n"));
        rest = &rest[at + 3 + length..];
    }
    found
}

fn launch(dir: &Path, log: &Path, tls: bool) -> (Child, [u16; 3]) {
    let free: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("bind a port")).collect();
    let ports: Vec<u16> =
        free.iter().map(|port| port.local_addr().expect("an address").port()).collect();
    let ports: [u16; 3] = ports.try_into().expect("three ports");
    drop(free);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/mail_server.py");
    let mut server = Command::new(mail_python());
    server.arg(script).args(["--host", "127.0.0.1", "--no-http", "--auth-required"]);
    server.args(["--multi-user", "--user", MAIL_USER, "--password", MAIL_PASSWORD]);
    for (name, port) in ["--smtp-port", "--smtps-port", "--imap-port"].iter().zip(ports) {
        server.arg(name).arg(port.to_string());
    }
    if tls {
        server.args(["--cert", "server.crt", "--key", "server.key"]);
    }
    let output = File::create(log).expect("make a log");
    server.current_dir(dir).env("HOME", dir).stdin(Stdio::null());
    server.stdout(output.try_clone().expect("a log")).stderr(output);
    (server.spawn().expect("start the mail server"), ports)
}
