//! What the loop that tells people does without: a secret, a way that takes what it is given, room
//! in the catalog, what it knew before.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fenice::catalog::telling::TellingRow;
use fenice::daemon::telling::Turned;
use fenice::notify::{Severity, Way};

use super::receiver::{Receiver, Reply};
use super::telling::{ALL, EXPOSED, Host, config, ids, told, webhook};
use super::{address, event};
use crate::support::{MAIL_PASSWORD, MAIL_USER, MailServer};

use Severity::{Good, Red};

const CHAT: &str = "-/notify-webhook-chat";

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// A webhook `chat` whose URL is in a file.
fn kept_in(path: &Path) -> String {
    let path = path.display();
    format!("[[notify.webhook]]\nname = \"chat\"\nurl = {{ file = \"{path}\" }}\n")
}

#[track_caller]
fn has_problem(turned: &Turned, key: &str, part: &str) {
    let [problem] = &turned.problems[..] else { panic!("{turned:?}") };
    assert_eq!((problem.key.as_str(), problem.severity), (key, Red));
    assert!(problem.details.iter().any(|line| line.contains(part)), "{problem:?}");
}

/// Lets the catalog take what was told so often, and then no more.
fn room_for(host: &Host, writes: u32) {
    let other = rusqlite::Connection::open(host.path("catalog")).unwrap();
    let full = format!(
        "create table if not exists room (writes integer not null);
         delete from room;
         insert into room values ({writes});
         create trigger if not exists no_room before insert on telling begin
             select raise(abort, 'there is no room') where (select writes from room) = 0;
             update room set writes = writes - 1;
         end;"
    );
    other.execute_batch(&full).unwrap();
}

#[test]
fn a_secret_that_cannot_be_read_is_told_by_the_other_ways_until_it_can() {
    let (host, chat, other) = (Host::new(), Receiver::start([]), Receiver::start([]));
    let secret = host.path("url");
    let notify = kept_in(&secret) + &webhook("other", &other, "");
    let mut teller = host.begins(&notify);
    let exposed = event("exposure", Red, 0);
    let turned = host.turn(&mut teller, 0, std::slice::from_ref(&exposed));
    has_problem(&turned, CHAT, &secret.display().to_string());
    let both = format!("{CHAT} red new, {EXPOSED}");
    assert_eq!(told(&other), [both.as_str()]);

    write_private(&secret, chat.url("/hook").url().as_str());
    teller.reconfigure(&config(&notify));
    // It is not taken for mended before it has taken anything.
    assert_eq!(host.turn(&mut teller, 1, std::slice::from_ref(&exposed)).written, 0);
    let present = [exposed, event("slot", Red, 2)];
    assert_eq!(host.turn(&mut teller, 2, &present).sent, 2);
    assert!(host.turn(&mut teller, 3, &present).problems.is_empty());
    let mended = format!("{CHAT} good resolved");
    assert_eq!(told(&chat), ["registro/slot red new", mended.as_str()]);
    assert_eq!(told(&other)[1..], ["registro/slot red new", mended.as_str()]);
}

#[test]
fn what_nobody_could_be_told_is_news_until_somebody_can() {
    let (host, chat) = (Host::new(), Receiver::start([]));
    let secret = host.path("url");
    let mut teller = host.begins(&kept_in(&secret));
    let present = [event("exposure", Red, 0)];
    for minute in 0..3 {
        let turned = host.turn(&mut teller, minute, &present);
        assert_eq!(turned.written, 0);
        has_problem(&turned, CHAT, "/url");
    }
    drop(teller);
    write_private(&secret, chat.url("/hook").url().as_str());
    assert_eq!(host.turn(&mut host.begins(&kept_in(&secret)), 3, &present).sent, 1);
    assert_eq!(told(&chat), [EXPOSED]);
}

#[test]
fn a_way_that_refuses_is_red_until_it_takes_a_letter_whatever_restarts() {
    let (host, chat, other) =
        (Host::new(), Receiver::start(vec![Reply::Status(404); 2]), Receiver::start([]));
    let notify = webhook("chat", &chat, "") + &webhook("other", &other, "");
    let exposure = |severity, minute| [event("exposure", severity, minute)];
    let mut teller = host.begins(&notify);
    for minute in 0..2 {
        let turned = host.turn(&mut teller, minute, &exposure(Red, minute));
        let [given_up] = &turned.given_up[..] else { panic!("{turned:?}") };
        assert_eq!(given_up.letter.way, Way::Webhook { name: "chat".to_owned() });
        has_problem(&turned, CHAT, "it answers 404");
    }
    let (refused, mended) = (format!("{CHAT} red new"), format!("{CHAT} good resolved"));
    assert_eq!(told(&other), [EXPOSED, refused.as_str()]);
    drop(teller);
    let mut teller = host.begins(&notify);
    for minute in 2..5 {
        let turned = host.turn(&mut teller, minute, &exposure(Red, minute));
        assert_eq!(turned.written, 0, "{minute}");
        has_problem(&turned, CHAT, "it answers 404");
    }
    for minute in 5..9 {
        host.turn(&mut teller, minute, &exposure(Good, minute));
    }
    for receiver in [&chat, &other] {
        let last = ["registro/exposure good resolved", mended.as_str()];
        assert_eq!(told(receiver)[2..], last);
    }
}

#[test]
fn a_way_that_takes_nothing_for_half_an_hour_is_told_of_by_the_others() {
    let (host, chat, other) =
        (Host::new(), Receiver::start(vec![Reply::Status(503); 8]), Receiver::start([]));
    let notify = webhook("chat", &chat, "") + &webhook("other", &other, ALL);
    let mut teller = host.begins(&notify);
    let warned: Vec<i64> = (0..50)
        .filter(|minute| {
            let turned = host.turn(&mut teller, *minute, &[event("exposure", Red, 0)]);
            !turned.problems.is_empty()
        })
        .collect();
    assert_eq!(warned, Vec::from_iter(32..47));
    let (late, mended) = (format!("{CHAT} warning new"), format!("{CHAT} good resolved"));
    assert_eq!(told(&other), [EXPOSED, late.as_str(), mended.as_str()]);
    assert_eq!((told(&chat).len(), &told(&chat)[8]), (9, &EXPOSED.to_owned()));
}

#[test]
fn a_mailbox_that_is_refused_is_told_of_to_the_others() {
    let (host, server) = (Host::new(), MailServer::start());
    write_private(&host.path("password"), MAIL_PASSWORD);
    let notify = format!(
        "[notify.mail]\nserver = \"localhost\"\nport = {}\nuser = \"{MAIL_USER}\"\n\
         password = {{ file = \"{}\" }}\nfrom = \"{MAIL_USER}\"\nca_file = \"{}\"\n\
         to = [\"nobody@example.org\", \"ops@example.org\"]\n",
        server.smtps_port(),
        host.path("password").display(),
        server.ca_file().display()
    );
    for minute in 0..6 {
        let turned = host.turn(&mut host.begins(&notify), minute, &[event("exposure", Red, 0)]);
        has_problem(&turned, "-/notify-mail-nobody@example.org", "550 5.1.1");
        // The news, and then what became of it: that is for `nobody` as well.
        let given_up = turned.given_up.iter().map(|given_up| &given_up.letter.way);
        let nobody = Way::Mail { to: address("nobody@example.org") };
        assert!(given_up.eq((minute < 2).then_some(&nobody)), "{minute}: {turned:?}");
    }
    let mails = server.mails("ops@example.org").into_iter();
    let flat = |mail: String| mail.split_whitespace().collect::<Vec<_>>().join(" ");
    let mails: Vec<String> = mails.map(flat).collect();
    let subjects = [
        "[fenice db1] RED: registro: the exposure is red",
        "[fenice db1] RED: a message by mail to nobody@example.org was given up",
    ];
    assert_eq!(mails.len(), subjects.len(), "{mails:?}");
    for (mail, subject) in mails.iter().zip(subjects) {
        assert!(mail.contains(&format!("Subject: {subject}")), "{subject}: {mail}");
    }
}

#[test]
fn a_catalog_that_takes_nothing_leaves_nothing_half_done() {
    let (host, chat) = (Host::new(), Receiver::start([]));
    let mut teller = host.begins(&webhook("chat", &chat, ""));
    let present = [event("exposure", Red, 0)];
    room_for(&host, 0);
    for minute in 0..3 {
        let error = host.tries(&mut teller, minute, &present).unwrap_err();
        assert!(error.chain().contains("there is no room"), "{error:?}");
        assert!(chat.requests().is_empty(), "sent what is not kept");
        assert_eq!(host.catalog().telling().unwrap(), None);
    }
    // Room for what is decided, and not for how sending it ended.
    room_for(&host, 1);
    for minute in 3..9 {
        host.tries(&mut teller, minute, &present).unwrap_err();
        assert_eq!(chat.requests().len(), 1, "sent again by the same process");
        assert_eq!(host.waiting(), 1);
    }
    room_for(&host, 9);
    assert_eq!(host.turn(&mut teller, 9, &present).sent, 0);
    assert_eq!((host.waiting(), told(&chat)), (0, vec![EXPOSED.to_owned()]));
}

#[test]
fn what_was_sent_and_not_noted_is_sent_again_under_the_same_id() {
    let (host, chat) = (Host::new(), Receiver::start([]));
    let notify = webhook("chat", &chat, "");
    let present = [event("exposure", Red, 0)];
    let mut teller = host.begins(&notify);
    room_for(&host, 1);
    host.tries(&mut teller, 0, &present).unwrap_err();
    drop(teller);
    room_for(&host, 9);
    let mut teller = host.begins(&notify);
    for (minute, sent) in [(1, 1), (2, 0), (3, 0)] {
        assert_eq!(host.turn(&mut teller, minute, &present).sent, sent, "{minute}");
    }
    let ids = ids(&chat);
    assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
}

#[test]
fn what_cannot_be_read_is_told_once_more_and_letters_that_can_be_are_sent() {
    let (host, chat) = (Host::new(), Receiver::start([Reply::Status(503)]));
    let notify = webhook("chat", &chat, "");
    let present = [event("exposure", Red, 0)];
    host.turn(&mut host.begins(&notify), 0, &present);
    let row = host.catalog().telling().unwrap().unwrap();
    let damaged = TellingRow { told: "{\"of\": \"another version\"}".to_owned(), ..row };
    host.catalog().keep_telling(&damaged).unwrap();
    let mut teller = host.begins(&notify);
    has_problem(&host.turn(&mut teller, 1, &present), "-/notify", "cannot read what was told");
    for minute in 2..6 {
        assert!(host.turn(&mut teller, minute, &present).problems.is_empty());
    }
    let again = format!("-/notify red new, {EXPOSED}");
    assert_eq!(told(&chat), [EXPOSED, EXPOSED, again.as_str(), "-/notify good resolved"]);
    assert_eq!(ids(&chat)[0], ids(&chat)[1]);
}

#[test]
fn without_the_letters_nobody_knows_who_was_told() {
    let (host, chat) = (Host::new(), Receiver::start([]));
    let notify = webhook("chat", &chat, "");
    let present = [event("exposure", Red, 0)];
    host.turn(&mut host.begins(&notify), 0, &present);
    let row = host.catalog().telling().unwrap().unwrap();
    host.catalog().keep_telling(&TellingRow { outbox: "[{".to_owned(), ..row }).unwrap();
    host.turn(&mut host.begins(&notify), 1, &present);
    assert_eq!(told(&chat), [EXPOSED, format!("-/notify red new, {EXPOSED}").as_str()]);
}
