//! Two daemons at one store, a call at a time, in an order that a seed decides: who is paused
//! between any two calls, for how long, and whose calls get lost. Time passes only here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use fenice::error::{Error, Result};
use fenice::ports::store::{Change, Entry, Lock, Put, Replaced};
use fenice::ports::{Clock, Store};
use fenice::repository::lease::{Lease, RENEW_EVERY};
use jiff::Timestamp;

use crate::support::Dice;

pub const SEATS: usize = 2;

/// What becomes of a call that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    /// The store cannot be reached.
    Lost,
    /// It is done, and the answer is lost.
    DoneButLost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    Running,
    /// Before a call.
    AtGate,
    Asleep(Duration),
    Gone,
}

struct State {
    now: Duration,
    seats: [Seat; SEATS],
    let_through: [Option<Fate>; SEATS],
    /// Whether the call that waits is one at which a pause matters most.
    delicate: [bool; SEATS],
    paused_until: [Duration; SEATS],
    cut_off_until: [Duration; SEATS],
}

/// The order of everything, and the clock of both daemons.
pub struct Turnstile {
    began_at: Timestamp,
    state: Mutex<State>,
    moved: Condvar,
}

impl Clock for Turnstile {
    fn now(&self) -> Timestamp {
        self.began_at.checked_add(self.monotonic()).unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().unwrap().now
    }
}

impl Turnstile {
    pub fn new(began_at: Timestamp) -> Arc<Turnstile> {
        let state = State {
            now: Duration::ZERO,
            seats: [Seat::Running; SEATS],
            let_through: [None; SEATS],
            delicate: [false; SEATS],
            paused_until: [Duration::ZERO; SEATS],
            cut_off_until: [Duration::ZERO; SEATS],
        };
        Arc::new(Turnstile { began_at, state: Mutex::new(state), moved: Condvar::new() })
    }

    /// Lets calls through until both daemons are gone; returns how many.
    pub fn run(&self, dice: &mut Dice) -> u64 {
        let mut calls = 0;
        loop {
            let mut state = self.state.lock().unwrap();
            while state.seats.contains(&Seat::Running)
                || state.let_through.iter().any(Option::is_some)
            {
                state = self.moved.wait(state).unwrap();
            }
            if state.seats.iter().all(|seat| *seat == Seat::Gone) {
                return calls;
            }
            let now = state.now;
            let wakes = |at: usize| match state.seats[at] {
                Seat::AtGate => Some(state.paused_until[at]),
                Seat::Asleep(until) => Some(until),
                Seat::Running | Seat::Gone => None,
            };
            let due: Vec<usize> =
                (0..SEATS).filter(|at| wakes(*at).is_some_and(|until| until <= now)).collect();
            if due.is_empty() {
                let next = (0..SEATS).filter_map(wakes).min();
                state.now = next.expect("somebody waits");
                continue;
            }
            let at = due[dice.below(due.len())];
            if state.seats[at] == Seat::AtGate && self.intervenes(&mut state, at, dice) {
                continue;
            }
            let cut_off = state.cut_off_until[at] > now;
            let fate = match dice.below(1_000) {
                _ if cut_off => Fate::Lost,
                0 => Fate::DoneButLost,
                1 => Fate::Lost,
                _ => Fate::Done,
            };
            // A call takes a while.
            state.now += Duration::from_millis(dice.below(400) as u64);
            if state.seats[at] == Seat::AtGate {
                calls += 1;
            }
            state.seats[at] = Seat::Running;
            state.let_through[at] = Some(fate);
            self.moved.notify_all();
        }
    }

    /// Whether something befalls a daemon before its call.
    fn intervenes(&self, state: &mut State, at: usize, dice: &mut Dice) -> bool {
        let seconds =
            |dice: &mut Dice, most: usize| Duration::from_secs(1 + dice.below(most) as u64);
        // Once before each of these: whoever pauses is let through when he comes to. Meanwhile the
        // other one does not sleep, for then nothing would come of it.
        if std::mem::take(&mut state.delicate[at]) && dice.below(4) == 0 {
            state.paused_until[at] = state.now + seconds(dice, 150);
            for other in (0..SEATS).filter(|other| *other != at) {
                if let Seat::Asleep(until) = &mut state.seats[other] {
                    *until = state.now.min(*until);
                }
            }
            return true;
        }
        match dice.below(1_000) {
            // Stopped for a while: too short to lose anything, or long enough, or half a day.
            0..=5 => state.paused_until[at] = state.now + seconds(dice, 25),
            6..=19 => state.paused_until[at] = state.now + seconds(dice, 300),
            20..=22 => state.paused_until[at] = state.now + seconds(dice, 50_000),
            23 => state.cut_off_until[at] = state.now + seconds(dice, 120),
            _ => return false,
        }
        true
    }

    /// Waits for the turn of a seat.
    fn wait(&self, at: usize, how: Seat, delicate: bool) -> Fate {
        let mut state = self.state.lock().unwrap();
        state.seats[at] = how;
        state.delicate[at] = delicate;
        self.moved.notify_all();
        loop {
            if let Some(fate) = state.let_through[at].take() {
                self.moved.notify_all();
                return fate;
            }
            state = self.moved.wait(state).unwrap();
        }
    }

    pub fn sleep(&self, at: usize, pause: Duration) {
        let until = self.monotonic() + pause;
        self.wait(at, Seat::Asleep(until), false);
    }

    fn leave(&self, at: usize) {
        self.state.lock().unwrap().seats[at] = Seat::Gone;
        self.moved.notify_all();
    }
}

/// Leaves the seat when dropped: also one that panics holds up nobody.
pub struct Taken(Arc<SeatStore>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.turnstile.leave(self.0.seat);
    }
}

/// The store as one daemon reaches it. Its lease is renewed before a call, as a thread beside the
/// work would; its locks keep nobody out, as those of a bucket do not after a pause.
pub struct SeatStore {
    pub inner: Arc<dyn Store>,
    pub turnstile: Arc<Turnstile>,
    pub seat: usize,
    pub lease: Mutex<Option<(Arc<Lease>, Duration)>>,
    renews: AtomicBool,
    /// One call at a time: manifests are read by several threads. Which of them comes first nobody
    /// decides; what is read is the same.
    one_by_one: Mutex<()>,
}

struct KeepsNobodyOut;

impl Lock for KeepsNobodyOut {}

impl SeatStore {
    pub fn new(inner: &Arc<dyn Store>, turnstile: &Arc<Turnstile>, seat: usize) -> SeatStore {
        SeatStore {
            inner: inner.clone(),
            turnstile: turnstile.clone(),
            seat,
            lease: Mutex::new(None),
            renews: AtomicBool::new(false),
            one_by_one: Mutex::new(()),
        }
    }

    /// The seat is left when the value is dropped.
    pub fn taken(self: Arc<SeatStore>) -> Taken {
        Taken(self)
    }

    /// From now on this lease is renewed; `None` is a daemon that holds none.
    pub fn keep(&self, lease: Option<Arc<Lease>>) {
        let now = self.turnstile.monotonic();
        *self.lease.lock().unwrap() = lease.map(|lease| (lease, now));
    }

    fn call<T>(&self, delicate: bool, run: impl FnOnce() -> Result<T>) -> Result<T> {
        self.renew_if_due();
        let _turn = self.one_by_one.lock().unwrap();
        match self.turnstile.wait(self.seat, Seat::AtGate, delicate) {
            Fate::Done => run(),
            Fate::Lost => Err(lost()),
            Fate::DoneButLost => run().and_then(|_| Err(lost())),
        }
    }

    fn renew_if_due(&self) {
        let now = self.turnstile.monotonic();
        let due = {
            let mut kept = self.lease.lock().unwrap();
            let is_due = |at: Duration| now.saturating_sub(at) >= RENEW_EVERY;
            let due = kept.as_ref().filter(|(_, at)| is_due(*at)).cloned();
            if let (Some(_), Some((_, at))) = (&due, kept.as_mut()) {
                *at = now;
            }
            due
        };
        if let Some((lease, _)) = due
            && !self.renews.swap(true, Ordering::SeqCst)
        {
            // As the thread beside the work does: told, and tried again.
            let _ = lease.renew();
            self.renews.store(false, Ordering::SeqCst);
        }
    }
}

fn lost() -> Error {
    Error::failed("the store cannot be reached").later()
}

impl Store for SeatStore {
    fn describe(&self) -> String {
        format!("seat {}", self.seat)
    }

    fn put_new(&self, key: &str, body: &[u8]) -> Result<Put> {
        // Packs come from threads of their own, whose order nobody decides. They are new and their
        // names random: when exactly they come matters to nobody.
        match key.contains("/data/") {
            true => self.inner.put_new(key, body),
            // What commits, what makes and what changes an index.
            false => {
                let delicate = ["snapshots/", "index/"].iter().any(|part| key.contains(part));
                self.call(delicate, || self.inner.put_new(key, body))
            }
        }
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.call(false, || self.inner.get(key))
    }

    fn read_range(&self, key: &str, offset: u64, into: &mut [u8]) -> Result<()> {
        self.call(false, || self.inner.read_range(key, offset, into))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.call(false, || self.inner.list(prefix))
    }

    fn replace(&self, key: &str, change: Change<'_>) -> Result<Replaced> {
        self.call(false, || self.inner.replace(key, change))
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.call(true, || self.inner.remove(key))
    }

    fn lock(&self, _name: &str) -> Result<Box<dyn Lock>> {
        Ok(Box::new(KeepsNobodyOut))
    }
}
