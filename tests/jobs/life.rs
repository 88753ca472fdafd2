//! Random lives of a host: jobs that take their time and fail, a clock that is set, a daemon that
//! is killed at any moment. In each:
//! 1. Never more jobs at once than may be, nor two on one resource that exclude each other.
//! 2. No occurrence is done twice, and none after a newer one of the same work.
//! 3. What was begun is ended in the journal, once; what a kill cut short is told.
//! 4. Given peace, the newest occurrence of everything is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use fenice::catalog::Catalog;
use fenice::error::Retry;
use fenice::jobs::{Job, Order, Outcome};
use fenice::model::{ResourceName, Span};
use fenice::plan::schedule::{Limits, Work};
use jiff::{SignedDuration, Timestamp};

use super::{at, catalog, standings};
use crate::support::Dice;

const MOST_AT_ONCE: u32 = 3;

struct Host {
    catalog: Arc<Catalog>,
    resources: Vec<ResourceName>,
    order: Order,
    now: Timestamp,
    running: Vec<(Timestamp, Job)>,
    /// By resource and work: the newest occurrence that was done.
    done: BTreeMap<(ResourceName, Work), Timestamp>,
    begun: usize,
    told_as_cut_short: usize,
}

impl Host {
    fn new(dice: &mut Dice) -> Host {
        let resources: Vec<ResourceName> =
            (0..1 + dice.below(6)).map(|number| format!("r{number}").parse().unwrap()).collect();
        let (catalog, now) = (catalog(), at("2027-03-20T12:00:00Z"));
        let order = opened(&catalog, &resources, now).0;
        let (running, done) = (Vec::new(), BTreeMap::new());
        Host { catalog, resources, order, now, running, done, begun: 0, told_as_cut_short: 0 }
    }

    /// Begins what may; each job takes one of these minutes.
    fn turn(&mut self, dice: &mut Dice, minutes: &[i64]) {
        for job in self.order.turn(self.now).unwrap() {
            let minutes = minutes[dice.below(minutes.len())];
            let newest = self.done.get(&(job.resource.clone(), job.work));
            assert!(newest.is_none_or(|done| *done < job.due_at), "done already: {job:?}");
            assert!(!job.because.is_empty());
            self.running.push((self.now + SignedDuration::from_mins(minutes), job));
            self.begun += 1;
        }
        let alone = |job: &Job| job.work != Work::Drill;
        assert!(self.running.len() <= MOST_AT_ONCE as usize);
        assert_eq!(self.order.running(), self.running.len());
        for resource in &self.resources {
            let its = self.running.iter().filter(|(_, job)| job.resource == *resource);
            assert!(its.filter(|(_, job)| alone(job)).count() <= 1, "two on {resource}");
        }
        assert!(self.running.iter().filter(|(_, job)| !alone(job)).count() <= 1);
    }

    fn end(&mut self, place: usize, outcome: &Outcome) {
        let (_, job) = self.running.remove(place);
        if matches!(outcome, Outcome::Done | Outcome::NotMet { .. }) {
            self.done.insert((job.resource.clone(), job.work), job.due_at);
        }
        self.order.ended(job.id, outcome, self.now).unwrap();
    }

    fn kill(&mut self) {
        let (order, told) = opened(&self.catalog, &self.resources, self.now);
        assert_eq!(told, self.running.len());
        (self.order, self.told_as_cut_short) = (order, self.told_as_cut_short + told);
        self.running.clear();
        assert_eq!(self.catalog.open_jobs().unwrap(), []);
    }

    /// The next moment at which anything happens.
    fn next(&self) -> Timestamp {
        let ends = self.running.iter().map(|(end, _)| *end);
        let next = ends.chain(self.order.wakes_at()).min().unwrap_or(self.now);
        next.max(self.now + SignedDuration::from_secs(1))
    }
}

fn opened(catalog: &Arc<Catalog>, resources: &[ResourceName], now: Timestamp) -> (Order, usize) {
    let limits = Limits { most_at_once: MOST_AT_ONCE };
    let standings = standings(resources, Span::seconds(300));
    let (order, cut_short) = Order::open(catalog.clone(), standings, limits, now).unwrap();
    (order, cut_short.len())
}

fn outcome(dice: &mut Dice, failing: bool) -> Outcome {
    let told = "the repository cannot be reached".to_owned();
    match dice.below(10) {
        0..=3 if failing => Outcome::Failed { told, retry: Retry::Later },
        4 if failing => Outcome::Failed { told, retry: Retry::Never },
        5 => Outcome::NotMet { told: "3 pages are damaged".to_owned() },
        _ => Outcome::Done,
    }
}

fn one_life(dice: &mut Dice) -> (usize, usize) {
    let mut host = Host::new(dice);
    for _ in 0..400 {
        host.turn(dice, &[1, 5, 45, 300]);
        host.now = match dice.below(60) {
            // The clock is set, or nobody looks for a while.
            0 => host.now - SignedDuration::from_secs(dice.below(7_200) as i64),
            1 => host.now + SignedDuration::from_secs(dice.below(200_000) as i64),
            _ => host.next(),
        };
        while let Some(place) = host.running.iter().position(|(end, _)| *end <= host.now) {
            let failing = dice.below(3) == 0;
            host.end(place, &outcome(dice, failing));
        }
        if dice.below(40) == 0 {
            host.kill();
        }
    }
    in_peace(&mut host, dice);
    let journal = host.catalog.last_jobs(u32::MAX).unwrap();
    assert!(journal.iter().all(|job| job.ended.is_some()));
    assert_eq!(journal.len(), host.begun);
    let is_cut_short = |job: &&fenice::catalog::journal::JobRow| {
        job.ended.as_ref().is_some_and(|end| end.result == "interrupted")
    };
    assert_eq!(journal.iter().filter(is_cut_short).count(), host.told_as_cut_short);
    (host.begun, host.told_as_cut_short)
}

/// Forty days without a fault: longer than any schedule here is away.
fn in_peace(host: &mut Host, dice: &mut Dice) {
    let from = host.now;
    let to = from + SignedDuration::from_hours(40 * 24);
    while host.now < to {
        // Who has more to do than fits into a day does the less urgent never.
        host.turn(dice, &[1, 5]);
        host.now = host.next();
        while let Some(place) = host.running.iter().position(|(end, _)| *end <= host.now) {
            host.end(place, &Outcome::Done);
        }
    }
    while !host.running.is_empty() {
        host.end(0, &Outcome::Done);
    }
    for line in host.order.shown() {
        let done = host.done.get(&(line.resource.clone(), line.work));
        assert!(done.is_some_and(|done| *done > from), "{line:?} from {from} to {to}: {done:?}");
        assert_eq!(line.past.settled_due_at.as_ref(), done);
        assert_eq!(line.past.failed, None);
    }
}

#[test]
fn whatever_happens_to_a_host_what_is_due_is_done_once_and_told() {
    let mut dice = Dice::seeded();
    let (mut begun, mut cut_short) = (0, 0);
    for _ in 0..30 {
        let (jobs, cut) = one_life(&mut dice);
        (begun, cut_short) = (begun + jobs, cut_short + cut);
    }
    println!("{begun} jobs, {cut_short} cut short");
    assert!(begun > 1_000 && cut_short > 10);
}
