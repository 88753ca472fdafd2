//! Sixty days compressed: a real cluster lives through ten weeks by a clock that the test moves,
//! with daily snapshots, weekly copies, shipping and retention, once through each change of the
//! clocks on the wall. Every night the points that are kept are those of the promise, all of them
//! and every instant of the window can be recovered to, and what expired is gone after 48 hours.
//! The second time both repositories lock what is stored: then what expired is gone when its lock
//! has ended, which is on its sixtieth day at the latest, and is told until then.

mod inspect; // what is stored, and that nothing else is
mod locked; // until when each of it is locked
mod promise; // "35 + 25", from its words alone
mod prove; // recoveries, compared row by row
mod reach; // every point and instant, by plans
mod site; // a cluster, two repositories, one clock

use std::time::Instant;

use fenice::adapters::memory::MemoryStore;
use fenice::engines::postgres::restore::sources::Sources;
use fenice::plan::retention::Role;
use fenice::ports::Clock;
use fenice::repository::vault::prune::Pruned;
use jiff::civil::{Date, Weekday, date};
use jiff::{SignedDuration, Timestamp, ToSpan};

use self::inspect::{Inspector, Log};
use self::promise::Taken;
use self::prove::Each;
use self::site::{NewStore, Site, ZONE};
use crate::support::Dice;

/// Ten weeks from a Sunday on: the second copy leaves on the 60th day after its own at the latest,
/// and a day later its packs do.
const DAYS: i64 = 70;
/// So many nights later the last lock has ended, and what it kept is gone.
const NIGHTS_AFTER: i64 = 63;
/// Each so many of these everything is looked at.
const LOOK_EVERY: i64 = 9;
/// What a night brings, in minutes after its beginning at 02:00 on the wall.
const COPIES_AFTER: SignedDuration = SignedDuration::from_mins(20);
const RETENTION_AFTER: SignedDuration = SignedDuration::from_mins(40);
const LOOK_AFTER: SignedDuration = SignedDuration::from_mins(50);

#[test]
fn ten_weeks_in_which_an_hour_is_left_out() {
    let length = SignedDuration::from_hours(23);
    live(date(2026, 2, 15), date(2026, 3, 29), length, MemoryStore::with_clock);
}

#[test]
fn ten_weeks_under_locks_in_which_an_hour_comes_twice() {
    let length = SignedDuration::from_hours(25);
    live(date(2026, 9, 6), date(2026, 10, 25), length, MemoryStore::with_locks);
}

/// Everything that happened.
struct Story {
    site: Site,
    dice: Dice,
    seed: u64,
    main: Inspector,
    copies: Inspector,
    taken: Vec<Taken>,
    /// The nights on which no snapshot comes about: one of a Sunday, one of another day.
    failed: [Date; 2],
    copied: usize,
    removed: u64,
    log_objects_removed: u64,
    packs_deleted: u64,
    /// The most packs that locks kept in a night.
    packs_locked: u64,
    /// What retention said of either vault last.
    told: [Pruned; 2],
    planned: usize,
    restored: usize,
}

/// 02:00 on the wall; where there is none, an hour later; where there are two, the first.
fn night(date: Date) -> Timestamp {
    date.at(2, 0, 0, 0).in_tz(ZONE).unwrap().timestamp()
}

/// Lives from the Sunday `first` on through the day `change`, after whose night the next one comes
/// `length` later. Where locks keep anything, it goes on until the last of them has ended.
fn live(first: Date, change: Date, length: SignedDuration, store: NewStore) {
    let (begun, each) = (Instant::now(), Each::wanted());
    assert_eq!((first.weekday(), change.weekday()), (Weekday::Sunday, Weekday::Sunday));
    let next = change.tomorrow().unwrap();
    assert_eq!(night(next).duration_since(night(change)), length);
    assert!((first..first + DAYS.days()).contains(&change));
    let mut story = Story::begin(first, store);
    for day in 0..DAYS {
        let date = first + day.days();
        story.day(date);
        story.night(date);
        story.look();
        match each {
            Each::One => story.prove_one(),
            Each::All => story.prove_all(),
        }
        if (day + 1) % 10 == 0 {
            story.tell(&format!("{date}: {} days", day + 1));
        }
    }
    story.prove_all();
    story.end();
    if story.is_locking() {
        story.outlast_locks(first + (DAYS - 1).days());
    }
    story.tell(&format!("{DAYS} days in {:.0} s", begun.elapsed().as_secs_f64()));
}

impl Story {
    /// At noon before the first night.
    fn begin(first: Date, store: NewStore) -> Story {
        let mut dice = Dice::seeded();
        let seed = dice.seed();
        let noon = first.yesterday().unwrap().at(12, 0, 0, 0).in_tz(ZONE).unwrap();
        let site = Site::begin(noon.timestamp(), store);
        // From the third week on. The Sunday on which the clocks change is none of them.
        let failed = [14, 17].map(|day| first + (day + 7 * dice.below(4) as i64).days());
        let main = Inspector::new("main", &site.main, Log::All);
        let copies = Inspector::new("copies", &site.copies, Log::EachPoint);
        Story {
            site,
            dice,
            seed,
            main,
            copies,
            taken: Vec::new(),
            failed,
            copied: 0,
            removed: 0,
            log_objects_removed: 0,
            packs_deleted: 0,
            packs_locked: 0,
            told: [Pruned::default(); 2],
            planned: 0,
            restored: 0,
        }
    }

    /// Rows at two times between the last night and that of `date`, each shipped.
    fn day(&mut self, date: Date) {
        let begin = self.site.clock.now();
        let length = night(date).duration_since(begin);
        for percent in [2 + self.dice.below(43), 50 + self.dice.below(45)] {
            self.site.clock.move_to(begin + length / 100 * percent as i32);
            for _ in 0..=self.dice.below(3) {
                self.site.write(&mut self.dice);
            }
            self.site.ship();
        }
    }

    /// A snapshot, copies, and retention in both repositories.
    fn night(&mut self, date: Date) {
        let due_at = night(date);
        self.site.clock.move_to(due_at);
        if !self.failed.contains(&date) {
            let snapshot = self.site.snapshot(due_at);
            self.taken.push(Taken {
                id: snapshot.id,
                due: date,
                start: snapshot.start_lsn,
                stop: snapshot.stop_lsn,
                ended_at: snapshot.stopped_at,
                rows: self.site.journal.len(),
            });
        }
        self.site.clock.move_to(due_at + COPIES_AFTER);
        self.copied += self.site.copy().snapshots.len();
        self.retain(due_at);
    }

    /// Retention in both repositories, in the night of `due_at`.
    fn retain(&mut self, due_at: Timestamp) {
        self.site.clock.move_to(due_at + RETENTION_AFTER);
        for (role, told) in [Role::Main, Role::Copies].into_iter().zip(&mut self.told) {
            let applied = self.site.retain(role);
            *told = applied.vault.unwrap();
            self.removed += applied.snapshots;
            self.log_objects_removed += applied.log_objects;
            self.packs_deleted += told.packs_deleted;
            self.packs_locked = self.packs_locked.max(told.packs_locked);
        }
        self.site.clock.move_to(due_at + LOOK_AFTER);
    }

    /// Both repositories as they are.
    fn inspect(&mut self) {
        let [main, copies] = &self.told;
        self.main.look(&self.site, &promise::in_main(&self.taken), main);
        self.copies.look(&self.site, &promise::in_copies(&self.taken), copies);
    }

    /// Both repositories, and what can be recovered from them.
    fn look(&mut self) {
        self.inspect();
        let (main, copies) = self.kept();
        let planned = reach::check_window(&self.site, &main);
        reach::check_points(&self.site, &Sources::only(&self.site.copies), &copies);
        reach::check_points(&self.site, &reach::both(&self.site), &copies);
        reach::check_points(&self.site, &reach::both(&self.site), &main);
        self.planned += planned;
    }

    /// The points of the main repository, and the copies.
    fn kept(&self) -> (Vec<&Taken>, Vec<&Taken>) {
        let now = self.site.clock.now();
        let main = promise::kept(&promise::in_main(&self.taken), now);
        (main, promise::kept(&promise::in_copies(&self.taken), now))
    }

    fn prove_one(&mut self) {
        let mut dice = Dice::of(self.dice.below(1 << 30) as u64);
        let (main, copies) = self.kept();
        prove::one_of(&self.site, &mut dice, &main, &copies);
        self.restored += 1;
    }

    fn prove_all(&mut self) {
        let (main, copies) = self.kept();
        let restored = prove::all_points(&self.site, &main, &copies);
        self.restored += restored;
    }

    /// That all of it came about: copies left as well, and the log of what left.
    fn end(&self) {
        let (main, copies) = self.kept();
        let weekly = promise::in_copies(&self.taken).len();
        assert_eq!((self.taken.len(), self.copied), (DAYS as usize - 2, weekly));
        assert_eq!(weekly - copies.len(), 2, "copies whose time was over");
        let left = self.taken.len() - main.len() + weekly - copies.len();
        assert_eq!(self.removed, left as u64);
        assert!(self.log_objects_removed > self.removed && self.packs_deleted > 0);
        assert_eq!(self.packs_locked > 0, self.is_locking());
    }

    fn is_locking(&self) -> bool {
        self.site.main.store.locks()
    }

    /// After the night of `last` nothing is taken any more: everything goes when its time and its
    /// lock are over, and that is all.
    fn outlast_locks(&mut self, last: Date) {
        self.site.is_over = true;
        for day in 1..=NIGHTS_AFTER {
            self.retain(night(last + day.days()));
            if day % LOOK_EVERY == 0 {
                self.inspect();
            }
        }
        self.main.check_gone(&self.site);
        self.copies.check_gone(&self.site);
        assert_eq!(self.removed, (self.taken.len() + self.copied) as u64);
    }

    fn tell(&self, when: &str) {
        println!(
            "{when}, {} rows, {} snapshots taken, {} copied, {} removed with {} objects of the \
             log and {} packs, of which locks kept up to {}, {} instants planned, {} restores, \
             seed {}",
            self.site.journal.len(),
            self.taken.len(),
            self.copied,
            self.removed,
            self.log_objects_removed,
            self.packs_deleted,
            self.packs_locked,
            self.planned,
            self.restored,
            self.seed
        );
    }
}
