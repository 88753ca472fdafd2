//! Fenice's binary as users run it.

use std::path::Path;
use std::process::Command;

/// The binary just built, or the one that `FENICE_BENCH_PROGRAM` names, with nothing of our
/// environment.
pub fn fenice(config: &Path, arguments: &[&str]) -> Command {
    let program = std::env::var("FENICE_BENCH_PROGRAM");
    let built = env!("CARGO_BIN_EXE_fenice").to_owned();
    let mut command = Command::new(program.unwrap_or(built));
    command.env_clear().env("FENICE_CONFIG", config).current_dir("/");
    command.args(arguments);
    command
}
