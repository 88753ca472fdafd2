//! What comes next, for whoever only looks: read from the catalog, beside a daemon or without one.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::keeping::{past_of, pause_of};
use crate::catalog::Catalog;
use crate::error::Result;
use crate::model::ResourceName;
use crate::plan::schedule::{Next, Past, Standing, Work, decide};

/// One work of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextDue {
    pub resource: ResourceName,
    pub work: Work,
    /// When it begins; `None` if it does not, or only once something else has happened.
    pub at: Option<Timestamp>,
    /// Why then, or why not.
    pub text: String,
}

/// What is next of each of `standings`, in their order; empty if no daemon ever took them up.
///
/// # Errors
/// The catalog's.
pub fn next_of(
    catalog: &Catalog,
    standings: &[(ResourceName, Standing)],
    now: Timestamp,
) -> Result<Vec<NextDue>> {
    let rows = catalog.standings()?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut known: BTreeMap<(&ResourceName, &str), Past> = BTreeMap::new();
    for row in &rows {
        known.insert((&row.resource, &row.work), past_of(row));
    }
    let running = catalog.open_jobs()?;
    let mut all = Vec::with_capacity(standings.len());
    for (resource, standing) in standings {
        let name = standing.work.name();
        let known = known.get(&(resource, name)).cloned();
        let mut past = known.unwrap_or_else(|| Past::new(now));
        past.under_way = running.iter().any(|job| job.resource == *resource && job.work == name);
        past.paused = catalog.paused(resource)?.map(pause_of);
        let next = decide(standing, &past, resource, now);
        all.push(told(resource, standing.work, next, now));
    }
    Ok(all)
}

fn told(resource: &ResourceName, work: Work, next: Next, now: Timestamp) -> NextDue {
    let (at, text) = match next {
        Next::Run { reason, .. } => (Some(now), reason),
        Next::Wait { until, reason, .. } => (Some(until), reason),
        Next::Busy { reason } | Next::Paused { reason, .. } | Next::Never { reason } => {
            (None, reason)
        }
    };
    NextDue { resource: resource.clone(), work, at, text }
}
