//! The `fenice` binary: argv to exit code, nothing else.

use std::process::ExitCode;

use fenice::cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().collect();
    // Before anything that can panic (RULES 1).
    cli::lethal::arm(&argv);
    cli::run(&argv)
}
