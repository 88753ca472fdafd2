//! Serves the log of one recovery on a socket, for `wal fetch` (RULES 1 to 3, 7).
//!
//! PostgreSQL's user has neither the credentials nor the identity: this side reads, decrypts and
//! decides; the client only copies, and kills itself when anything is not as it should be.
//! Segments ahead of the one asked for are fetched in the background, a bounded number; each lies
//! in a file that the client need only rename.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Attempt, Error, Kind, Result};
use crate::model::WalName;
use crate::plan::answer::{Answer, answer};
use crate::plan::recovery::RecoveryPlan;
use crate::repository::wal::WalArchive;

use super::guard::LogGuard;
use super::originals::{NewTablespaces, Originals};
use super::spool::{Spool, Spooled};

/// Memory for segments fetched ahead.
const AHEAD_BYTES: u64 = 96 << 20;
const FETCHERS: usize = 2;
/// PostgreSQL asks for one file at a time; tools may add a few.
const CONNECTIONS: usize = 8;
/// How soon the end is noticed while nobody asks.
const LOOK_UP: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// A client that says nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; dropping it stops it.
pub struct WalServer {
    shared: Arc<Shared>,
    socket: PathBuf,
    threads: Vec<JoinHandle<()>>,
}

/// What was served so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    pub segments: u64,
    /// Why recovery was stopped, if it was; the first reason.
    pub stopped: Option<Stopped>,
}

/// Why recovery was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    pub kind: Kind,
    pub reason: String,
    pub hint: Option<String>,
}

impl Stopped {
    fn of(error: &Error) -> Stopped {
        let (kind, reason) = (error.kind(), error.chain());
        Stopped { kind, reason, hint: error.hint_text().map(str::to_owned) }
    }

    fn to_error(&self) -> Error {
        let error = Error::new(self.kind, self.reason.clone());
        self.hint.iter().fold(error, |error, hint| error.hint(hint.clone()))
    }
}

struct Shared {
    archive: WalArchive,
    plan: RecoveryPlan,
    segments: Mutex<Segments>,
    spool: Spool,
    changed: Condvar,
    ending: AtomicBool,
    connections: AtomicU64,
    served: Mutex<Served>,
    guard: Mutex<LogGuard>,
    originals: Mutex<Originals>,
    /// Of what is made for the restored server.
    owner: Option<(u32, u32)>,
}

/// Segments being fetched and fetched, by their place in the plan.
#[derive(Default)]
struct Segments {
    wanted: VecDeque<usize>,
    fetched: BTreeMap<usize, Fetched>,
}

enum Fetched {
    UnderWay,
    Ready(Ready),
    Failed(Stopped),
}

/// A segment in memory, for the guard, and as a file, for the client.
struct Ready {
    bytes: Vec<u8>,
    file: Spooled,
}

/// What a client gets.
enum Found {
    /// It renames the file.
    File {
        path: PathBuf,
        bytes: usize,
    },
    Content(Vec<u8>),
    /// Proven.
    Absent,
}

impl WalServer {
    /// Starts serving `plan` on a new socket at `socket`, which only its owner and group reach.
    /// Segments wait in `spool_dir`, best beside where they will go. `owner` gets them, and the
    /// places of new tablespaces, if `new` lets there be any.
    pub fn start(
        archive: WalArchive,
        plan: RecoveryPlan,
        socket: &Path,
        spool_dir: &Path,
        new: NewTablespaces,
        owner: Option<(u32, u32)>,
    ) -> Result<WalServer> {
        let listener = listen(socket)?;
        // Only now: until here it may be another server's.
        let spool = Spool::make(spool_dir, owner)?;
        let guard = Mutex::new(LogGuard::new(plan.segment_size, new));
        let shared = Arc::new(Shared {
            archive,
            plan,
            segments: Mutex::default(),
            spool,
            changed: Condvar::new(),
            ending: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            served: Mutex::default(),
            guard,
            originals: Mutex::default(),
            owner,
        });
        let mut threads: Vec<JoinHandle<()>> = (0..FETCHERS)
            .map(|_| {
                let shared = shared.clone();
                std::thread::spawn(move || shared.fetch_until_ending())
            })
            .collect();
        let accepting = shared.clone();
        threads.push(std::thread::spawn(move || accept_until_ending(&accepting, &listener)));
        Ok(WalServer { shared, socket: socket.to_owned(), threads })
    }

    /// What was served so far.
    pub fn served(&self) -> Served {
        lock(&self.shared.served).clone()
    }
}

impl Drop for WalServer {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A fetcher's panic is already an answer "stop" to whoever waited for it.
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// A socket of our own. One that a killed server left is taken over, a living one is not.
fn listen(socket: &Path) -> Result<UnixListener> {
    let what = || format!("serve log on {}", socket.display());
    let listener = match UnixListener::bind(socket) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if UnixStream::connect(socket).is_ok() {
                return Err(Error::new(Kind::Busy, "another process serves this restore's log"));
            }
            std::fs::remove_file(socket).attempt(what)?;
            UnixListener::bind(socket)
        }
        bound => bound,
    };
    let listener = listener.attempt(what)?;
    listener.set_nonblocking(true).attempt(what)?;
    Ok(listener)
}

fn accept_until_ending(shared: &Arc<Shared>, listener: &UnixListener) {
    while !shared.is_ending() {
        let mut wanted = [PollFd::new(listener, PollFlags::IN)];
        // Whatever it says, accepting says it again.
        let _ = poll(&mut wanted, Some(&LOOK_UP));
        let busy = shared.connections.load(Ordering::SeqCst) >= CONNECTIONS as u64;
        match listener.accept() {
            Ok((stream, _)) if !busy => {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let shared = shared.clone();
                std::thread::spawn(move || {
                    // A client that went away asks again, or has killed itself.
                    let _ = shared.answer(&stream);
                    shared.connections.fetch_sub(1, Ordering::SeqCst);
                });
            }
            // Closed without an answer: the client kills itself.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Such as too many open files, for a moment.
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

impl Shared {
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    fn answer(&self, stream: &UnixStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new(stream.take(256)).read_line(&mut line)?;
        let mut stream = stream;
        match self.find(line.trim()) {
            Ok(Found::File { path, bytes }) => {
                stream.write_all(format!("file {bytes} {}\n", path.display()).as_bytes())
            }
            Ok(Found::Content(bytes)) => {
                stream.write_all(format!("ok {}\n", bytes.len()).as_bytes())?;
                stream.write_all(&bytes)
            }
            Ok(Found::Absent) => stream.write_all(b"absent\n"),
            Err(error) => {
                let stopped = Stopped::of(&error);
                let reason = stopped.reason.clone();
                tracing::error!(file = line.trim(), %reason, "recovery is stopped");
                lock(&self.served).stopped.get_or_insert(stopped);
                stream.write_all(format!("stop {}\n", reason.replace('\n', " ")).as_bytes())
            }
        }
    }

    fn find(&self, name: &str) -> Result<Found> {
        let wanted = WalName::parse(name, self.archive.segment_size)?;
        match answer(&self.plan, &wanted) {
            Answer::Serve(planned) => {
                let place = self.plan.segments.iter().position(|segment| segment == planned);
                let found = match place {
                    Some(place) => self.checked(place)?,
                    // The one before the first, which PostgreSQL may look back to.
                    None => Found::Content(self.archive.read_segment(&planned.objects)?),
                };
                lock(&self.served).segments += 1;
                Ok(found)
            }
            Answer::History(timeline) => {
                let key = self.archive.history_key(timeline);
                Ok(Found::Content(self.archive.read_small(&key)?))
            }
            Answer::Absent(_) => Ok(Found::Absent),
            Answer::Stop(reason) => Err(Error::refused(reason)),
        }
    }

    /// The segment at `place`, once the guard has read it.
    fn checked(&self, place: usize) -> Result<Found> {
        let Ready { bytes, file } = self.segment(place)?;
        self.pass(place, &bytes)?;
        // The answer is one line of text; a path that is none goes with its content.
        let path = file.path().to_str().filter(|path| !path.contains('\n'));
        Ok(match path.is_some() {
            true => Found::File { path: file.hand_over(), bytes: bytes.len() },
            false => Found::Content(bytes),
        })
    }

    /// Lets the guard read the segment, and makes what replaying it will need.
    fn pass(&self, place: usize, bytes: &[u8]) -> Result<()> {
        let mut guard = lock(&self.guard);
        guard.pass(&self.plan, place, bytes)?;
        let mut originals = lock(&self.originals);
        guard.take_wanted().iter().try_for_each(|place| originals.take(place, self.owner))
    }

    /// Takes the segment at `place`, having ordered it and those after it. Who asks again has it
    /// fetched again.
    fn segment(&self, place: usize) -> Result<Ready> {
        let mut segments = lock(&self.segments);
        segments.order(place, self.ahead(), self.plan.segments.len());
        self.changed.notify_all();
        loop {
            match segments.fetched.remove(&place) {
                Some(Fetched::Ready(ready)) => return Ok(ready),
                Some(Fetched::Failed(stopped)) => return Err(stopped.to_error()),
                Some(Fetched::UnderWay) => {
                    segments.fetched.insert(place, Fetched::UnderWay);
                }
                // Another client took it.
                None => {
                    segments.order(place, self.ahead(), self.plan.segments.len());
                    self.changed.notify_all();
                }
            }
            if self.is_ending() {
                return Err(Error::failed("the restore has ended"));
            }
            segments = wait(&self.changed, segments);
        }
    }

    fn ahead(&self) -> usize {
        (AHEAD_BYTES / self.archive.segment_size.bytes()).clamp(1, 16) as usize
    }

    fn fetch_until_ending(&self) {
        let mut segments = lock(&self.segments);
        while !self.is_ending() {
            let Some(place) = segments.wanted.pop_front() else {
                segments = wait(&self.changed, segments);
                continue;
            };
            drop(segments);
            let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let bytes = self.archive.read_segment(&self.plan.segments[place].objects)?;
                let file = self.spool.put(&bytes)?;
                Ok(Ready { bytes, file })
            }));
            let fetched = match read {
                Ok(Ok(ready)) => Fetched::Ready(ready),
                Ok(Err(error)) => Fetched::Failed(Stopped::of(&error)),
                Err(_) => {
                    let error = Error::failed("reading the segment panicked");
                    Fetched::Failed(Stopped::of(&error))
                }
            };
            segments = lock(&self.segments);
            segments.fetched.insert(place, fetched);
            self.changed.notify_all();
        }
    }
}

impl Segments {
    /// Orders `place` first, then those after it; forgets what lies well behind.
    fn order(&mut self, place: usize, ahead: usize, count: usize) {
        let near = |known: usize| known >= place && known <= place + ahead;
        self.fetched.retain(|known, _| near(*known));
        self.wanted.retain(|known| near(*known));
        if matches!(self.fetched.get(&place), Some(Fetched::Failed(_))) {
            // It may have been a passing failure: PostgreSQL was restarted and asks again.
            self.fetched.remove(&place);
        }
        for next in (place..count.min(place + ahead + 1)).rev() {
            if !self.fetched.contains_key(&next) && !self.wanted.contains(&next) {
                self.fetched.insert(next, Fetched::UnderWay);
                self.wanted.push_front(next);
            }
        }
    }
}

/// State stays consistent between statements, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(changed: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    let waited = changed.wait_timeout(guard, Duration::from_millis(500));
    waited.map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard)
}
