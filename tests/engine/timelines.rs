//! After a switch of timelines no row of the abandoned one ever appears (RULES 3), whatever is
//! missing and whoever planned.

use fenice::engines::postgres::restore::recover::FilesInPlace;
use fenice::error::{Error, Kind};
use fenice::model::{Timeline, WalObject};
use fenice::plan::facts::Target;

use super::forked::{Forked, forked};
use super::restoring::Restored;

const ROWS: &str = "select what, count(*) from t group by 1 order by 1";

/// Restores with the plan made before `damage`; the error, and the restored server's log.
fn refused(forked: &Forked, name: &str, damage: impl FnOnce(&mut FilesInPlace)) -> (Error, String) {
    let rig = &forked.rig;
    let mut files = rig.restore_files(&forked.old, name, Target::Latest).unwrap();
    damage(&mut files);
    let log = files.place.log_file();
    match rig.start(&forked.old, files) {
        Ok(restored) => panic!("it opened with {:?}", restored.query("postgres", ROWS)),
        Err(error) => (error, std::fs::read_to_string(log).unwrap()),
    }
}

fn never_opened(log: &str) {
    assert!(!log.contains("ready to accept connections"), "{log}");
    assert!(!log.contains("selected new timeline ID"), "{log}");
}

#[test]
fn the_newest_timeline_is_followed_and_the_abandoned_rows_stay_away() {
    let forked = forked();
    let beyond = forked.stored(1, forked.switch_segment + 1);
    assert!(!beyond.is_empty(), "the abandoned log was not shipped beyond the switch");
    let restored: Restored = forked.rig.restore(&forked.old, "latest", Target::Latest).unwrap();
    assert_eq!(restored.query("postgres", ROWS), ["common|30000", "kept|60000"]);
    drop(restored.stop());
}

#[test]
fn a_missing_first_segment_of_the_new_timeline_stops_recovery() {
    let forked = forked();
    let first = forked.switch_segment;

    // The plan was made when everything was there.
    let (error, log) = refused(&forked, "vanished", |_| forked.lose(2, first));
    assert!(error.chain().contains("is not in"), "{error:?}");
    assert!(error.hint_text().is_some());
    never_opened(&log);

    // A plan that would take the parent's bytes for the child's.
    let error = forked.rig.plan(Target::Latest).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error:?}");
    assert!(error.chain().contains("gap") && error.hint_text().is_some(), "{error:?}");

    // Nothing at all of timeline 2 but its history.
    let inventory = forked.rig.archive().inventory().unwrap();
    let last = inventory.last_segment(Timeline(2)).unwrap();
    (first + 1..=last).for_each(|segment| forked.lose(2, segment));
    let error = forked.rig.plan(Target::Latest).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error:?}");
    assert!(error.chain().contains("timeline 2 began"), "{error:?}");
}

#[test]
fn a_plan_that_takes_the_parents_log_for_the_childs_is_stopped() {
    let forked = forked();
    let parents: Vec<WalObject> = forked
        .rig
        .archive()
        .inventory()
        .unwrap()
        .segment(Timeline(1), forked.switch_segment + 1)
        .to_vec();
    let (error, log) = refused(&forked, "doctored", |files| {
        let after =
            |s: &&mut fenice::plan::path::PlannedSegment| s.number == forked.switch_segment + 1;
        files.plan.segments.iter_mut().find(after).unwrap().objects = parents;
    });
    assert_eq!(error.kind(), Kind::Refused, "{error:?}");
    assert!(error.chain().contains("the page is of an older timeline"), "{error:?}");
    never_opened(&log);

    // A plan that lacks the segments of timeline 2: PostgreSQL asks the parent for them.
    let (error, log) = refused(&forked, "shortened", |files| {
        files.plan.segments.retain(|segment| segment.timeline == Timeline(1));
    });
    assert!(error.chain().contains("the plan lacks segment"), "{error:?}");
    never_opened(&log);
}
