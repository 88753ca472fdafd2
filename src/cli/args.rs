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

/// Bring a resource back into a new place
#[derive(Debug, Clone, clap::Args)]
pub struct Restore {
    /// The resource, as the configuration names it
    pub resource: String,
    /// Where the data directory will be: new or empty
    #[arg(long, value_name = "DIR")]
    pub target: PathBuf,
    /// The instant to recover to, with an offset, or an unambiguous local time, or `latest`
    #[arg(long, value_name = "TIME", default_value = "latest")]
    pub to: String,
    /// Recover the state of this snapshot and no later one: all that a weekly copy alone allows
    #[arg(long, value_name = "ID", conflicts_with = "to")]
    pub snapshot: Option<String>,
    /// Only print what would be done, and why
    #[arg(long)]
    pub plan: bool,
    /// Start the server, and end when it has reached its target
    #[arg(long)]
    pub start: bool,
    /// Let the started server listen on this port of 127.0.0.1
    #[arg(long, requires = "start")]
    pub port: Option<u16>,
    /// Where a tablespace will be [default: DIR.tablespaces/OID]
    #[arg(long = "tablespace", value_name = "OID=DIR", value_parser = tablespace)]
    pub tablespaces: Vec<(u32, PathBuf)>,
    /// Make tablespaces that were created after the snapshot at their original place, which must
    /// be free: for a host that production is not on
    #[arg(long)]
    pub original_tablespaces: bool,
    /// The timeline to follow [default: the newest that is stored]
    #[arg(long, value_name = "N")]
    pub timeline: Option<u32>,
    /// Use a damaged snapshot where no undamaged one will do
    #[arg(long)]
    pub allow_damaged: bool,
    /// Read from this repository alone, such as that of the copies [default: the resource's own,
    /// and its copies for what is missing there]
    #[arg(long, value_name = "REPOSITORY")]
    pub from: Option<String>,
}

fn tablespace(text: &str) -> Result<(u32, PathBuf), String> {
    let parsed = text.split_once('=').and_then(|(oid, dir)| Some((oid.parse().ok()?, dir)));
    match parsed {
        Some((oid, dir)) if dir.starts_with('/') => Ok((oid, PathBuf::from(dir))),
        _ => Err("write OID=DIR, DIR an absolute path, such as 16384=/srv/restored".to_owned()),
    }
}
