//! Programs of a PostgreSQL installation: a server started on a data directory, and its tools.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Result;

/// How to start a server. Nothing of it comes from the data directory's own configuration unless
/// `settings` says so.
#[derive(Debug, Clone)]
pub struct ServerSpec {
    /// Holds `postgres`.
    pub bin_dir: PathBuf,
    pub data_dir: PathBuf,
    /// Given on the command line, where they overrule every file.
    pub settings: Vec<(String, String)>,
    /// The server's messages, appended.
    pub log_file: PathBuf,
}

/// What a tool answered.
#[derive(Debug, Clone)]
pub struct ToolOutput {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Starts programs as the user that PostgreSQL may run as: the present one, or, where that is
/// root, an unprivileged one.
pub trait Launcher: Send + Sync {
    /// Starts a server. It outlives this process if [`Server::leave`] is called, else it is
    /// stopped at once when the value is dropped.
    fn start(&self, spec: &ServerSpec) -> Result<Box<dyn Server>>;

    /// Runs a tool to its end.
    ///
    /// # Errors
    /// It cannot be started, or is still running after `limit`; then it is killed.
    fn run_tool(
        &self,
        program: &std::path::Path,
        arguments: &[String],
        limit: Duration,
    ) -> Result<ToolOutput>;

    /// User and group that started programs have, if that is not the present ones: files they
    /// need must be given to them.
    fn runs_as(&self) -> Option<(u32, u32)>;

    /// A path to this program that the started user can execute, made in `dir` if need be.
    fn own_program(&self, dir: &std::path::Path) -> Result<PathBuf>;
}

/// How to stop a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Writes a checkpoint (SIGINT, "fast").
    Fast,
    /// At once, as in a crash (SIGQUIT, "immediate").
    Immediate,
}

/// A server that was started here.
pub trait Server: Send {
    fn pid(&self) -> u32;

    /// How it ended, if it did.
    fn ended(&mut self) -> Result<Option<String>>;

    /// Stops it and waits; kills it after `limit`.
    fn stop(&mut self, mode: StopMode, limit: Duration) -> Result<()>;

    /// Kills every process of it at once, as a loss of power would (SIGKILL), and waits.
    fn kill(self: Box<Self>) -> Result<()>;

    /// Lets it run on after this process.
    fn leave(self: Box<Self>);
}
