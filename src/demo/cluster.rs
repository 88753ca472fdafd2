//! The throw-away PostgreSQL of the demo: made, started, killed, deleted.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Attempt, Error, Result};
use crate::ports::postgres::{Connector, Postgres};
use crate::ports::server::{Launcher, Server, ServerSpec};

const TOOL_LIMIT: Duration = Duration::from_secs(120);
const START_LIMIT: Duration = Duration::from_secs(60);
/// Of its private socket only; nothing listens on the network.
pub const PORT: u16 = 5432;

/// A running throw-away cluster. Dropping it stops the server.
pub struct DemoCluster {
    server: Option<Box<dyn Server>>,
    pub data_dir: PathBuf,
    pub conninfo: String,
    pub host: Arc<dyn Postgres>,
}

impl DemoCluster {
    /// `initdb` and start below `dir`.
    pub async fn start(
        dir: &Path,
        bin_dir: &Path,
        launcher: &dyn Launcher,
        connector: &dyn Connector,
    ) -> Result<DemoCluster> {
        let (data_dir, socket_dir) = (dir.join("pgdata"), dir.join("socket"));
        for made in [&data_dir, &socket_dir] {
            let what = || format!("make the directory {}", made.display());
            fs::DirBuilder::new().mode(0o700).create(made).attempt(what)?;
            if let Some((uid, gid)) = launcher.runs_as() {
                chown(made, Some(uid), Some(gid)).attempt(what)?;
            }
        }
        initdb(bin_dir, &data_dir, launcher)?;
        let spec = ServerSpec {
            bin_dir: bin_dir.to_owned(),
            data_dir: data_dir.clone(),
            settings: settings(&socket_dir),
            log_file: dir.join("postgres.log"),
        };
        let server = launcher.start(&spec)?;
        let socket = socket_dir.display();
        let conninfo = format!("host={socket} port={PORT} user=postgres dbname=postgres");
        let host = connector.hosts(&conninfo)?.pop();
        let host = host.ok_or_else(|| Error::failed("there is no way to the demo's server"))?;
        let mut cluster = DemoCluster { server: Some(server), data_dir, conninfo, host };
        cluster.wait_until_open().await?;
        Ok(cluster)
    }

    async fn wait_until_open(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            match self.host.session("fenice_demo").await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            if let Some(server) = &mut self.server
                && let Some(ended) = server.ended()?
            {
                return Err(Error::failed("the demo's server did not start").because(ended));
            }
        }
    }

    /// The disaster: every process of the server is killed.
    pub fn kill(&mut self) -> Result<()> {
        self.server.take().map_or(Ok(()), |server| server.kill())
    }

    /// And its files are deleted.
    pub fn delete(&mut self) -> Result<()> {
        fs::remove_dir_all(&self.data_dir).attempt(|| format!("delete {}", self.data_dir.display()))
    }
}

fn initdb(bin_dir: &Path, data_dir: &Path, launcher: &dyn Launcher) -> Result<()> {
    let arguments = [
        "-D".to_owned(),
        data_dir.display().to_string(),
        "--username=postgres".to_owned(),
        "--auth=trust".to_owned(),
        "--encoding=UTF8".to_owned(),
        "--no-locale".to_owned(),
        "--data-checksums".to_owned(),
    ];
    let output = launcher.run_tool(&bin_dir.join("initdb"), &arguments, TOOL_LIMIT)?;
    match output.success {
        true => Ok(()),
        false => Err(Error::failed("initdb failed").because(output.stderr)),
    }
}

fn settings(socket_dir: &Path) -> Vec<(String, String)> {
    let settings = [
        ("listen_addresses", String::new()),
        ("port", PORT.to_string()),
        ("unix_socket_directories", socket_dir.display().to_string()),
        ("unix_socket_permissions", "0700".to_owned()),
        ("wal_level", "replica".to_owned()),
        ("shared_buffers", "128MB".to_owned()),
        ("log_checkpoints", "off".to_owned()),
    ];
    settings.map(|(name, value)| (name.to_owned(), value)).into()
}
