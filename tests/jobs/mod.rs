//! Standing orders carried out: what begins when, and what a daemon that was killed takes up.

mod asked; // by hand, restores, bars, cancelling, a new configuration
mod life; // random lives: crashes, clock steps, failures

use std::path::Path;
use std::sync::Arc;

use fenice::catalog::Catalog;
use fenice::catalog::journal::PauseRow;
use fenice::config::parse;
use fenice::error::Retry;
use fenice::jobs::{Job, Order, Outcome};
use fenice::model::{ResourceName, Span};
use fenice::plan::schedule::{Limits, Standing, Work, standing_of};
use jiff::{SignedDuration, Timestamp};

/// The defaults, with copies and without jitter.
const POLICY: &str = r#"
    [repository.main]
    path = "/srv/fenice"
    [repository.copies]
    path = "/srv/copies"
    [policy.standard]
    copy_to = "copies"
    jitter = "0s"
    [[resource]]
    name = "registro"
    kind = "postgres"
    repository = "main"
    policy = "standard"
    connection = "host=/run/postgresql user=fenice"
    data_dir = "/srv/pg"
"#;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn registro() -> ResourceName {
    "registro".parse().unwrap()
}

fn catalog() -> Arc<Catalog> {
    Arc::new(Catalog::open(Path::new(":memory:")).unwrap())
}

/// The standing order of each of these resources.
fn standings(resources: &[ResourceName], jitter_most: Span) -> Vec<(ResourceName, Standing)> {
    let config = parse(POLICY, "fenice.toml").unwrap();
    let all = standing_of(&config.policies["standard"], &config.daemon.timezone);
    let of = |name: &ResourceName| {
        let name = name.clone();
        all.clone()
            .into_iter()
            .map(move |standing| (name.clone(), Standing { jitter_most, ..standing }))
    };
    resources.iter().flat_map(of).collect()
}

fn open(catalog: &Arc<Catalog>, most_at_once: u32, now: Timestamp) -> (Order, usize) {
    let standings = standings(&[registro()], Span::default());
    let (order, interrupted) =
        Order::open(catalog.clone(), standings, Limits { most_at_once }, now).unwrap();
    (order, interrupted.len())
}

fn names(jobs: &[Job]) -> Vec<&'static str> {
    jobs.iter().map(|job| job.work.name()).collect()
}

/// Lets everything that begins until then end well after ten minutes; what began, in order.
fn live(order: &mut Order, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Job)> {
    let (mut now, mut running, mut begun) = (from, Vec::<(Timestamp, i64)>::new(), Vec::new());
    while now <= to {
        while let Some(place) = running.iter().position(|(end, _)| *end <= now) {
            order.ended(running.remove(place).1, &Outcome::Done, now).unwrap();
        }
        for job in order.turn(now).unwrap() {
            running.push((now + SignedDuration::from_mins(10), job.id));
            begun.push((now, job));
        }
        let ends = running.iter().map(|(end, _)| *end);
        now = ends.chain(order.wakes_at()).min().unwrap_or(Timestamp::MAX);
    }
    begun
}

#[test]
fn a_policy_is_carried_out_day_by_day() {
    let catalog = catalog();
    let (from, to) = (at("2027-06-01T08:00:00Z"), at("2027-06-04T07:59:59Z"));
    let (mut order, _) = open(&catalog, 4, from);
    let begun = live(&mut order, from, to);
    let of = |work: Work| -> Vec<String> {
        let its = begun.iter().filter(|(_, job)| job.work == work);
        its.map(|(at, _)| at.to_string()).collect()
    };
    assert_eq!(
        of(Work::Snapshot),
        [
            "2027-06-01T08:00:00Z", // the first of all, at once
            "2027-06-02T00:00:00Z",
            "2027-06-03T00:00:00Z",
            "2027-06-04T00:00:00Z",
        ]
    );
    assert_eq!(of(Work::Verify).len(), 3);
    assert_eq!(of(Work::Retention).len(), 6);
    assert_eq!(of(Work::Copy).len(), 72);
    assert_eq!(catalog.open_jobs().unwrap(), []);
    let last = &catalog.last_jobs(1).unwrap()[0];
    assert_eq!(last.ended.as_ref().unwrap().result, "done");
}

#[test]
fn work_on_one_resource_waits_for_the_other_and_says_so() {
    let (catalog, from) = (catalog(), at("2027-06-01T00:00:00Z"));
    let (mut order, _) = open(&catalog, 4, from);
    let snapshot = order.turn(from).unwrap();
    assert_eq!(names(&snapshot), ["snapshot"]);
    let quarter_past = at("2027-06-01T00:15:00Z");
    assert_eq!(order.turn(quarter_past).unwrap(), []);
    let held = order.shown().find(|line| line.work == Work::Copy).unwrap().held;
    assert_eq!(held, Some("it waits for the snapshot of `registro`"));
    let later = at("2027-06-01T00:40:00Z");
    order.ended(snapshot[0].id, &Outcome::Done, later).unwrap();
    assert_eq!(names(&order.turn(later).unwrap()), ["copy"]);
}

#[test]
fn what_a_killed_daemon_had_begun_is_ended_told_and_tried_again() {
    let (catalog, from) = (catalog(), at("2027-06-01T00:00:00Z"));
    let (mut order, _) = open(&catalog, 4, from);
    let job = order.turn(from).unwrap().remove(0);
    drop(order);
    let back = at("2027-06-01T00:05:00Z");
    let (mut order, interrupted) = open(&catalog, 4, back);
    assert_eq!(interrupted, 1);
    let row = &catalog.last_jobs(1).unwrap()[0];
    assert_eq!((row.id, row.ended.as_ref().unwrap().result.as_str()), (job.id, "interrupted"));
    assert_eq!(order.turn(back).unwrap(), []);
    let again = order.wakes_at().unwrap();
    assert_eq!(again, at("2027-06-01T00:06:00Z"));
    let jobs = order.turn(again).unwrap();
    assert_eq!((names(&jobs), jobs[0].due_at), (vec!["snapshot"], job.due_at));
    assert!(jobs[0].because.contains("attempt 1 of 10"), "{}", jobs[0].because);
    // Only once is it told.
    order.ended(jobs[0].id, &Outcome::Done, again).unwrap();
    drop(order);
    assert_eq!(open(&catalog, 4, again).1, 0);
}

#[test]
fn a_failure_is_tried_again_if_that_can_help_and_an_unmet_promise_is_not() {
    let (catalog, from) = (catalog(), at("2027-06-01T00:00:00Z"));
    let failed = |retry| Outcome::Failed { told: "the disk is full".to_owned(), retry };
    for (outcome, next) in [
        (failed(Retry::Later), "2027-06-01T00:02:00Z"),
        (failed(Retry::Never), "2027-06-02T00:00:00Z"),
        (Outcome::NotMet { told: "3 pages are damaged".to_owned() }, "2027-06-02T00:00:00Z"),
    ] {
        let catalog =
            if outcome == failed(Retry::Later) { catalog.clone() } else { self::catalog() };
        let (mut order, _) = open(&catalog, 4, from);
        let job = order.turn(from).unwrap().remove(0);
        order.ended(job.id, &outcome, at("2027-06-01T00:01:00Z")).unwrap();
        let snapshot = order.shown().find(|line| line.work == Work::Snapshot).unwrap();
        let told = format!("{:?}", snapshot.next);
        assert!(told.contains(&format!("until: {next}")), "{outcome:?}: {told}");
    }
}

#[test]
fn a_paused_resource_begins_nothing_until_it_is_resumed_or_its_time_is_over() {
    let (catalog, from) = (catalog(), at("2027-06-01T00:00:00Z"));
    let (mut order, _) = open(&catalog, 4, from);
    let until = Some(at("2027-06-02T12:00:00Z"));
    let pause = PauseRow { resource: registro(), why: "migration".to_owned(), until };
    order.pause(pause.clone(), from).unwrap();
    assert_eq!(live(&mut order, from, at("2027-06-02T11:59:59Z")), []);
    drop(order);
    // A pause outlives the daemon, and ends by itself.
    let (mut order, _) = open(&catalog, 4, at("2027-06-02T11:00:00Z"));
    let over = at("2027-06-02T12:00:00Z");
    assert_eq!(live(&mut order, at("2027-06-02T11:00:00Z"), over)[0].0, over);
    let order = &mut open(&catalog, 4, over).0;
    order.pause(PauseRow { until: None, ..pause }, over).unwrap();
    assert_eq!((order.turn(over).unwrap(), order.wakes_at()), (vec![], None));
    assert!(order.resume(&registro(), over).unwrap());
    assert!(order.wakes_at().is_some());
}
