//! What every command takes.

use std::path::PathBuf;

/// Options that may stand anywhere on the line.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// The configuration [default: $FENICE_CONFIG, or /etc/fenice/fenice.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Answer with one JSON value on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more of what goes on; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}
