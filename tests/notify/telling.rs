//! The loop that tells people, over turns, restarts and new configurations, on a clock of its own:
//! each thing once, in order, and in the end.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fenice::catalog::Catalog;
use fenice::config::{Config, parse};
use fenice::daemon::telling::{Beaten, Beater, Teller, Turned};
use fenice::error::{Kind, Result};
use fenice::notify::notice::Summary;
use fenice::notify::webhook::EVENT_ID;
use fenice::notify::{Event, Severity, Way};
use fenice::ports::Clock;
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use super::receiver::{Receiver, Reply, Request};
use super::{at, event};

use Severity::{Good, Red, Warning};

const DAY: i64 = 24 * 60;
/// For a webhook that is told everything.
pub(super) const ALL: &str = "events = \"all\"\n";
pub(super) const EXPOSED: &str = "registro/exposure red new";
const NO_LONGER: &str = "registro/exposure good resolved";

const WHATEVER: &str = r#"
    [daemon]
    timezone = "UTC"
    [repository.main]
    path = "/srv/fenice"
    [policy.standard]
    [[resource]]
    name = "registro"
    kind = "postgres"
    repository = "main"
    policy = "standard"
    connection = "host=/run/postgresql user=fenice"
    data_dir = "/srv/pg"
"#;

pub(super) fn config(notify: &str) -> Config {
    parse(&format!("{WHATEVER}{notify}"), "fenice.toml").unwrap()
}

pub(super) fn webhook(name: &str, receiver: &Receiver, more: &str) -> String {
    let url = receiver.url("/hook");
    format!("[[notify.webhook]]\nname = \"{name}\"\nurl = \"{}\"\n{more}", url.url())
}

/// It is as late as it was last set.
struct Hands(Mutex<Timestamp>);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A place where one process after the other tells people.
pub(super) struct Host {
    dir: TempDir,
    hands: Arc<Hands>,
}

impl Host {
    pub(super) fn new() -> Host {
        let hands = Arc::new(Hands(Mutex::new(at(0))));
        Host { dir: tempfile::tempdir().unwrap(), hands }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn catalog(&self) -> Arc<Catalog> {
        Arc::new(Catalog::open(&self.path("catalog")).unwrap())
    }

    /// How many letters the catalog has.
    pub(super) fn waiting(&self) -> usize {
        let row = self.catalog().telling().unwrap().unwrap();
        let letters: Value = serde_json::from_str(&row.outbox).unwrap();
        letters["waiting"].as_array().unwrap().len()
    }

    pub(super) fn set(&self, minute: i64) {
        *self.hands.0.lock().unwrap() = at(minute);
    }

    /// A process that goes on where the one before it ended, however it did.
    pub(super) fn begins(&self, notify: &str) -> Teller {
        let clock = self.hands.clone();
        Teller::open(self.catalog(), &config(notify), "db1".to_owned(), clock).unwrap()
    }

    pub(super) fn tries(
        &self,
        teller: &mut Teller,
        minute: i64,
        present: &[Event],
    ) -> Result<Turned> {
        self.set(minute);
        teller.turn(present, &Summary::default)
    }

    pub(super) fn turn(&self, teller: &mut Teller, minute: i64, present: &[Event]) -> Turned {
        self.tries(teller, minute, present).unwrap()
    }
}

/// What came, message by message: key, severity and reason of each event, or what it is instead.
pub(super) fn told(receiver: &Receiver) -> Vec<String> {
    let one = |event: &Value| {
        let word = |field: &str| event[field].as_str().unwrap().to_owned();
        format!("{} {} {}", word("key"), word("severity"), word("why"))
    };
    let message = |request: Request| {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        match body["events"].as_array() {
            Some(events) => events.iter().map(one).collect::<Vec<_>>().join(", "),
            None => body["kind"].as_str().unwrap().to_owned(),
        }
    };
    receiver.requests().into_iter().map(message).collect()
}

pub(super) fn ids(receiver: &Receiver) -> Vec<String> {
    let id = |request: &Request| request.header(EVENT_ID).unwrap().to_owned();
    receiver.requests().iter().map(id).collect()
}

#[test]
fn a_red_is_told_once_over_many_turns_and_so_is_its_end() {
    let (host, chat) = (Host::new(), Receiver::start([]));
    let mut teller = host.begins(&webhook("chat", &chat, ALL));
    for minute in 0..60 {
        let severity = if minute < 30 { Red } else { Good };
        let turned = host.turn(&mut teller, minute, &[event("exposure", severity, minute)]);
        let news = usize::from(minute % 30 == 0);
        assert_eq!((turned.written, turned.sent), (news, news), "{minute}");
        assert!(turned.problems.is_empty() && turned.next_at.is_none(), "{turned:?}");
    }
    assert_eq!(told(&chat), [EXPOSED, NO_LONGER]);
}

#[test]
fn a_process_that_ends_before_it_has_sent_leaves_its_message_to_the_next() {
    let (host, chat) = (Host::new(), Receiver::start([Reply::Status(503), Reply::HangUp]));
    let notify = webhook("chat", &chat, "");
    let turns = (0..6).map(|minute| {
        let mut teller = host.begins(&notify);
        host.turn(&mut teller, minute, &[event("exposure", Red, 0)])
    });
    let turns: Vec<Turned> = turns.collect();
    assert_eq!(turns.iter().map(|turned| turned.written).sum::<usize>(), 1);
    assert_eq!(turns.iter().map(|turned| turned.sent).sum::<usize>(), 1);
    let ids = ids(&chat);
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn who_was_away_is_told_everything_in_its_order() {
    let (host, chat) = (Host::new(), Receiver::start(vec![Reply::Status(503); 3]));
    let mut teller = host.begins(&webhook("chat", &chat, ""));
    let exposed = event("exposure", Red, 0);
    let turned = host.turn(&mut teller, 0, std::slice::from_ref(&exposed));
    let [(way, because)] = &turned.failed[..] else { panic!("{turned:?}") };
    assert_eq!(way, &Way::Webhook { name: "chat".to_owned() });
    assert!(because.contains("it answers 503"), "{because}");
    let both = [exposed, event("slot", Red, 1)];
    for (minute, sent) in [(1, 0), (2, 0), (3, 1)] {
        let turned = host.turn(&mut teller, minute, &both);
        assert_eq!(turned.sent, sent, "{minute}");
        assert_eq!(turned.next_at.is_some_and(|next| next <= at(minute)), sent == 1, "{minute}");
    }
    assert_eq!(host.turn(&mut teller, 4, &both).next_at, None);
    assert_eq!(told(&chat)[3..], [EXPOSED, "registro/slot red new"]);
    assert!(ids(&chat)[..4].iter().all(|id| *id == ids(&chat)[0]));
}

#[test]
fn no_way_waits_for_another() {
    let asked = Arc::new(AtomicUsize::new(0));
    let [first, second] = [(); 2].map(|()| Receiver::start([Reply::Together(asked.clone())]));
    let host = Host::new();
    let notify = webhook("first", &first, "") + &webhook("second", &second, "");
    let turned = host.turn(&mut host.begins(&notify), 0, &[event("exposure", Red, 0)]);
    assert_eq!(turned.sent, 2, "{turned:?}");
}

#[test]
fn a_summary_is_sent_once_whatever_was_missed() {
    let (host, chat) = (Host::new(), Receiver::start([]));
    // That is in the seventh minute.
    let notify = format!("[notify]\nsummary = \"20 14 * * *\"\n{}", webhook("chat", &chat, ALL));
    let written = Cell::new(0);
    let summary = || {
        written.set(written.get() + 1);
        Summary::default()
    };
    for (minute, sent) in [
        (0, 0),
        (6, 0),
        (7, 1),
        (8, 1),
        (DAY + 6, 1),
        (DAY + 7, 2),
        // Away for days.
        (5 * DAY, 3),
        (5 * DAY + 1, 3),
        (5 * DAY + 7, 4),
    ] {
        host.set(minute);
        host.begins(&notify).turn(&[], &summary).unwrap();
        assert_eq!((written.get(), chat.requests().len()), (sent, sent), "{minute}");
    }
    assert!(told(&chat).iter().all(|kind| kind == "summary"));
}

#[test]
fn a_summary_just_ordered_waits_for_its_time_and_a_clock_that_was_ahead_silences_none() {
    let (host, chat) = (Host::new(), Receiver::start([]));
    let without = webhook("chat", &chat, ALL);
    let mut teller = host.begins(&without);
    host.turn(&mut teller, 0, &[]);
    host.set(30);
    teller.reconfigure(&config(&format!("[notify]\nsummary = \"20 14 * * *\"\n{without}")));
    for (minute, sent) in [
        (31, 0),
        (DAY + 6, 0),
        (DAY + 7, 1),
        (1_000 * DAY, 2),
        (DAY + 8, 2),
        (2 * DAY + 6, 2),
        (2 * DAY + 7, 3),
    ] {
        host.turn(&mut teller, minute, &[]);
        assert_eq!(chat.requests().len(), sent, "{minute}");
    }
}

#[test]
fn what_waits_for_a_webhook_that_left_the_configuration_is_given_up() {
    let (host, chat, other) =
        (Host::new(), Receiver::start(vec![Reply::Status(503); 9]), Receiver::start([]));
    let kept = webhook("other", &other, "");
    let mut teller = host.begins(&(webhook("chat", &chat, "") + &kept));
    let present = [event("exposure", Red, 0)];
    let turned = host.turn(&mut teller, 0, &present);
    assert_eq!((turned.sent, turned.failed.len(), turned.given_up.len()), (1, 1, 0));
    teller.reconfigure(&config(&kept));
    let turned = host.turn(&mut teller, 1, &present);
    let [given_up] = &turned.given_up[..] else { panic!("{turned:?}") };
    assert_eq!(given_up.letter.way, Way::Webhook { name: "chat".to_owned() });
    assert!(given_up.because.contains("not in the configuration"), "{}", given_up.because);
    assert!(turned.problems.is_empty() && turned.next_at.is_none(), "{turned:?}");
    assert_eq!(host.waiting(), 0);
    host.turn(&mut teller, 2, &present);
    assert_eq!((chat.requests().len(), told(&other)), (1, vec![EXPOSED.to_owned()]));
}

#[test]
fn the_heartbeat_url_is_called_while_all_is_well_and_never_otherwise() {
    let replies = [Reply::Status(200), Reply::Status(200), Reply::Status(503)];
    let receiver = Receiver::start(replies);
    let url = |url: &str| config(&format!("[notify]\nheartbeat_url = {url}\n"));
    let beater = Beater::open(&url(&format!("\"{}\"", receiver.url("/beat").url())));
    let beater = beater.unwrap().unwrap();
    let present = |severity| [event("copies", Good, 0), event("exposure", severity, 0)];
    let withheld = |because: &str| Beaten::Withheld { because: because.to_owned() };
    assert_eq!(beater.beat_if_well(&present(Good)), Beaten::Called);
    assert_eq!(beater.beat_if_well(&present(Warning)), Beaten::Called);
    assert_eq!(beater.beat_if_well(&present(Red)), withheld("the exposure is red"));
    assert_eq!(beater.beat_if_well(&[]), withheld("nothing is known yet"));
    assert_eq!(receiver.requests().len(), 2);
    let failed = beater.beat_if_well(&present(Good));
    let Beaten::Failed(because) = &failed else { panic!("{failed:?}") };
    assert!(because.contains("it answers 503"), "{because}");
    assert!(Beater::open(&config("")).unwrap().is_none());
    let unread = Beater::open(&url("{ file = \"/nonexistent/url\" }"));
    assert_eq!(unread.err().map(|error| error.kind()), Some(Kind::Config));
}
