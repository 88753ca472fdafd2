//! TOML to a checked configuration, or every problem at once with file, line and column. Pure.
//!
//! The table in [`reference`] says which keys there are and what they default to; the readers
//! (`daemon`, `repository`, `policy`, `resource`, `service`, `notify`) take values from it through
//! a [`section::Section`], which notes a problem and goes on. One exception to purity: `timezone`
//! is looked up in the machine's time zone database, as `jiff` does everywhere.

pub mod cron;
pub mod daemon;
pub mod notify;
pub mod policy;
pub mod problem;
pub mod reference;
pub mod repository;
pub mod resource;
pub mod service;
pub mod window;

mod connection;
mod document;
mod nearest;
mod section;
mod value;

use std::collections::BTreeMap;

pub use crate::model::{Checksums, SecretRef, ServerSideEncryption};
pub use cron::Cron;
pub use daemon::Daemon;
pub use notify::{MailLogin, Mailing, Notify, UrlRef, Webhook};
pub use policy::{Policy, Replicate};
pub use problem::{Problem, Problems};
pub use repository::{Bucket, Location, ObjectLock, Repository};
pub use resource::{Check, DrillLimits, Method, PostgresSource, Resource, Source};
pub use service::Service;
pub use window::Window;

/// A configuration that holds together: every name in it refers to something in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub daemon: Daemon,
    /// By name. There is at least one.
    pub repositories: BTreeMap<String, Repository>,
    /// By name.
    pub policies: BTreeMap<String, Policy>,
    /// In the file's order, names unique.
    pub resources: Vec<Resource>,
    /// In the file's order, names unique and different from those of resources.
    pub services: Vec<Service>,
    /// Who is told.
    pub notify: Notify,
}

impl Config {
    /// The resource of that name.
    pub fn resource(&self, name: &str) -> Option<&Resource> {
        self.resources.iter().find(|resource| resource.name.as_str() == name)
    }

    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// Where the resource is kept. `resource` is of this configuration, so the name is known.
    pub fn repository_of(&self, resource: &Resource) -> &Repository {
        &self.repositories[&resource.repository]
    }

    /// What was promised for the resource. `resource` is of this configuration.
    pub fn policy_of(&self, resource: &Resource) -> &Policy {
        &self.policies[&resource.policy]
    }

    /// Where the resource's copies go, if anywhere. `resource` is of this configuration.
    pub fn copy_repository_of(&self, resource: &Resource) -> Option<&Repository> {
        self.policy_of(resource).copy_to.as_ref().map(|name| &self.repositories[name])
    }
}

/// Checks the text of a configuration file; `file` is its name for messages.
///
/// # Errors
/// Everything that is wrong, in the order of the file. What cannot be judged because something
/// else is wrong is not guessed at: after a syntax error nothing is called missing.
pub fn parse(text: &str, file: &str) -> Result<Config, Problems> {
    let report = problem::Report::new(text);
    let config = document::read(text, &report);
    match (report.finish(file), config) {
        (None, Some(config)) => Ok(config),
        (Some(problems), _) => Err(problems),
        (None, None) => unreachable!("a reader gave nothing and reported nothing"),
    }
}
