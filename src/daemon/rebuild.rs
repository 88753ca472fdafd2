//! The catalog of everything that is configured, rebuilt; and all repositories opened for it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Parts, places};
use crate::catalog::Catalog;
use crate::config::{Config, Resource};
use crate::engines::postgres::rebuild::{Rebuilt, forget_gone, rebuild};
use crate::error::{Error, Result};
use crate::repository::{Repository, at_once};

/// The repositories that hold any resource, by name: each open, or why it is not.
pub struct Opened<'c>(BTreeMap<&'c str, Result<Repository>>);

impl<'c> Opened<'c> {
    /// Those that are open.
    pub fn all(&self) -> impl Iterator<Item = (&'c str, &Repository)> {
        self.0.iter().filter_map(|(name, opened)| Some((*name, opened.as_ref().ok()?)))
    }

    /// Those that are not.
    pub fn failed(&self) -> impl Iterator<Item = (&'c str, &Error)> {
        self.0.iter().filter_map(|(name, opened)| Some((*name, opened.as_ref().err()?)))
    }

    /// The one of that name.
    ///
    /// # Errors
    /// Why it is not open.
    pub fn get(&self, name: &str) -> Result<&Repository> {
        match self.0.get(name) {
            Some(Ok(repository)) => Ok(repository),
            Some(Err(error)) => Err(again(error)),
            None => Err(Error::usage(format!("no resource is stored in `{name}`"))),
        }
    }

    /// What became of the one of that name since.
    pub(super) fn set(&mut self, name: &'c str, opened: Result<Repository>) {
        self.0.insert(name, opened);
    }
}

/// The same failure, for another that it concerns.
pub(super) fn again(error: &Error) -> Error {
    let same = Error::new(error.kind(), error.chain());
    match error.hint_text() {
        Some(hint) => same.hint(hint),
        None => same,
    }
}

impl Parts {
    /// Opens every repository that holds any resource of `config`.
    pub fn open_all<'c>(&self, config: &'c Config) -> Opened<'c> {
        let names: BTreeSet<&str> = config
            .resources
            .iter()
            .flat_map(|resource| places(config, resource))
            .map(|(name, _)| name)
            .collect();
        let names: Vec<&str> = names.into_iter().collect();
        let opened =
            at_once::each(at_once::READERS, &names, |name| self.open_repository(config, name));
        Opened(names.into_iter().zip(opened).collect())
    }

    /// Rebuilds the catalog of every resource, in the order of `config`. What fails for one stops
    /// no other.
    pub fn rebuild_all(
        &self,
        config: &Config,
        opened: &Opened<'_>,
        catalog: &Catalog,
    ) -> Vec<Result<Rebuilt>> {
        at_once::each(at_once::READERS, &config.resources, |resource| {
            self.rebuild_one(config, opened, catalog, resource)
        })
    }

    fn rebuild_one(
        &self,
        config: &Config,
        opened: &Opened<'_>,
        catalog: &Catalog,
        resource: &Resource,
    ) -> Result<Rebuilt> {
        let (name, now) = (&resource.name, self.clock.now());
        let rebuilt = rebuild(opened.get(&resource.repository)?, catalog, name, now)?;
        // Of the copies there is nothing to note; where they cannot be reached, that is told of
        // their repository.
        for (place, _) in places(config, resource) {
            if place != resource.repository
                && let Ok(copies) = opened.get(place)
            {
                forget_gone(copies, catalog, name)?;
            }
        }
        Ok(rebuilt)
    }
}
