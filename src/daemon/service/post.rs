//! What the loops of the daemon share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::catalog::Catalog;
use crate::config::Config;
use crate::daemon::Parts;

/// The way to the world, what is known, and what is to be done.
pub(super) struct Post {
    pub parts: Parts,
    pub catalog: Arc<Catalog>,
    pub config_file: PathBuf,
    /// What this machine calls itself.
    pub host: String,
    /// Where another installation writes, this one waits for its turn as it was told to.
    pub stands_by: bool,
    config: Mutex<Arc<Config>>,
}

impl Post {
    pub fn new(
        parts: Parts,
        catalog: Arc<Catalog>,
        config_file: PathBuf,
        stands_by: bool,
        config: Arc<Config>,
    ) -> Post {
        let host = crate::adapters::system::host_name();
        Post { parts, catalog, config_file, host, stands_by, config: Mutex::new(config) }
    }

    /// The configuration now in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another one in force.
    pub fn adopt(&self, config: Arc<Config>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }
}
