//! Restores into scratch places, started with the real binary as `restore_command`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fenice::adapters::launcher::ProcessLauncher;
use fenice::adapters::postgres::PgConnector;
use fenice::adapters::system::SystemClock;
use fenice::engines::postgres::restore::originals::NewTablespaces;
use fenice::engines::postgres::restore::recover::{
    FilesInPlace, Recovered, StartRequest, Tools, plan_recovery, restore_files,
};
use fenice::engines::postgres::restore::sources::Sources;
use fenice::engines::progress::Progress;
use fenice::error::Result;
use fenice::plan::facts::{Request, Target};
use fenice::plan::recovery::RecoveryPlan;
use fenice::ports::server::StopMode;
use tokio::runtime::Runtime;

use super::rig::Rig;
use crate::support::Cluster;

/// A restored server; stopped and gone when dropped.
pub struct Restored {
    pub files: FilesInPlace,
    pub recovered: Recovered,
    handle: tokio::runtime::Handle,
}

impl Rig {
    pub fn tools(&self, bin_dir: PathBuf) -> Tools {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_fenice"));
        Tools {
            sources: Sources::only(&self.repository),
            clock: Arc::new(SystemClock),
            connector: Arc::new(PgConnector::default()),
            launcher: Arc::new(ProcessLauncher::with_program(program).unwrap()),
            bin_dir,
            workers: 2,
            new_tablespaces: NewTablespaces::Refused,
            progress: Arc::new(Progress::default()),
        }
    }

    pub fn plan(&self, target: Target) -> Result<RecoveryPlan> {
        let tools = self.tools(PathBuf::new());
        let listing = tools.sources.list(&self.resource)?;
        Ok(plan_recovery(&tools, &self.resource, &listing, &Request::to(target))?.1)
    }

    /// Restores the files only, into `name` of the scratch place.
    pub fn restore_files(
        &self,
        like: &Cluster,
        name: &str,
        target: Target,
    ) -> Result<FilesInPlace> {
        let tools = self.tools(like.bin_dir());
        let listing = tools.sources.list(&self.resource)?;
        let (stored, plan) = plan_recovery(&tools, &self.resource, &listing, &Request::to(target))?;
        let to = self.scratch.path().join(name);
        restore_files(&tools, stored, plan, &to, &BTreeMap::new())
    }

    /// Restores and starts.
    pub fn restore(&self, like: &Cluster, name: &str, target: Target) -> Result<Restored> {
        let files = self.restore_files(like, name, target)?;
        self.start(like, files)
    }

    pub fn start(&self, like: &Cluster, files: FilesInPlace) -> Result<Restored> {
        self.start_with(&self.tools(like.bin_dir()), files)
    }

    /// On a host that may have new tablespaces at their original place.
    pub fn start_elsewhere(&self, like: &Cluster, files: FilesInPlace) -> Result<Restored> {
        let new_tablespaces = NewTablespaces::AtOriginal;
        self.start_with(&Tools { new_tablespaces, ..self.tools(like.bin_dir()) }, files)
    }

    pub fn start_with(&self, tools: &Tools, files: FilesInPlace) -> Result<Restored> {
        Restored::start(&self.runtime, tools, files)
    }
}

/// How tests start restored servers: on their private socket only.
pub fn start_request() -> StartRequest {
    StartRequest {
        port: 5432,
        tcp: false,
        user: "postgres".to_owned(),
        patience: Duration::from_secs(300),
    }
}

impl Restored {
    /// Starts what was restored.
    pub fn start(runtime: &Runtime, tools: &Tools, files: FilesInPlace) -> Result<Restored> {
        let recovered = runtime.block_on(files.recover(tools, &start_request()))?;
        Ok(Restored { files, recovered, handle: runtime.handle().clone() })
    }

    /// The rows of one statement, columns joined with `|`.
    pub fn query(&self, database: &str, sql: &str) -> Vec<String> {
        let host = self.recovered.host.in_database(database);
        let rows = self
            .handle
            .block_on(async { host.session("test").await.unwrap().query(sql).await.unwrap() });
        let text = |row: Vec<Option<String>>| {
            row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|")
        };
        rows.into_iter().map(text).collect()
    }

    pub fn socket_dir(&self) -> &Path {
        &self.recovered.socket_dir
    }

    pub fn stop(mut self) -> FilesInPlace {
        self.recovered.server.stop(StopMode::Fast, Duration::from_secs(60)).unwrap();
        self.files
    }
}
