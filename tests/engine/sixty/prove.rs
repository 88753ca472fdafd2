//! Real recoveries: a server is started on what is stored, and its rows are those that the test
//! wrote by then, one by one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use fenice::adapters::launcher::ProcessLauncher;
use fenice::adapters::postgres::PgConnector;
use fenice::engines::postgres::restore::originals::NewTablespaces;
use fenice::engines::postgres::restore::recover::{Tools, plan_recovery, restore_files};
use fenice::engines::postgres::restore::sources::Sources;
use fenice::engines::progress::Progress;
use fenice::plan::facts::{Request, Target};
use jiff::{SignedDuration, Timestamp};

use super::promise::Taken;
use super::reach::{self, MICROSECOND};
use super::site::Site;
use crate::engine::restoring::Restored;
use crate::support::Dice;

/// Which recoveries are made each day; at the end each point is recovered anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    /// One point or instant, by the dice.
    One,
    /// Every point of either repository.
    All,
}

impl Each {
    /// `FENICE_TEST_SIXTY_RESTORES=all` recovers every point every day.
    pub fn wanted() -> Each {
        match std::env::var("FENICE_TEST_SIXTY_RESTORES").as_deref() {
            Err(_) | Ok("one") => Each::One,
            Ok("all") => Each::All,
            Ok(other) => panic!("FENICE_TEST_SIXTY_RESTORES={other}: one or all"),
        }
    }
}

/// Recovers every point of either repository from that repository alone. Tells how many.
#[track_caller]
pub fn all_points(site: &Site, main: &[&Taken], copies: &[&Taken]) -> usize {
    for taken in main {
        point(site, Sources::only(&site.main), taken);
    }
    for taken in copies {
        point(site, Sources::only(&site.copies), taken);
    }
    main.len() + copies.len()
}

/// Recovers one point or instant, from wherever the dice say.
#[track_caller]
pub fn one_of(site: &Site, dice: &mut Dice, main: &[&Taken], copies: &[&Taken]) {
    let (of_main, of_copies) = (main[dice.below(main.len())], copies[dice.below(copies.len())]);
    match (dice.below(6), chosen(site, dice, main)) {
        (1, _) => point(site, Sources::only(&site.copies), of_copies),
        (2, _) => point(site, reach::both(site), of_copies),
        (3, Some(at)) => instant(site, reach::both(site), at),
        (4 | 5, Some(at)) => instant(site, Sources::only(&site.main), at),
        (_, _) => point(site, Sources::only(&site.main), of_main),
    }
}

/// Within the window: just when a row was committed, just before, or whenever. None on the first
/// day, of which no log after the snapshot is stored yet.
fn chosen(site: &Site, dice: &mut Dice, main: &[&Taken]) -> Option<Timestamp> {
    let (from, until) = reach::instants(site, main);
    if from > until {
        return None;
    }
    let within = |at: &Timestamp| (from..=until).contains(at);
    let rows = site.journal.iter().map(|row| row.committed_at);
    let rows: Vec<Timestamp> = rows.filter(|at| within(&(*at - MICROSECOND))).collect();
    Some(match (dice.below(3), rows.is_empty()) {
        (0, false) => rows[dice.below(rows.len())],
        (1, false) => rows[dice.below(rows.len())] - MICROSECOND,
        _ => {
            let length = until.duration_since(from).as_secs().max(1);
            from + SignedDuration::from_secs(dice.below(length as usize) as i64)
        }
    })
}

#[track_caller]
fn point(site: &Site, sources: Sources, taken: &Taken) {
    let target = Target::Consistent { snapshot: taken.id.clone() };
    check(site, sources, target, taken.rows);
}

#[track_caller]
fn instant(site: &Site, sources: Sources, at: Timestamp) {
    let rows = site.journal.iter().take_while(|row| row.committed_at <= at).count();
    check(site, sources, Target::At(at), rows);
}

/// Recovers and compares: the first `rows` of the journal, and no other.
#[track_caller]
fn check(site: &Site, sources: Sources, target: Target, rows: usize) {
    let tools = tools(site, sources);
    let listing = tools.sources.list(&site.resource).unwrap();
    let request = Request::to(target.clone());
    let planned = plan_recovery(&tools, &site.resource, &listing, &request);
    let (stored, plan) = planned.unwrap_or_else(|e| panic!("{target}: {e:?}"));
    let to = site.scratch.path().join("restored");
    let files = restore_files(&tools, stored, plan, &to, &BTreeMap::new()).unwrap();
    let restored = Restored::start(&site.runtime, &tools, files);
    let restored = restored.unwrap_or_else(|e| panic!("{target}: {e:?}"));
    let found =
        restored.query("postgres", "select number || ' ' || text from notes order by number");
    let journal = site.journal.iter().take(rows);
    let written: Vec<String> = journal.map(|row| format!("{} {}", row.number, row.text)).collect();
    assert_eq!(found, written, "{target}");
    assert_eq!(restored.query("postgres", "select numbers from total"), [rows.to_string()]);
    let place = restored.stop().place.clone();
    fs::remove_dir_all(&place.target).unwrap();
    fs::remove_dir_all(&place.side).unwrap();
}

fn tools(site: &Site, sources: Sources) -> Tools {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_fenice"));
    Tools {
        sources,
        clock: site.clock.clone(),
        connector: Arc::new(PgConnector::default()),
        launcher: Arc::new(ProcessLauncher::with_program(program).unwrap()),
        bin_dir: site.cluster.bin_dir(),
        workers: 2,
        new_tablespaces: NewTablespaces::Refused,
        progress: Arc::new(Progress::default()),
    }
}
