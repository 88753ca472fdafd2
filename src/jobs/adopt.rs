//! A new configuration: standing orders that stay keep what became of them, others come and go.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::keeping::past_of;
use super::order::Order;
use crate::error::Result;
use crate::model::ResourceName;
use crate::plan::schedule::{Limits, Past, Standing, Work};

impl Order {
    /// Goes on with other standing orders. What runs goes on; what is not in them any more begins
    /// no more, and what was asked for on a resource that is gone is taken back.
    ///
    /// # Errors
    /// The catalog's: then everything is as it was.
    pub fn adopt(
        &mut self,
        standings: Vec<(ResourceName, Standing)>,
        limits: Limits,
        now: Timestamp,
    ) -> Result<()> {
        let mut pasts: BTreeMap<(ResourceName, Work), Past> = BTreeMap::new();
        for row in self.catalog.standings()? {
            // Only of works that are known; an older version may have had others.
            let standing = standings.iter().find(|(resource, standing)| {
                *resource == row.resource && standing.work.name() == row.work
            });
            if let Some((resource, standing)) = standing {
                pasts.insert((resource.clone(), standing.work), past_of(&row));
            }
        }
        // Those of the lines are newer: they know what is under way.
        for line in &self.lines {
            pasts.insert((line.resource.clone(), line.standing.work), line.past.clone());
        }
        let before = std::mem::take(&mut self.lines);
        for (resource, standing) in standings {
            let known = pasts.remove(&(resource.clone(), standing.work));
            if let Err(error) = self.add(resource, standing, known, now) {
                self.lines = before;
                return Err(error);
            }
        }
        self.limits = limits;
        self.take_running_along();
        let resources: BTreeSet<&ResourceName> =
            self.lines.iter().map(|line| &line.resource).collect();
        self.asked.retain(|asked| resources.contains(&asked.resource));
        self.agenda.clear();
        self.due.clear();
        (0..self.lines.len()).for_each(|line| self.look(line, now));
        Ok(())
    }

    /// Each job that runs belongs to the line of its work, where there still is one.
    fn take_running_along(&mut self) {
        let places: BTreeMap<(ResourceName, Work), usize> = self
            .lines
            .iter()
            .enumerate()
            .map(|(at, line)| ((line.resource.clone(), line.standing.work), at))
            .collect();
        for begun in self.running.values_mut().filter(|begun| begun.line.is_some()) {
            begun.line = places.get(&(begun.resource.clone(), begun.work)).copied();
        }
    }
}
