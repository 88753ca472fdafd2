//! Somebody between us and the mail server, who answers `STARTTLS` with more than the answer.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use fenice::adapters::smtp::{Login, Smtp};
use fenice::model::{MailServer, MailTls};
use fenice::ports::Mail;
use fenice::ports::mail::Message;

use super::{address, at};
use crate::support::PATIENCE;

/// What would make a client believe, under TLS as it seems, that its mail was taken.
const SAID_AHEAD: &str = "220 go ahead\r\n\
    250-localhost\r\n250 AUTH PLAIN LOGIN\r\n235 come in\r\n250 sender ok\r\n\
    250 recipient ok\r\n354 go on\r\n250 taken\r\n221 bye\r\n";

/// Speaks until `STARTTLS` as a server does.
fn impostor(listener: &TcpListener) -> String {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writer: TcpStream = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream);
    let mut said = String::new();
    let mut hear = |lines: &mut BufReader<TcpStream>| {
        let before = said.len();
        lines.read_line(&mut said).unwrap();
        said[before..].to_owned()
    };
    writer.write_all(b"220 localhost\r\n").unwrap();
    assert!(hear(&mut lines).starts_with("EHLO "));
    writer.write_all(b"250-localhost\r\n250 STARTTLS\r\n").unwrap();
    assert_eq!(hear(&mut lines), "STARTTLS\r\n");
    writer.write_all(SAID_AHEAD.as_bytes()).unwrap();
    // All else it hears, TLS or not, until the client goes.
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut lines, &mut rest);
    said + &String::from_utf8_lossy(&rest)
}

#[test]
fn what_was_said_in_clear_does_not_count_under_tls() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = thread::spawn(move || impostor(&listener));
    let host = "127.0.0.1".to_owned();
    let server = MailServer { host, port, tls: MailTls::StartTls, ca_file: None };
    let login = Login { user: "fenice".to_owned(), password: "hush".to_owned().into() };
    let smtp = Smtp::new(server, Some(login), Duration::from_secs(20)).unwrap();
    let message = Message {
        from: address("fenice@example.org"),
        to: address("ops@example.org"),
        subject: "subject".to_owned(),
        body: "body".to_owned(),
        message_id: "<1@example.org>".to_owned(),
        date: at(0),
    };
    let error = smtp.send(&message).unwrap_err();
    assert!(error.chain().contains("cannot encrypt the connection"), "{error:?}");
    let heard = heard.join().unwrap();
    for secret in ["hush", "AUTH", "MAIL FROM", "body"] {
        assert!(!heard.contains(secret), "{heard}");
    }
}
