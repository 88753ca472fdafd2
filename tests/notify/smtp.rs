//! Mail by a real server: what arrives, and what is told where it does not.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fenice::adapters::smtp::{Login, PATIENCE, Smtp};
use fenice::error::{Error, Result, Retry};
use fenice::model::{MailServer as Server, MailTls};
use fenice::notify::notice::{About, Notice};
use fenice::notify::{Channel, Way};
use fenice::ports::Mail;
use fenice::ports::mail::Message;
use jiff::tz::TimeZone;

use super::{address, at};
use crate::support::{MAIL_PASSWORD, MAIL_USER, MailServer};

fn login(password: &str) -> Option<Login> {
    Some(Login { user: MAIL_USER.to_owned(), password: password.into() })
}

fn place(port: u16, tls: MailTls, ca_file: Option<PathBuf>) -> Server {
    Server { host: "127.0.0.1".to_owned(), port, tls, ca_file }
}

/// The server by one of its ways, with the certificate that vouches for it.
fn trusted(server: &MailServer, tls: MailTls) -> Server {
    let port = match tls {
        MailTls::Implicit => server.smtps_port(),
        MailTls::StartTls | MailTls::None => server.smtp_port(),
    };
    let ca_file = (tls != MailTls::None).then(|| server.ca_file());
    place(port, tls, ca_file)
}

fn message(to: &str) -> Message {
    Message {
        from: address(MAIL_USER),
        to: address(to),
        subject: "RED: so it is".to_owned(),
        body: "First line\n.a line with a full stop first\nlast line\n".to_owned(),
        message_id: "<0123456789abcdef@example.org>".to_owned(),
        date: at(0),
    }
}

fn send(server: Server, login: Option<Login>, message: &Message) -> Result<()> {
    Smtp::new(server, login, PATIENCE).unwrap().send(message)
}

#[track_caller]
fn told(error: &Error, retry: Retry, parts: &[&str]) {
    let shown = format!("{error:?}");
    assert_eq!(error.retry(), retry, "{shown}");
    for part in parts {
        assert!(shown.contains(part), "`{part}` is not in {shown}");
    }
    assert!(error.hint_text().is_some() && !shown.contains(MAIL_PASSWORD), "{shown}");
}

#[test]
fn mail_arrives_as_it_was_written_by_every_way() {
    let (server, in_clear) = (MailServer::start(), MailServer::in_clear());
    for (server, tls, to) in [
        (&server, MailTls::Implicit, "implicit@example.org"),
        (&server, MailTls::StartTls, "starttls@example.org"),
        (&in_clear, MailTls::None, "clear@example.org"),
    ] {
        send(trusted(server, tls), login(MAIL_PASSWORD), &message(to)).unwrap();
        let mails = server.mails(to);
        let [mail] = &mails[..] else { panic!("{mails:?}") };
        for line in [
            format!("From: {MAIL_USER}\n"),
            format!("To: {to}\n"),
            format!("X-MailFrom: {MAIL_USER}\n"),
            format!("X-RcptTo: {to}\n"),
            "Subject: RED: so it is\n".to_owned(),
            "Message-ID: <0123456789abcdef@example.org>\n".to_owned(),
            "Date: Mon, 21 Sep 2026 14:13:20 +0000\n".to_owned(),
            "Auto-Submitted: auto-generated\n".to_owned(),
            "MIME-Version: 1.0\n".to_owned(),
            "\n\nFirst line\n.a line with a full stop first\nlast line\n".to_owned(),
        ] {
            assert!(mail.contains(&line), "`{line}` is not in {mail}");
        }
    }
}

#[test]
fn whatever_it_says_goes_over_the_wire_in_ascii_and_stays_in_its_place() {
    let server = MailServer::start();
    let subject = "perch\u{e9} no\r\nBcc: x@example.org".to_owned();
    let body = format!("perch\u{e9} {}\n", "long ".repeat(400));
    let strange = Message { subject, body, ..message("strange@example.org") };
    send(trusted(&server, MailTls::Implicit), login(MAIL_PASSWORD), &strange).unwrap();
    let mails = server.mails("strange@example.org");
    assert!(mails[0].is_ascii(), "{}", mails[0]);
    assert!(!mails[0].contains("\nBcc:"), "{}", mails[0]);
    let longest = mails[0].lines().map(str::len).max().unwrap();
    assert!(longest < 998, "RFC 5322, section 2.1.1: {longest}");
}

#[test]
fn a_wrong_password_and_a_missing_login_are_told() {
    let server = MailServer::start();
    for tls in [MailTls::Implicit, MailTls::StartTls] {
        let wrong = send(trusted(&server, tls), login("not this"), &message("a@example.org"));
        let wrong = wrong.unwrap_err();
        told(&wrong, Retry::Never, &["the login is refused: 535", "`password`"]);
        assert!(!format!("{wrong:?}").contains("not this"), "{wrong:?}");
        let none = send(trusted(&server, tls), None, &message("a@example.org")).unwrap_err();
        told(&none, Retry::Never, &["the sender is refused: 530", "a login"]);
    }
    assert!(server.mails("a@example.org").is_empty());
}

#[test]
fn a_refused_recipient_stands_in_nobody_elses_way() {
    let server = MailServer::start();
    let smtp = Smtp::new(trusted(&server, MailTls::Implicit), login(MAIL_PASSWORD), PATIENCE);
    let mail: Arc<dyn Mail> = Arc::new(smtp.unwrap());
    let notice = Notice { at: at(0), host: "db1".to_owned(), about: About::Test };
    let recipients = ["first@example.org", "nobody@example.org", "full@example.org", "last@b.it"];
    let ended = recipients.map(|to| {
        let channel = Channel::mail(mail.clone(), address(MAIL_USER), address(to));
        assert_eq!(channel.way(), &Way::Mail { to: address(to) });
        let letter = channel.write(&notice, &TimeZone::UTC).unwrap();
        (channel.send(&letter, at(0)), channel.id_of(&letter))
    });
    let [(first, first_id), (nobody, _), (full, _), (last, last_id)] = ended;
    first.unwrap();
    last.unwrap();
    let refused = "the recipient is refused: 550 5.1.1 nobody of that name is here";
    told(&nobody.unwrap_err(), Retry::Never, &["to nobody@example.org by 127.0.0.1", refused]);
    told(&full.unwrap_err(), Retry::Later, &["the recipient is refused: 452 4.2.2"]);
    for (to, id) in [("first@example.org", first_id), ("last@b.it", last_id)] {
        let mails = server.mails(to);
        assert_eq!(mails.len(), 1, "{mails:?}");
        assert!(mails[0].contains("Subject: [fenice db1] a test\n"), "{}", mails[0]);
        assert!(mails[0].contains(&format!("Message-ID: {id}\n")), "{id}: {}", mails[0]);
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let server = MailServer::start();
    for (tls, port) in
        [(MailTls::Implicit, server.smtps_port()), (MailTls::StartTls, server.smtp_port())]
    {
        let sent = send(place(port, tls, None), login(MAIL_PASSWORD), &message("a@example.org"));
        told(&sent.unwrap_err(), Retry::Later, &["invalid peer certificate", "`ca_file`"]);
    }
    let by_name = trusted(&server, MailTls::Implicit);
    let by_name = Server { host: "localhost".to_owned(), ..by_name };
    send(by_name, login(MAIL_PASSWORD), &message("named@example.org")).unwrap();
    assert!(server.mails("a@example.org").is_empty());
    let absent = place(server.smtps_port(), MailTls::Implicit, Some("/nonexistent/ca.pem".into()));
    let error = send(absent, None, &message("a@example.org")).unwrap_err();
    assert!(error.chain().contains("/nonexistent/ca.pem"), "{error:?}");
}

#[test]
fn without_starttls_nothing_is_said_in_clear() {
    let server = MailServer::in_clear();
    let place = trusted(&server, MailTls::StartTls);
    let error = send(place, login(MAIL_PASSWORD), &message("a@example.org")).unwrap_err();
    told(&error, Retry::Never, &["cannot encrypt the connection", "STARTTLS"]);
    assert!(server.mails("a@example.org").is_empty());
}

#[test]
fn a_server_that_is_gone_or_silent_may_come_back() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    for tls in [MailTls::Implicit, MailTls::StartTls, MailTls::None] {
        // Of all ports the one that nobody is ever given.
        let error = send(place(1, tls, None), None, &message("a@example.org")).unwrap_err();
        told(&error, Retry::Later, &["cannot connect: Connection refused", "`server`"]);
        let smtp = Smtp::new(place(port, tls, None), None, Duration::from_secs(1)).unwrap();
        let error = smtp.send(&message("a@example.org")).unwrap_err();
        told(&error, Retry::Later, &["there is no answer within 1 s"]);
    }
}
