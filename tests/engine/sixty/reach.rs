//! Whether everything that is promised can be recovered to, by plans alone: each kept point, each
//! hour of the window, each row's own instant; and nothing before.

use fenice::engines::postgres::restore::facts::{self, Stored};
use fenice::engines::postgres::restore::recover::checked_plan;
use fenice::engines::postgres::restore::sources::Sources;
use fenice::error::{Kind, Result};
use fenice::plan::facts::{Request, Target};
use fenice::plan::recovery::RecoveryPlan;
use fenice::plan::windows::windows;
use fenice::ports::Clock;
use fenice::repository::Repository;
use jiff::{SignedDuration, Timestamp};

use super::promise::{DAILY, Taken};
use super::site::Site;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// PostgreSQL stamps commits by it.
pub const MICROSECOND: SignedDuration = SignedDuration::from_micros(1);

/// Every instant from the window's begin to the end of the log, and nothing before the first point,
/// from the main repository alone. Tells how many were planned.
#[track_caller]
pub fn check_window(site: &Site, kept: &[&Taken]) -> usize {
    let (now, stored) = (site.clock.now(), stored(site, &Sources::only(&site.main)));
    let (from, until) = span(site, kept, &stored, now);
    let reach = windows(&stored.facts).unwrap();
    assert!(reach.unusable.is_empty(), "{now}: {:?}", reach.unusable);
    let [window] = reach.windows.as_slice() else { panic!("{now}: {:?}", reach.windows) };
    assert!(window.from <= from && window.to >= until && window.gap_after.is_none(), "{window:?}");

    let rows = site.journal.iter().map(|row| row.committed_at);
    let mut instants: Vec<Timestamp> = rows.flat_map(|at| [at - MICROSECOND, at]).collect();
    instants.extend([from, until]);
    let hours = (0..).map(|hour| from + HOUR * hour).take_while(|at| *at < until);
    instants.extend(hours);
    instants.retain(|at| (from..=until).contains(at));
    for at in &instants {
        let plan = plan(&stored, Target::At(*at), now).unwrap_or_else(|e| panic!("{at}: {e:?}"));
        // The newest point by then: the last one that had ended.
        let nearest = kept.iter().rfind(|taken| taken.ended_at <= *at).unwrap();
        assert_eq!((plan.snapshot.id.as_str(), plan.stops_before_gap), (&*nearest.id, false));
    }
    let before = kept[0].ended_at - MICROSECOND;
    let refused = plan(&stored, Target::At(before), now).unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused, "{before}: {refused:?}");
    check_points(site, &Sources::only(&site.main), kept);
    instants.len()
}

/// Each of the points by its name, from `sources`.
#[track_caller]
pub fn check_points(site: &Site, sources: &Sources, points: &[&Taken]) {
    let (now, stored) = (site.clock.now(), stored(site, sources));
    for taken in points {
        let target = Target::Consistent { snapshot: taken.id.clone() };
        let plan = plan(&stored, target, now).unwrap_or_else(|e| panic!("{}: {e:?}", taken.id));
        assert_eq!((plan.snapshot.id.as_str(), plan.end), (taken.id.as_str(), taken.stop));
    }
}

/// The instants that can be chosen: from the window's begin, or the first point while there is no
/// older one, to the last that the log is known to hold all of.
pub fn instants(site: &Site, kept: &[&Taken]) -> (Timestamp, Timestamp) {
    let stored = stored(site, &Sources::only(&site.main));
    span(site, kept, &stored, site.clock.now())
}

#[track_caller]
fn span(site: &Site, kept: &[&Taken], stored: &Stored, now: Timestamp) -> (Timestamp, Timestamp) {
    let until = stored.facts.log_stored_until.unwrap();
    let last = site.journal.last().unwrap().committed_at;
    assert!(until >= last, "{now}: the log is stored up to {until}, a row is of {last}");
    // In microseconds, as targets are given.
    let begin = (now - DAILY).as_microsecond() + 1;
    (Timestamp::from_microsecond(begin).unwrap().max(kept[0].ended_at), until)
}

fn stored(site: &Site, sources: &Sources) -> Stored {
    facts::read_now(sources, &site.resource).unwrap()
}

fn plan(stored: &Stored, target: Target, now: Timestamp) -> Result<RecoveryPlan> {
    let request = Request::to(target);
    let request = Request { timeline: stored.timeline_for(&request), ..request };
    checked_plan(&stored.facts, &request, now)
}

/// Both repositories together.
pub fn both(site: &Site) -> Sources {
    let copies: Option<Repository> = Some(site.copies.clone());
    Sources { first: site.main.clone(), copies }
}
